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
/// The moment `wall` (CLOCK_REALTIME, perhaps of another machine) on this machine's monotonic clock; never later than
/// now, however the clocks of the machines differ. For what crosses machines: their monotonic clocks have nothing in
/// common.
Nanoseconds monotonic_of_wall(Nanoseconds wall);

}  // namespace foreweave
