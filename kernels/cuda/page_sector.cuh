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

/// Bit j of word p becomes bit p of word j; its own inverse. Each step exchanges half the bits of both words with the
/// lane whose number differs in one bit, packed into one word.
__device__ inline Pair transpose(Pair in) {
  const unsigned lane = lane_index();
  Pair at{(in.low & 0xFFFFFFFFu) | in.high << 32, in.low >> 32 | (in.high & 0xFFFFFFFF00000000u)};
  const std::uint64_t masks[5] = {0x0000FFFF0000FFFFu, 0x00FF00FF00FF00FFu, 0x0F0F0F0F0F0F0F0Fu, 0x3333333333333333u,
                                  0x5555555555555555u};
  FW_UNROLL
  for (int step = 0; step < 5; ++step) {
    const int shift = 16 >> step;
    const std::uint64_t mask = masks[step];
    const bool later = (lane & static_cast<unsigned>(shift)) != 0;
    const std::uint64_t send =
        later ? (at.low & mask) | (at.high & mask) << shift : (at.low & ~mask) >> shift | (at.high & ~mask);
    const std::uint64_t got = __shfl_xor_sync(all_lanes, send, shift);
    at = later ? Pair{(at.low & ~mask) | (got & mask), (at.high & ~mask) | (got & ~mask) >> shift}
               : Pair{(at.low & mask) | (got & mask) << shift, (at.high & mask) | (got & ~mask)};
  }
  return at;
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

/// Element `at` of a page's differences with the factors (1 − S₁), and those of `strides` when `three`, applied.
template <class T>
__device__ inline T difference_at(fw_shared_pointer<T> s, std::uint32_t at, bool three, common::Strides strides) {
  const auto value = [&](std::uint32_t back) -> T { return at >= back ? static_cast<T>(s[at - back]) : T{0}; };
  const auto along = [&](std::uint32_t back) -> T { return value(back) - value(back + 1); };
  T result = along(0);
  if (!three) return result;
  if (strides.row != 0) result -= along(strides.row);
  if (strides.plane != 0) {
    result -= along(strides.plane);
    if (strides.row != 0) result += along(strides.row + strides.plane);
  }
  return result;
}

/// Word `word` of subtract_1d or subtract_3d, from the page's differences in shared memory.
template <int width>
__device__ inline std::uint64_t spatial_word(fw_shared_pointer<std::uint64_t> s, std::uint32_t word, bool three,
                                             common::Strides strides) {
  if constexpr (width == 8) {
    return common::zigzag(difference_at<std::uint64_t>(s, word, three, strides));
  } else {
    const auto elements = shared_cast<std::uint32_t>(s);
    return Elements<4>::join(common::zigzag(difference_at<std::uint32_t>(elements, 2 * word, three, strides)),
                             common::zigzag(difference_at<std::uint32_t>(elements, 2 * word + 1, three, strides)));
  }
}

}  // namespace foreweave::kernels::cuda
