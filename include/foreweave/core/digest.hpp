#pragma once
// Content digests (XXH3, from the xxHash library): they find damage, they do not authenticate. See core/seal.hpp.

#include <compare>
#include <cstdint>
#include <memory>
#include <string>

#include "foreweave/core/bytes.hpp"

namespace foreweave {

struct Digest128 {
  std::uint64_t low = 0, high = 0;
  auto operator<=>(const Digest128&) const = default;
};

std::uint64_t digest64(ByteView bytes);
Digest128 digest128(ByteView bytes);
std::string to_string(const Digest128& digest);

/// XXH3-128 of a stream of pieces; equals digest128 of their concatenation.
class StreamDigest {
 public:
  StreamDigest();
  ~StreamDigest();
  StreamDigest(StreamDigest&&) noexcept;
  StreamDigest& operator=(StreamDigest&&) noexcept;
  void update(ByteView bytes);
  Digest128 value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace foreweave
