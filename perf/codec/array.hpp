#pragma once
// Large memory in huge pages, as captures have it. Where small pages happen to lie makes rates differ by a quarter.

#include <cstddef>
#include <cstring>
#include <utility>

#include "state/huge_memory.hpp"

namespace foreweave::perf {

class Array {
 public:
  Array() = default;
  explicit Array(std::size_t bytes) : memory_(bytes), size_(bytes) {}
  Array(const Array& other) : Array(other.size_) {
    if (size_ != 0) std::memcpy(data(), other.data(), size_);
  }
  Array(Array&& other) noexcept { swap(other); }
  Array& operator=(Array other) noexcept {
    swap(other);
    return *this;
  }
  void swap(Array& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
  }
  std::byte* data() const { return memory_.data(); }
  std::size_t size() const { return size_; }

 private:
  state_detail::HugeMemory memory_;
  std::size_t size_ = 0;
};

}  // namespace foreweave::perf
