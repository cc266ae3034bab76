#pragma once
// Durations: how long something took, over and over, in memory that does not grow: a histogram of logarithmic buckets.

#include <array>
#include <cstddef>
#include <cstdint>

namespace foreweave {

/// Counts durations in buckets of at most 1/32 of their value in width (below 32 ns exactly). Count, sum, least and most
/// are exact; a quantile is the middle of its bucket, at most 1.6 % off. 15 KB, whatever is added. A value type, not
/// thread safe.
class Durations {
 public:
  /// Nanoseconds; below 0 counts as 0.
  void add(std::int64_t nanoseconds);

  std::uint64_t count() const { return count_; }
  std::int64_t sum() const { return sum_; }
  /// Exact; 0 while nothing was added.
  std::int64_t least() const { return count_ == 0 ? 0 : least_; }
  std::int64_t most() const { return most_; }
  /// Of the added values in ascending order the one at `share` (0: the least, 0.5: the median, 1: the most) of the way,
  /// as its bucket has it and never outside [least, most]; 0 while nothing was added. Error(argument) outside [0, 1].
  std::int64_t quantile(double share) const;
  std::int64_t median() const { return quantile(0.5); }

 private:
  static constexpr int fine_bits = 5;   // 32 buckets each time the value doubles
  static constexpr std::size_t fine = std::size_t{1} << fine_bits;
  static constexpr std::size_t buckets = fine * (64 - fine_bits);

  static std::size_t bucket_of(std::uint64_t value);
  static std::int64_t middle_of(std::size_t bucket);

  std::array<std::uint64_t, buckets> counts_{};
  std::uint64_t count_ = 0;
  std::int64_t sum_ = 0, least_ = 0, most_ = 0;
};

}  // namespace foreweave
