// Vector tags and the few helpers that every part of the host codec uses. Compiled once per SIMD target.
#if defined(FOREWEAVE_KERNELS_HOST_SIMD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_SIMD_INL
#undef FOREWEAVE_KERNELS_HOST_SIMD_INL
#else
#define FOREWEAVE_KERNELS_HOST_SIMD_INL
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/decl/page_codec.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Vectors of at most 64 bytes, so that a sector is always a whole number of pairs of them.
template <class T>
using Tag = hn::CappedTag<T, 64 / sizeof(T)>;

template <class T>
HWY_INLINE std::size_t vector_bytes() {
  return hn::Lanes(Tag<T>()) * sizeof(T);
}

/// Loads from any alignment.
template <class T>
HWY_INLINE hn::Vec<Tag<T>> load(const std::byte* from) {
#if HWY_TARGET == HWY_SCALAR
  T value;
  std::memcpy(&value, from, sizeof value);
  return hn::Set(Tag<T>(), value);
#else
  return hn::LoadU(Tag<T>(), reinterpret_cast<const T*>(from));
#endif
}

/// Stores to any alignment.
template <class T, class V>
HWY_INLINE void store(V value, std::byte* to) {
#if HWY_TARGET == HWY_SCALAR
  const T lane = hn::GetLane(value);
  std::memcpy(to, &lane, sizeof lane);
#else
  hn::StoreU(value, Tag<T>(), reinterpret_cast<T*>(to));
#endif
}

HWY_INLINE std::uint64_t load_word(const std::byte* from) {
  std::uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

HWY_INLINE void store_word(std::uint64_t word, std::byte* to) { std::memcpy(to, &word, sizeof word); }

/// Asks for a sector's lines, to be used after the page at hand: while one page is computed, memory brings the next.
HWY_INLINE void fetch_sector(const std::byte* sector) {
  for (std::size_t i = 0; i < sector_bytes; i += 64) __builtin_prefetch(sector + i, 0, 2);
}

HWY_INLINE void copy_sector(const std::byte* from, std::byte* to) {
  for (std::size_t i = 0; i < sector_bytes; i += vector_bytes<std::uint64_t>()) {
    store<std::uint64_t>(load<std::uint64_t>(from + i), to + i);
  }
}

/// zz of docs/format.md, lane by lane.
template <class T, class V>
HWY_INLINE V zigzag(V s) {
  const Tag<T> d;
  const hn::RebindToSigned<Tag<T>> signed_d;
  const V sign = hn::BitCast(d, hn::BroadcastSignBit(hn::BitCast(signed_d, s)));  // on AVX2 a compare, not a shift
  return hn::Xor(hn::Add(s, s), sign);
}

template <class T, class V>
HWY_INLINE V unzigzag(V z) {
  const Tag<T> d;
  return hn::Xor(hn::ShiftRight<1>(z), hn::Sub(hn::Zero(d), hn::And(z, hn::Set(d, T{1}))));
}

/// The OR of the 64-bit words that the vectors `even` and `odd` hold, where `even` took vectors 0, 2, 4… of a run of
/// elements and `odd` took 1, 3, 5… (with one 4-byte lane a vector those are the halves of the words).
template <class T, class V>
HWY_INLINE std::uint64_t fold_or(V even, V odd) {
  const Tag<T> d;
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
  (void)d;
  return static_cast<std::uint64_t>(_mm512_reduce_or_epi64(hn::Or(even, odd).raw));
#elif HWY_TARGET <= HWY_AVX2 && HWY_ARCH_X86
  (void)d;
  const __m256i four = hn::Or(even, odd).raw;
  const __m128i two = _mm_or_si128(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(two) | _mm_extract_epi64(two, 1));
#else
  if (vector_bytes<T>() < 8) {
    return hn::GetLane(even) | static_cast<std::uint64_t>(hn::GetLane(odd)) << 32;
  }
  HWY_ALIGN T lanes[64 / sizeof(T)];
  hn::Store(hn::Or(even, odd), d, lanes);
  std::uint64_t folded = 0;
  for (std::size_t i = 0; i < vector_bytes<T>(); i += 8) {
    folded |= load_word(reinterpret_cast<const std::byte*>(lanes) + i);
  }
  return folded;
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
