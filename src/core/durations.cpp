#include "foreweave/core/durations.hpp"

#include <algorithm>
#include <bit>
#include <string>

#include "foreweave/core/error.hpp"

namespace foreweave {

// Values below `fine` have a bucket each. Above, a value's highest bit says which group of `fine` buckets, and the
// fine_bits below it which one of the group.
std::size_t Durations::bucket_of(std::uint64_t value) {
  if (value < fine) return static_cast<std::size_t>(value);
  const int shift = std::bit_width(value) - 1 - fine_bits;
  return fine * static_cast<std::size_t>(shift) + static_cast<std::size_t>(value >> shift);
}

std::int64_t Durations::middle_of(std::size_t bucket) {
  if (bucket < 2 * fine) return static_cast<std::int64_t>(bucket);
  const auto shift = bucket / fine - 1;
  const auto low = static_cast<std::int64_t>(fine + bucket % fine) << shift;
  return low + (std::int64_t{1} << shift) / 2;
}

void Durations::add(std::int64_t nanoseconds) {
  const auto value = std::max<std::int64_t>(nanoseconds, 0);
  ++counts_[bucket_of(static_cast<std::uint64_t>(value))];
  least_ = count_ == 0 ? value : std::min(least_, value);
  most_ = std::max(most_, value);
  sum_ += value;
  ++count_;
}

std::int64_t Durations::quantile(double share) const {
  if (!(share >= 0 && share <= 1)) {
    throw Error(ErrorCategory::argument, "quantile " + std::to_string(share), "not from 0 to 1");
  }
  if (count_ == 0) return 0;
  const auto index = std::min(static_cast<std::uint64_t>(share * static_cast<double>(count_)), count_ - 1);
  std::uint64_t before = 0;
  std::size_t bucket = 0;
  while (before + counts_[bucket] <= index) before += counts_[bucket++];
  return std::clamp(middle_of(bucket), least_, most_);
}

}  // namespace foreweave
