// Encoding of one page, and of a run of pages.
#if defined(FOREWEAVE_KERNELS_HOST_ENCODE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_ENCODE_INL
#undef FOREWEAVE_KERNELS_HOST_ENCODE_INL
#else
#define FOREWEAVE_KERNELS_HOST_ENCODE_INL
#endif

#include "kernels/common/page_layout.hpp"
#include "kernels/host/check-inl.hpp"
#include "kernels/host/forward-inl.hpp"
#include "kernels/host/pack-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

/// Encodes pages one after another; holds the scratch between them (about 100 KiB, on the stack of encode_pages).
template <class T>
class PageEncoder {
 public:
  explicit PageEncoder(const PageShape& shape)
      : strides_(common::strides_of(shape)), differences_(common::element_width(shape) != 1) {
    std::memset(s_lead_, 0, sizeof s_lead_);
    const std::size_t lead = (strides_.row + strides_.plane) * sizeof(T);
    std::memset(difference_lead_ + max_lead - lead, 0, lead);
  }

  /// Encodes whole sectors: `length` bytes of the page exist, up to the next multiple of 512 can be read (zeros) from
  /// both. `base` is null for zeros. With `update`, dirty sectors are written to the base. Writes at most
  /// max_encoded_page_bytes + pack_overrun to `out`. `ahead`: the page after this one is fetched into the cache
  /// meanwhile. Returns the entry.
  PageEntry encode(const std::byte* current, std::byte* base, std::uint32_t length, bool update, bool ahead,
                   std::byte* out);

 private:
  /// subtract_3d looks (row + plane) elements back, each stride less than a page.
  static constexpr std::size_t max_lead = 2 * page_bytes;

  /// What the page would take under a transform, as far as it has been looked at.
  struct Candidate {
    std::uint32_t stored = 0;  ///< bitmap
    std::uint32_t size = 0;    ///< of the body without its header
    std::uint64_t ors[sectors_per_page];

    HWY_INLINE void add(std::uint32_t sector, std::uint64_t any) {
      ors[sector] = any;
      stored |= std::uint32_t{any != 0} << sector;
      size += any != 0 ? 8 + 8 * static_cast<std::uint32_t>(std::popcount(any)) : 0;
    }
  };

  void look_at_bytes(const std::byte* current, std::byte* base, std::uint32_t first, std::uint32_t sectors,
                     bool update);
  void look_at_elements(const std::byte* current, std::byte* base, std::uint32_t first, std::uint32_t sectors,
                        bool update, bool ahead);
  std::byte* write_values(Transform transform, const std::byte* current, const std::byte* ahead, std::byte* out);
  std::byte* write_raw(const std::byte* current, std::uint32_t length, std::byte* out) const;
  Candidate& of(Transform transform) { return candidates_[static_cast<int>(transform)]; }

  common::Strides strides_;
  bool differences_;
  alignas(64) std::byte s_lead_[64];     ///< zeros: what lies before s_
  alignas(64) std::byte s_[page_bytes];  ///< current − base; current ^ base for width 1
  alignas(64) std::byte difference_lead_[max_lead];
  alignas(64) std::byte difference_[page_bytes];  ///< (1 − S₁) s
  Candidate candidates_[transform_count];
};

/// What a base of zeros is read from.
alignas(64) inline constexpr std::byte zero_sector[sector_bytes] = {};

template <class T>
PageEntry PageEncoder<T>::encode(const std::byte* current, std::byte* base, std::uint32_t length, bool update,
                                 bool ahead, std::byte* out) {
  const std::uint32_t sectors = common::sector_count(length);
  std::uint32_t first = 0;  // dirty sector
  while (or_exclusive(current + first * sector_bytes, base != nullptr ? base + first * sector_bytes : zero_sector) ==
         0) {
    if (++first == sectors) return 0;
  }
  for (Candidate& candidate : candidates_) candidate.stored = candidate.size = 0;
  if (differences_) {
    look_at_elements(current, base, first, sectors, update, ahead);
  } else {
    look_at_bytes(current, base, first, sectors, update);
  }
  const std::uint32_t dirty = of(Transform::exclusive_or).stored;
  of(Transform::raw).stored = dirty;
  for (std::uint32_t left = dirty; left != 0; left &= left - 1) {
    of(Transform::raw).size += 8 * common::raw_words(static_cast<std::uint32_t>(std::countr_zero(left)), length);
  }
  int best = 0;
  for (int t = 1; t < transform_count; ++t) {
    if (candidates_[t].stored != 0 && candidates_[t].size < candidates_[best].size) best = t;
  }
  const Transform transform = static_cast<Transform>(best);
  const std::byte* fetch = ahead && base != nullptr ? base + page_bytes : nullptr;
  std::byte* end = best == 0 ? write_raw(current, length, out + page_header_bytes)
                             : write_values(transform, current, fetch, out + page_header_bytes);
  const std::uint32_t bytes = static_cast<std::uint32_t>(end - out);
  const std::uint32_t stored = candidates_[best].stored;
  const std::uint64_t sum = check_sum(out + page_header_bytes, (bytes - page_header_bytes) / 8);
  const std::uint32_t check = common::check_finish(sum, stored, static_cast<std::uint32_t>(best));
  store_word(stored | static_cast<std::uint64_t>(check) << 32, out);
  return make_entry(bytes, transform);
}

