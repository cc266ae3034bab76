#include "state/staging.hpp"

#include <algorithm>

#include "kernels/decl/page_codec.hpp"

namespace foreweave::state_detail {

using kernels::page_bytes;

void Staging::add_chunk(std::uint64_t pages) {
  if (limit_ != 0) {
    std::uint64_t given = 0;
    for (const auto& chunk : chunks_) given += chunk.pages;
    pages = std::min(pages, limit_ / page_bytes - std::min(given, limit_ / page_bytes));
  }
  chunks_.push_back({HugeMemory(pages * page_bytes), pages, 0});
}

void Staging::remove_chunk(std::size_t index) {
  chunks_.erase(chunks_.begin() + static_cast<std::ptrdiff_t>(index));
  clear();
}

std::byte* Staging::room(std::uint64_t pages) {
  while (current_ < chunks_.size()) {
    Chunk& chunk = chunks_[current_];
    if (chunk.pages - chunk.used >= pages) return chunk.memory.data() + chunk.used * page_bytes;
    // The last chunk stays current: a smaller segment may still fit.
    if (current_ + 1 == chunks_.size()) break;
    ++current_;
  }
  return nullptr;
}

void Staging::take(std::uint64_t pages) { chunks_[current_].used += pages; }

void Staging::clear() {
  for (auto& chunk : chunks_) chunk.used = 0;
  current_ = 0;
}

std::uint64_t Staging::held_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& chunk : chunks_) sum += chunk.memory.held_bytes();
  return sum;
}

}  // namespace foreweave::state_detail
