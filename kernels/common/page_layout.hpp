#pragma once
// Sizes inside a page and its body, and what an entry may say (docs/format.md, "Pages").

#include <cstdint>

#include "kernels/common/host_device.hpp"
#include "kernels/common/page_shape.hpp"
#include "kernels/decl/page_codec.hpp"

namespace foreweave::kernels::common {

inline constexpr std::uint32_t words_per_sector = sector_bytes / 8;
inline constexpr std::uint32_t words_per_page = page_bytes / 8;

/// Bytes of page `page` in a run of `bytes`: page_bytes, or less for the last.
FOREWEAVE_HD constexpr std::uint32_t page_length(std::uint64_t page, std::uint64_t bytes) {
  const std::uint64_t rest = bytes - page * page_bytes;
  return static_cast<std::uint32_t>(rest < page_bytes ? rest : page_bytes);
}

/// Sectors of a page of `length` bytes, the last perhaps short.
FOREWEAVE_HD constexpr std::uint32_t sector_count(std::uint32_t length) {
  return (length + static_cast<std::uint32_t>(sector_bytes) - 1) / static_cast<std::uint32_t>(sector_bytes);
}

/// The bits of the sector bitmap that a page of `length` bytes (at least 1) can have.
FOREWEAVE_HD constexpr std::uint32_t sector_mask(std::uint32_t length) {
  return 0xFFFFFFFFu >> (sectors_per_page - sector_count(length));
}

/// Words that `raw` stores of sector `sector` of a page of `length` bytes: 64, fewer in a short last sector.
FOREWEAVE_HD constexpr std::uint32_t raw_words(std::uint32_t sector, std::uint32_t length) {
  const std::uint32_t words = (length + 7) / 8 - sector * words_per_sector;
  return words < words_per_sector ? words : words_per_sector;
}

/// What an entry by itself shows to be wrong: bad_size, then bad_transform, else ok.
FOREWEAVE_HD constexpr DecodeStatus entry_status(PageEntry entry, std::uint32_t length, const PageShape& shape) {
  const std::uint32_t size = entry & 0xFFFFFFu;
  const std::uint32_t transform = entry >> 24;
  if (entry == 0) return DecodeStatus::ok;
  const std::uint32_t largest = page_header_bytes + (length + 7) / 8 * 8;
  if (size % 8 != 0 || size < page_header_bytes + 8 || size > largest) return DecodeStatus::bad_size;
  return transform_allowed(transform, shape) ? DecodeStatus::ok : DecodeStatus::bad_transform;
}

}  // namespace foreweave::kernels::common