/// Fills s_ and the candidates exclusive_or; the sectors before `first` are clean.
template <class T>
void PageEncoder<T>::look_at_bytes(const std::byte* current, std::byte* base, std::uint32_t first,
                                   std::uint32_t sectors, bool update) {
  for (std::uint32_t k = first; k < sectors; ++k) {
    const std::size_t at = k * sector_bytes;
    const std::byte* from = base != nullptr ? base + at : zero_sector;
    for (std::size_t i = 0; i < sector_bytes; i += vector_bytes<std::uint64_t>()) {
      store<std::uint64_t>(hn::Xor(load<std::uint64_t>(current + at + i), load<std::uint64_t>(from + i)),
                           s_ + at + i);
    }
    const std::uint64_t changed = or_exclusive(current + at, from);
    of(Transform::exclusive_or).add(k, changed);
    if (update && changed != 0) std::memcpy(base + at, current + at, sector_bytes);
  }
}

/// Fills s_, difference_ and all candidates but raw; the sectors before `first` are clean.
template <class T>
void PageEncoder<T>::look_at_elements(const std::byte* current, std::byte* base, std::uint32_t first,
                                      std::uint32_t sectors, bool update, bool ahead) {
  const Lorenzo<T> lorenzo(strides_);
  const bool three = strides_.any();
  std::memset(s_, 0, first * sector_bytes);
  std::memset(difference_, 0, first * sector_bytes);
  for (std::uint32_t k = first; k < sectors; ++k) {
    const std::size_t at = k * sector_bytes;
    const std::byte* from = base != nullptr ? base + at : zero_sector;
    if (ahead) fetch_sector(current + page_bytes + at);
    const SectorOrs ors = difference_sector<T>(current + at, from, s_ + at, difference_ + at);
    of(Transform::exclusive_or).add(k, ors.exclusive_or);
    of(Transform::subtract).add(k, ors.subtract);
    of(Transform::subtract_1d).add(k, ors.subtract_1d);
    if (update && ors.exclusive_or != 0) std::memcpy(base + at, current + at, sector_bytes);
    // One sector behind, so that what it loads has left the store buffer.
    if (three && k != first)
      of(Transform::subtract_3d).add(k - 1, or_lorenzo<T>(difference_ + at - sector_bytes, lorenzo));
  }
  if (three) {
    const std::uint32_t last = sectors - 1;
    of(Transform::subtract_3d).add(last, or_lorenzo<T>(difference_ + last * sector_bytes, lorenzo));
  }
}

template <class T>
std::byte* PageEncoder<T>::write_raw(const std::byte* current, std::uint32_t length, std::byte* out) const {
  for (std::uint32_t stored = candidates_[0].stored; stored != 0; stored &= stored - 1) {
    const std::uint32_t k = static_cast<std::uint32_t>(std::countr_zero(stored));
    const std::size_t bytes = 8 * common::raw_words(k, length);
    std::memcpy(out, current + k * sector_bytes, bytes);
    out += bytes;
  }
  return out;
}

template <class T>
std::byte* PageEncoder<T>::write_values(Transform transform, const std::byte* current, const std::byte* ahead,
                                        std::byte* out) {
  alignas(64) std::uint64_t values[64];
  std::byte* to = reinterpret_cast<std::byte*>(values);
  const Lorenzo<T> lorenzo(strides_);
  const Candidate& chosen = of(transform);
  for (std::uint32_t stored = chosen.stored; stored != 0; stored &= stored - 1) {
    const std::uint32_t k = static_cast<std::uint32_t>(std::countr_zero(stored));
    const std::size_t at = k * sector_bytes;
    if (ahead != nullptr) fetch_sector(ahead + at);
    switch (transform) {
      case Transform::exclusive_or:
        if (differences_) {
          exclusive_values<T>(current + at, s_ + at, to);
        } else {
          std::memcpy(to, s_ + at, sector_bytes);
        }
        break;
      case Transform::subtract:
        zigzag_values<T>(s_ + at, to);
        break;
      case Transform::subtract_1d:
        zigzag_values<T>(difference_ + at, to);
        break;
      case Transform::subtract_3d:
        lorenzo_values<T>(difference_ + at, lorenzo, to);
        break;
      case Transform::raw:
        break;  // never here: write_raw
    }
    out = pack_sector(values, chosen.ors[k], out);
  }
  return out;
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
