// The transforms of docs/format.md, forward: what they give (as ORs, for the choice) and the values themselves.
#if defined(FOREWEAVE_KERNELS_HOST_FORWARD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_FORWARD_INL
#undef FOREWEAVE_KERNELS_HOST_FORWARD_INL
#else
#define FOREWEAVE_KERNELS_HOST_FORWARD_INL
#endif

#include <type_traits>

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

/// The elements one before those of `now`; `before` is the vector before it.
template <class T>
HWY_INLINE hn::Vec<Tag<T>> one_before(hn::Vec<Tag<T>> before, hn::Vec<Tag<T>> now) {
#if HWY_TARGET == HWY_SCALAR
  (void)now;
  return before;
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  if constexpr (sizeof(T) == 8) {
    return hn::Vec<Tag<T>>{_mm512_alignr_epi64(now.raw, before.raw, 7)};
  } else {
    return hn::Vec<Tag<T>>{_mm512_alignr_epi32(now.raw, before.raw, 15)};
  }
#else
  const Tag<T> d;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  before = hn::ConcatLowerUpper(d, now, before);
#endif
  return hn::CombineShiftRightBytes<16 - sizeof(T)>(d, now, before);
#endif
}

/// The strides of (1 − S_row)(1 − S_plane), in bytes, where a factor with stride 0 is left out.
struct Lorenzo {
  std::size_t first = 0;   ///< the one stride, or the row; 0 when there is none
  std::size_t second = 0;  ///< the plane; 0 when there is only one stride

  Lorenzo(common::Strides strides, std::size_t element)
      : first((strides.row != 0 ? strides.row : strides.plane) * element),
        second((strides.row != 0 ? strides.plane : 0) * element) {}

  /// How many sectors after a difference its traces can be seen.
  std::uint32_t reach() const { return static_cast<std::uint32_t>((first + second) / sector_bytes) + 2; }
};

/// (1 − S_row)(1 − S_plane) s, where `now` is the vector of s at `s`.
template <class T>
HWY_INLINE hn::Vec<Tag<T>> over_strides(hn::Vec<Tag<T>> now, const std::byte* s, const Lorenzo& strides) {
  auto u = hn::Sub(now, load<T>(s - strides.first));
  if (strides.second != 0) {
    u = hn::Sub(u, hn::Sub(load<T>(s - strides.second), load<T>(s - strides.second - strides.first)));
  }
  return u;
}

/// What a pass over a page takes from sector to sector: the last vector of s and of (1 − S_row)(1 − S_plane) s.
struct Carry {
  alignas(64) std::byte s[64];
  alignas(64) std::byte u[64];

  HWY_INLINE void clear() { std::memset(this, 0, sizeof *this); }
};

/// The ORs of the words of a sector's values: `dirty` is 0 when it is clean; the others by transform.
struct SectorOrs {
  std::uint64_t dirty, of[transform_count];
};

