#pragma once
// Little-endian writing and bounds-checked reading of the project's own binary formats (manifests, frames).

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "foreweave/core/error.hpp"

namespace foreweave {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

template <class T>
concept Scalar = std::integral<T> || std::floating_point<T> || std::is_enum_v<T>;

/// Appends scalars and strings to a growing buffer. Little-endian hosts only (checked at compile time in bytes.cpp).
class ByteWriter {
 public:
  template <Scalar T>
  void put(T value) {
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof value);
  }
  /// A string or blob with its 32-bit length before it.
  void put_string(std::string_view text);
  void put_bytes(ByteView bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  std::size_t size() const { return bytes_.size(); }
  const Bytes& bytes() const { return bytes_; }
  Bytes take() { return std::move(bytes_); }

 private:
  Bytes bytes_;
};

/// Reads what ByteWriter wrote. Every read is checked; past the end it throws Error(format) naming `what`.
/// Views the bytes; they must outlive the reader.
class ByteReader {
 public:
  ByteReader(ByteView bytes, std::string what) : bytes_(bytes), what_(std::move(what)) {}

  template <Scalar T>
  T get() {
    T value;
    std::memcpy(&value, get_bytes(sizeof value).data(), sizeof value);
    return value;
  }
  /// At most `limit` characters, so that a damaged length cannot ask for gigabytes.
  std::string get_string(std::size_t limit = 4096);
  ByteView get_bytes(std::size_t count);
  std::size_t remaining() const { return bytes_.size() - position_; }
  std::size_t position() const { return position_; }
  /// Throws Error(format) unless everything was read.
  void expect_end() const;

 private:
  ByteView bytes_;
  std::string what_;
  std::size_t position_ = 0;
};

}  // namespace foreweave
