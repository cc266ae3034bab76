// Encoding of one page, and of a run of pages.
#if defined(FOREWEAVE_KERNELS_HOST_ENCODE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_ENCODE_INL
#undef FOREWEAVE_KERNELS_HOST_ENCODE_INL
#else
#define FOREWEAVE_KERNELS_HOST_ENCODE_INL
#endif

#include <bit>

#include "kernels/common/page_layout.hpp"
#include "kernels/host/check-inl.hpp"
#include "kernels/host/forward-inl.hpp"
#include "kernels/host/pack-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

/// More than any body, chosen or given up: every sector with all its planes.
inline constexpr std::size_t working_body_bytes =
    page_header_bytes + sectors_per_page * (8 + sector_bytes) + pack_overrun;

/// Encodes pages one after another; holds the scratch between them (about 50 KiB, on the stack of encode_pages).
///
/// A page is looked at and packed in one pass, under the transform that the page before it chose, so that its bytes go
/// through the first-level cache once. The sizes under the other transforms need not be known, only that none of them
/// is smaller: a quarter of the elements gives a lower bound of each, which mostly says so. The others are measured in
/// what the pass has left behind, current − base, until they have lost, and the page is packed again under one that
/// has not.
template <class T>
class PageEncoder {
 public:
  explicit PageEncoder(const PageShape& shape)
      : shape_(shape), strides_(common::strides_of(shape), sizeof(T)), elements_(common::element_width(shape) != 1) {
    const std::size_t lead = strides_.first + strides_.second + 64;
    std::memset(lead_ + max_lead - lead, 0, lead);
  }

  /// Encodes whole sectors: `length` bytes of the page exist, up to the next multiple of 512 can be read (zeros) from
  /// both. `base` is null for zeros. With `update`, dirty sectors are written to the base. Writes at most
  /// working_body_bytes to `out`. `ahead`: the page after this one is fetched into the cache meanwhile. Returns the
  /// entry.
  PageEntry encode(const std::byte* current, std::byte* base, std::uint32_t length, bool update, bool ahead,
                   std::byte* out);

 private:
  /// subtract_3d looks (row + plane) elements back, each stride less than a page, and one vector more.
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

  /// What the page would take under a transform, or at least.
  struct Candidate {
    std::uint32_t stored = 0;  ///< bitmap
    std::uint32_t words = 0;   ///< of the body without its header
    std::uint8_t words_of[sectors_per_page] = {};

    HWY_INLINE void add(std::uint32_t sector, std::uint64_t any) {
      stored |= std::uint32_t{any != 0} << sector;
      const std::uint32_t of = mask_and_planes(any);
      words_of[sector] = static_cast<std::uint8_t>(of);
      words += of;
    }
  };
  struct Candidates {
    std::uint32_t dirty = 0;
    Candidate of[transform_count];  ///< raw is not filled in by a pass
  };

  static HWY_INLINE std::uint32_t mask_and_planes(std::uint64_t any) {
    return any != 0 ? 1 + static_cast<std::uint32_t>(std::popcount(any)) : 0;
  }

  std::byte* pass(Transform wanted, const Page& page, Candidates& found, std::byte* out);
  template <Transform Wanted>
  HWY_NOINLINE std::byte* pass_over_elements(const Page& page, Candidates& found, std::byte* out);
  template <Transform Wanted>
  HWY_NOINLINE std::byte* pass_over_bytes(const Page& page, Candidates& found, std::byte* out) const;
  void measure(Transform transform, const Page& page, std::uint32_t dirty, std::uint32_t limit, Candidate& found) const;
  template <Transform Of>
  HWY_NOINLINE void measure_elements(const Page& page, std::uint32_t sectors, std::uint32_t limit,
                                     Candidate& found) const;
  std::byte* pack(Transform transform, const Page& page, std::uint32_t stored, std::byte* out) const;
  template <Transform Of>
  HWY_NOINLINE std::byte* pack_elements(const Page& page, std::uint32_t stored, std::byte* out) const;
  static std::byte* write_raw(const std::byte* current, std::uint32_t length, std::uint32_t stored, std::byte* out);
  bool is_smaller(const Candidates& found, int transform, int than) const;
  std::uint32_t with_values(Transform transform, const Page& page, std::uint32_t dirty) const;

