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

  /// `data` holds whole sectors: the base, and then the content. Nothing is read from `end` on. `ahead`: the page
  /// after this one is fetched into the cache meanwhile.
  void decode(const std::byte* body, const std::byte* end, PageEntry entry, std::byte* data, std::uint32_t length,
              bool ahead);

 private:
  static void decode_raw(const std::byte* in, std::uint32_t stored, std::byte* data, std::uint32_t length);
  template <Transform Used>
  static void decode_apart(const std::byte* in, const std::byte* end, std::uint32_t stored, std::byte* data,
                           bool ahead);
  HWY_NOINLINE void decode_differences(const std::byte* in, const std::byte* end, std::uint32_t stored,
                                       common::Strides strides, std::byte* data, std::uint32_t length, bool ahead);

  alignas(64) std::byte lead_[page_bytes];  ///< zeros: what lies before s_, one stride at most
  alignas(64) std::byte s_[page_bytes];
  common::Strides strides_;
};

template <class T>
void PageDecoder<T>::decode(const std::byte* body, const std::byte* end, PageEntry entry, std::byte* data,
                            std::uint32_t length, bool ahead) {
  const std::byte* const in = body + page_header_bytes;
  const std::uint32_t stored = static_cast<std::uint32_t>(load_word(body));
  switch (static_cast<Transform>(entry_transform(entry))) {
    case Transform::raw:
      return decode_raw(in, stored, data, length);
    case Transform::exclusive_or:
      return decode_apart<Transform::exclusive_or>(in, end, stored, data, ahead);
    case Transform::subtract:
      return decode_apart<Transform::subtract>(in, end, stored, data, ahead);
    case Transform::subtract_1d:
      return decode_differences(in, end, stored, {}, data, length, ahead);
    case Transform::subtract_3d:
      return decode_differences(in, end, stored, strides_, data, length, ahead);
  }
}

template <class T>
void PageDecoder<T>::decode_raw(const std::byte* in, std::uint32_t stored, std::byte* data, std::uint32_t length) {
  for (; stored != 0; stored &= stored - 1) {
    const std::uint32_t k = static_cast<std::uint32_t>(std::countr_zero(stored));
    const std::size_t bytes = 8 * common::raw_words(k, length);
    std::memcpy(data + k * sector_bytes, in, bytes);
    in += bytes;
  }
}

/// Transforms under which every sector stands by itself.
template <class T>
template <Transform Used>
void PageDecoder<T>::decode_apart(const std::byte* in, const std::byte* end, std::uint32_t stored, std::byte* data,
                                  bool ahead) {
  alignas(64) std::uint64_t values[64];
  const std::byte* const from = reinterpret_cast<const std::byte*>(values);
  for (; stored != 0; stored &= stored - 1) {
    std::byte* const sector = data + static_cast<std::uint32_t>(std::countr_zero(stored)) * sector_bytes;
    if (ahead) fetch_sector(sector + page_bytes);
    in = unpack_sector(in, end, values);
    if constexpr (Used == Transform::exclusive_or) {
      add_exclusive(from, sector);
    } else {
      add_zigzag<T>(from, sector);
    }
  }
}

template <class T>
void PageDecoder<T>::decode_differences(const std::byte* in, const std::byte* end, std::uint32_t stored,
                                        common::Strides strides, std::byte* data, std::uint32_t length, bool ahead) {
  alignas(64) std::uint64_t values[64];
  const std::uint32_t sectors = common::sector_count(length);
  const std::uint32_t first = static_cast<std::uint32_t>(std::countr_zero(stored));
  // One stride of a vector at least is undone on the way; else the sectors wait until all are there.
  const std::size_t back = (strides.row + strides.plane) * sizeof(T);
  const bool wait = (strides.row != 0 && strides.plane != 0) || (back != 0 && back < vector_bytes<T>());
  RunningSum<T> sum;
  std::memset(s_, 0, first * sector_bytes);
  for (std::uint32_t k = first; k < sectors; ++k) {
    const std::size_t at = k * sector_bytes;
    if (ahead) fetch_sector(data + at + page_bytes);
    if ((stored >> k & 1) != 0) {
      in = unpack_sector(in, end, values);
      unzigzag_values<T>(reinterpret_cast<const std::byte*>(values), wait ? 0 : back, s_ + at);
    } else if (wait || back == 0) {
      std::memset(s_ + at, 0, sector_bytes);
    } else {
      copy_sector(s_ + at - back, s_ + at);  // vector by vector: with a short stride the two overlap, and it repeats
    }
    // A sector later, so that no load waits for a store that it only partly overlaps.
    if (!wait && k > first) {
      const std::size_t before = at - sector_bytes;
      sum.add(s_ + before, sector_bytes, data + before);
    }
  }
  std::size_t begin = (sectors - 1) * sector_bytes;
  const std::size_t bytes = (wait ? sectors - first : 1) * sector_bytes;
  if (wait) {
    begin = first * sector_bytes;
    if (strides.plane != 0) undo_stride<T>(s_ + begin, bytes, strides.plane);
    if (strides.row != 0) undo_stride<T>(s_ + begin, bytes, strides.row);
  }
  sum.add(s_ + begin, bytes, data + begin);
}

/// Decodes a short page through a copy, so that nothing past its end is touched.
template <class T>
HWY_NOINLINE void decode_short_page(PageDecoder<T>& decoder, const std::byte* body, const std::byte* end,
                                    PageEntry entry, std::byte* data, std::uint32_t length) {
  alignas(64) std::byte whole[page_bytes];
  std::memcpy(whole, data, length);
  std::memset(whole + length, 0, common::sector_count(length) * sector_bytes - length);
  decoder.decode(body, end, entry, whole, length, false);
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
      decoder.decode(body, job.in + job.in_bytes, entry, data, length, (page + 2) * page_bytes <= job.bytes);
    } else {
      decode_short_page<T>(decoder, body, job.in + job.in_bytes, entry, data, length);
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
