// Which version goes to files when, and how fast.
#include "context/flush_schedule.hpp"

#include <gmock/gmock.h>

#include "context/flusher.hpp"
#include "context/token_bucket.hpp"

namespace foreweave::context {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr auto local = FileTier::local, shared = FileTier::shared;

TEST(FlushSchedule, EveryNthIsOrderedOfAllAndTheNextWhenAllAreDone) {
  FlushSchedule schedule({1, 3});
  schedule.begin(2);
  EXPECT_THAT(schedule.committed(1), ElementsAre(FlushOrder{local, 1, 0, 0}));
  EXPECT_THAT(schedule.committed(2), IsEmpty()) << "the first is under way";
  EXPECT_THAT(schedule.committed(3), ElementsAre(FlushOrder{shared, 3, 0, 0}));
  EXPECT_THAT(schedule.done(0, {local, 1, true}), IsEmpty());
  EXPECT_THAT(schedule.done(0, {local, 1, true}), IsEmpty()) << "told twice";
  EXPECT_THAT(schedule.done(1, {local, 1, true}), ElementsAre(FlushOrder{local, 3, 1, 1})) << "2 is passed over";
  schedule.done(0, {shared, 3, true});
  EXPECT_THAT(schedule.done(1, {shared, 3, true}), ElementsAre(FlushOrder{shared, 0, 3, 0})) << "nothing more yet";
  EXPECT_THAT(schedule.committed(4), IsEmpty());
  EXPECT_THAT(schedule.committed(7), ElementsAre(FlushOrder{shared, 7, 3, 0})) << "6 was passed by";
}

TEST(FlushSchedule, WhatOneRankCouldNotBringIsNotComplete) {
  FlushSchedule schedule({1, 0});
  schedule.begin(2);
  schedule.committed(5);
  schedule.done(0, {local, 5, false});
  EXPECT_THAT(schedule.committed(6), IsEmpty());
  EXPECT_THAT(schedule.done(1, {local, 5, true}), ElementsAre(FlushOrder{local, 6, 0, 0}));
  schedule.done(1, {local, 6, true});
  EXPECT_THAT(schedule.done(0, {local, 6, true}), ElementsAre(FlushOrder{local, 0, 6, 0}));
}

TEST(FlushSchedule, AnEpochForgetsWhatWasUnderWay) {
  FlushSchedule schedule({1, 0});
  schedule.begin(2);
  schedule.committed(1);
  schedule.done(0, {local, 1, true});
  schedule.begin(3);
  EXPECT_THAT(schedule.done(1, {local, 1, true}), IsEmpty());
  EXPECT_THAT(schedule.committed(2), ElementsAre(FlushOrder{local, 2, 0, 0}));
  EXPECT_THAT(schedule.done(7, {local, 2, true}), IsEmpty()) << "no such rank";
}

TEST(FlushSchedule, BodiesComeBackAndOthersAreRefused) {
  const FlushOrder order{shared, 77, 70, 3};
  EXPECT_EQ(FlushOrder::decode(order.encode()), order);
  const auto done = FlushDone::decode(FlushDone{shared, 5, true}.encode());
  EXPECT_EQ(done.tier, shared);
  EXPECT_EQ(done.version, 5u);
  EXPECT_TRUE(done.ok);
  auto bytes = order.encode();
  bytes[0] = std::byte{2};
  EXPECT_THROW(FlushOrder::decode(bytes), Error);
  bytes[0] = std::byte{1};
  bytes.push_back(std::byte{});
  EXPECT_THROW(FlushOrder::decode(bytes), Error);
  EXPECT_THROW(FlushDone::decode({}), Error);
}

TEST(KeptVersions, AreTheNewestTheFirstOfEachBlockAndTheComplete) {
  EXPECT_THAT(kept_versions({1, 2, 3, 4, 5}, 1, 0, 0), ElementsAre(4, 5));
  EXPECT_THAT(kept_versions({1, 2, 3, 4, 5}, 1, 0, 2), ElementsAre(2, 4, 5));
  EXPECT_THAT(kept_versions({3}, 4, 0, 0), ElementsAre(3));
  EXPECT_THAT(kept_versions({3, 9, 10, 13, 19, 24, 27, 31, 32}, 0, 10, 0), ElementsAre(10, 24, 31, 32));
  // What was kept once stays, though what stood around it is gone.
  EXPECT_THAT(kept_versions({10, 24, 31, 32, 36, 41}, 0, 10, 0), ElementsAre(10, 24, 31, 41));
}

TEST(TokenBucket, LetsTheRateThroughAndShortBursts) {
  TokenBucket bucket(1'000'000);
  Nanoseconds now = 1'000'000'000'000, waited = 0;
  for (int i = 0; i < 100; ++i) {
    const auto wait = bucket.take(10'000, now + waited);
    waited += wait;
  }
  EXPECT_NEAR(static_cast<double>(waited), 1e9 - TokenBucket::burst, 1e6) << "a million bytes, less the burst";
  now += waited + 3600'000'000'000;
  EXPECT_EQ(bucket.take(100'000, now), 0);
  EXPECT_NEAR(static_cast<double>(bucket.take(100'000, now)), 1e8, 1e5) << "an hour of rest earns no more than a burst";
  EXPECT_EQ(TokenBucket(0).take(1u << 30, now), 0);
}

}  // namespace
}  // namespace foreweave::context
