#pragma once
// Where begin() puts the pages that differ, until finish() has encoded them: one chunk for each region that is added,
// together never more than the limit. Segments are placed one after another and go on to the next chunk when they do
// not fit. With no limit every chunk is as large as its region, and the regions come in the same order, so there is
// always room: what a region leaves over in its chunk is only a bonus for the next one.

#include <cstdint>
#include <vector>

#include "state/huge_memory.hpp"

namespace foreweave::state_detail {

class Staging {
 public:
  /// `limit` in bytes; 0: none.
  explicit Staging(std::uint64_t limit) : limit_(limit) {}

  /// A chunk for a region of so many pages (0 for regions that are staged elsewhere).
  void add_chunk(std::uint64_t pages);
  void remove_chunk(std::size_t index);

  /// Where `pages` pages may be put; null when there is no room. Call take() with how many were used, before the
  /// next.
  std::byte* room(std::uint64_t pages);
  void take(std::uint64_t pages);
  void clear();

  std::uint64_t held_bytes() const;

 private:
  struct Chunk {
    HugeMemory memory;
    std::uint64_t pages = 0, used = 0;
  };
  std::uint64_t limit_;
  std::vector<Chunk> chunks_;
  std::size_t current_ = 0;
};

}  // namespace foreweave::state_detail
