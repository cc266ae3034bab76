// The transforms of docs/format.md, forward: what they give (as ORs, for the choice) and the values themselves.
#if defined(FOREWEAVE_KERNELS_HOST_FORWARD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_FORWARD_INL
#undef FOREWEAVE_KERNELS_HOST_FORWARD_INL
#else
#define FOREWEAVE_KERNELS_HOST_FORWARD_INL
#endif

#include "kernels/common/page_shape.hpp"
#include "kernels/host/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

/// The OR of the words of current ^ base over a sector: 0 when it is clean.
HWY_INLINE std::uint64_t or_exclusive(const std::byte* current, const std::byte* base) {
  const Tag<std::uint64_t> d;
  const std::size_t step = vector_bytes<std::uint64_t>();
  auto even = hn::Zero(d), odd = hn::Zero(d);
  for (std::size_t i = 0; i < sector_bytes; i += 2 * step) {
    even = hn::Or(even, hn::Xor(load<std::uint64_t>(current + i), load<std::uint64_t>(base + i)));
    odd = hn::Or(odd, hn::Xor(load<std::uint64_t>(current + i + step), load<std::uint64_t>(base + i + step)));
  }
  return fold_or<std::uint64_t>(even, odd);
}

/// The ORs of the words of a sector's values under three transforms.
struct SectorOrs {
  std::uint64_t exclusive_or, subtract, subtract_1d;
};

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3

/// The elements one before those of `now`; `before` is the vector before it.
template <class T>
HWY_INLINE hn::Vec<Tag<T>> one_before(hn::Vec<Tag<T>> before, hn::Vec<Tag<T>> now) {
  if constexpr (sizeof(T) == 8) {
    return hn::Vec<Tag<T>>{_mm512_alignr_epi64(now.raw, before.raw, 7)};
  } else {
    return hn::Vec<Tag<T>>{_mm512_alignr_epi32(now.raw, before.raw, 15)};
  }
}

#endif

/// s = current − base and (1 − S₁) s of a sector, written to `s` and `difference`. Up to 64 bytes before `s` are
/// read: the end of the sector before.
template <class T>
HWY_INLINE SectorOrs difference_sector(const std::byte* current, const std::byte* base, std::byte* s,
                                       std::byte* difference) {
  const Tag<T> d;
  const std::size_t step = vector_bytes<T>();
  auto x_even = hn::Zero(d), x_odd = hn::Zero(d), s_even = hn::Zero(d), s_odd = hn::Zero(d);
  auto d_even = hn::Zero(d), d_odd = hn::Zero(d);
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  auto before = load<T>(s - step);
#endif
  for (std::size_t i = 0; i < sector_bytes; i += 2 * step) {
    const auto c0 = load<T>(current + i), c1 = load<T>(current + i + step);
    const auto b0 = load<T>(base + i), b1 = load<T>(base + i + step);
    const auto s0 = hn::Sub(c0, b0), s1 = hn::Sub(c1, b1);
    store<T>(s0, s + i);
    store<T>(s1, s + i + step);
    x_even = hn::Or(x_even, hn::Xor(c0, b0));
    x_odd = hn::Or(x_odd, hn::Xor(c1, b1));
    s_even = hn::Or(s_even, zigzag<T>(s0));
    s_odd = hn::Or(s_odd, zigzag<T>(s1));
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
    const auto d0 = hn::Sub(s0, one_before<T>(before, s0)), d1 = hn::Sub(s1, one_before<T>(s0, s1));
    before = s1;
    store<T>(d0, difference + i);
    store<T>(d1, difference + i + step);
    d_even = hn::Or(d_even, zigzag<T>(d0));
    d_odd = hn::Or(d_odd, zigzag<T>(d1));
#endif
  }
#if !(HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)
  for (std::size_t i = 0; i < sector_bytes; i += 2 * step) {
    const auto d0 = hn::Sub(load<T>(s + i), load<T>(s + i - sizeof(T)));
    const auto d1 = hn::Sub(load<T>(s + i + step), load<T>(s + i + step - sizeof(T)));
    store<T>(d0, difference + i);
    store<T>(d1, difference + i + step);
    d_even = hn::Or(d_even, zigzag<T>(d0));
    d_odd = hn::Or(d_odd, zigzag<T>(d1));
  }
#endif
  return {fold_or<T>(x_even, x_odd), fold_or<T>(s_even, s_odd), fold_or<T>(d_even, d_odd)};
}

/// (1 − S_row)(1 − S_plane) of the differences at `d`, where a factor with stride 0 is left out and at least one is
/// not. (row + plane) elements before `d` are read.
template <class T>
struct Lorenzo {
  std::size_t first;   ///< bytes of the one stride, or of the row
  std::size_t second;  ///< bytes of the plane; 0 when there is only one stride

  explicit Lorenzo(common::Strides strides)
      : first((strides.row != 0 ? strides.row : strides.plane) * sizeof(T)),
        second((strides.row != 0 ? strides.plane : 0) * sizeof(T)) {}

  HWY_INLINE hn::Vec<Tag<T>> one(const std::byte* d) const { return hn::Sub(load<T>(d), load<T>(d - first)); }
  HWY_INLINE hn::Vec<Tag<T>> two(const std::byte* d) const { return hn::Sub(one(d), one(d - second)); }
};

/// The OR of zz over a sector's subtract_3d values.
template <class T>
HWY_INLINE std::uint64_t or_lorenzo(const std::byte* difference, const Lorenzo<T>& lorenzo) {
  const Tag<T> d;
  const std::size_t step = vector_bytes<T>();
  auto even = hn::Zero(d), odd = hn::Zero(d);
  if (lorenzo.second == 0) {
    for (std::size_t i = 0; i < sector_bytes; i += 2 * step) {
      even = hn::Or(even, zigzag<T>(lorenzo.one(difference + i)));
      odd = hn::Or(odd, zigzag<T>(lorenzo.one(difference + i + step)));
    }
  } else {
    for (std::size_t i = 0; i < sector_bytes; i += 2 * step) {
      even = hn::Or(even, zigzag<T>(lorenzo.two(difference + i)));
      odd = hn::Or(odd, zigzag<T>(lorenzo.two(difference + i + step)));
    }
  }
  return fold_or<T>(even, odd);
}

/// The values of a sector, 64 words at `out`, from s or from the 1-D differences.
template <class T>
HWY_INLINE void zigzag_values(const std::byte* differences, std::byte* out) {
  for (std::size_t i = 0; i < sector_bytes; i += vector_bytes<T>()) {
    store<T>(zigzag<T>(load<T>(differences + i)), out + i);
  }
}

template <class T>
HWY_INLINE void lorenzo_values(const std::byte* difference, const Lorenzo<T>& lorenzo, std::byte* out) {
  const std::size_t step = vector_bytes<T>();
  for (std::size_t i = 0; i < sector_bytes; i += step) {
    const auto v = lorenzo.second == 0 ? lorenzo.one(difference + i) : lorenzo.two(difference + i);
    store<T>(zigzag<T>(v), out + i);
  }
}

/// current ^ base, where base = current − s: the base itself may have been updated already.
template <class T>
HWY_INLINE void exclusive_values(const std::byte* current, const std::byte* s, std::byte* out) {
  for (std::size_t i = 0; i < sector_bytes; i += vector_bytes<T>()) {
    const auto c = load<T>(current + i);
    store<T>(hn::Xor(c, hn::Sub(c, load<T>(s + i))), out + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
