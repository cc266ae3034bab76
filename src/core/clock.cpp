#include "foreweave/core/clock.hpp"

#include <ctime>

namespace foreweave {
namespace {
Nanoseconds read(clockid_t id) {
  timespec time{};
  clock_gettime(id, &time);
  return static_cast<Nanoseconds>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}
}  // namespace

Nanoseconds MonotonicClock::now() const { return read(CLOCK_MONOTONIC); }
Nanoseconds monotonic_now() { return read(CLOCK_MONOTONIC); }
Nanoseconds wall_now() { return read(CLOCK_REALTIME); }
Nanoseconds monotonic_of_wall(Nanoseconds wall) {
  const auto ago = wall_now() - wall;
  return monotonic_now() - (ago > 0 ? ago : 0);
}

}  // namespace foreweave
