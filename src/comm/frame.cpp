#include "foreweave/comm/frame.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "foreweave/core/digest.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave::comm {
namespace {

constexpr std::array<char, 4> magic{'F', 'W', 'F', 'R'};
constexpr std::uint16_t format_version = 1;
constexpr std::size_t digest_offset = 32;
constexpr std::size_t fixed_bytes = digest_offset + sizeof(std::uint64_t);

/// Over the head with a zero digest field, and the payload's own digest appended: so the payload is read where it
/// lies.
std::uint64_t frame_digest(ByteView head, ByteView payload) {
  std::array<std::byte, max_head_bytes + sizeof(std::uint64_t)> joined;
  std::copy(head.begin(), head.end(), joined.begin());
  std::fill_n(joined.begin() + digest_offset, sizeof(std::uint64_t), std::byte{0});
  const std::uint64_t payload_digest = digest64(payload);
  std::memcpy(joined.data() + head.size(), &payload_digest, sizeof payload_digest);
  return digest64({joined.data(), head.size() + sizeof payload_digest});
}

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCategory::format, "read a frame", message); }

}  // namespace

Bytes encode_frame(const Frame& frame) {
  if (frame.body.size() > max_head_bytes - fixed_bytes || frame.payload.size() > max_payload_bytes)
    throw Error(ErrorCategory::argument, "encode a frame of type " + std::to_string(int(frame.type)),
                "the body has " + std::to_string(frame.body.size()) + " bytes of at most " +
                    std::to_string(max_head_bytes - fixed_bytes) + ", the payload " +
                    std::to_string(frame.payload.size()) + " of at most " + std::to_string(max_payload_bytes) +
                    ": send bulk data in several payloads");
  ByteWriter out;
  out.put_bytes(std::as_bytes(std::span(magic)));
  out.put(format_version);
  out.put(frame.type);
  out.put(frame.source);
  out.put(frame.epoch);
  out.put(frame.sequence);
  out.put(static_cast<std::uint32_t>(frame.body.size()));
  out.put(static_cast<std::uint32_t>(frame.payload.size()));
  out.put(std::uint64_t{0});
  out.put_bytes(frame.body);
  Bytes head = out.take();
  const std::uint64_t digest = frame_digest(head, frame.payload);
  std::memcpy(head.data() + digest_offset, &digest, sizeof digest);
  return head;
}

Frame decode_frame(ByteView head, ByteView payload) {
  if (head.size() < fixed_bytes || head.size() > max_head_bytes)
    refuse("a head of " + std::to_string(head.size()) + " bytes: it was cut off, or is none of Foreweave's");
  if (payload.size() > max_payload_bytes)
    refuse("a payload of " + std::to_string(payload.size()) + " bytes is above the limit of " +
           std::to_string(max_payload_bytes));
  ByteReader in(head, "frame");
  if (!std::ranges::equal(in.get_bytes(magic.size()), std::as_bytes(std::span(magic))))
    refuse("it does not begin with FWFR: the sender is not Foreweave, or the head is damaged");
  if (const auto version = in.get<std::uint16_t>(); version != format_version)
    refuse("format version " + std::to_string(version) + " where this build reads " + std::to_string(format_version) +
           ": run one version of Foreweave on all ranks");
  Frame frame;
  frame.type = in.get<FrameType>();
  frame.source = in.get<HubId>();
  frame.epoch = in.get<Epoch>();
  frame.sequence = in.get<std::uint64_t>();
  const auto body_bytes = in.get<std::uint32_t>();
  const auto payload_bytes = in.get<std::uint32_t>();
  const auto digest = in.get<std::uint64_t>();
  if (body_bytes != in.remaining())
    refuse("its body should have " + std::to_string(body_bytes) + " bytes, but " + std::to_string(in.remaining()) +
           " are there");
  if (payload_bytes != payload.size())
    refuse("its payload should have " + std::to_string(payload_bytes) + " bytes, but " +
           std::to_string(payload.size()) + " are there");
  if (digest != frame_digest(head, payload)) refuse("its digest does not match: it was damaged on the way");
  frame.body = head.subspan(fixed_bytes);
  frame.payload = payload;
  return frame;
}

}  // namespace foreweave::comm
