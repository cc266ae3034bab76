#pragma once
// Data sets for the tests of the page codec: pairs of base and current that favour each of the transforms.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace foreweave::test {

using Raw = std::vector<std::uint8_t>;

struct PagePair {
  Raw base;
  Raw current;
};

enum class Pattern { clean, random, sparse, flags, drift, ramp, field, lone_byte, steps };
inline constexpr Pattern all_patterns[] = {Pattern::clean, Pattern::random,    Pattern::sparse,
                                           Pattern::flags, Pattern::drift,     Pattern::ramp,
                                           Pattern::field, Pattern::lone_byte, Pattern::steps};

inline std::string name_of(Pattern pattern) {
  constexpr const char* names[] = {"clean", "random", "sparse",    "flags", "drift",
                                   "ramp",  "field",  "lone_byte", "steps"};
  return names[static_cast<int>(pattern)];
}

namespace detail {

inline Raw random_bytes(std::mt19937_64& random, std::size_t bytes) {
  Raw out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::uint8_t>(random());
  return out;
}

/// Adds f(i) to element i, counted from the start of its page; a tail shorter than an element is left alone.
template <class F>
void add_to_elements(Raw& data, int width, F f) {
  const std::size_t w = static_cast<std::size_t>(width);
  for (std::size_t at = 0; at + w <= data.size(); at += w) {
    std::uint64_t v = 0;
    std::memcpy(&v, &data[at], w);
    v += static_cast<std::uint64_t>(f(at / w));
    std::memcpy(&data[at], &v, w);
  }
}

}  // namespace detail

/// Deterministic in its arguments. `width`, `row`, `plane` shape the patterns that have a spatial structure.
inline PagePair make_pages(Pattern pattern, std::size_t bytes, int width, std::uint64_t row, std::uint64_t plane,
                           std::uint64_t seed) {
  std::mt19937_64 random(seed * 977 + static_cast<std::uint64_t>(pattern) * 31 + bytes);
  PagePair pair;
  pair.base = detail::random_bytes(random, bytes);
  pair.current = pair.base;
  Raw& c = pair.current;
  if (bytes == 0) return pair;
  switch (pattern) {
    case Pattern::clean:
      break;
    case Pattern::random:
      c = detail::random_bytes(random, bytes);
      break;
    case Pattern::sparse:
      for (std::size_t at = 0; at < bytes; at += 512) {
        if (random() % 20 != 0) continue;
        for (std::size_t i = at; i < at + 512 && i < bytes; ++i) c[i] = static_cast<std::uint8_t>(random());
      }
      break;
    case Pattern::flags:  // single bits flip in places: exclusive or has one plane, subtraction many
      for (std::size_t at = 0; at < bytes; at += 8) c[at] ^= static_cast<std::uint8_t>((random() & 1) << 7);
      break;
    case Pattern::drift:  // small independent differences of either sign
      detail::add_to_elements(c, width,
                              [&](std::size_t) { return static_cast<std::int64_t>(random() % 2001) - 1000; });
      break;
    case Pattern::ramp:  // large differences that change slowly
      detail::add_to_elements(c, width,
                              [&](std::size_t i) { return static_cast<std::int64_t>(1000003 * i + random() % 3); });
      break;
    case Pattern::field: {  // a product of functions of the three coordinates: only all differences make it small
      const std::uint64_t r = row > 1 ? row : 16, p = plane > r ? plane : r * 16;
      detail::add_to_elements(c, width, [&](std::size_t i) {
        const std::uint64_t x = i % r, y = i % p / r, z = i / p;
        return static_cast<std::int64_t>((x * x * 977 + (y * 53773 + 11) * (y * 7) + z * z * 30011) + random() % 2);
      });
      break;
    }
    case Pattern::lone_byte:
      c[random() % bytes] ^= static_cast<std::uint8_t>(1 + random() % 255);
      break;
    case Pattern::steps:  // constant differences over long runs: dirty sectors without values, clean ones with
      detail::add_to_elements(c, width, [&](std::size_t i) { return i / 700 % 2 == 0 ? 0 : 123456789; });
      break;
  }
  return pair;
}

}  // namespace foreweave::test
