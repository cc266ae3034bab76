// The transforms of docs/format.md, backward.
#if defined(FOREWEAVE_KERNELS_HOST_INVERSE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_INVERSE_INL
#undef FOREWEAVE_KERNELS_HOST_INVERSE_INL
#else
#define FOREWEAVE_KERNELS_HOST_INVERSE_INL
#endif

#include "kernels/host/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

/// data ^= values, over a sector.
HWY_INLINE void add_exclusive(const std::byte* values, std::byte* data) {
  for (std::size_t i = 0; i < sector_bytes; i += vector_bytes<std::uint64_t>()) {
    store<std::uint64_t>(hn::Xor(load<std::uint64_t>(data + i), load<std::uint64_t>(values + i)), data + i);
  }
}

/// data += the differences that the values stand for, over a sector.
template <class T>
HWY_INLINE void add_zigzag(const std::byte* values, std::byte* data) {
  for (std::size_t i = 0; i < sector_bytes; i += vector_bytes<T>()) {
    store<T>(hn::Add(load<T>(data + i), unzigzag<T>(load<T>(values + i))), data + i);
  }
}

/// The differences that a sector's values stand for; with `back`, what lies so many bytes before is added to each (at
/// least a vector).
template <class T>
HWY_INLINE void unzigzag_values(const std::byte* values, std::size_t back, std::byte* out) {
  if (back == 0) {
    for (std::size_t i = 0; i < sector_bytes; i += vector_bytes<T>()) {
      store<T>(unzigzag<T>(load<T>(values + i)), out + i);
    }
  } else {
    for (std::size_t i = 0; i < sector_bytes; i += vector_bytes<T>()) {
      store<T>(hn::Add(unzigzag<T>(load<T>(values + i)), load<T>(out + i - back)), out + i);
    }
  }
}

template <class T>
HWY_INLINE T load_element(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
HWY_INLINE void store_element(T value, std::byte* to) {
  std::memcpy(to, &value, sizeof value);
}

/// Undoes (1 − S_stride) in place: every element gets the one a stride before it added, in order. `bytes` is a
/// multiple of a sector; one stride of bytes before `s` can be read.
template <class T>
HWY_INLINE void undo_stride(std::byte* s, std::size_t bytes, std::size_t stride) {
  const std::size_t back = stride * sizeof(T);
  const std::size_t step = vector_bytes<T>();
  if (back >= step) {
    for (std::size_t i = 0; i < bytes; i += step) store<T>(hn::Add(load<T>(s + i), load<T>(s + i - back)), s + i);
  } else {
    for (std::size_t i = 0; i < bytes; i += sizeof(T)) {
      store_element<T>(load_element<T>(s + i) + load_element<T>(s + i - back), s + i);
    }
  }
}

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3

/// Every lane becomes the sum of itself and the lanes before it.
template <class T>
HWY_INLINE __m512i sum_lanes(__m512i v) {
  const __m512i zero = _mm512_setzero_si512();
  if constexpr (sizeof(T) == 8) {
    v = _mm512_add_epi64(v, _mm512_alignr_epi64(v, zero, 7));
    v = _mm512_add_epi64(v, _mm512_alignr_epi64(v, zero, 6));
    return _mm512_add_epi64(v, _mm512_alignr_epi64(v, zero, 4));
  } else {
    v = _mm512_add_epi32(v, _mm512_alignr_epi32(v, zero, 15));
    v = _mm512_add_epi32(v, _mm512_alignr_epi32(v, zero, 14));
    v = _mm512_add_epi32(v, _mm512_alignr_epi32(v, zero, 12));
    return _mm512_add_epi32(v, _mm512_alignr_epi32(v, zero, 8));
  }
}

template <class T>
HWY_INLINE __m512i last_lane_everywhere(__m512i v) {
  if constexpr (sizeof(T) == 8) {
    return _mm512_permutexvar_epi64(_mm512_set1_epi64(7), v);
  } else {
    return _mm512_permutexvar_epi32(_mm512_set1_epi32(15), v);
  }
}

#endif

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && HWY_TARGET > HWY_AVX3

/// The sum of an element and as many before it as fit into 16 bytes with it; those before `s` are read.
template <class T>
HWY_INLINE hn::Vec<Tag<T>> sum_of_16_bytes(const std::byte* s) {
  const auto two = hn::Add(load<T>(s), load<T>(s - sizeof(T)));
  if constexpr (sizeof(T) == 8) return two;
  return hn::Add(two, hn::Add(load<T>(s - 2 * sizeof(T)), load<T>(s - 3 * sizeof(T))));
}

#endif

/// Undoes (1 − S₁) of a run of elements that comes in parts, and adds what comes out to the data:
/// dataᵢ += s₀ + … + sᵢ.
template <class T>
class RunningSum {
 public:
  RunningSum() { std::memset(before_, 0, sizeof before_); }

  /// The next part, a multiple of a sector. 16 bytes before `s` are read: the part before, or zeros.
  HWY_INLINE void add(const std::byte* s, std::size_t bytes, std::byte* data) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
    auto before = load<T>(before_);  // the sum of all before the vector; one addition a vector is all that waits
    for (std::size_t i = 0; i < bytes; i += 64) {
      const hn::Vec<Tag<T>> sums{sum_lanes<T>(load<T>(s + i).raw)};
      store<T>(hn::Add(load<T>(data + i), hn::Add(sums, before)), data + i);
      before = hn::Add(before, hn::Vec<Tag<T>>{last_lane_everywhere<T>(sums.raw)});
    }
    store<T>(before, before_);
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
    // The sums of every 16 and then 32 bytes of elements; each vector is the sums of the one before and its own.
    auto halves_before = load<T>(before_ + 32), sums = load<T>(before_);
    for (std::size_t i = 0; i < bytes; i += 32) {
      const auto halves = sum_of_16_bytes<T>(s + i);
      sums = hn::Add(sums, hn::Add(halves, hn::ConcatLowerUpper(Tag<T>(), halves, halves_before)));
      halves_before = halves;
      store<T>(hn::Add(load<T>(data + i), sums), data + i);
    }
    store<T>(sums, before_);
    store<T>(halves_before, before_ + 32);
#else
    T sum = load_element<T>(before_);
    for (std::size_t i = 0; i < bytes; i += sizeof(T)) {
      sum += load_element<T>(s + i);
      store_element<T>(load_element<T>(data + i) + sum, data + i);
    }
    store_element<T>(sum, before_);
#endif
  }

 private:
  alignas(64) std::byte before_[64];
};

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
