// Decoding: the checks of docs/format.md in their order, then the transforms undone.
#if defined(FOREWEAVE_KERNELS_HOST_DECODE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_DECODE_INL
#undef FOREWEAVE_KERNELS_HOST_DECODE_INL
#else
#define FOREWEAVE_KERNELS_HOST_DECODE_INL
#endif

#include "kernels/common/page_layout.hpp"
#include "kernels/host/check-inl.hpp"
#include "kernels/host/inverse-inl.hpp"
#include "kernels/host/pack-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

/// Stage 1 of the checks: entries alone.
HWY_INLINE DecodeResult check_entries(const DecodeJob& job) {
  const std::uint64_t pages = page_count(job.bytes);
  std::uint64_t rest = job.in_bytes;
  for (std::uint64_t page = 0; page < pages; ++page) {
    const PageEntry entry = job.entries[page];
    if (entry == 0) continue;
    const DecodeStatus status = common::entry_status(entry, common::page_length(page, job.bytes), job.shape);
    if (status != DecodeStatus::ok) return {status, page};
    if (entry_size(entry) > rest) return {DecodeStatus::bad_size, page};
    rest -= entry_size(entry);
  }
  if (rest != 0) return {DecodeStatus::bad_size, pages};
  return {};
}

/// Stage 2 for one page of `length` bytes whose body lies whole at `body`.
HWY_INLINE DecodeStatus check_body(const std::byte* body, PageEntry entry, std::uint32_t length) {
  const std::uint64_t header = load_word(body);
  const std::uint32_t stored = static_cast<std::uint32_t>(header);
  if (stored == 0 || (stored & ~common::sector_mask(length)) != 0) return DecodeStatus::bad_sectors;
  const std::uint32_t words = (entry_size(entry) - page_header_bytes) / 8;
  const std::byte* data = body + page_header_bytes;
  // Summed first, although it is judged last: it reads the body in order, and the walk over the masks then finds it
  // in the cache instead of waiting for memory at every step.
  const std::uint64_t sum = check_sum(data, words);
  std::uint32_t at = 0;
  for (std::uint32_t left = stored; left != 0; left &= left - 1) {
    if (entry_transform(entry) == 0) {
      at += common::raw_words(static_cast<std::uint32_t>(std::countr_zero(left)), length);
    } else {
      if (at >= words) return DecodeStatus::bad_planes;
      const std::uint64_t mask = load_word(data + 8 * at);
      if (mask == 0) return DecodeStatus::bad_planes;
      at += 1 + static_cast<std::uint32_t>(std::popcount(mask));
    }
  }
  if (at != words) return DecodeStatus::bad_planes;
  const std::uint32_t check = common::check_finish(sum, stored, entry_transform(entry));
  return check == static_cast<std::uint32_t>(header >> 32) ? DecodeStatus::ok : DecodeStatus::bad_check;
}

/// Applies checked bodies to pages; holds the scratch between them (about 50 KiB, on the stack of decode_pages).
template <class T>
class PageDecoder {
 public:
  explicit PageDecoder(const PageShape& shape) : strides_(common::strides_of(shape)) {
    std::memset(lead_, 0, sizeof lead_);
  }

  /// `data` holds whole sectors: the base, and then the content.
  void decode(const std::byte* body, PageEntry entry, std::byte* data, std::uint32_t length);

 private:
  alignas(64) std::byte lead_[page_bytes];  ///< zeros: what lies before s_, one stride at most
  alignas(64) std::byte s_[page_bytes];
  common::Strides strides_;
};

template <class T>
void PageDecoder<T>::decode(const std::byte* body, PageEntry entry, std::byte* data, std::uint32_t length) {
  const Transform transform = static_cast<Transform>(entry_transform(entry));
  std::uint32_t stored = static_cast<std::uint32_t>(load_word(body));
  const std::byte* in = body + page_header_bytes;
  alignas(64) std::uint64_t values[64];
  std::byte* from = reinterpret_cast<std::byte*>(values);

  if (transform == Transform::raw || transform == Transform::exclusive_or || transform == Transform::subtract) {
    for (; stored != 0; stored &= stored - 1) {
      const std::uint32_t k = static_cast<std::uint32_t>(std::countr_zero(stored));
      std::byte* sector = data + k * sector_bytes;
      if (transform == Transform::raw) {
        const std::size_t bytes = 8 * common::raw_words(k, length);
        std::memcpy(sector, in, bytes);
        in += bytes;
        continue;
      }
      in = unpack_sector(in, values);
      if (transform == Transform::exclusive_or) {
        add_exclusive(from, sector);
      } else {
        add_zigzag<T>(from, sector);
      }
    }
    return;
  }

  const std::uint32_t sectors = common::sector_count(length);
  const std::uint32_t first = static_cast<std::uint32_t>(std::countr_zero(stored));
  const std::size_t begin = first * sector_bytes, end = sectors * sector_bytes;
  std::memset(s_, 0, begin);
  for (std::uint32_t k = first; k < sectors; ++k) {
    std::byte* s = s_ + k * sector_bytes;
    if ((stored >> k & 1) != 0) {
      in = unpack_sector(in, values);
      unzigzag_values<T>(from, s);
    } else {
      std::memset(s, 0, sector_bytes);
    }
  }
  if (transform == Transform::subtract_3d) {
    if (strides_.plane != 0) undo_stride<T>(s_ + begin, end - begin, strides_.plane);
    if (strides_.row != 0) undo_stride<T>(s_ + begin, end - begin, strides_.row);
  }
  add_running_sum<T>(s_ + begin, end - begin, data + begin, data + begin);
}

/// Decodes a short page through a copy, so that nothing past its end is touched.
template <class T>
HWY_NOINLINE void decode_short_page(PageDecoder<T>& decoder, const std::byte* body, PageEntry entry, std::byte* data,
                                    std::uint32_t length) {
  alignas(64) std::byte whole[page_bytes];
  std::memcpy(whole, data, length);
  std::memset(whole + length, 0, common::sector_count(length) * sector_bytes - length);
  decoder.decode(body, entry, whole, length);
  std::memcpy(data, whole, length);
}

template <class T>
DecodeResult decode_run(const DecodeJob& job) {
  PageDecoder<T> decoder(job.shape);
  const std::uint64_t pages = page_count(job.bytes);
  const std::byte* body = job.in;
  for (std::uint64_t page = 0; page < pages; ++page) {
    const PageEntry entry = job.entries[page];
    if (entry == 0) continue;
    const std::uint32_t length = common::page_length(page, job.bytes);
    const DecodeStatus status = check_body(body, entry, length);
    if (status != DecodeStatus::ok) return {status, page};
    std::byte* data = job.data + page * page_bytes;
    if (length == page_bytes) {
      decoder.decode(body, entry, data, length);
    } else {
      decode_short_page<T>(decoder, body, entry, data, length);
    }
    body += entry_size(entry);
  }
  return {};
}

DecodeResult DecodePages(const DecodeJob& job) {
  const DecodeResult entries = check_entries(job);
  if (entries.status != DecodeStatus::ok || job.in_bytes == 0) return entries;
  return job.shape.width == 4 ? decode_run<std::uint32_t>(job) : decode_run<std::uint64_t>(job);
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
