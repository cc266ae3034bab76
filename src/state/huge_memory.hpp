#pragma once
// Large zeroed memory that is there when it is made: huge pages where the system has them, and every page touched, so
// that no capture pays for page faults.

#include <cstddef>
#include <cstdint>
#include <utility>

namespace foreweave::state_detail {

class HugeMemory {
 public:
  HugeMemory() = default;
  /// Error(resource) where there is not so much memory. 0 bytes own nothing.
  explicit HugeMemory(std::uint64_t bytes);
  HugeMemory(HugeMemory&& other) noexcept { *this = std::move(other); }
  HugeMemory& operator=(HugeMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(mapped_, other.mapped_);
    std::swap(mapping_, other.mapping_);
    return *this;
  }
  ~HugeMemory();

  std::byte* data() const { return data_; }
  /// What it takes of the machine's memory.
  std::uint64_t held_bytes() const { return mapped_; }

 private:
  std::byte* data_ = nullptr;
  void* mapping_ = nullptr;
  std::uint64_t mapped_ = 0;
};

}  // namespace foreweave::state_detail
