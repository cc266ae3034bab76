// Parity groups in the protocol, message by message.
#include <gtest/gtest.h>

#include "context/redundancy.hpp"
#include "foreweave/core/error.hpp"
#include "foreweave/state/chain.hpp"
#include "mirror/mirror_bench.hpp"
#include "mirror/sim_snapshot.hpp"

namespace foreweave::test {
namespace {

using Kind = MirrorEvent::Kind;
constexpr auto ms = Bench::ms;

/// Ranks 0 to 2 are a group, and parity is on ranks 3 and 4, which are groups by themselves with parity on ranks 0, 1.
struct ParityBench : Bench {
  ParityBench() : Bench(6, 5, 0) {
    view.epoch = 2;
    mirror::use_groups(view, {{{0, 1, 2}, {3, 4}}, {{3}, {0, 1}}, {{4}, {0, 1}}});
    begin();
  }
  std::vector<context::Inventory> inventories() const {
    std::vector<context::Inventory> all;
    for (const auto& h : hub) {
      if (!h) continue;
      auto& one = all.emplace_back();
      one.hub = h->self;
      for (Rank r = 0; r < 5; ++r) one.host[r] = complete_versions(h->store.list(), r);
      one.parity = context::parity_records(h->parity);
    }
    return all;
  }
  void expect_committed(Version version) const {
    for (const auto& h : hub) {
      if (!h || !rank_of(h->self)) continue;
      EXPECT_EQ(h->protocol.committed(), version) << "hub " << h->self;
      EXPECT_TRUE(h->protocol.settled()) << "hub " << h->self;
    }
  }
  const MirrorEvent* last(HubId of, Kind kind) const {
    const MirrorEvent* found = nullptr;
    for (const auto& event : hub[of]->events) {
      if (event.kind == kind) found = &event;
    }
    return found;
  }
};

TEST(ParityProtocol, AVersionIsCommittedWhenParityOfAllStands) {
  ParityBench bench;
  bench.capture(0, 1, 0, 350);
  bench.capture(1, 1, 0, 1);
  bench.capture(3, 1, 0);
  bench.capture(4, 1, 0);
  bench.run(500 * ms);
  EXPECT_EQ(bench.hub[0]->protocol.committed(), 0U);   // rank 2 is missing
  EXPECT_FALSE(bench.hub[0]->protocol.settled());
  bench.capture(2, 1, 0, 777);
  bench.run(2'000 * ms);
  bench.expect_committed(1);
}

TEST(ParityProtocol, ParityStandsOnItsHoldersAndNothingElseDoes) {
  ParityBench bench;
  const std::size_t sizes[] = {350, 1, 777, 100, 200};
  for (Rank r = 0; r < 5; ++r) bench.capture(r, 1, 0, sizes[r]);
  bench.run(100 * ms);
  bench.expect_committed(1);
  for (HubId h = 0; h < 5; ++h) EXPECT_EQ(bench.hub[h]->store.list().size(), 1U);
  const auto records = context::parity_records(bench.hub[3]->parity);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].bytes, 777U);
  EXPECT_EQ(records[0].row, 0);
  EXPECT_EQ(context::parity_records(bench.hub[4]->parity)[0].row, 1);
  EXPECT_EQ(context::parity_records(bench.hub[0]->parity).size(), 2U);
  // A delta, and the older one may go.
  for (Rank r = 0; r < 5; ++r) bench.capture(r, 2, 1, sizes[r]);
  bench.run(100 * ms);
  bench.expect_committed(2);
}

TEST(ParityProtocol, WhatIsLostOnTheWayIsAskedForAgain) {
  ParityBench bench;
  Random random(1);
  bench.tamper = [&](Sent&) { return !random.happens(0.3); };
  for (Version v = 1; v < 4; ++v) {
    bench.capture_all(v, v - 1);
    bench.run(40'000 * ms);
    bench.expect_committed(v);
  }
}

/// Two members and their memory are gone; a spare and a hub that is started anew take over.
TEST(ParityProtocol, TwoLostMembersAreRebuiltAndProtectedAgain) {
  ParityBench bench;
  std::map<SnapshotId, Bytes> lost;
  for (Version v = 1; v < 4; ++v) {
    for (Rank r = 0; r < 5; ++r) {
      auto bytes = bench.capture(r, v, v - 1, 200 + 100 * static_cast<std::size_t>(r) + v);
      if (r < 2) lost[{r, v}] = std::move(bytes);
    }
    bench.run(100 * ms);
  }
  bench.expect_committed(3);
  for (const HubId h : {HubId{0}, HubId{1}}) {
    mirror::MirrorOptions options;
    options.self = h;
    options.chunk_bytes = 100;
    options.window_bytes = 250;
    options.retry_after = 1'600 * ms;
    bench.hub[h] = std::make_unique<BenchHub>(bench, options);
  }
  bench.view.hub_of_rank[1] = 5;
  bench.view.committed = 3;
  ++bench.view.epoch;
  bench.begin();
  for (const auto& [rank, h] : {std::pair<Rank, HubId>{0, 0}, {1, 5}}) {
    const auto plans = context::plan_rebuild(bench.inventories(), {rank, 3});
    ASSERT_TRUE(plans);
    EXPECT_EQ(plans->size(), 3U);
    for (const auto& plan : *plans) {
      bench.hub[h]->protocol.rebuild(plan, bench.now);
      bench.run(50 * ms);
      ASSERT_NE(bench.hub[h]->store.find(plan.id), nullptr) << to_string(plan.id);
      EXPECT_EQ(*bench.hub[h]->store.find(plan.id), lost.at(plan.id));
      EXPECT_EQ(bench.hub[h]->store.base_of(plan.id), plan.id.version - 1);
    }
    EXPECT_EQ(bench.hub[h]->count(Kind::rebuilt), 3);
  }
  bench.run(5'000 * ms);
  bench.expect_committed(3);   // settled: parity of ranks 3 and 4 stands again on hubs 0 and 5
  EXPECT_EQ(context::parity_records(bench.hub[0]->parity).size(), 6U);
  EXPECT_EQ(context::parity_records(bench.hub[5]->parity).size(), 6U);
}

TEST(ParityProtocol, ADamagedBlockIsFoundOutAndBlamed) {
  ParityBench bench;
  bench.capture_all(1, 0);
  bench.run(100 * ms);
  bench.expect_committed(1);
  const auto original = *bench.hub[0]->store.find({0, 1});
  bench.hub[0]->store.erase({0, 1});
  auto damaged = *bench.hub[2]->store.find({2, 1});
  damaged[200] ^= std::byte{1};
  bench.hub[2]->store.put({2, 1}, 0, damaged);
  auto plans = context::plan_rebuild(bench.inventories(), {0, 1});
  ASSERT_TRUE(plans);
  bench.hub[0]->protocol.rebuild(plans->front(), bench.now);
  bench.run(100 * ms);
  ASSERT_NE(bench.last(0, Kind::rebuild_failed), nullptr);
  EXPECT_EQ(bench.last(0, Kind::rebuild_failed)->peer, 2U);
  EXPECT_EQ(bench.hub[0]->store.find({0, 1}), nullptr);
  // Another block in its place.
  plans = context::plan_rebuild(bench.inventories(), {0, 1}, {2});
  ASSERT_TRUE(plans);
  bench.hub[0]->protocol.rebuild(plans->front(), bench.now);
  bench.run(100 * ms);
  ASSERT_NE(bench.hub[0]->store.find({0, 1}), nullptr);
  EXPECT_EQ(*bench.hub[0]->store.find({0, 1}), original);
  bench.hub[3].reset();
  bench.hub[0]->store.erase({0, 1});
  EXPECT_FALSE(context::plan_rebuild(bench.inventories(), {0, 1}, {2}));   // two blocks are left of five
}

TEST(ParityProtocol, ABlockThatIsGoneIsBlamed) {
  ParityBench bench;
  bench.capture_all(1, 0);
  bench.run(100 * ms);
  bench.hub[0]->store.erase({0, 1});
  const auto plans = context::plan_rebuild(bench.inventories(), {0, 1});
  ASSERT_TRUE(plans);
  bench.hub[1]->store.erase({1, 1});
  bench.hub[0]->protocol.rebuild(plans->front(), bench.now);
  bench.run(100 * ms);
  ASSERT_NE(bench.last(0, Kind::rebuild_failed), nullptr);
  EXPECT_EQ(bench.last(0, Kind::rebuild_failed)->peer, 1U);
}

TEST(ParityProtocol, ASilentHubIsGivenUp) {
  ParityBench bench;
  bench.capture_all(1, 0);
  bench.run(100 * ms);
  bench.hub[0]->store.erase({0, 1});
  const auto plans = context::plan_rebuild(bench.inventories(), {0, 1});
  ASSERT_TRUE(plans);
  bench.tamper = [](Sent& m) { return m.from != 1; };
  bench.hub[0]->protocol.rebuild(plans->front(), bench.now);
  bench.run(10'000 * ms);
  ASSERT_NE(bench.last(0, Kind::rebuild_failed), nullptr);
  EXPECT_EQ(bench.last(0, Kind::rebuild_failed)->peer, 1U);
  EXPECT_EQ(bench.hub[0]->store.open_writers, 0);
}

TEST(ParityProtocol, AFullParityStoreDelaysAndDoesNotBreak) {
  ParityBench bench;
  bench.hub[3]->parity.budget = 100;
  bench.capture_all(1, 0);
  bench.run(3'000 * ms);
  EXPECT_EQ(bench.hub[0]->protocol.committed(), 0U);
  EXPECT_GT(bench.hub[3]->count(Kind::refused), 0);
  bench.hub[3]->parity.budget = ~std::uint64_t{0};
  bench.run(10'000 * ms);
  bench.expect_committed(1);
}

TEST(ParityProtocol, GroupsNeedAStoreForParity) {
  ParityBench bench;
  MemoryStore store;
  mirror::MirrorOptions options;
  mirror::MirrorProtocol protocol(options, store, *bench.hub[0]);
  EXPECT_THROW(protocol.begin(bench.view, 0, 1), Error);
}

}  // namespace
}  // namespace foreweave::test
