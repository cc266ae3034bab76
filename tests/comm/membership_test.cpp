#include "foreweave/comm/membership.hpp"

#include <gtest/gtest.h>

#include "foreweave/core/error.hpp"

namespace foreweave::comm {
namespace {

constexpr Nanoseconds ms = 1'000'000;
const MembershipOptions options{0, 100 * ms, 3000 * ms};

/// Looks every 50 ms, as an engine does; peers in `talking` are heard each time. Returns the first verdicts.
std::vector<Membership::Verdict> look(Membership& members, Nanoseconds& now, Nanoseconds until,
                                      const std::vector<HubId>& talking) {
  while (now < until) {
    now += 50 * ms;
    for (const auto peer : talking) members.heard(peer, now);
    if (auto verdicts = members.take_verdicts(now); !verdicts.empty()) return verdicts;
  }
  return {};
}

TEST(Membership, SilentPeerIsDeadAfterTheLimitAndOnlyOnce) {
  Membership members(options);
  Nanoseconds now = 5'000 * ms;
  members.begin(1, {1, 2}, now);
  EXPECT_TRUE(look(members, now, 7'900 * ms, {1}).empty());
  EXPECT_TRUE(members.alive(2));
  const auto verdicts = look(members, now, 20'000 * ms, {1});
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_EQ(verdicts[0].peer, 2U);
  EXPECT_EQ(verdicts[0].reason, "silent for 3 s");
  EXPECT_EQ(now, 8'000 * ms);
  EXPECT_FALSE(members.alive(2));
  EXPECT_TRUE(members.alive(1));
  EXPECT_TRUE(look(members, now, 20'000 * ms, {1}).empty());
}

TEST(Membership, HungPeerWhoseConnectionStandsIsFound) {
  Membership members(options);
  Nanoseconds now = 0;
  members.begin(1, {1}, now);
  EXPECT_TRUE(look(members, now, 60'000 * ms, {1}).empty());  // lives
  const auto verdicts = look(members, now, 70'000 * ms, {});  // its process hangs: no report, only silence
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_EQ(now, 63'000 * ms);
}

TEST(Membership, ReportedDeathNeedsNoTimeAndTheDeadStayDead) {
  Membership members(options);
  members.begin(1, {1, 2}, 0);
  members.reported_dead(2, "connection reset");
  members.reported_dead(2, "again");
  members.reported_dead(9, "not watched");
  const auto verdicts = members.take_verdicts(1);
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_EQ(verdicts[0].peer, 2U);
  EXPECT_EQ(verdicts[0].reason, "connection reset");
  members.heard(2, 2);
  EXPECT_FALSE(members.alive(2));
  EXPECT_TRUE(members.take_verdicts(3).empty());
}

TEST(Membership, GoodbyeIsNoFailure) {
  Membership members(options);
  Nanoseconds now = 0;
  members.begin(1, {1, 2}, now);
  members.left(2);
  members.reported_dead(2, "connection closed");  // what follows a goodbye
  EXPECT_TRUE(look(members, now, 30'000 * ms, {1}).empty());
  EXPECT_FALSE(members.alive(2));
}

TEST(Membership, HeartbeatsAreDueToTheLivingAtTheirInterval) {
  Membership members(options);
  members.begin(1, {0, 1, 2, 3}, 0);
  EXPECT_EQ(members.due(0), (std::vector<HubId>{1, 2, 3}));  // not to oneself
  EXPECT_TRUE(members.due(99 * ms).empty());
  members.reported_dead(1, "x");
  members.left(3);
  EXPECT_EQ(members.due(100 * ms), (std::vector<HubId>{2}));
  EXPECT_TRUE(members.due(150 * ms).empty());
}

TEST(Membership, OwnPauseKillsNobody) {
  Membership members(options);
  Nanoseconds now = 0;
  members.begin(1, {1, 2}, now);
  EXPECT_TRUE(look(members, now, 1'000 * ms, {1, 2}).empty());
  now += 60'000 * ms;  // this process was stopped; what its peers sent still waits in its sockets
  EXPECT_TRUE(members.take_verdicts(now).empty());
  EXPECT_TRUE(look(members, now, now + 2'000 * ms, {1, 2}).empty());
  EXPECT_TRUE(members.alive(1) && members.alive(2));
  EXPECT_EQ(look(members, now, now + 4'000 * ms, {1}).size(), 1U);  // and a silent one is still found
}

TEST(Membership, RareLooksStillFindASilentPeer) {
  Membership members(options);
  members.begin(1, {1}, 0);
  Nanoseconds now = 0;
  int looks = 0;
  while (members.take_verdicts(now += 10'000 * ms).empty()) ASSERT_LT(++looks, 10);
  EXPECT_EQ(looks, 3);
}

TEST(Membership, EpochsOnlyGrowAndStartEveryoneAfresh) {
  Membership members(options);
  members.begin(3, {1, 2}, 0);
  EXPECT_THROW(members.begin(3, {1}, 0), Error);
  EXPECT_THROW(members.begin(2, {1}, 0), Error);
  members.reported_dead(2, "gone");
  members.begin(4, {1, 5}, 100'000 * ms);
  EXPECT_EQ(members.epoch(), 4U);
  EXPECT_TRUE(members.alive(1) && members.alive(5));
  EXPECT_FALSE(members.alive(2));
  EXPECT_TRUE(members.take_verdicts(100'001 * ms).empty());  // the old epoch's verdict went with it
}

TEST(Membership, OptionsThatCannotWorkAreRefused) {
  EXPECT_THROW(Membership({0, 0, 10}), Error);
  EXPECT_THROW(Membership({0, 10, 10}), Error);
}

}  // namespace
}  // namespace foreweave::comm
