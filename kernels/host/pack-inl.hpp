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

/// How far pack_sector may write past the end it returns.
inline constexpr std::size_t pack_overrun = 64;

/// Writes the mask word (given: the OR of the values) and the planes of 64 values. Returns the end.
HWY_INLINE std::byte* pack_sector(const std::uint64_t* values, std::uint64_t mask, std::byte* out) {
  alignas(64) std::uint64_t planes[64];
  transpose_64x64(values, planes);
  store_word(mask, out);
  out += 8;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  for (unsigned p = 0; p < 64; p += 8, mask >>= 8) {
    const __mmask8 present = static_cast<__mmask8>(mask);
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi64(present, _mm512_load_si512(planes + p)));
    out += 8 * std::popcount(static_cast<unsigned>(present));
  }
#else
  for (; mask != 0; mask &= mask - 1, out += 8) store_word(planes[std::countr_zero(mask)], out);
#endif
  return out;
}

/// Reads what pack_sector wrote, no byte past its end, into 64 values. Returns the end.
HWY_INLINE const std::byte* unpack_sector(const std::byte* in, std::uint64_t* values) {
  alignas(64) std::uint64_t planes[64];
  std::uint64_t mask = load_word(in);
  in += 8;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  for (unsigned p = 0; p < 64; p += 8, mask >>= 8) {
    const __mmask8 present = static_cast<__mmask8>(mask);
    const int count = std::popcount(static_cast<unsigned>(present));
    const __m512i packed = _mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << count) - 1), in);
    _mm512_store_si512(planes + p, _mm512_maskz_expand_epi64(present, packed));
    in += 8 * count;
  }
#else
  for (unsigned p = 0; p < 64; ++p) planes[p] = 0;
  for (; mask != 0; mask &= mask - 1, in += 8) planes[std::countr_zero(mask)] = load_word(in);
#endif
  transpose_64x64(planes, values);
  return in;
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
