#pragma once
// Pinned chunks of one size, filled one after another and kept for the next capture: page-locking is slow.

#include <cstdint>
#include <vector>

#include "foreweave/device/memory.hpp"

namespace foreweave::state_detail {

class PinnedPool {
 public:
  explicit PinnedPool(std::uint64_t chunk_bytes) : chunk_bytes_((chunk_bytes + 15) / 16 * 16) {}

  /// `bytes`, at most the size of a chunk, aligned to 16, valid until clear().
  std::byte* allocate(std::uint64_t bytes) {
    bytes = (bytes + 15) / 16 * 16;
    if (filled_ != 0 && chunk_bytes_ - used_ < bytes) ++current_, filled_ = used_ = 0;
    if (current_ == chunks_.size()) chunks_.emplace_back(chunk_bytes_);
    std::byte* const place = chunks_[current_].data() + used_;
    used_ += bytes;
    ++filled_;
    return place;
  }
  /// What allocate() gave first after clear(): the same memory every time.
  std::byte* first() { return chunks_.front().data(); }
  void clear() { current_ = filled_ = used_ = 0; }
  std::uint64_t chunk_bytes() const { return chunk_bytes_; }
  std::uint64_t held_bytes() const { return chunks_.size() * chunk_bytes_; }

 private:
  std::uint64_t chunk_bytes_;
  std::vector<PinnedBuffer> chunks_;
  std::size_t current_ = 0;   ///< being filled
  std::uint64_t filled_ = 0;  ///< pieces in it
  std::uint64_t used_ = 0;    ///< bytes of it
};

}  // namespace foreweave::state_detail