  PageShape shape_;
  Lorenzo strides_;
  bool elements_;                     ///< not bytes
  Transform guess_ = Transform::raw;  ///< of the page before; raw packs nothing while looking
  std::uint32_t filled_ = 0xFFFFFFFFu;  ///< sectors of s_ that may hold something else than zeros
  Carry carry_;
  alignas(64) std::byte lead_[max_lead];  ///< zeros, as far as read: what lies before s_
  alignas(64) std::byte s_[page_bytes];   ///< current − base
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
  Page page{current, base, 0, common::sector_count(length), ahead, update && elements_ ? base : nullptr};
  while (or_exclusive(page.current_of(page.first), page.base_of(page.first)) == 0) {
    if (++page.first == page.sectors) return 0;
  }
  std::byte* const data = out + page_header_bytes;
  const int guess = static_cast<int>(guess_);
  Candidates found;
  std::byte* end = pass(guess_, page, found, data);
  const std::uint32_t dirty = found.dirty;
  Candidate& raw = found.of[0];
  raw.stored = dirty;
  for (std::uint32_t left = dirty; left != 0; left &= left - 1) {
    raw.words += common::raw_words(static_cast<std::uint32_t>(std::countr_zero(left)), length);
  }
  int best = is_smaller(found, guess, 0) ? guess : 0;
  for (int t = 1; t < transform_count; ++t) {
    if (t == guess || !is_smaller(found, t, best)) continue;
    measure(static_cast<Transform>(t), page, dirty, found.of[best].words, found.of[t]);
    if (is_smaller(found, t, best)) best = t;
  }
  const Transform transform = static_cast<Transform>(best);
  const std::uint32_t stored = found.of[best].stored;
  if (transform == Transform::raw) {
    end = write_raw(current, length, dirty, data);
  } else if (transform != guess_) {
    end = pack(transform, page, stored, data);
  }
  guess_ = transform;
  if (update && !elements_) {
    for (std::uint32_t left = dirty; left != 0; left &= left - 1) {
      const std::uint32_t k = static_cast<std::uint32_t>(std::countr_zero(left));
      copy_sector(current + k * sector_bytes, base + k * sector_bytes);
    }
  }
  const std::uint32_t bytes = static_cast<std::uint32_t>(end - out);
  const std::uint64_t sum = check_sum(data, (bytes - page_header_bytes) / 8);
  const std::uint32_t check = common::check_finish(sum, stored, static_cast<std::uint32_t>(best));
  store_word(stored | static_cast<std::uint64_t>(check) << 32, out);
  return make_entry(bytes, transform);
}

/// Whether `transform` is chosen over `than`, by the sizes found.
template <class T>
HWY_INLINE bool PageEncoder<T>::is_smaller(const Candidates& found, int transform, int than) const {
  const std::uint32_t words = found.of[transform].words, other = found.of[than].words;
  return common::transform_allowed(static_cast<std::uint32_t>(transform), shape_) &&
         (words < other || (words == other && transform < than));
}

