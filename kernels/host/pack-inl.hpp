// One sector's values to mask word and plane words, and back.
#if defined(FOREWEAVE_KERNELS_HOST_PACK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_PACK_INL
#undef FOREWEAVE_KERNELS_HOST_PACK_INL
#else
#define FOREWEAVE_KERNELS_HOST_PACK_INL
#endif

#include <bit>

#include "kernels/host/transpose-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

/// How far pack_sector may write past the end it returns: all planes of a sector.
inline constexpr std::size_t pack_overrun = sector_bytes;

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL

/// Eight planes, of which `present` are not zero, to `out`; returns the end.
HWY_INLINE std::byte* put_planes(__m512i rows, std::uint64_t mask, std::byte* out) {
  const __mmask8 present = static_cast<__mmask8>(mask);
  if (present == 0) return out;
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi64(present, spread_rows(rows)));
  return out + 8 * static_cast<std::size_t>(std::popcount(mask & 0xFF));
}

/// Eight planes from `in`, those that are not present zero; moves `in` to their end.
HWY_INLINE __m512i take_planes(const std::byte*& in, std::uint64_t mask) {
  const __mmask8 present = static_cast<__mmask8>(mask);
  const unsigned count = static_cast<unsigned>(std::popcount(mask & 0xFF));
  const __m512i packed = _mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << count) - 1), in);
  in += 8 * count;
  return _mm512_maskz_expand_epi64(present, packed);
}

#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2

/// Row m: where four planes come from, as indices of their 4-byte halves.
struct OrderOfFour {
  alignas(32) std::uint32_t row[16][8];
};

/// Brings the planes with a bit in m to the front, or (Back) from the front to their places.
template <bool Back>
constexpr OrderOfFour make_order_of_four() {
  OrderOfFour table{};
  for (std::uint32_t mask = 0; mask < 16; ++mask) {
    std::uint32_t packed = 0;
    for (std::uint32_t plane = 0; plane < 4; ++plane) {
      if ((mask >> plane & 1) == 0) continue;
      const std::uint32_t to = Back ? plane : packed, from = Back ? packed : plane;
      table.row[mask][2 * to] = 2 * from;
      table.row[mask][2 * to + 1] = 2 * from + 1;
      ++packed;
    }
  }
  return table;
}
inline constexpr OrderOfFour to_front = make_order_of_four<false>(), to_places = make_order_of_four<true>();

/// Those of 64 planes that are present to `out`; returns the end.
HWY_INLINE std::byte* put_planes(const std::uint64_t* planes, std::uint64_t mask, std::byte* out) {
  const hn::FixedTag<std::uint32_t, 8> d;
  for (; mask != 0; mask >>= 4, planes += 4) {
    const auto four = hn::Load(d, reinterpret_cast<const std::uint32_t*>(planes));
    const auto order = hn::SetTableIndices(d, to_front.row[mask & 15]);
    hn::StoreU(hn::TableLookupLanes(four, order), d, reinterpret_cast<std::uint32_t*>(out));
    out += 8 * std::popcount(mask & 15);
  }
  return out;
}

/// The planes that are present, from `in` (512 bytes can be read), each in its place; the others are anything.
HWY_INLINE void take_planes(const std::byte* in, std::uint64_t mask, std::uint64_t* planes) {
  const hn::FixedTag<std::uint32_t, 8> d;
  for (; mask != 0; mask >>= 4, planes += 4) {
    const auto four = hn::LoadU(d, reinterpret_cast<const std::uint32_t*>(in));
    const auto order = hn::SetTableIndices(d, to_places.row[mask & 15]);
    hn::Store(hn::TableLookupLanes(four, order), d, reinterpret_cast<std::uint32_t*>(planes));
    in += 8 * std::popcount(mask & 15);
  }
}

#endif

/// Writes the mask word (given: the OR of the values) and the planes of 64 values. Returns the end.
HWY_INLINE std::byte* pack_sector(const std::uint64_t* values, std::uint64_t mask, std::byte* out) {
  store_word(mask, out);
  out += 8;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
  const Matrix planes = transpose_but_spread(load_matrix(values));
  out = put_planes(planes.r0, mask, out);
  out = put_planes(planes.r1, mask >> 8, out);
  out = put_planes(planes.r2, mask >> 16, out);
  out = put_planes(planes.r3, mask >> 24, out);
  out = put_planes(planes.r4, mask >> 32, out);
  out = put_planes(planes.r5, mask >> 40, out);
  out = put_planes(planes.r6, mask >> 48, out);
  out = put_planes(planes.r7, mask >> 56, out);
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const bool upper = mask >> 32 != 0;
  if ((mask & (mask + 1)) == 0) {  // nearly always on dense data: no zero plane below the highest
    transpose_64x64(values, reinterpret_cast<std::uint64_t*>(out), upper, ~std::uint64_t{0});
    return out + 8 * std::popcount(mask);
  }
  alignas(64) std::uint64_t planes[64];
  transpose_64x64(values, planes, upper, ~std::uint64_t{0});
  out = put_planes(planes, mask, out);
#else
  alignas(64) std::uint64_t planes[64];
  transpose_64x64(values, planes);
  for (; mask != 0; mask &= mask - 1, out += 8) store_word(planes[std::countr_zero(mask)], out);
#endif
  return out;
}

/// Reads what pack_sector wrote, nothing from `end` on, into 64 values. Returns the end of what it took.
HWY_INLINE const std::byte* unpack_sector(const std::byte* in, const std::byte* end, std::uint64_t* values) {
  std::uint64_t mask = load_word(in);
  in += 8;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
  (void)end;
  Matrix planes;
  planes.r0 = take_planes(in, mask);
  planes.r1 = take_planes(in, mask >> 8);
  planes.r2 = take_planes(in, mask >> 16);
  planes.r3 = take_planes(in, mask >> 24);
  planes.r4 = take_planes(in, mask >> 32);
  planes.r5 = take_planes(in, mask >> 40);
  planes.r6 = take_planes(in, mask >> 48);
  planes.r7 = take_planes(in, mask >> 56);
  const Matrix words = transpose_but_spread(planes);
  _mm512_storeu_si512(values, spread_rows(words.r0));
  _mm512_storeu_si512(values + 8, spread_rows(words.r1));
  _mm512_storeu_si512(values + 16, spread_rows(words.r2));
  _mm512_storeu_si512(values + 24, spread_rows(words.r3));
  _mm512_storeu_si512(values + 32, spread_rows(words.r4));
  _mm512_storeu_si512(values + 40, spread_rows(words.r5));
  _mm512_storeu_si512(values + 48, spread_rows(words.r6));
  _mm512_storeu_si512(values + 56, spread_rows(words.r7));
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const std::size_t bytes = 8 * static_cast<std::size_t>(std::popcount(mask));
  const std::byte* const after = in + bytes;
  alignas(64) std::uint64_t planes[64], last[64];
  if (static_cast<std::size_t>(end - in) < sizeof last) {
    std::memcpy(last, in, bytes);
    in = reinterpret_cast<const std::byte*>(last);
  }
  const bool in_place = (mask & (mask + 1)) == 0;
  if (!in_place) take_planes(in, mask, planes);
  transpose_64x64(in_place ? reinterpret_cast<const std::uint64_t*>(in) : planes, values, true, mask);
  return after;
#else
  (void)end;
  alignas(64) std::uint64_t planes[64] = {};
  for (; mask != 0; mask &= mask - 1, in += 8) planes[std::countr_zero(mask)] = load_word(in);
  transpose_64x64(planes, values);
#endif
  return in;
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