/// Looks at a sector under every transform: the ORs of the values, and under `Wanted` the values themselves into
/// `values`. `s` receives current − base; before it stands that of what is before, as far as the strides reach.
///
/// The ORs of transforms other than `Wanted` are taken from one vector out of four and may lack bits.
template <class T, Transform Wanted>
HWY_INLINE SectorOrs look_at_sector(const std::byte* current, const std::byte* base, const Lorenzo& strides,
                                    Carry& carry, std::byte* s, std::byte* values) {
  const Tag<T> d;
  const std::size_t step = vector_bytes<T>();
  // Where a vector is but half a word, those at odd places have ORs of their own.
  constexpr bool half_words = HWY_TARGET == HWY_SCALAR && sizeof(T) == 4;
  auto any = hn::Zero(d), any_x = any, any_s = any, any_1 = any, any_3 = any;
  auto odd = any, odd_x = any, odd_s = any, odd_1 = any, odd_3 = any;
  auto s_before = load<T>(carry.s), u_before = load<T>(carry.u);
  const auto look = [&](std::size_t i, auto in_sample, auto at_odd) HWY_ATTR __attribute__((always_inline)) {
    constexpr bool full = in_sample.value;
    constexpr bool apart = half_words && at_odd.value;
    const auto gather = [](auto& even_or, auto& odd_or, auto value) HWY_ATTR __attribute__((always_inline)) {
      auto& to = apart ? odd_or : even_or;
      to = hn::Or(to, value);
    };
    const auto c = load<T>(current + i), b = load<T>(base + i);
    const auto now = hn::Sub(c, b);
    store<T>(now, s + i);
    if constexpr (Wanted == Transform::exclusive_or || full) {
      const auto x = hn::Xor(c, b);
      gather(any_x, odd_x, x);
      if constexpr (Wanted == Transform::exclusive_or) store<T>(x, values + i);
    }
    if constexpr (Wanted != Transform::exclusive_or && Wanted != Transform::subtract) gather(any, odd, now);
    if constexpr (Wanted == Transform::subtract || full) {
      const auto z = zigzag<T>(now);
      gather(any_s, odd_s, z);
      if constexpr (Wanted == Transform::subtract) store<T>(z, values + i);
    }
    [[maybe_unused]] const auto difference = hn::Sub(now, one_before<T>(s_before, now));
    s_before = now;
    if constexpr (Wanted == Transform::subtract_1d || full) {
      const auto z = zigzag<T>(difference);
      gather(any_1, odd_1, z);
      if constexpr (Wanted == Transform::subtract_1d) store<T>(z, values + i);
    }
    if constexpr (Wanted == Transform::subtract_3d || full) {
      if (Wanted != Transform::subtract_3d && strides.first == 0) return;
      auto v = difference;
      if constexpr (Wanted == Transform::subtract_3d) {
        const auto u = over_strides<T>(now, s + i, strides);
        v = hn::Sub(u, one_before<T>(u_before, u));
        u_before = u;
      } else {  // the vector before is not at hand, and what has just been stored must not be loaded askew
        const std::byte* const one = s + i - sizeof(T);
        v = hn::Sub(v, hn::Sub(load<T>(s + i - strides.first), load<T>(one - strides.first)));
        if (strides.second != 0) {
          v = hn::Sub(v, hn::Sub(load<T>(s + i - strides.second), load<T>(one - strides.second)));
          const std::size_t both = strides.first + strides.second;
          v = hn::Add(v, hn::Sub(load<T>(s + i - both), load<T>(one - both)));
        }
      }
      v = zigzag<T>(v);
      gather(any_3, odd_3, v);
      if constexpr (Wanted == Transform::subtract_3d) store<T>(v, values + i);
    }
  };
  const std::false_type no;
  const std::true_type yes;
  for (std::size_t i = 0; i < sector_bytes; i += 4 * step) {
    look(i, no, no);
    look(i + step, no, yes);
    look(i + 2 * step, no, no);
    look(i + 3 * step, yes, yes);
  }
  store<T>(s_before, carry.s);
  store<T>(u_before, carry.u);
  SectorOrs ors{0, {0, fold_or<T>(any_x, odd_x), fold_or<T>(any_s, odd_s), fold_or<T>(any_1, odd_1),
                    fold_or<T>(any_3, odd_3)}};
  if constexpr (Wanted == Transform::exclusive_or) {
    ors.dirty = ors.of[1];
  } else if constexpr (Wanted == Transform::subtract) {
    ors.dirty = ors.of[2];
  } else {
    ors.dirty = fold_or<T>(any, odd);
  }
  return ors;
}

/// Another look at a sector, whose current − base stands at `s` already: the OR of its values under a transform, and with
/// Keep the values themselves into `values`. (The base may have been overwritten by now.)
template <class T, Transform Of, bool Keep>
HWY_INLINE std::uint64_t look_again(const std::byte* current, const std::byte* s, const Lorenzo& strides,
                                    std::byte* values) {
  const std::size_t step = vector_bytes<T>();
  auto even = hn::Zero(Tag<T>()), odd = even;
  [[maybe_unused]] auto before = load<T>(s - step);
  if constexpr (Of == Transform::subtract_3d) before = over_strides<T>(before, s - step, strides);
  const auto look = [&](std::size_t i, auto& gathered) HWY_ATTR __attribute__((always_inline)) {
    auto v = load<T>(s + i);
    if constexpr (Of == Transform::exclusive_or) {
      const auto c = load<T>(current + i);
      v = hn::Xor(c, hn::Sub(c, v));
    } else if constexpr (Of == Transform::subtract) {
      v = zigzag<T>(v);
    } else {
      if constexpr (Of == Transform::subtract_3d) v = over_strides<T>(v, s + i, strides);
      const auto difference = hn::Sub(v, one_before<T>(before, v));
      before = v;
      v = zigzag<T>(difference);
    }
    gathered = hn::Or(gathered, v);
    if constexpr (Keep) store<T>(v, values + i);
  };
  for (std::size_t i = 0; i < sector_bytes; i += 2 * step) {
    look(i, even);
    look(i + step, odd);
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
