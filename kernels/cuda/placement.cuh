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

/// How many words each lane looks at before it waits for any: what is under way on a large device is seen in few turns.
inline constexpr unsigned placement_reach = 4;

/// One whole warp, after announce(): the sum of the sizes of all parts before `part`, to every lane. Sizes of parts are
/// below 2²⁷, so that 32 of them add up in 32 bits.
__device__ inline std::uint64_t look_back(std::uint64_t* words, std::uint64_t part, std::uint64_t size) {
  const unsigned lane = lane_index();
  std::uint64_t before = 0;
  bool found = false;
  for (std::uint64_t end = part; !found; end -= 32 * placement_reach) {
    // Lane l looks at the parts l + 1, l + 33, … before `end`; before the first part the sum is 0.
    std::uint64_t word[placement_reach];
    FW_UNROLL
    for (unsigned turn = 0; turn < placement_reach; ++turn)
      word[turn] = lane + 32 * turn < end ? watch(words + (end - 1 - lane - 32 * turn)) : placement_sum;
    FW_UNROLL
    for (unsigned turn = 0; turn < placement_reach; ++turn) {
      if (found) continue;
      while (word[turn] < placement_size) word[turn] = watch(words + (end - 1 - lane - 32 * turn));
      __syncwarp();
      // Sizes up to the nearest part that knows its sum, and that sum.
      const unsigned sums = __ballot_sync(all_lanes, word[turn] >= placement_sum);
      const unsigned nearest = sums == 0 ? 32 : static_cast<unsigned>(__ffs(static_cast<int>(sums)) - 1);
      before += warp_sum(lane < nearest ? static_cast<std::uint32_t>(word[turn]) : 0u);
      found = sums != 0;
      if (found) before += __shfl_sync(all_lanes, word[turn] & placement_value, static_cast<int>(nearest));
    }
  }
  if (lane == 0) publish(words + part, placement_sum | (before + size));
  return before;
}

/// One thread, instead of announce() and look_back(): the part takes no place, and is known to be past `sum` anyway.
__device__ inline void give_up_place(std::uint64_t* words, std::uint64_t part, std::uint64_t sum) {
  publish(words + part, placement_sum | sum);
}

}  // namespace foreweave::kernels::cuda
