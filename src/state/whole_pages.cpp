#include "state/whole_pages.hpp"

#include <cstring>

#include "kernels/common/check_word.hpp"
#include "kernels/common/page_layout.hpp"

namespace foreweave::state_detail {

using namespace kernels;

std::uint64_t encode_whole_pages(const std::byte* current, std::uint64_t bytes, std::byte* out, PageEntry* entries) {
  constexpr auto transform = static_cast<std::uint32_t>(Transform::raw);
  std::uint64_t size = 0;
  for (std::uint64_t page = 0; page < page_count(bytes); ++page) {
    const std::uint32_t length = common::page_length(page, bytes);
    const std::uint32_t words = (length + 7) / 8;
    std::byte* const body = out + size;
    std::byte* const data = body + page_header_bytes;
    std::memset(data + 8 * (words - 1), 0, 8);  // the last word may be filled up
    std::memcpy(data, current + page * page_bytes, length);
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < words; ++i) {
      std::uint64_t word = 0;
      std::memcpy(&word, data + 8 * i, sizeof word);
      sum += common::check_term(i, word);
    }
    const std::uint32_t sectors = common::sector_mask(length);
    const std::uint32_t check = common::check_finish(sum, sectors, transform);
    std::memcpy(body, &sectors, sizeof sectors);
    std::memcpy(body + sizeof sectors, &check, sizeof check);
    const auto body_bytes = static_cast<std::uint32_t>(page_header_bytes) + 8 * words;
    entries[page] = make_entry(body_bytes, Transform::raw);
    size += body_bytes;
  }
  return size;
}

}  // namespace foreweave::state_detail