/// Looks at the page under every transform but raw, and packs it under `wanted` (raw: not at all). Returns the end.
/// What it finds of `wanted` is exact; of the others a lower bound. Of bytes all is exact.
template <class T>
std::byte* PageEncoder<T>::pass(Transform wanted, const Page& page, Candidates& found, std::byte* out) {
  if (!elements_) {
    return wanted == Transform::raw ? pass_over_bytes<Transform::raw>(page, found, out)
                                    : pass_over_bytes<Transform::exclusive_or>(page, found, out);
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
std::byte* PageEncoder<T>::pass_over_bytes(const Page& page, Candidates& found, std::byte* out) const {
  alignas(64) std::uint64_t values[64];
  for (std::uint32_t k = page.first; k < page.sectors; ++k) {
    const std::uint64_t any = or_exclusive(page.current_of(k), page.base_of(k));
    found.of[static_cast<int>(Transform::exclusive_or)].add(k, any);
    found.dirty |= std::uint32_t{any != 0} << k;
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
  const Lorenzo strides = strides_;
  // Clean sectors in the reach of a dirty one have values too. Where only a lower bound of these is asked for they
  // are left out; but after two dirty ones the next is looked at without comparing it first: it will be dirty, too.
  constexpr bool follow = Wanted == Transform::subtract_1d || Wanted == Transform::subtract_3d;
  std::uint32_t trace = page.first + 1;  // clean sectors from here on are skipped
  std::uint32_t dirty = 0, filled = filled_;
  Candidate &exclusive = found.of[static_cast<int>(Transform::exclusive_or)],
            &subtract = found.of[static_cast<int>(Transform::subtract)],
            &one = found.of[static_cast<int>(Transform::subtract_1d)],
            &three = found.of[static_cast<int>(Transform::subtract_3d)];
  carry_.clear();
  for (std::uint32_t k = 0; k < page.sectors; ++k) {
    const std::byte* c = page.current_of(k);
    const std::byte* b = page.base_of(k);
    std::byte* const s = s_ + k * sector_bytes;
    const std::uint32_t bit = std::uint32_t{1} << k;
    if (k < page.first || (k >= trace && or_exclusive(c, b) == 0)) {
      if ((filled & bit) != 0) std::memset(s, 0, sector_bytes);
      filled &= ~bit;
      continue;
    }
    filled |= bit;
    if (page.ahead) {
      fetch_sector(c + page_bytes);
      if (page.base != nullptr) fetch_sector(b + page_bytes);
    }
    const SectorOrs ors = look_at_sector<T, Wanted>(c, b, strides, carry_, s, reinterpret_cast<std::byte*>(values));
    exclusive.add(k, ors.of[1]);
    subtract.add(k, ors.of[2]);
    one.add(k, ors.of[3]);
    three.add(k, ors.of[4]);
    if (ors.dirty != 0) {
      const bool second = k != 0 && (dirty >> (k - 1) & 1) != 0;
      trace = k + (follow ? strides.reach() : second ? 2 : 1);
      dirty |= bit;
      if (page.update != nullptr) copy_sector(c, page.update + k * sector_bytes);
    }
    if constexpr (Wanted != Transform::raw) {
      const std::uint64_t mask = ors.of[static_cast<int>(Wanted)];
      if (mask != 0) out = pack_sector(values, mask, out);
    }
  }
  filled_ = filled;
  found.dirty = dirty;
  return out;
}

/// Makes a lower bound exact, or not less than `limit`: then the transform has lost.
template <class T>
void PageEncoder<T>::measure(Transform transform, const Page& page, std::uint32_t dirty, std::uint32_t limit,
                             Candidate& found) const {
  if (!elements_) return;  // it is exact
  const std::uint32_t sectors = with_values(transform, page, dirty);
  switch (transform) {
    case Transform::exclusive_or:
      return measure_elements<Transform::exclusive_or>(page, sectors, limit, found);
    case Transform::subtract_1d:
      return measure_elements<Transform::subtract_1d>(page, sectors, limit, found);
    case Transform::subtract_3d:
      return measure_elements<Transform::subtract_3d>(page, sectors, limit, found);
    default:
      return measure_elements<Transform::subtract>(page, sectors, limit, found);
  }
}

template <class T>
template <Transform Of>
void PageEncoder<T>::measure_elements(const Page& page, std::uint32_t sectors, std::uint32_t limit,
                                      Candidate& found) const {
  const Lorenzo strides = strides_;
  std::uint32_t words = found.words, stored = found.stored;
  for (; sectors != 0 && words <= limit; sectors &= sectors - 1) {
    const auto k = static_cast<std::uint32_t>(std::countr_zero(sectors));
    const std::uint64_t any = look_again<T, Of, false>(page.current_of(k), s_ + k * sector_bytes, strides, nullptr);
    stored |= std::uint32_t{any != 0} << k;
    words += mask_and_planes(any) - found.words_of[k];
  }
  found.words = words;
  found.stored = stored;
}

template <class T>
std::byte* PageEncoder<T>::pack(Transform transform, const Page& page, std::uint32_t stored, std::byte* out) const {
  if (!elements_) {
    Candidates same;
    return pass_over_bytes<Transform::exclusive_or>(page, same, out);
  }
  switch (transform) {
    case Transform::exclusive_or:
      return pack_elements<Transform::exclusive_or>(page, stored, out);
    case Transform::subtract_1d:
      return pack_elements<Transform::subtract_1d>(page, stored, out);
    case Transform::subtract_3d:
      return pack_elements<Transform::subtract_3d>(page, stored, out);
    default:
      return pack_elements<Transform::subtract>(page, stored, out);
  }
}

template <class T>
template <Transform Of>
std::byte* PageEncoder<T>::pack_elements(const Page& page, std::uint32_t stored, std::byte* out) const {
  alignas(64) std::uint64_t values[64];
  const Lorenzo strides = strides_;
  for (; stored != 0; stored &= stored - 1) {
    const auto k = static_cast<std::uint32_t>(std::countr_zero(stored));
    const std::uint64_t mask = look_again<T, Of, true>(page.current_of(k), s_ + k * sector_bytes, strides,
                                                       reinterpret_cast<std::byte*>(values));
    out = pack_sector(values, mask, out);
  }
  return out;
}

/// The sectors that can have values which are not zero.
template <class T>
HWY_INLINE std::uint32_t PageEncoder<T>::with_values(Transform transform, const Page& page,
                                                     std::uint32_t dirty) const {
  const bool differences = transform == Transform::subtract_1d || transform == Transform::subtract_3d;
  if (!differences) return dirty;
  std::uint32_t reach = transform == Transform::subtract_1d ? 2 : strides_.reach();
  std::uint32_t seen = dirty;
  for (std::uint32_t k = 1; k < reach && k < 32; ++k) seen |= dirty << k;
  return page.sectors == 32 ? seen : seen & ((std::uint32_t{1} << page.sectors) - 1);
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
