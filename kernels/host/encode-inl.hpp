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
      : strides_(common::strides_of(shape)), differences_(shape.width == 8 || shape.width == 4) {
    std::memset(s_lead_, 0, sizeof s_lead_);
    std::memset(difference_lead_ + sizeof difference_lead_ - lead_bytes(), 0, lead_bytes());
  }

  /// Encodes whole sectors: `length` bytes of the page exist, up to the next multiple of 512 can be read (zeros) from
  /// both. `base` is null for zeros. With `update`, dirty sectors are written to the base. Writes at most
  /// max_encoded_page_bytes + pack_overrun to `out`. Returns the entry.
  PageEntry encode(const std::byte* current, std::byte* base, std::uint32_t length, bool update, std::byte* out);

 private:
  /// subtract_3d looks (row + plane) elements back, each stride less than a page.
  static constexpr std::size_t max_lead = 2 * page_bytes;
  std::size_t lead_bytes() const { return (strides_.row + strides_.plane) * sizeof(T); }

  std::byte* write_values(Transform transform, const std::byte* current, std::uint32_t stored, std::byte* out);
  std::byte* write_raw(const std::byte* current, std::uint32_t length, std::uint32_t stored, std::byte* out) const;

  common::Strides strides_;
  bool differences_;
  alignas(64) std::byte s_lead_[64];     ///< zeros: what lies before s_
  alignas(64) std::byte s_[page_bytes];  ///< current − base; current ^ base where T has no subtraction (width 1)
  alignas(64) std::byte difference_lead_[max_lead];
  alignas(64) std::byte difference_[page_bytes];          ///< (1 − S₁) s
  std::uint64_t ors_[transform_count][sectors_per_page];  ///< per transform (raw: unused) and sector
};

/// What a base of zeros is read from.
alignas(64) inline constexpr std::byte zero_sector[sector_bytes] = {};

template <class T>
PageEntry PageEncoder<T>::encode(const std::byte* current, std::byte* base, std::uint32_t length, bool update,
                                 std::byte* out) {
  const std::uint32_t sectors = common::sector_count(length);
  constexpr int exclusive = static_cast<int>(Transform::exclusive_or);
  constexpr int subtract = static_cast<int>(Transform::subtract);
  constexpr int subtract_1d = static_cast<int>(Transform::subtract_1d);
  constexpr int subtract_3d = static_cast<int>(Transform::subtract_3d);
  std::uint32_t stored[transform_count] = {};
  std::uint32_t size[transform_count] = {};

  for (std::uint32_t k = 0; k < sectors; ++k) {
    const std::byte* c = current + k * sector_bytes;
    std::byte* b = base != nullptr ? base + k * sector_bytes : nullptr;
    const std::byte* from = b != nullptr ? b : zero_sector;
    const std::uint64_t changed = or_exclusive(c, from);
    if (changed == 0) continue;
    stored[exclusive] |= 1u << k;
    ors_[exclusive][k] = changed;
    size[exclusive] += 8 + 8 * static_cast<std::uint32_t>(std::popcount(changed));
    size[0] += 8 * common::raw_words(k, length);
    std::byte* s = s_ + k * sector_bytes;
    if (differences_) {
      ors_[subtract][k] = subtract_sector<T>(c, from, s);
      size[subtract] += 8 + 8 * static_cast<std::uint32_t>(std::popcount(ors_[subtract][k]));
    } else {
      for (std::size_t i = 0; i < sector_bytes; i += vector_bytes<std::uint64_t>()) {
        store<std::uint64_t>(hn::Xor(load<std::uint64_t>(c + i), load<std::uint64_t>(from + i)), s + i);
      }
    }
    if (update) std::memcpy(b, c, sector_bytes);
  }
  const std::uint32_t dirty = stored[exclusive];
  if (dirty == 0) return 0;
  stored[0] = stored[subtract] = dirty;
  int best = size[exclusive] < size[0] ? exclusive : 0;

  if (differences_) {
    if (size[subtract] < size[best]) best = subtract;
    // Sectors before the first dirty one have no values under any transform.
    const std::uint32_t first = static_cast<std::uint32_t>(std::countr_zero(dirty));
    for (std::uint32_t k = 0; k < sectors; ++k) {
      if ((dirty >> k & 1) == 0) std::memset(s_ + k * sector_bytes, 0, sector_bytes);
    }
    if (first != 0) std::memset(difference_, 0, first * sector_bytes);
    for (std::uint32_t k = first; k < sectors; ++k) {
      const std::uint64_t any = difference_sector<T>(s_ + k * sector_bytes, difference_ + k * sector_bytes);
      ors_[subtract_1d][k] = any;
      stored[subtract_1d] |= std::uint32_t{any != 0} << k;
      size[subtract_1d] += any != 0 ? 8 + 8 * static_cast<std::uint32_t>(std::popcount(any)) : 0;
    }
    if (size[subtract_1d] < size[best]) best = subtract_1d;
    if (strides_.any()) {
      const Lorenzo<T> lorenzo(strides_);
      for (std::uint32_t k = first; k < sectors; ++k) {
        const std::uint64_t any = or_lorenzo<T>(difference_ + k * sector_bytes, lorenzo);
        ors_[subtract_3d][k] = any;
        stored[subtract_3d] |= std::uint32_t{any != 0} << k;
        size[subtract_3d] += any != 0 ? 8 + 8 * static_cast<std::uint32_t>(std::popcount(any)) : 0;
      }
      if (size[subtract_3d] < size[best]) best = subtract_3d;
    }
  }

  const Transform transform = static_cast<Transform>(best);
  std::byte* end = best == 0 ? write_raw(current, length, stored[0], out + page_header_bytes)
                             : write_values(transform, current, stored[best], out + page_header_bytes);
  const std::uint32_t bytes = static_cast<std::uint32_t>(end - out);
  const std::uint64_t sum = check_sum(out + page_header_bytes, (bytes - page_header_bytes) / 8);
  const std::uint32_t check = common::check_finish(sum, stored[best], static_cast<std::uint32_t>(best));
  store_word(stored[best] | static_cast<std::uint64_t>(check) << 32, out);
  return make_entry(bytes, transform);
}

