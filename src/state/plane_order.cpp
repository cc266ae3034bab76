#include "state/plane_order.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "foreweave/state/snapshot.hpp"

namespace foreweave::state_detail {
namespace {

using kernels::PageEntry;
using kernels::Transform;

std::uint64_t load(const std::byte* from) {
  std::uint64_t word;
  std::memcpy(&word, from, 8);
  return word;
}
void store(std::byte* to, std::uint64_t word) { std::memcpy(to, &word, 8); }

/// The words of one kind, split into their bytes: the first bytes of all, the second bytes of all, …
class Lanes {
 public:
  void place(std::byte* at, std::uint64_t count) {
    at_ = at;
    count_ = count;
  }
  void put(std::uint64_t word) {
    for (std::uint64_t lane = 0; lane < 8; ++lane)
      at_[lane * count_ + next_] = static_cast<std::byte>(word >> 8 * lane);
    ++next_;
  }

 private:
  std::byte* at_ = nullptr;
  std::uint64_t count_ = 0, next_ = 0;
};
class ConstLanes {
 public:
  void place(const std::byte* at, std::uint64_t count) {
    at_ = at;
    count_ = count;
  }
  std::uint64_t operator[](std::uint64_t index) const {
    std::uint64_t word = 0;
    for (std::uint64_t lane = 0; lane < 8; ++lane) {
      word |= static_cast<std::uint64_t>(at_[lane * count_ + index]) << 8 * lane;
    }
    return word;
  }

 private:
  const std::byte* at_ = nullptr;
  std::uint64_t count_ = 0;
};

/// What a segment's head says: both orders begin with it.
struct Head {
  std::size_t bytes = 0;  ///< of the head
  std::size_t pages = 0;  ///< that are stored
  std::array<PageEntry, pages_per_segment> entries{};
  std::uint64_t raw_words = 0;

  bool raw(std::size_t page) const { return kernels::entry_transform(entries[page]) == 0; }
  /// Words of the page's body after its first.
  std::uint64_t words(std::size_t page) const { return kernels::entry_size(entries[page]) / 8 - 1; }

