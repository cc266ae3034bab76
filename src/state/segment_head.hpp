#pragma once
// The head of a segment's bytes: which pages are dirty, and their entries. docs/format.md, "Segment".

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

#include "foreweave/state/snapshot.hpp"

namespace foreweave::state_detail {

/// Bytes of the largest head.
inline constexpr std::size_t max_segment_head_bytes = SnapshotBuilder::segment_head_room;

/// Writes the head for the pages with these entries (clean ones 0; at most pages_per_segment) to `to` and returns its
/// size; 0 when all pages are clean: such a segment is not stored.
inline std::size_t write_segment_head(std::span<const kernels::PageEntry> entries, std::byte* to) {
  std::uint64_t bitmap = 0;
  std::size_t size = sizeof bitmap;
  for (std::size_t page = 0; page < entries.size(); ++page) {
    if (entries[page] == 0) continue;
    bitmap |= std::uint64_t{1} << page;
    std::memcpy(to + size, &entries[page], sizeof entries[page]);
    size += sizeof entries[page];
  }
  if (bitmap == 0) return 0;
  std::memcpy(to, &bitmap, sizeof bitmap);
  if (size % 8 != 0) {
    std::memset(to + size, 0, sizeof entries[0]);
    size += sizeof entries[0];
  }
  return size;
}

}  // namespace foreweave::state_detail
