// The transposition of a 64 × 64 bit matrix: words to bit planes and, being its own inverse, back.
#if defined(FOREWEAVE_KERNELS_HOST_TRANSPOSE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_TRANSPOSE_INL
#undef FOREWEAVE_KERNELS_HOST_TRANSPOSE_INL
#else
#define FOREWEAVE_KERNELS_HOST_TRANSPOSE_INL
#endif

#include "kernels/host/simd-inl.hpp"
#include "kernels/host/transpose_network-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL

/// Transposes the 8 × 8 bits of every quadword whose bytes are in reverse order (row 0 in the highest byte).
/// Assembly, because Highway 1.0 does not compile this target with GFNI; page_codec.cpp sees to it that the CPU has
/// it.
HWY_INLINE __m512i transpose_bits_of_reversed(__m512i rows) {
  const __m512i identity = _mm512_set1_epi64(0x8040201008040201);
  __m512i columns;
  asm("vgf2p8affineqb $0, %2, %1, %0" : "=v"(columns) : "v"(identity), "v"(rows));
  return columns;
}

/// A 64 × 64 bit matrix in registers, eight rows in each.
struct Matrix {
  __m512i r0, r1, r2, r3, r4, r5, r6, r7;
};

/// 8 × 8 quadwords.
HWY_INLINE Matrix transpose_quadwords(const Matrix& m) {
  const __m512i t0 = _mm512_unpacklo_epi64(m.r0, m.r1), t1 = _mm512_unpackhi_epi64(m.r0, m.r1);
  const __m512i t2 = _mm512_unpacklo_epi64(m.r2, m.r3), t3 = _mm512_unpackhi_epi64(m.r2, m.r3);
  const __m512i t4 = _mm512_unpacklo_epi64(m.r4, m.r5), t5 = _mm512_unpackhi_epi64(m.r4, m.r5);
  const __m512i t6 = _mm512_unpacklo_epi64(m.r6, m.r7), t7 = _mm512_unpackhi_epi64(m.r6, m.r7);
  const __m512i u0 = _mm512_shuffle_i64x2(t0, t2, 0x88), u2 = _mm512_shuffle_i64x2(t0, t2, 0xDD);
  const __m512i u1 = _mm512_shuffle_i64x2(t1, t3, 0x88), u3 = _mm512_shuffle_i64x2(t1, t3, 0xDD);
  const __m512i u4 = _mm512_shuffle_i64x2(t4, t6, 0x88), u6 = _mm512_shuffle_i64x2(t4, t6, 0xDD);
  const __m512i u5 = _mm512_shuffle_i64x2(t5, t7, 0x88), u7 = _mm512_shuffle_i64x2(t5, t7, 0xDD);
  return {_mm512_shuffle_i64x2(u0, u4, 0x88), _mm512_shuffle_i64x2(u1, u5, 0x88), _mm512_shuffle_i64x2(u2, u6, 0x88),
          _mm512_shuffle_i64x2(u3, u7, 0x88), _mm512_shuffle_i64x2(u0, u4, 0xDD), _mm512_shuffle_i64x2(u1, u5, 0xDD),
          _mm512_shuffle_i64x2(u2, u6, 0xDD), _mm512_shuffle_i64x2(u3, u7, 0xDD)};
}

/// Byte 8k + i of the result is byte k of word 7 − i: the quadwords are columns of bytes, reversed.
alignas(64) inline constexpr std::uint8_t byte_columns_reversed[64] = {
    56, 48, 40, 32, 24, 16, 8,  0,  57, 49, 41, 33, 25, 17, 9,  1,  58, 50, 42, 34, 26, 18,
    10, 2,  59, 51, 43, 35, 27, 19, 11, 3,  60, 52, 44, 36, 28, 20, 12, 4,  61, 53, 45, 37,
    29, 21, 13, 5,  62, 54, 46, 38, 30, 22, 14, 6,  63, 55, 47, 39, 31, 23, 15, 7};
alignas(64) inline constexpr std::uint8_t byte_columns[64] = {
    0,  8,  16, 24, 32, 40, 48, 56, 1,  9,  17, 25, 33, 41, 49, 57, 2,  10, 18, 26, 34, 42,
    50, 58, 3,  11, 19, 27, 35, 43, 51, 59, 4,  12, 20, 28, 36, 44, 52, 60, 5,  13, 21, 29,
    37, 45, 53, 61, 6,  14, 22, 30, 38, 46, 54, 62, 7,  15, 23, 31, 39, 47, 55, 63};

