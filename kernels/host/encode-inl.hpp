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
#include "kernels/host/inverse-inl.hpp"
#include "kernels/host/pack-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

/// More than any body, chosen or given up: every sector with all its planes.
inline constexpr std::size_t working_body_bytes =
    page_header_bytes + sectors_per_page * (8 + sector_bytes) + pack_overrun;

/// Encodes pages one after another; holds the scratch between them (about 50 KiB, on the stack of encode_pages).
///
/// A page is looked at and packed in one pass, under the transform that the page before it chose; only when another
/// one turns out smaller, a second pass packs it under that one. So a page's bytes go through the first-level cache
/// about once, and no copy of the page is kept beside it.
template <class T>
class PageEncoder {
 public:
  explicit PageEncoder(const PageShape& shape)
      : strides_(common::strides_of(shape)), differences_(common::element_width(shape) != 1) {
    const std::size_t lead = (strides_.row + strides_.plane) * sizeof(T) + 64;
    std::memset(lead_ + max_lead - lead, 0, lead);
  }

  /// Encodes whole sectors: `length` bytes of the page exist, up to the next multiple of 512 can be read (zeros) from
  /// both. `base` is null for zeros. With `update`, dirty sectors are written to the base. Writes at most
  /// working_body_bytes to `out`. `ahead`: the page after this one is fetched into the cache meanwhile. Returns the
  /// entry.
  PageEntry encode(const std::byte* current, std::byte* base, std::uint32_t length, bool update, bool ahead,
                   std::byte* out);

 private:
  /// subtract_3d looks (row + plane) elements back, each stride less than a page.
  static constexpr std::size_t max_lead = 2 * page_bytes + 64;

  struct Page {
    const std::byte* current;
    const std::byte* base;  ///< null: zeros
    std::uint32_t first;    ///< sectors before this one are clean
    std::uint32_t sectors;
    bool ahead;
    std::byte* update;  ///< null, or the base, whose dirty sectors are overwritten on the way
    const std::byte* current_of(std::uint32_t sector) const { return current + sector * sector_bytes; }
    const std::byte* base_of(std::uint32_t sector) const;
  };

  /// What the page would take under a transform.
  struct Candidate {
    std::uint32_t stored = 0;  ///< bitmap
    std::uint32_t size = 0;    ///< of the body without its header

    HWY_INLINE void add(std::uint32_t sector, std::uint64_t any) {
      stored |= std::uint32_t{any != 0} << sector;
      size += any != 0 ? 8 + 8 * static_cast<std::uint32_t>(std::popcount(any)) : 0;
    }
  };
  struct Candidates {
    Candidate of[transform_count];
  };

  std::byte* pass(Transform wanted, const Page& page, Candidates& found, std::byte* out);
  template <Transform Wanted>
  HWY_NOINLINE std::byte* pass_over_elements(const Page& page, Candidates& found, std::byte* out);
  template <Transform Wanted>
  HWY_NOINLINE std::byte* pass_over_bytes(const Page& page, Candidates& found, std::byte* out);
  static std::byte* write_raw(const std::byte* current, std::uint32_t length, std::uint32_t stored, std::byte* out);

  void restore_base(Page& page);

  common::Strides strides_;
  bool differences_;
  Transform guess_ = Transform::raw;  ///< of the page before; raw packs nothing while looking
  Carry carry_;
  alignas(64) std::byte lead_[max_lead];          ///< zeros, as far as read: what lies before difference_
  alignas(64) std::byte difference_[page_bytes];  ///< (1 − S₁) s, when there are strides or the base is updated
  alignas(64) std::byte old_base_[page_bytes];    ///< for a second pass, when the base has been updated
};

/// What a base of zeros is read from.
alignas(64) inline constexpr std::byte zero_sector[sector_bytes] = {};

template <class T>
HWY_INLINE const std::byte* PageEncoder<T>::Page::base_of(std::uint32_t sector) const {
  return base != nullptr ? base + sector * sector_bytes : zero_sector;
}

template <class T>
PageEntry PageEncoder<T>::encode(const std::byte* current, std::byte* base, std::uint32_t length, bool update,
                                 bool ahead, std::byte* out) {
  Page page{current, base, 0, common::sector_count(length), ahead, update && differences_ ? base : nullptr};
  while (or_exclusive(page.current_of(page.first), page.base_of(page.first)) == 0) {
    if (++page.first == page.sectors) return 0;
  }
  Candidates found;
  std::byte* end = pass(guess_, page, found, out + page_header_bytes);
  const std::uint32_t dirty = found.of[static_cast<int>(Transform::exclusive_or)].stored;
  found.of[0].stored = dirty;
  for (std::uint32_t left = dirty; left != 0; left &= left - 1) {
    found.of[0].size += 8 * common::raw_words(static_cast<std::uint32_t>(std::countr_zero(left)), length);
  }
  int best = 0;
  for (int t = 1; t < transform_count; ++t) {
    if (found.of[t].stored != 0 && found.of[t].size < found.of[best].size) best = t;
  }
  const Transform transform = static_cast<Transform>(best);
  if (transform == Transform::raw) {
    end = write_raw(current, length, dirty, out + page_header_bytes);
  } else if (transform != guess_) {
    Candidates again;
    page.ahead = false;
    if (page.update != nullptr) restore_base(page);
    end = pass(transform, page, again, out + page_header_bytes);
  }
  guess_ = transform;
  if (update && !differences_) {
    for (std::uint32_t left = dirty; left != 0; left &= left - 1) {
      const std::uint32_t k = static_cast<std::uint32_t>(std::countr_zero(left));
      copy_sector(current + k * sector_bytes, base + k * sector_bytes);
    }
  }
  const std::uint32_t bytes = static_cast<std::uint32_t>(end - out);
  const std::uint64_t sum = check_sum(out + page_header_bytes, (bytes - page_header_bytes) / 8);
  const std::uint32_t stored = found.of[best].stored;
  const std::uint32_t check = common::check_finish(sum, stored, static_cast<std::uint32_t>(best));
  store_word(stored | static_cast<std::uint64_t>(check) << 32, out);
  return make_entry(bytes, transform);
}

