#pragma once
// The check word of a page's body (docs/format.md, "Check word"). The sum over the words does not depend on order, so
// that lanes and threads add up their own words in any order.

#include <cstdint>

#include "kernels/common/host_device.hpp"

namespace foreweave::kernels::common {

inline constexpr std::uint64_t check_step = 0x9E3779B97F4A7C15u;
inline constexpr std::uint64_t check_bitmap_factor = 0xC2B2AE3D27D4EB4Fu;
inline constexpr std::uint64_t check_final_factor = 0x165667B19E3779F9u;

/// What word `index` of the body (counted after its first 8 bytes) adds to the sum.
FOREWEAVE_HD constexpr std::uint64_t check_term(std::uint64_t index, std::uint64_t word) {
  const std::uint64_t x = word ^ ((index + 1) * check_step);
  return (x & 0xFFFFFFFFu) * (x >> 32) + ((word << 32) | (word >> 32));
}

/// The check word, from the sum of all terms.
FOREWEAVE_HD constexpr std::uint32_t check_finish(std::uint64_t sum, std::uint32_t bitmap, std::uint32_t transform) {
  std::uint64_t h = sum ^ (bitmap * check_bitmap_factor) ^ transform;
  h = (h ^ (h >> 29)) * check_final_factor;
  return static_cast<std::uint32_t>(h >> 32);
}

}  // namespace foreweave::kernels::common
