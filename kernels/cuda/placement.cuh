#pragma once
// Where each part's output begins: the exclusive prefix sum over all parts' sizes in a single pass, by decoupled
// look-back (Merrill and Garland, "Single-pass Parallel Prefix Scan with Decoupled Look-back", NVIDIA NVR-2016-002).
//
// A part takes its number from a ticket counter, so that all parts before it run or have run: waiting for them ends.
// Each part has one word: 0 while nothing is known; then its size; then the sum of all sizes up to and with its own.

#include "kernels/cuda/device_code.cuh"

namespace foreweave::kernels::cuda {

inline constexpr std::uint64_t placement_size = std::uint64_t{1} << 62;
inline constexpr std::uint64_t placement_sum = std::uint64_t{2} << 62;
inline constexpr std::uint64_t placement_value = placement_size - 1;

/// One thread, as soon as the part's size is known.
__device__ inline void announce(std::uint64_t* words, std::uint64_t part, std::uint64_t size) {
  publish(words + part, placement_size | size);
}

/// One whole warp, after announce(): the sum of the sizes of all parts before `part`, to every lane.
__device__ inline std::uint64_t look_back(std::uint64_t* words, std::uint64_t part, std::uint64_t size) {
  const unsigned lane = lane_index();
  std::uint64_t before = 0;
  for (std::uint64_t end = part;; end -= 32) {
    // Lane l looks at the part l + 1 before `end`; before the first part the sum is 0.
    std::uint64_t word = placement_sum;
    if (lane < end) {
      const std::uint64_t* address = words + (end - 1 - lane);
      do {
        word = watch(address);
      } while (word < placement_size);
    }
    __syncwarp();
    const unsigned sums = __ballot_sync(all_lanes, word >= placement_sum);
    // Sizes up to the nearest part that knows its sum, and that sum.
    const bool counts = sums == 0 || lane <= static_cast<unsigned>(__ffs(static_cast<int>(sums)) - 1);
    before += warp_sum(counts ? word & placement_value : std::uint64_t{0});
    if (sums != 0) break;
  }
  if (lane == 0) publish(words + part, placement_sum | (before + size));
  return before;
}

}  // namespace foreweave::kernels::cuda
