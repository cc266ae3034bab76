#include "foreweave/core/durations.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "foreweave/core/error.hpp"

namespace foreweave {
namespace {

TEST(Durations, NothingAdded) {
  const Durations none;
  EXPECT_EQ(none.count(), 0u);
  EXPECT_EQ(none.median(), 0);
  EXPECT_EQ(none.least(), 0);
  EXPECT_EQ(none.most(), 0);
}

TEST(Durations, SmallOnesAreExact) {
  Durations some;
  for (const int value : {5, 1, 63, 33, 2}) some.add(value);
  EXPECT_EQ(some.quantile(0), 1);
  EXPECT_EQ(some.median(), 5);
  EXPECT_EQ(some.quantile(1), 63);
  EXPECT_EQ(some.sum(), 104);
}

TEST(Durations, QuantilesAreNearThoseOfAllValues) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    std::lognormal_distribution<double> spread(4.0 + static_cast<double>(seed), 2.0);
    Durations histogram;
    std::vector<std::int64_t> all;
    for (std::uint64_t i = 0, n = 1 + random() % 3000; i < n; ++i) {
      all.push_back(static_cast<std::int64_t>(spread(random)));
      histogram.add(all.back());
    }
    std::sort(all.begin(), all.end());
    EXPECT_EQ(histogram.count(), all.size());
    EXPECT_EQ(histogram.least(), all.front());
    EXPECT_EQ(histogram.most(), all.back());
    for (const double share : {0.0, 0.1, 0.5, 0.9, 0.99, 1.0}) {
      const auto index = std::min(static_cast<std::size_t>(share * static_cast<double>(all.size())), all.size() - 1);
      const auto exact = static_cast<double>(all[index]);
      EXPECT_NEAR(static_cast<double>(histogram.quantile(share)), exact, exact / 60) << "seed " << seed << ", " << share;
    }
  }
}

TEST(Durations, TheWidestRange) {
  Durations some;
  some.add(std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(some.median(), std::numeric_limits<std::int64_t>::max());   // clamped to what was seen
  some.add(-7);
  EXPECT_EQ(some.least(), 0);
  EXPECT_EQ(some.quantile(0), 0);
  EXPECT_THROW((void)some.quantile(1.5), Error);
  EXPECT_THROW((void)some.quantile(std::nan("")), Error);
}

TEST(Durations, TakeTheSameMemoryHoweverManyThereAre) {
  EXPECT_LE(sizeof(Durations), 16u * 1024);
  static_assert(std::is_trivially_copyable_v<Durations>, "nothing of it is on the heap");
}

}  // namespace
}  // namespace foreweave