  /// Null when it can be the head of a segment of `bytes.size()` bytes.
  const char* read(ByteView segment) {
    if (segment.size() < 8 || segment.size() % 8 != 0) return "its size is no segment's";
    pages = static_cast<std::size_t>(std::popcount(load(segment.data())));
    bytes = 8 + (pages + pages % 2) * sizeof(PageEntry);
    if (pages == 0) return "it has no pages";
    if (segment.size() < bytes) return "it ends in its head";
    std::memcpy(entries.data(), segment.data() + 8, pages * sizeof(PageEntry));
    std::uint64_t total = bytes;
    for (std::size_t page = 0; page < pages; ++page) {
      const std::uint64_t size = kernels::entry_size(entries[page]);
      if (size % 8 != 0 || size < 16 || size > kernels::max_encoded_page_bytes)
        return "a page has an impossible size";
      if (kernels::entry_transform(entries[page]) >= kernels::transform_count) return "a page's transform is unknown";
      total += size;
      if (raw(page)) raw_words += words(page);
    }
    return total == segment.size() ? nullptr : "its pages are not of its size";
  }
};

/// Sectors that a page stores, from the first word of its body.
std::uint64_t sectors(std::uint64_t first_word) {
  return static_cast<std::uint64_t>(std::popcount(static_cast<std::uint32_t>(first_word)));
}

/// Where each plane's words are, the highest plane first.
template <class Byte>
std::array<Byte*, 64> plane_places(Byte* at, const std::array<std::uint64_t, 64>& counts) {
  std::array<Byte*, 64> places;
  for (int plane = 63; plane >= 0; --plane) {
    places[static_cast<std::size_t>(plane)] = at;
    at += 8 * counts[static_cast<std::size_t>(plane)];
  }
  return places;
}

void count_planes(std::uint64_t mask, std::array<std::uint64_t, 64>& counts) {
  for (; mask != 0; mask &= mask - 1) ++counts[static_cast<std::size_t>(std::countr_zero(mask))];
}

}  // namespace

bool to_plane_order(ByteView segment, std::byte* to) {
  Head head;
  if (head.read(segment) != nullptr) return false;
  // How many words there are of each kind.
  std::array<std::uint64_t, 64> counts{};
  std::uint64_t masks = 0;
  const std::byte* from = segment.data() + head.bytes;
  for (std::size_t page = 0; page < head.pages; ++page) {
    const std::byte* const end = from + kernels::entry_size(head.entries[page]);
    if (!head.raw(page)) {
      const std::byte* at = from + 8;
      for (std::uint64_t left = sectors(load(from)); left != 0; --left) {
        if (at == end) return false;
        const std::uint64_t mask = load(at);
        const std::size_t planes = static_cast<std::size_t>(std::popcount(mask));
        if (static_cast<std::size_t>(end - at) < 8 * (planes + 1)) return false;
        count_planes(mask, counts);
        ++masks;
        at += 8 * (planes + 1);
      }
      if (at != end) return false;
    }
    from = end;
  }
  std::memcpy(to, segment.data(), head.bytes);
  std::byte* firsts = to + head.bytes;
  Lanes mask_lanes, raw_lanes;
  mask_lanes.place(firsts + 8 * head.pages, masks);
  raw_lanes.place(firsts + 8 * (head.pages + masks), head.raw_words);
  auto planes = plane_places(firsts + 8 * (head.pages + masks + head.raw_words), counts);
  from = segment.data() + head.bytes;
  for (std::size_t page = 0; page < head.pages; ++page) {
    const std::byte* const end = from + kernels::entry_size(head.entries[page]);
    std::memcpy(firsts, from, 8);
    firsts += 8;
    from += 8;
    while (from != end) {
      const std::uint64_t word = load(from);
      from += 8;
      if (head.raw(page)) {
        raw_lanes.put(word);
        continue;
      }
      mask_lanes.put(word);
      for (std::uint64_t mask = word; mask != 0; mask &= mask - 1) {
        std::byte*& place = planes[static_cast<std::size_t>(std::countr_zero(mask))];
        std::memcpy(place, from, 8);
        place += 8;
        from += 8;
      }
    }
  }
  return true;
}

const char* from_plane_order(ByteView ordered, std::byte* to) {
  Head head;
  if (const char* const problem = head.read(ordered)) return problem;
  // The sizes of what follows come out of each other; each is checked before it is used.
  std::uint64_t left = (ordered.size() - head.bytes) / 8;
  const std::byte* firsts = ordered.data() + head.bytes;
  left -= head.pages;  // every page has at least two words
  std::uint64_t masks = 0;
  for (std::size_t page = 0; page < head.pages; ++page) {
    if (!head.raw(page)) masks += sectors(load(firsts + 8 * page));
  }
  if (masks + head.raw_words > left) return "it has more sectors than fit";
  ConstLanes mask_lanes, raw_lanes;
  mask_lanes.place(firsts + 8 * head.pages, masks);
  raw_lanes.place(firsts + 8 * (head.pages + masks), head.raw_words);
  std::array<std::uint64_t, 64> counts{};
  std::uint64_t sector = 0;
  for (std::size_t page = 0; page < head.pages; ++page) {
    if (head.raw(page)) continue;
    std::uint64_t words = 0;
    for (const std::uint64_t end = sector + sectors(load(firsts + 8 * page)); sector != end; ++sector) {
      const std::uint64_t mask = mask_lanes[sector];
      count_planes(mask, counts);
      words += 1 + static_cast<std::uint64_t>(std::popcount(mask));
    }
    if (words != head.words(page)) return "the planes of a page are not of its size";
  }
  auto planes = plane_places(firsts + 8 * (head.pages + masks + head.raw_words), counts);
  std::memcpy(to, ordered.data(), head.bytes);
  to += head.bytes;
  std::uint64_t raw = 0;
  sector = 0;
  for (std::size_t page = 0; page < head.pages; ++page, firsts += 8) {
    const std::uint64_t first = load(firsts);
    store(to, first);
    to += 8;
    if (head.raw(page)) {
      for (std::uint64_t count = head.words(page); count != 0; --count, to += 8) store(to, raw_lanes[raw++]);
      continue;
    }
    for (const std::uint64_t end = sector + sectors(first); sector != end; ++sector) {
      const std::uint64_t mask = mask_lanes[sector];
      store(to, mask);
      to += 8;
      for (std::uint64_t rest = mask; rest != 0; rest &= rest - 1, to += 8) {
        const std::byte*& place = planes[static_cast<std::size_t>(std::countr_zero(rest))];
        std::memcpy(to, place, 8);
        place += 8;
      }
    }
  }
  return nullptr;
}

}  // namespace foreweave::state_detail
