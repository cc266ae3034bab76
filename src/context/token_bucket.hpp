#pragma once
// TokenBucket: a cap on bytes per second that lets short bursts through.

#include <algorithm>
#include <cstdint>

#include "foreweave/core/clock.hpp"

namespace foreweave::context {

/// Pure: told the time, waits for nobody. Not thread safe.
class TokenBucket {
 public:
  /// @param bytes_per_second 0: no cap.
  explicit TokenBucket(std::uint64_t bytes_per_second) : rate_(static_cast<double>(bytes_per_second)) {}

  /// Takes `bytes` out and says how long to wait before they may be written. What is left over while nothing is written
  /// adds up to `burst` at most.
  Nanoseconds take(std::uint64_t bytes, Nanoseconds now) {
    if (rate_ == 0) return 0;
    // Where the debt is paid: in the past by a burst at most, so that a pause earns no more.
    paid_at_ = std::max(paid_at_, now - burst);
    paid_at_ += static_cast<Nanoseconds>(static_cast<double>(bytes) / rate_ * 1e9);
    return std::max<Nanoseconds>(0, paid_at_ - now);
  }

  static constexpr Nanoseconds burst = 100'000'000;

 private:
  double rate_;
  Nanoseconds paid_at_ = 0;
};

}  // namespace foreweave::context
