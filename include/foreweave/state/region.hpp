#pragma once
// A Region is protected memory: what is captured, mirrored and restored.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "foreweave/device/memory_space.hpp"
#include "foreweave/state/types.hpp"

namespace foreweave {

/// Which block of an array, that all ranks hold together, a region is. Regions that say so can be restored on another
/// number of ranks. Counted in elements, one number a dimension of the region, slowest first.
struct GlobalPart {
  std::vector<std::uint64_t> whole = {};   ///< extents of the array
  std::vector<std::uint64_t> offset = {};  ///< in the array, of the first element that is owned here
  /// Layers of elements around the owned block that the region has besides, on both sides; empty: none. Not taken as
  /// anybody's data; after a restore on another number of ranks those inside the array hold what their owners have, and
  /// those outside it what they held.
  std::vector<std::uint64_t> ghost = {};
  /// Every rank holds the same, all of it: counters, parameters.
  static GlobalPart replicated(std::vector<std::uint64_t> extents = {1}) {
    std::vector<std::uint64_t> zeros(extents.size());
    return {std::move(extents), std::move(zeros), {}};
  }
  bool operator==(const GlobalPart&) const = default;
};

/// Describes memory to protect. The memory stays the program's: it must outlive its protection, and must not change
/// while a capture is taken (between the call of checkpoint and its return).
struct RegionSpec {
  std::string name = {};                   ///< unique in the rank, stable between runs, at most 255 bytes
  void* data = nullptr;                    ///< may be null only when bytes is 0
  std::uint64_t bytes = 0;
  ElementType type = ElementType::bytes;
  std::vector<std::uint64_t> extents = {}; ///< elements, slowest first; empty: one-dimensional
  MemorySpace space = MemorySpace::host;   ///< where `data` lies (device/memory.hpp: memory_space_of tells)
  void* stream = nullptr;                  ///< device regions: the cudaStream_t whose work precedes a capture
  std::optional<GlobalPart> part = {};     ///< none: the region is this rank's own, and needs the same number of ranks
  bool base = true;                        ///< host regions: false holds a digest of each page (1/1024 of the memory) in
                                           ///< place of a copy. Pages that changed are then stored whole, not as deltas,
                                           ///< and the version after a restore is a full one
};

}  // namespace foreweave