/// Rows to byte columns, the 8 × 8 bits of each turned, gathered over the eight registers. What is left is to bring
/// the bytes of each register in order: spread_rows.
HWY_INLINE Matrix transpose_but_spread(const Matrix& m) {
  const __m512i gather = _mm512_load_si512(byte_columns_reversed);
  const auto turn = [gather](__m512i rows)
                        HWY_ATTR { return transpose_bits_of_reversed(_mm512_permutexvar_epi8(gather, rows)); };
  return transpose_quadwords(
      {turn(m.r0), turn(m.r1), turn(m.r2), turn(m.r3), turn(m.r4), turn(m.r5), turn(m.r6), turn(m.r7)});
}

HWY_INLINE __m512i spread_rows(__m512i rows) {
  return _mm512_permutexvar_epi8(_mm512_load_si512(byte_columns), rows);
}

HWY_INLINE Matrix load_matrix(const std::uint64_t* words) {
  return {_mm512_loadu_si512(words),      _mm512_loadu_si512(words + 8),  _mm512_loadu_si512(words + 16),
          _mm512_loadu_si512(words + 24), _mm512_loadu_si512(words + 32), _mm512_loadu_si512(words + 40),
          _mm512_loadu_si512(words + 48), _mm512_loadu_si512(words + 56)};
}

#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
// transpose_network-inl.hpp
#elif HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR

/// Splits a run of `count` U into its even and odd elements.
template <class U>
HWY_INLINE void split_even_odd(const U* in, std::size_t count, U* even, U* odd) {
  const Tag<U> d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t i = 0; i < count; i += 2 * lanes) {
    const auto low = hn::Load(d, in + i);
    const auto high = hn::Load(d, in + i + lanes);
    hn::Store(hn::ConcatEven(d, high, low), d, even + i / 2);
    hn::Store(hn::ConcatOdd(d, high, low), d, odd + i / 2);
  }
}

/// `in` and `out` hold 64 words and are aligned to 64 bytes. x86 makes a bit of the sign of every byte in one
/// instruction: gather the bytes of one significance, then take their bits from the highest down.
HWY_INLINE void transpose_64x64(const std::uint64_t* in, std::uint64_t* out) {
  alignas(64) std::uint32_t halves[128];
  alignas(64) std::uint16_t quarters[256];
  alignas(64) std::uint8_t bytes[512];
  split_even_odd(reinterpret_cast<const std::uint32_t*>(in), 128, halves, halves + 64);
  for (std::size_t h = 0; h < 2; ++h) {
    split_even_odd(reinterpret_cast<const std::uint16_t*>(halves + 64 * h), 128, quarters + 128 * h,
                   quarters + 128 * h + 64);
  }
  for (std::size_t q = 0; q < 4; ++q) {
    split_even_odd(reinterpret_cast<const std::uint8_t*>(quarters + 64 * q), 128, bytes + 128 * q,
                   bytes + 128 * q + 64);
  }
  const Tag<std::uint8_t> d;
  const hn::RebindToSigned<Tag<std::uint8_t> > signed_d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t k = 0; k < 8; ++k) {
    std::uint64_t planes[8] = {};
    for (std::size_t j = 0; j < 64; j += lanes) {
      auto column = hn::Load(d, bytes + 64 * k + j);
      for (std::size_t b = 8; b-- > 0;) {
        const auto sign = hn::MaskFromVec(hn::BroadcastSignBit(hn::BitCast(signed_d, column)));
        std::uint64_t bits = 0;
        hn::StoreMaskBits(signed_d, sign, reinterpret_cast<std::uint8_t*>(&bits));
        planes[b] |= bits << j;
        column = hn::Add(column, column);
      }
    }
    for (std::size_t b = 0; b < 8; ++b) out[8 * k + b] = planes[b];
  }
}

#else

/// `in` and `out` hold 64 words. Six rounds of swapping the off-diagonal halves of ever smaller squares.
HWY_INLINE void transpose_64x64(const std::uint64_t* in, std::uint64_t* out) {
  if (in != out) std::memcpy(out, in, 512);
  std::uint64_t mask = 0x00000000FFFFFFFFu;
  for (unsigned step = 32; step != 0; step /= 2, mask ^= mask << step) {
    for (unsigned square = 0; square < 64; square += 2 * step) {
      for (unsigned row = square; row < square + step; ++row) {
        const std::uint64_t swap = ((out[row] >> step) ^ out[row + step]) & mask;
        out[row] ^= swap << step;
        out[row + step] ^= swap;
      }
    }
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
