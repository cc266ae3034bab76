#pragma once
#include <cstdint>
#include <string_view>

namespace foreweave {

/// Where memory lies. Values are part of the trace format.
enum class MemorySpace : std::uint8_t {
  host = 0,
  pinned = 1,  ///< host memory that a device can reach (page-locked)
  device = 2,  ///< CUDA device memory (managed memory counts as host)
};
constexpr std::string_view to_string(MemorySpace space) {
  return space == MemorySpace::host ? "host" : space == MemorySpace::pinned ? "pinned" : "device";
}

}  // namespace foreweave