template <class T>
std::byte* PageEncoder<T>::write_raw(const std::byte* current, std::uint32_t length, std::uint32_t stored,
                                     std::byte* out) const {
  for (; stored != 0; stored &= stored - 1) {
    const std::uint32_t k = static_cast<std::uint32_t>(std::countr_zero(stored));
    const std::size_t bytes = 8 * common::raw_words(k, length);
    std::memcpy(out, current + k * sector_bytes, bytes);
    out += bytes;
  }
  return out;
}

template <class T>
std::byte* PageEncoder<T>::write_values(Transform transform, const std::byte* current, std::uint32_t stored,
                                        std::byte* out) {
  alignas(64) std::uint64_t values[64];
  std::byte* to = reinterpret_cast<std::byte*>(values);
  const Lorenzo<T> lorenzo(strides_);
  for (; stored != 0; stored &= stored - 1) {
    const std::uint32_t k = static_cast<std::uint32_t>(std::countr_zero(stored));
    const std::size_t at = k * sector_bytes;
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
    out = pack_sector(values, ors_[static_cast<int>(transform)][k], out);
  }
  return out;
}

/// Encodes the last page of a run, which may be short, through copies: nothing past the end of current or base is
/// read, and nothing past the bound of `out` is written.
template <class T>
HWY_NOINLINE PageEntry encode_last_page(PageEncoder<T>& encoder, const std::byte* current, std::byte* base,
                                        std::uint32_t length, bool update, std::byte* out) {
  alignas(64) std::byte body[max_encoded_page_bytes + pack_overrun];
  PageEntry entry;
  if (length == page_bytes) {
    entry = encoder.encode(current, base, length, update, body);
  } else {
    alignas(64) std::byte whole_current[page_bytes];
    alignas(64) std::byte whole_base[page_bytes];
    const std::size_t whole = common::sector_count(length) * sector_bytes;
    std::memcpy(whole_current, current, length);
    std::memset(whole_current + length, 0, whole - length);
    if (base != nullptr) {
      std::memcpy(whole_base, base, length);
      std::memset(whole_base + length, 0, whole - length);
    }
    entry = encoder.encode(whole_current, base != nullptr ? whole_base : nullptr, length, false, body);
    if (update && entry != 0) std::memcpy(base, current, length);
  }
  std::memcpy(out, body, entry_size(entry));
  return entry;
}

template <class T>
std::uint64_t encode_run(const EncodeJob& job) {
  PageEncoder<T> encoder(job.shape);
  const std::uint64_t pages = page_count(job.bytes);
  const bool update = job.update_base && job.base != nullptr;
  std::byte* out = job.out;
  for (std::uint64_t page = 0; page < pages; ++page) {
    const std::byte* current = job.current + page * page_bytes;
    std::byte* base = job.base != nullptr ? job.base + page * page_bytes : nullptr;
    const PageEntry entry = page + 1 < pages ? encoder.encode(current, base, page_bytes, update, out)
                                             : encode_last_page<T>(encoder, current, base,
                                                                   common::page_length(page, job.bytes), update, out);
    job.entries[page] = entry;
    out += entry_size(entry);
  }
  return static_cast<std::uint64_t>(out - job.out);
}

std::uint64_t EncodePages(const EncodeJob& job) {
  if (job.bytes == 0) return 0;
  return job.shape.width == 4 ? encode_run<std::uint32_t>(job) : encode_run<std::uint64_t>(job);
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
