#pragma once
// A sector in a warp: lane l holds words l and l + 32. Transposing its 64 × 64 bits, and the element arithmetic of
// the transforms on words (docs/format.md, "Transforms").

#include "kernels/common/page_layout.hpp"
#include "kernels/common/zigzag.hpp"
#include "kernels/cuda/device_code.cuh"

namespace foreweave::kernels::cuda {

struct Pair {
  std::uint64_t low, high;  ///< words lane and lane + 32 of a sector
};

/// Bit j of the value in lane p becomes bit p of the value in lane j. Each step exchanges half of the bits with the lane
/// whose number differs in one bit: bytes by permutation, less by rotating and selecting (Hacker's Delight, 7–3, with
/// lanes for rows).
__device__ inline std::uint32_t transpose32(std::uint32_t x) {
  const unsigned lane = lane_index();
  x = __byte_perm(x, __shfl_xor_sync(all_lanes, x, 16), (lane & 16) != 0 ? 0x3276 : 0x5410);
  x = __byte_perm(x, __shfl_xor_sync(all_lanes, x, 8), (lane & 8) != 0 ? 0x3715 : 0x6240);
  const std::uint32_t masks[3] = {0x0F0F0F0Fu, 0x33333333u, 0x55555555u};
  FW_UNROLL
  for (int step = 0; step < 3; ++step) {
    const unsigned shift = 4u >> step;
    const bool later = (lane & shift) != 0;
    const std::uint32_t kept = later ? ~masks[step] : masks[step];
    const std::uint32_t got = __shfl_xor_sync(all_lanes, x, static_cast<int>(shift));
    x = (x & kept) | (__funnelshift_l(got, got, later ? 32 - shift : shift) & ~kept);
  }
  return x;
}

/// Bit j of word p becomes bit p of word j; its own inverse. The four quarters of the 64 × 64 bits are transposed each by
/// itself, and two of them change places.
__device__ inline Pair transpose(Pair in) {
  const std::uint64_t low_low = transpose32(static_cast<std::uint32_t>(in.low));
  const std::uint64_t low_high = transpose32(static_cast<std::uint32_t>(in.low >> 32));
  const std::uint64_t high_low = transpose32(static_cast<std::uint32_t>(in.high));
  const std::uint64_t high_high = transpose32(static_cast<std::uint32_t>(in.high >> 32));
  return {low_low | high_low << 32, low_high | high_high << 32};
}

/// Arithmetic on the elements of a word: one of 8 bytes or two of 4.
template <int width>
struct Elements;

template <>
struct Elements<8> {
  using Type = std::uint64_t;
  static constexpr std::uint32_t per_word = 1;
  __device__ static std::uint64_t subtract(std::uint64_t a, std::uint64_t b) { return a - b; }
  __device__ static std::uint64_t add(std::uint64_t a, std::uint64_t b) { return a + b; }
  __device__ static std::uint64_t fold(std::uint64_t s) { return common::zigzag(s); }
  __device__ static std::uint64_t unfold(std::uint64_t z) { return common::unzigzag(z); }
  __device__ static Type total(std::uint64_t word) { return word; }
  /// The word's running sums, begun at `before`.
  __device__ static std::uint64_t running(std::uint64_t word, Type before) { return word + before; }
};

template <>
struct Elements<4> {
  using Type = std::uint32_t;
  static constexpr std::uint32_t per_word = 2;
  __device__ static std::uint32_t low(std::uint64_t word) { return static_cast<std::uint32_t>(word); }
  __device__ static std::uint32_t high(std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32); }
  __device__ static std::uint64_t join(std::uint32_t low, std::uint32_t high) {
    return std::uint64_t{high} << 32 | low;
  }
  __device__ static std::uint64_t subtract(std::uint64_t a, std::uint64_t b) {
    return join(low(a) - low(b), high(a) - high(b));
  }
  __device__ static std::uint64_t add(std::uint64_t a, std::uint64_t b) {
    return join(low(a) + low(b), high(a) + high(b));
  }
  __device__ static std::uint64_t fold(std::uint64_t s) {
    return join(common::zigzag(low(s)), common::zigzag(high(s)));
  }
  __device__ static std::uint64_t unfold(std::uint64_t z) {
    return join(common::unzigzag(low(z)), common::unzigzag(high(z)));
  }
  __device__ static Type total(std::uint64_t word) { return low(word) + high(word); }
  __device__ static std::uint64_t running(std::uint64_t word, Type before) {
    return join(before + low(word), before + low(word) + high(word));
  }
};

/// The sector of differences `s` with the factor (1 − S₁). `before` is, in lane 0, what stands before the sector; then
/// what stands before the next one.
template <int width>
__device__ inline Pair line_pair(Pair s, std::uint64_t& before) {
  const unsigned lane = lane_index();
  const int neighbour = static_cast<int>((lane + 31) % 32);
  if constexpr (width == 8) {
    const std::uint64_t low = __shfl_sync(all_lanes, s.low, neighbour), high = __shfl_sync(all_lanes, s.high, neighbour);
    const Pair line{s.low - (lane == 0 ? before : low), s.high - (lane == 0 ? low : high)};
    before = high;
    return line;
  } else {
    // Of the word before, its second element counts.
    const std::uint32_t low = __shfl_sync(all_lanes, Elements<4>::high(s.low), neighbour);
    const std::uint32_t high = __shfl_sync(all_lanes, Elements<4>::high(s.high), neighbour);
    const std::uint32_t first = lane == 0 ? Elements<4>::high(before) : low, second = lane == 0 ? low : high;
    const Pair line{Elements<4>::subtract(s.low, Elements<4>::join(first, Elements<4>::low(s.low))),
                    Elements<4>::subtract(s.high, Elements<4>::join(second, Elements<4>::low(s.high)))};
    before = std::uint64_t{high} << 32;
    return line;
  }
}

/// What element `at` of subtract_3d takes of the elements before it: `lines` has the page's values of subtract_1d
/// before they are folded.
template <class T>
__device__ inline T lorenzo_rest(fw_shared_pointer<T> lines, std::uint32_t at, common::Strides strides) {
  const auto value = [&](std::uint32_t back) -> T { return at >= back ? static_cast<T>(lines[at - back]) : T{0}; };
  T rest = 0;
  if (strides.row != 0) rest -= value(strides.row);
  if (strides.plane != 0) {
    rest -= value(strides.plane);
    if (strides.row != 0) rest += value(strides.row + strides.plane);
  }
  return rest;
}

/// Word `word` of subtract_3d, not folded, from the page's values of subtract_1d (not folded) in shared memory.
template <int width>
__device__ inline std::uint64_t lorenzo_word(fw_shared_pointer<std::uint64_t> lines, std::uint32_t word,
                                             common::Strides strides) {
  if constexpr (width == 8) {
    return lines[word] + lorenzo_rest<std::uint64_t>(lines, word, strides);
  } else {
    const auto elements = shared_cast<std::uint32_t>(lines);
    return Elements<4>::add(lines[word],
                            Elements<4>::join(lorenzo_rest<std::uint32_t>(elements, 2 * word, strides),
                                              lorenzo_rest<std::uint32_t>(elements, 2 * word + 1, strides)));
  }
}

}  // namespace foreweave::kernels::cuda
