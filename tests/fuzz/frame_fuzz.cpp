// runs: 150000  max_len: 600
// What comes from the network: frames and the bodies in them. Read, and then the same bytes when written again; or
// refused by Error(format).
#include "foreweave/comm/frame.hpp"
#include "foreweave/core/digest.hpp"
#include "fuzz/support.hpp"
#include "mirror/bodies.hpp"

namespace foreweave::fuzz {
namespace {

constexpr std::uint8_t repair = 1, as_frame = 2;
constexpr std::size_t lengths_at = 24, digest_at = 32, body_at = 40;

/// Gives a head its lengths and its digest, as docs/format.md has it.
void repair_head(Bytes& head, ByteView payload) {
  if (head.size() < body_at) return;
  const auto body_bytes = static_cast<std::uint32_t>(head.size() - body_at);
  const auto payload_bytes = static_cast<std::uint32_t>(payload.size());
  std::memcpy(head.data() + lengths_at, &body_bytes, 4);
  std::memcpy(head.data() + lengths_at + 4, &payload_bytes, 4);
  std::memset(head.data() + digest_at, 0, 8);
  ByteWriter digested;
  digested.put_bytes(head);
  digested.put(digest64(payload));
  const std::uint64_t digest = digest64(digested.bytes());
  std::memcpy(head.data() + digest_at, &digest, 8);
}

template <class Body>
void read_body(ByteView bytes) {
  allow({ErrorCategory::format}, [&] { require(same(Body::decode(bytes).encode(), bytes), "a body is written as read"); });
}

void read_body_of(std::uint16_t type, ByteView body) {
  using comm::FrameType;
  const ExactBuffer exact(body, 0);
  switch (static_cast<FrameType>(type)) {
    case FrameType::snapshot_begin: return read_body<mirror::SnapshotBegin>(exact.view());
    case FrameType::snapshot_chunk: return read_body<mirror::SnapshotChunk>(exact.view());
    case FrameType::snapshot_end: return read_body<mirror::SnapshotEnd>(exact.view());
    case FrameType::snapshot_stored: return read_body<mirror::SnapshotStored>(exact.view());
    case FrameType::snapshot_refused: return read_body<mirror::SnapshotRefused>(exact.view());
    case FrameType::version_stored: return read_body<mirror::VersionStored>(exact.view());
    case FrameType::version_committed: return read_body<mirror::VersionCommitted>(exact.view());
    case FrameType::fetch: case FrameType::fetch_absent: return read_body<mirror::Fetch>(exact.view());
    case FrameType::parity_offer: return read_body<mirror::ParityOffer>(exact.view());
    case FrameType::parity_stored: return read_body<mirror::ParityStored>(exact.view());
    case FrameType::block_fetch: return read_body<mirror::BlockFetch>(exact.view());
    case FrameType::block: case FrameType::block_absent: return read_body<mirror::BlockPiece>(exact.view());
    case FrameType::heartbeat: case FrameType::goodbye: break;
  }
}

}  // namespace

void run(Input input) {
  const std::uint8_t mode = input.byte();
  if ((mode & as_frame) == 0) return read_body_of(input.byte() % 20, input.rest());
  const Bytes payload_bytes = copy_of(input.take(input.byte()));
  Bytes head_bytes = copy_of(input.rest());
  if ((mode & repair) != 0) repair_head(head_bytes, payload_bytes);
  const ExactBuffer head(head_bytes, 0), payload(payload_bytes, 0);
  allow({ErrorCategory::format}, [&] {
    const auto frame = comm::decode_frame(head.view(), payload.view());
    require(same(comm::encode_frame(frame), head.view()), "a frame is written as it was read");
    require(same(frame.payload, payload.view()), "the payload is the payload");
    read_body_of(static_cast<std::uint16_t>(frame.type), frame.body);
  });
}

std::vector<Bytes> seeds() {
  using namespace mirror;
  std::vector<Bytes> all;
  const std::pair<comm::FrameType, Bytes> bodies[] = {
      {comm::FrameType::heartbeat, {}},
      {comm::FrameType::snapshot_begin, SnapshotBegin{5, {2, 7}, 6, 1000, false}.encode()},
      {comm::FrameType::snapshot_chunk, SnapshotChunk{5, 2, 100}.encode()},
      {comm::FrameType::snapshot_end, SnapshotEnd{5, {2, 7}, 1000, {1, 2}}.encode()},
      {comm::FrameType::snapshot_stored, SnapshotStored{5, {2, 7}}.encode()},
      {comm::FrameType::snapshot_refused, SnapshotRefused{5, {2, 7}, Refusal::broken, "why"}.encode()},
      {comm::FrameType::version_stored, VersionStored{2, {5, 6, 7}}.encode()},
      {comm::FrameType::version_committed, VersionCommitted{7}.encode()},
      {comm::FrameType::fetch, Fetch{3, {2, 7}}.encode()},
      {comm::FrameType::parity_offer, ParityOffer{{2, 7}, 6, 1000}.encode()},
      {comm::FrameType::parity_stored, ParityStored{{2, 7}}.encode()},
      {comm::FrameType::block_fetch, BlockFetch{1, 2, true, {2, 7}, 1000, 8, 64}.encode()},
      {comm::FrameType::block, BlockPiece{1, 2, 8}.encode()},
  };
  for (const auto& [type, body] : bodies) {
    ByteWriter plain;
    plain.put(std::uint8_t{0});
    plain.put(static_cast<std::uint8_t>(type));
    plain.put_bytes(body);
    all.push_back(plain.take());
    const Bytes payload(9, std::byte{1});
    for (const std::uint8_t mode : {as_frame, static_cast<std::uint8_t>(as_frame | repair)}) {
      ByteWriter framed;
      framed.put(mode);
      framed.put(static_cast<std::uint8_t>(payload.size()));
      framed.put_bytes(payload);
      framed.put_bytes(comm::encode_frame({type, 1, 2, 3, body, payload}));
      all.push_back(framed.take());
    }
  }
  return all;
}

}  // namespace foreweave::fuzz
