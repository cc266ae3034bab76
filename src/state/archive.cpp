#include "foreweave/state/archive.hpp"

#include <zstd.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "foreweave/core/error.hpp"
#include "state/plane_order.hpp"
#include "state/snapshot_format.hpp"

namespace foreweave {
namespace {

using state_detail::max_segment_plain_bytes;

/// What follows the head of an archived segment. The values are part of the format.
enum class Method : std::uint8_t {
  stored = 0,  ///< the segment as it is
  planes = 1,  ///< a zstd frame of the segment in plane order
};

std::array<std::byte, archive_head_bytes> head_of(Method method, std::size_t segment_size) {
  std::array<std::byte, archive_head_bytes> head{};
  head[0] = static_cast<std::byte>(method);
  const auto size = static_cast<std::uint32_t>(segment_size);
  std::memcpy(head.data() + 4, &size, sizeof size);
  return head;
}

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// The quickest of zstd's levels, with a table that stays in the first cache and no search for matches so short that
// noise is full of them: a fifth quicker than the level as it is, for a thousandth of the ratio.
constexpr int level = 1, hash_log = 12, min_match = 7;

}  // namespace

struct Archiver::State {
  std::unique_ptr<ZSTD_CCtx, FreeContext> compressor{ZSTD_createCCtx()};
  std::unique_ptr<ZSTD_DCtx, FreeContext> decompressor{ZSTD_createDCtx()};
  Bytes ordered;  ///< a segment in plane order
};

Archiver::Archiver() : state_(std::make_unique<State>()) {
  const auto set = [&](ZSTD_cParameter parameter, int value) {
    return !ZSTD_isError(ZSTD_CCtx_setParameter(state_->compressor.get(), parameter, value));
  };
  if (!state_->compressor || !state_->decompressor || !set(ZSTD_c_compressionLevel, level) ||
      !set(ZSTD_c_hashLog, hash_log) || !set(ZSTD_c_minMatch, min_match)) {
    throw Error(ErrorCategory::resource, "make an archiver", "zstd has no memory for its state");
  }
}

Archiver::~Archiver() = default;
Archiver::Archiver(Archiver&&) noexcept = default;
Archiver& Archiver::operator=(Archiver&&) noexcept = default;

void Archiver::archive(ByteView segment, Bytes& out) {
  if (segment.size() > max_segment_plain_bytes) {
    throw Error(ErrorCategory::argument, "archive a segment",
                std::to_string(segment.size()) + " bytes are more than a segment can have");
  }
  State& s = *state_;
  const std::size_t begin = out.size();
  if (segment.size() > 1) {
    s.ordered.resize(max_segment_plain_bytes);
    if (state_detail::to_plane_order(segment, s.ordered.data())) {
      // No room for more than what the segment takes as it is: then zstd gives up by itself.
      out.resize(begin + archive_head_bytes + segment.size() - 1);
      const std::size_t size = ZSTD_compress2(s.compressor.get(), out.data() + begin + archive_head_bytes,
                                              segment.size() - 1, s.ordered.data(), segment.size());
      if (!ZSTD_isError(size)) {
        const auto head = head_of(Method::planes, segment.size());
        std::memcpy(out.data() + begin, head.data(), head.size());
        out.resize(begin + archive_head_bytes + size);
        return;
      }
      out.resize(begin);
    }
  }
  const auto head = head_of(Method::stored, segment.size());
  out.insert(out.end(), head.begin(), head.end());
  out.insert(out.end(), segment.begin(), segment.end());
}

void Archiver::unarchive(ByteView archived, Bytes& out, const std::string& what) {
  const auto refuse = [&](const std::string& why) { throw Error(ErrorCategory::format, what, why); };
  if (archived.size() < archive_head_bytes) refuse("an archived segment ends in its head");
  std::uint32_t size;
  std::memcpy(&size, archived.data() + 4, sizeof size);
  const auto method = static_cast<Method>(archived[0]);
  if (archived[1] != std::byte{} || archived[2] != std::byte{} || archived[3] != std::byte{} ||
      size > max_segment_plain_bytes || (method != Method::stored && method != Method::planes)) {
    refuse("this is no archived segment, or one of a later format");
  }
  const ByteView data = archived.subspan(archive_head_bytes);
  if (method == Method::stored) {
    if (data.size() != size) {
      refuse("an archived segment has " + std::to_string(data.size()) + " bytes of " + std::to_string(size));
    }
    out.insert(out.end(), data.begin(), data.end());
    return;
  }
  State& s = *state_;
  s.ordered.resize(max_segment_plain_bytes);
  // One frame and nothing else: zstd by itself would take several, and skip some.
  if (ZSTD_findFrameCompressedSize(data.data(), data.size()) != data.size()) {
    refuse("an archived segment is not one zstd frame");
  }
  const std::size_t found =
      ZSTD_decompressDCtx(s.decompressor.get(), s.ordered.data(), size, data.data(), data.size());
  if (ZSTD_isError(found)) refuse(std::string("zstd: ") + ZSTD_getErrorName(found));
  if (found != size) refuse("an archived segment is shorter than it says");
  const std::size_t begin = out.size();
  out.resize(begin + size);
  if (const char* const problem = state_detail::from_plane_order({s.ordered.data(), size}, out.data() + begin)) {
    out.resize(begin);
    refuse(std::string("an archived segment does not hold together: ") + problem);
  }
}

}  // namespace foreweave
