#pragma once
// Memory that ends exactly at a page that cannot be touched: reading or writing one byte past the end kills the test,
// sanitizer or not. Before the beginning lies a canary.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

namespace foreweave::test {

class GuardedBuffer {
 public:
  /// `size` bytes, filled with `fill`. The end touches the guard page, so the size decides the alignment of data():
  /// `size + k` bytes more behind the end, k < 64, shift it (and move the guard k bytes away).
  explicit GuardedBuffer(std::size_t size, std::size_t slack = 0, std::uint8_t fill = 0xA5) : size_(size) {
    const std::size_t unit = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = (size + slack + canary + unit - 1) / unit * unit + unit;
    void* at = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    map_ = static_cast<std::byte*>(at);
    if (mprotect(map_ + mapped_ - unit, unit, PROT_NONE) != 0) throw std::bad_alloc();
    data_ = map_ + mapped_ - unit - slack - size;
    slack_ = slack;
    std::memset(data_ - canary, canary_byte, canary);
    std::memset(data_, fill, size);
    std::memset(data_ + size, canary_byte, slack);
  }
  GuardedBuffer(const std::vector<std::uint8_t>& content, std::size_t slack = 0)
      : GuardedBuffer(content.size(), slack) {
    if (!content.empty()) std::memcpy(data_, content.data(), content.size());
  }
  ~GuardedBuffer() { munmap(map_, mapped_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  std::byte* data() { return data_; }
  std::size_t size() const { return size_; }
  std::vector<std::uint8_t> content() const { return content(size_); }
  std::vector<std::uint8_t> content(std::size_t bytes) const {
    const auto* at = reinterpret_cast<const std::uint8_t*>(data_);
    return {at, at + bytes};
  }
  /// Whether nothing was written next to the buffer, where no guard page tells.
  bool intact() const {
    for (std::size_t i = 0; i < canary; ++i) {
      if (data_[-static_cast<std::ptrdiff_t>(i) - 1] != std::byte{canary_byte}) return false;
    }
    for (std::size_t i = 0; i < slack_; ++i) {
      if (data_[size_ + i] != std::byte{canary_byte}) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t canary = 128;
  static constexpr std::uint8_t canary_byte = 0xC7;
  std::byte* map_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0, slack_ = 0, mapped_ = 0;
};

}  // namespace foreweave::test
