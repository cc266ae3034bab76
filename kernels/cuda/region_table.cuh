#pragma once
// Which region of a batch a page belongs to.

#include "kernels/cuda/device_code.cuh"
#include "kernels/decl/page_codec.hpp"

namespace foreweave::kernels::cuda {

/// One whole warp: the number of the region that holds `page`. The 32 lanes look at 32 regions at a time, so that up to
/// 32 regions take one load, and 1024 two.
__device__ inline std::uint32_t region_of(const EncodeRegion* regions, std::uint32_t count, std::uint64_t page) {
  std::uint32_t first = 0;
  while (count > 1) {
    const std::uint32_t step = (count + 31) / 32, at = lane_index() * step;
    const unsigned not_after = __ballot_sync(all_lanes, at < count && regions[first + at].first_page <= page);
    const std::uint32_t skip = (static_cast<std::uint32_t>(__popc(not_after)) - 1) * step;
    first += skip;
    count = step < count - skip ? step : count - skip;
  }
  return first;
}

}  // namespace foreweave::kernels::cuda
