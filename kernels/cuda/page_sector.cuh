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

/// The bits of `set` where `mask` has one, of `clear` elsewhere: one instruction, which the compiler does not find when it
/// knows too much about the mask.
__device__ inline std::uint32_t select_bits(std::uint32_t mask, std::uint32_t set, std::uint32_t clear) {
#ifdef FOREWEAVE_EMULATED_CUDA
  return (set & mask) | (clear & ~mask);
#else
  std::uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xE4;" : "=r"(result) : "r"(set), "r"(clear), "r"(mask));
  return result;
#endif
}

/// Transposes 64 × 64 bits in a warp. Each step exchanges half of the bits of a word with the lane whose number differs
/// in one bit: bytes by permutation, less by rotating and selecting (after Hacker's Delight, 7–3, with lanes for rows).
class Transpose {
 public:
  __device__ Transpose() {
    const unsigned lane = lane_index();
    bytes16_ = (lane & 16) != 0 ? 0x3276 : 0x5410;
    bytes8_ = (lane & 8) != 0 ? 0x3715 : 0x6240;
    const std::uint32_t masks[3] = {0x0F0F0F0Fu, 0x33333333u, 0x55555555u};
    FW_UNROLL
    for (int step = 0; step < 3; ++step) {
      const unsigned shift = 4u >> step;
      const bool later = (lane & shift) != 0;
      kept_[step] = later ? ~masks[step] : masks[step];
      turn_[step] = later ? 32 - shift : shift;
    }
  }

  /// Bit j of word p becomes bit p of word j; its own inverse. The four quarters are transposed each by itself, and two
  /// of them change places.
  __device__ Pair operator()(Pair in) const {
    const std::uint64_t low_low = quarter(static_cast<std::uint32_t>(in.low));
    const std::uint64_t low_high = quarter(static_cast<std::uint32_t>(in.low >> 32));
    const std::uint64_t high_low = quarter(static_cast<std::uint32_t>(in.high));
    const std::uint64_t high_high = quarter(static_cast<std::uint32_t>(in.high >> 32));
    return {low_low | high_low << 32, low_high | high_high << 32};
  }

 private:
  /// Bit j of the value in lane p becomes bit p of the value in lane j.
  __device__ std::uint32_t quarter(std::uint32_t x) const {
    x = __byte_perm(x, __shfl_xor_sync(all_lanes, x, 16), bytes16_);
    x = __byte_perm(x, __shfl_xor_sync(all_lanes, x, 8), bytes8_);
    FW_UNROLL
    for (int step = 0; step < 3; ++step) {
      const std::uint32_t got = __shfl_xor_sync(all_lanes, x, 4 >> step);
      x = select_bits(kept_[step], x, __funnelshift_l(got, got, turn_[step]));
    }
    return x;
  }

  std::uint32_t bytes16_, bytes8_, kept_[3], turn_[3];
};

/// ORs zigzags with less work than folding each: zz(s) = ((s ^ sign of s) << 1) | sign bit of s.
template <int width>
class FoldedOr {
 public:
  __device__ void add(std::uint64_t s) {
    auto low = static_cast<std::uint32_t>(s);
    const auto high = static_cast<std::uint32_t>(s >> 32);
    const std::uint32_t sign = sign_of(high);
    if constexpr (width == 4) {
      low_sign_ |= low;
      low ^= sign_of(low);
    } else {
      low ^= sign;
    }
    low_ |= low;
    high_ |= high ^ sign;
    high_sign_ |= high;
  }
  __device__ std::uint64_t bits() const {
    if constexpr (width == 4) return std::uint64_t{high_ << 1 | high_sign_ >> 31} << 32 | (low_ << 1 | low_sign_ >> 31);
    return (std::uint64_t{high_} << 32 | low_) << 1 | high_sign_ >> 31;
  }

 private:
  /// All bits like the highest.
  __device__ static std::uint32_t sign_of(std::uint32_t x) {
    return static_cast<std::uint32_t>(static_cast<std::int32_t>(x) >> 31);
  }

  std::uint32_t low_ = 0, high_ = 0, low_sign_ = 0, high_sign_ = 0;
};

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

/// Strides as the page's elements see them: one factor, or two.
struct Lorenzo {
  std::uint32_t near, far;  ///< far 0: one factor
  __device__ explicit Lorenzo(common::Strides strides)
      : near(strides.row != 0 ? strides.row : strides.plane), far(strides.row != 0 ? strides.plane : 0) {}
  /// Elements from here on have all their neighbours in the page.
  __device__ std::uint32_t reach() const { return near + far; }
};

/// Element `at` of subtract_3d, not folded, from the page's values of subtract_1d (not folded). `deep`: at least reach().
template <bool deep, class T>
__device__ inline T lorenzo_element(fw_shared_pointer<T> lines, std::uint32_t at, Lorenzo strides) {
  const auto value = [&](std::uint32_t back) -> T {
    return deep || at >= back ? static_cast<T>(lines[at - back]) : T{0};
  };
  T result = static_cast<T>(lines[at]) - value(strides.near);
  if (strides.far != 0) result += value(strides.near + strides.far) - value(strides.far);
  return result;
}

/// Word `word` of subtract_3d, not folded.
template <int width, bool deep>
__device__ inline std::uint64_t lorenzo_word(fw_shared_pointer<std::uint64_t> lines, std::uint32_t word,
                                             Lorenzo strides) {
  if constexpr (width == 8) {
    return lorenzo_element<deep, std::uint64_t>(lines, word, strides);
  } else {
    const auto elements = shared_cast<std::uint32_t>(lines);
    return Elements<4>::join(lorenzo_element<deep, std::uint32_t>(elements, 2 * word, strides),
                             lorenzo_element<deep, std::uint32_t>(elements, 2 * word + 1, strides));
  }
}

}  // namespace foreweave::kernels::cuda