/// The base as it was before a pass updated it, from the differences that the pass kept; the page then takes it from
/// old_base_.
template <class T>
HWY_NOINLINE void PageEncoder<T>::restore_base(Page& page) {
  const std::size_t begin = page.first * sector_bytes, end = page.sectors * sector_bytes;
  RunningSum<T, true>().add(difference_ + begin, end - begin, page.current + begin, old_base_ + begin);
  page.base = old_base_;
  page.update = nullptr;
}

/// Looks at the page under every transform but raw, and packs it under `wanted` (raw: not at all). Returns the end.
template <class T>
std::byte* PageEncoder<T>::pass(Transform wanted, const Page& page, Candidates& found, std::byte* out) {
  if (!differences_) {
    return wanted == Transform::exclusive_or ? pass_over_bytes<Transform::exclusive_or>(page, found, out)
                                             : pass_over_bytes<Transform::raw>(page, found, out);
  }
  switch (wanted) {
    case Transform::raw:
      break;
    case Transform::exclusive_or:
      return pass_over_elements<Transform::exclusive_or>(page, found, out);
    case Transform::subtract:
      return pass_over_elements<Transform::subtract>(page, found, out);
    case Transform::subtract_1d:
      return pass_over_elements<Transform::subtract_1d>(page, found, out);
    case Transform::subtract_3d:
      return pass_over_elements<Transform::subtract_3d>(page, found, out);
  }
  return pass_over_elements<Transform::raw>(page, found, out);
}

template <class T>
template <Transform Wanted>
std::byte* PageEncoder<T>::pass_over_bytes(const Page& page, Candidates& found, std::byte* out) {
  alignas(64) std::uint64_t values[64];
  for (std::uint32_t k = page.first; k < page.sectors; ++k) {
    const std::uint64_t any = or_exclusive(page.current_of(k), page.base_of(k));
    found.of[static_cast<int>(Transform::exclusive_or)].add(k, any);
    if constexpr (Wanted == Transform::exclusive_or) {
      if (any == 0) continue;
      exclusive_values(page.current_of(k), page.base_of(k), reinterpret_cast<std::byte*>(values));
      out = pack_sector(values, any, out);
    }
  }
  return out;
}

template <class T>
template <Transform Wanted>
std::byte* PageEncoder<T>::pass_over_elements(const Page& page, Candidates& found, std::byte* out) {
  alignas(64) std::uint64_t values[64];
  std::byte* const to = reinterpret_cast<std::byte*>(values);
  Candidate exclusive, subtract, one, three;
  const Lorenzo<T> lorenzo(strides_);
  const bool strides = strides_.any();
  const bool differences = strides || page.update != nullptr;
  const std::uint32_t reach = lorenzo.reach();
  std::uint32_t trace = page.first + 1;  // clean sectors from here on have no traces of dirty ones
  carry_.clear();
  if (differences) std::memset(difference_, 0, page.first * sector_bytes);
  for (std::uint32_t k = page.first; k < page.sectors; ++k) {
    const std::byte* c = page.current_of(k);
    const std::byte* b = page.base_of(k);
    std::byte* difference = differences ? difference_ + k * sector_bytes : nullptr;
    if (k >= trace && or_exclusive(c, b) == 0) {
      if (differences) std::memset(difference, 0, sector_bytes);
      continue;
    }
    if (page.ahead) {
      fetch_sector(c + page_bytes);
      if (page.base != nullptr) fetch_sector(b + page_bytes);
    }
    const SectorOrs ors = look_at_sector<T, Wanted>(c, b, carry_, difference, to);
    exclusive.add(k, ors.exclusive_or);
    subtract.add(k, ors.subtract);
    one.add(k, ors.subtract_1d);
    if (ors.exclusive_or != 0) {
      trace = k + reach;
      if (page.update != nullptr) copy_sector(c, page.update + k * sector_bytes);
    }
    std::uint64_t mask = 0;
    if constexpr (Wanted == Transform::exclusive_or) mask = ors.exclusive_or;
    if constexpr (Wanted == Transform::subtract) mask = ors.subtract;
    if constexpr (Wanted == Transform::subtract_1d) mask = ors.subtract_1d;
    if (strides) {
      const std::uint64_t any = look_at_lorenzo<T, Wanted>(difference, lorenzo, to);
      three.add(k, any);
      if constexpr (Wanted == Transform::subtract_3d) mask = any;
    }
    if constexpr (Wanted != Transform::raw) {
      if (mask != 0) out = pack_sector(values, mask, out);
    }
  }
  found.of[static_cast<int>(Transform::exclusive_or)] = exclusive;
  found.of[static_cast<int>(Transform::subtract)] = subtract;
  found.of[static_cast<int>(Transform::subtract_1d)] = one;
  found.of[static_cast<int>(Transform::subtract_3d)] = three;
  return out;
}

template <class T>
std::byte* PageEncoder<T>::write_raw(const std::byte* current, std::uint32_t length, std::uint32_t stored,
                                     std::byte* out) {
  for (; stored != 0; stored &= stored - 1) {
    const std::uint32_t k = static_cast<std::uint32_t>(std::countr_zero(stored));
    const std::size_t bytes = 8 * common::raw_words(k, length);
    std::memcpy(out, current + k * sector_bytes, bytes);
    out += bytes;
  }
  return out;
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
