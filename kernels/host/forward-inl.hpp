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

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2

/// The elements one before those of `now`; `before` is the vector before it.
template <class T>
HWY_INLINE hn::Vec<Tag<T>> one_before(hn::Vec<Tag<T>> before, hn::Vec<Tag<T>> now) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (sizeof(T) == 8) {
    return hn::Vec<Tag<T>>{_mm512_alignr_epi64(now.raw, before.raw, 7)};
  } else {
    return hn::Vec<Tag<T>>{_mm512_alignr_epi32(now.raw, before.raw, 15)};
  }
#else
  const Tag<T> d;
  const auto middle = hn::ConcatLowerUpper(d, now, before);
  return hn::CombineShiftRightBytes<16 - sizeof(T)>(d, now, middle);
#endif
}

#endif

/// What a pass over a page takes from one sector to the next: s of the sector at hand behind the end of the one
/// before.
struct alignas(64) Carry {
  std::byte s[64 + sector_bytes];

  HWY_INLINE void clear() { std::memset(s, 0, 64); }
};

/// Looks at a sector: the ORs of three transforms. `difference`, unless null, receives (1 − S₁) s; `values`, 512
/// bytes, the values under the transform `Wanted`, when that is one of the three.
template <class T, Transform Wanted>
HWY_INLINE SectorOrs look_at_sector(const std::byte* current, const std::byte* base, Carry& carry,
                                    std::byte* difference, std::byte* values) {
  const Tag<T> d;
  const std::size_t step = vector_bytes<T>();
  auto x_even = hn::Zero(d), x_odd = hn::Zero(d), s_even = hn::Zero(d), s_odd = hn::Zero(d);
  auto d_even = hn::Zero(d), d_odd = hn::Zero(d);
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  auto before = load<T>(carry.s);
#else
  std::byte* s = carry.s + 64;
#endif
  for (std::size_t i = 0; i < sector_bytes; i += 2 * step) {
    const auto c0 = load<T>(current + i), c1 = load<T>(current + i + step);
    const auto b0 = load<T>(base + i), b1 = load<T>(base + i + step);
    const auto x0 = hn::Xor(c0, b0), x1 = hn::Xor(c1, b1);
    const auto s0 = hn::Sub(c0, b0), s1 = hn::Sub(c1, b1);
    const auto z0 = zigzag<T>(s0), z1 = zigzag<T>(s1);
    x_even = hn::Or(x_even, x0);
    x_odd = hn::Or(x_odd, x1);
    s_even = hn::Or(s_even, z0);
    s_odd = hn::Or(s_odd, z1);
    if constexpr (Wanted == Transform::exclusive_or) {
      store<T>(x0, values + i);
      store<T>(x1, values + i + step);
    } else if constexpr (Wanted == Transform::subtract) {
      store<T>(z0, values + i);
      store<T>(z1, values + i + step);
    }
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
    const auto d0 = hn::Sub(s0, one_before<T>(before, s0)), d1 = hn::Sub(s1, one_before<T>(s0, s1));
    before = s1;
    const auto y0 = zigzag<T>(d0), y1 = zigzag<T>(d1);
    d_even = hn::Or(d_even, y0);
    d_odd = hn::Or(d_odd, y1);
    if (difference != nullptr) {
      store<T>(d0, difference + i);
      store<T>(d1, difference + i + step);
    }
    if constexpr (Wanted == Transform::subtract_1d) {
      store<T>(y0, values + i);
      store<T>(y1, values + i + step);
    }
#else
    store<T>(s0, s + i);
    store<T>(s1, s + i + step);
#endif
  }
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  store<T>(before, carry.s);
#else
  for (std::size_t i = 0; i < sector_bytes; i += 2 * step) {
    const auto d0 = hn::Sub(load<T>(s + i), load<T>(s + i - sizeof(T)));
    const auto d1 = hn::Sub(load<T>(s + i + step), load<T>(s + i + step - sizeof(T)));
    const auto y0 = zigzag<T>(d0), y1 = zigzag<T>(d1);
    d_even = hn::Or(d_even, y0);
    d_odd = hn::Or(d_odd, y1);
    if (difference != nullptr) {
      store<T>(d0, difference + i);
      store<T>(d1, difference + i + step);
    }
    if constexpr (Wanted == Transform::subtract_1d) {
      store<T>(y0, values + i);
      store<T>(y1, values + i + step);
    }
  }
  std::memcpy(carry.s, s + sector_bytes - 64, 64);
#endif
  return {fold_or<T>(x_even, x_odd), fold_or<T>(s_even, s_odd), fold_or<T>(d_even, d_odd)};
}

/// (1 − S_row)(1 − S_plane) of the differences at `d`, where a factor with stride 0 is left out and at least one is
/// not. (row + plane) elements before `d` are read.
template <class T>
struct Lorenzo {
  std::size_t first;   ///< bytes of the one stride, or of the row
  std::size_t second;  ///< bytes of the plane; 0 when there is only one stride

  /// How many sectors after a difference its traces can be seen.
  std::uint32_t reach() const { return static_cast<std::uint32_t>((first + second) / sector_bytes) + 2; }

  explicit Lorenzo(common::Strides strides)
      : first((strides.row != 0 ? strides.row : strides.plane) * sizeof(T)),
        second((strides.row != 0 ? strides.plane : 0) * sizeof(T)) {}

  HWY_INLINE hn::Vec<Tag<T>> one(const std::byte* d) const { return hn::Sub(load<T>(d), load<T>(d - first)); }
};

/// The OR of a sector's subtract_3d values, from the differences; with `Wanted` subtract_3d, the values too.
template <class T, Transform Wanted>
HWY_INLINE std::uint64_t look_at_lorenzo(const std::byte* difference, const Lorenzo<T>& lorenzo, std::byte* values) {
  const Tag<T> d;
  const std::size_t step = vector_bytes<T>();
  auto even = hn::Zero(d), odd = hn::Zero(d);
  for (std::size_t i = 0; i < sector_bytes; i += 2 * step) {
    auto v = lorenzo.one(difference + i), w = lorenzo.one(difference + i + step);
    if (lorenzo.second != 0) {
      v = hn::Sub(v, lorenzo.one(difference + i - lorenzo.second));
      w = hn::Sub(w, lorenzo.one(difference + i + step - lorenzo.second));
    }
    v = zigzag<T>(v);
    w = zigzag<T>(w);
    even = hn::Or(even, v);
    odd = hn::Or(odd, w);
    if constexpr (Wanted == Transform::subtract_3d) {
      store<T>(v, values + i);
      store<T>(w, values + i + step);
    }
  }
  return fold_or<T>(even, odd);
}

/// current ^ base of a sector.
HWY_INLINE void exclusive_values(const std::byte* current, const std::byte* base, std::byte* values) {
  for (std::size_t i = 0; i < sector_bytes; i += vector_bytes<std::uint64_t>()) {
    store<std::uint64_t>(hn::Xor(load<std::uint64_t>(current + i), load<std::uint64_t>(base + i)), values + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
