#pragma once
// What the fuzz harnesses share. A harness is one file NAME_fuzz.cpp with
//
//   // runs: N  max_len: BYTES           in its first line: what ./tests/run does of it
//   void foreweave::fuzz::run(Input)
//   std::vector<Bytes> foreweave::fuzz::seeds()
//
// Where digests, sizes and check words would stop the fuzzer at the door, the first byte of the input says whether the
// harness puts them right before the code under test sees them.

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "foreweave/core/bytes.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave::fuzz {

class Input;

/// Gives one input to the code under test.
void run(Input input);
/// The inputs a run starts from, made by the code under test itself. In a fixed order, alike in every run.
std::vector<Bytes> seeds();

/// Ends the process, as a sanitizer does, when a property does not hold.
inline void require(bool holds, const char* property) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: this does not hold: %s\n", property);
  std::abort();
}

/// Only Error of one of these categories may come out of `act`. Returns whether none came.
inline bool allow(std::initializer_list<ErrorCategory> categories, const std::function<void()>& act) {
  try {
    act();
    return true;
  } catch (const Error& error) {
    for (const auto category : categories) {
      if (error.category() == category) return false;
    }
    std::fprintf(stderr, "fuzz: an error of category %s: %s\n", std::string(to_string(error.category())).c_str(),
                 error.what());
    std::abort();
  }
}

/// Reads an input from the front. Past its end everything is zero.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : bytes_(reinterpret_cast<const std::byte*>(data), size) {}

  template <Scalar T>
  T get() {
    T value{};
    const std::size_t count = std::min(sizeof value, bytes_.size());
    if (count != 0) std::memcpy(&value, bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
    return value;
  }
  std::uint8_t byte() { return get<std::uint8_t>(); }
  /// At most `count` bytes.
  ByteView take(std::size_t count) {
    const ByteView taken = bytes_.first(std::min(count, bytes_.size()));
    bytes_ = bytes_.subspan(taken.size());
    return taken;
  }
  ByteView rest() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }

 private:
  ByteView bytes_;
};

/// Memory that ends exactly where it ends, `shift` bytes past an aligned address: AddressSanitizer sees every byte read
/// or written behind it, and (but for seven of them) before it.
class ExactBuffer {
 public:
  ExactBuffer(std::size_t size, std::size_t shift, std::byte fill = std::byte{0xA5})
      : size_(size), shift_(shift), block_(new std::byte[shift + size]) {
    std::memset(block_.get(), 0xC7, shift);
    if (size != 0) std::memset(data(), static_cast<int>(fill), size);
    if (shift >= 8) ASAN_POISON_MEMORY_REGION(block_.get(), shift / 8 * 8);
  }
  ExactBuffer(ByteView content, std::size_t shift) : ExactBuffer(content.size(), shift) {
    if (!content.empty()) std::memcpy(data(), content.data(), content.size());
  }
  ~ExactBuffer() {
    ASAN_UNPOISON_MEMORY_REGION(block_.get(), shift_);
    for (std::size_t i = 0; i < shift_; ++i) require(block_[i] == std::byte{0xC7}, "nothing is written before a buffer");
  }
  ExactBuffer(const ExactBuffer&) = delete;
  ExactBuffer& operator=(const ExactBuffer&) = delete;

  std::byte* data() { return block_.get() + shift_; }
  ByteView view() const { return {block_.get() + shift_, size_}; }

 private:
  std::size_t size_, shift_;
  std::unique_ptr<std::byte[]> block_;
};

inline bool same(ByteView a, ByteView b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}
inline Bytes copy_of(ByteView view) { return {view.begin(), view.end()}; }
inline std::vector<std::uint8_t> octets(ByteView view) {
  std::vector<std::uint8_t> out(view.size());
  if (!view.empty()) std::memcpy(out.data(), view.data(), view.size());
  return out;
}

}  // namespace foreweave::fuzz
