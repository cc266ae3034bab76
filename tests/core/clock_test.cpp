#include <gtest/gtest.h>

#include "foreweave/core/clock.hpp"

namespace foreweave {
namespace {

constexpr Nanoseconds second = 1'000'000'000;

TEST(Clock, AMomentOfTheWallClockIsPlacedOnTheMonotonicOne) {
  // The wall clock may be set while this runs, but not by an hour.
  constexpr Nanoseconds ago = 24 * 3600 * second, tolerance = 3600 * second;
  const auto placed = monotonic_of_wall(wall_now() - ago);
  EXPECT_NEAR(static_cast<double>(monotonic_now() - placed), static_cast<double>(ago), static_cast<double>(tolerance));
}

TEST(Clock, ADeathThatAnotherMachinePutsIntoTheFutureWasNotLaterThanNow) {
  const auto placed = monotonic_of_wall(wall_now() + 24 * 3600 * second);
  EXPECT_LE(placed, monotonic_now());
}

}  // namespace
}  // namespace foreweave
