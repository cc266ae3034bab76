#pragma once
// Two states of one array through the page codec and the archive stage, segment by segment, as a capture takes them:
// what `foreweave delta` and perf_codec time.

#include <array>
#include <cstdint>
#include <vector>

#include "core/parallel.hpp"
#include "foreweave/core/bytes.hpp"
#include "foreweave/state/archive.hpp"
#include "kernels/decl/page_codec.hpp"
#include "state/huge_memory.hpp"

namespace foreweave::tools {

/// Holds the encoded segments of up to `capacity` bytes. The work is shared out among the team, a segment at a time.
class DeltaCodec {
 public:
  DeltaCodec(kernels::PageShape shape, std::uint64_t capacity, Parallel& team);

  /// Encodes `bytes` (at most the capacity) of `current` against `base`; neither is changed.
  void encode(const std::byte* current, const std::byte* base, std::uint64_t bytes);
  /// Decodes what encode() made onto `data`, which holds the base. Throws Error(format) naming the page.
  void decode(std::byte* data);
  /// Makes the archived form of each encoded segment.
  void archive();
  /// Takes the archived segments out again; `check`: and throws Error(format) when one is not what was archived.
  void unarchive(bool check);

  /// What the last encode() made. Bytes are those of the segments as a snapshot stores them.
  std::uint64_t encoded_bytes() const;
  std::uint64_t archived_bytes() const;
  struct Pages {
    std::uint64_t clean = 0;
    std::array<std::uint64_t, kernels::transform_count> by_transform{};
  };
  Pages pages() const;

 private:
  struct Segment {
    std::array<kernels::PageEntry, 64> entries{};
    std::uint64_t pages = 0;
    ByteView bytes, bodies;  ///< `bytes` is empty when all pages are clean
    Bytes archived;
  };
  struct Member {
    Archiver archiver;
    Bytes scratch;
  };

  kernels::PageShape shape_;
  Parallel& team_;
  state_detail::HugeMemory slots_;  ///< room for each segment
  std::vector<Segment> segments_;
  std::uint64_t bytes_ = 0;  ///< of the array that is encoded now
  std::vector<Member> members_;
};

}  // namespace foreweave::tools
