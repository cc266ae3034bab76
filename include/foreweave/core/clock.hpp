#pragma once
// One clock base for everything that is timed or recorded.

#include <cstdint>

namespace foreweave {

/// Nanoseconds of the monotonic clock of this machine.
using Nanoseconds = std::int64_t;

/// Time as the protocols see it: they never look at a clock themselves.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Nanoseconds now() const = 0;
};

/// CLOCK_MONOTONIC. Thread safe.
class MonotonicClock final : public Clock {
 public:
  Nanoseconds now() const override;
};

/// CLOCK_MONOTONIC now, and CLOCK_REALTIME now (the two together place a trace on the calendar).
Nanoseconds monotonic_now();
Nanoseconds wall_now();

}  // namespace foreweave
