#pragma once
// A Region is protected memory: what is captured, mirrored and restored.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "foreweave/device/memory_space.hpp"
#include "foreweave/state/types.hpp"

namespace foreweave {

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
};

}  // namespace foreweave
