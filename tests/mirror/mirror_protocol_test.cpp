#include "foreweave/mirror/mirror_protocol.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "foreweave/core/error.hpp"
#include "mirror/bodies.hpp"
#include "mirror/mirror_bench.hpp"

namespace foreweave::test {
namespace {

using Kind = MirrorEvent::Kind;
constexpr auto ms = Bench::ms;

void expect_committed(const Bench& bench, Version version) {
  for (const auto& h : bench.hub) {
    if (!h || !bench.rank_of(h->self)) continue;
    EXPECT_EQ(h->protocol.committed(), version) << "hub " << h->self;
    EXPECT_EQ(h->store.committed(), version) << "hub " << h->self;
    EXPECT_TRUE(h->protocol.settled()) << "hub " << h->self;
  }
}

TEST(MirrorProtocol, EveryRankStoredOnItsPartnerIsCommittedEverywhere) {
  Bench bench(3, 3, 1);
  const auto a = bench.capture(0, 1, 0);
  EXPECT_FALSE(bench.hub[0]->protocol.settled());
  bench.capture(1, 1, 0);
  bench.run();
  EXPECT_EQ(bench.hub[1]->protocol.committed(), 0U);  // rank 2 has not captured yet
  bench.capture(2, 1, 0);
  bench.run();
  expect_committed(bench, 1);
  ASSERT_NE(bench.hub[1]->store.find({0, 1}), nullptr);
  EXPECT_EQ(*bench.hub[1]->store.find({0, 1}), a);
  EXPECT_EQ(bench.hub[2]->store.find({0, 1}), nullptr);
  EXPECT_EQ(bench.hub[0]->count(Kind::sent), 1);
  EXPECT_EQ(bench.hub[0]->count(Kind::received), 1);
  EXPECT_EQ(bench.hub[0]->count(Kind::stored), 1);
  EXPECT_EQ(bench.hub[0]->count(Kind::committed), 1);
  EXPECT_EQ(bench.hub[0]->protocol.bytes_sent(), 350U);
}

TEST(MirrorProtocol, WithoutPartnersTheOwnStoreIsEnough) {
  Bench bench(2, 2, 0);
  bench.capture_all(1, 0);
  bench.run();
  expect_committed(bench, 1);
  EXPECT_EQ(bench.sent(FrameType::snapshot_begin), 0);

  Bench alone(1, 1, 1);
  alone.capture(0, 1, 0);
  expect_committed(alone, 1);
}

TEST(MirrorProtocol, TwoCopiesAreBothNeeded) {
  Bench bench(3, 3, 2);
  bench.tamper = [](Sent& m) { return !(m.type == FrameType::snapshot_end && m.from == 0 && m.to == 2); };
  bench.capture_all(1, 0);
  bench.run(500 * ms);
  EXPECT_EQ(bench.hub[0]->protocol.committed(), 0U);
  bench.tamper = nullptr;
  bench.run(2'000 * ms);
  expect_committed(bench, 1);
  EXPECT_NE(bench.hub[2]->store.find({0, 1}), nullptr);
}

TEST(MirrorProtocol, EmptySnapshotAndSizesAroundTheChunk) {
  for (const std::size_t size : {0, 1, 99, 100, 101, 200, 1000}) {
    Bench bench(2, 2, 1);
    const auto bytes = bench.capture(0, 1, 0, size);
    bench.capture(1, 1, 0, size);
    bench.run();
    expect_committed(bench, 1);
    ASSERT_NE(bench.hub[1]->store.find({0, 1}), nullptr);
    EXPECT_EQ(*bench.hub[1]->store.find({0, 1}), bytes);
  }
}

TEST(MirrorProtocol, UnsentBytesStayWithinTheWindow) {
  Bench bench(3, 3, 2);
  for (Version v = 1; v <= 4; ++v) bench.capture(0, v, v - 1, 5'000);
  EXPECT_EQ(bench.most_pending, 300U);  // the window is 250, a chunk 100
  bench.run();
  EXPECT_EQ(bench.most_pending, 300U);
  EXPECT_EQ(bench.hub[0]->count(Kind::sent), 8);
  EXPECT_TRUE(bench.hub[1]->store.find({0, 4}) != nullptr && bench.hub[2]->store.find({0, 4}) != nullptr);
}

TEST(MirrorProtocol, DeltaWithoutItsBaseBringsTheWholeChain) {
  Bench bench(2, 2, 1);
  bench.capture_all(1, 0);
  bench.capture_all(2, 1);
  bench.run();
  expect_committed(bench, 2);
  bench.hub[1]->store.erase({0, 1});
  bench.hub[1]->store.erase({0, 2});  // the partner's memory was lost
  bench.capture_all(3, 2);
  bench.run();
  expect_committed(bench, 3);
  for (Version v = 1; v <= 3; ++v) {
    ASSERT_NE(bench.hub[1]->store.find({0, v}), nullptr) << v;
    EXPECT_EQ(*bench.hub[1]->store.find({0, v}), *bench.hub[0]->store.find({0, v}));
    EXPECT_EQ(bench.hub[1]->store.base_of({0, v}), v - 1);
  }
  EXPECT_EQ(bench.hub[0]->count(Kind::refused), 1);
}

TEST(MirrorProtocol, DeltaOnAChainWithAHoleBringsTheWholeChain) {
  for (const bool offered : {false, true}) {
    Bench bench(2, 2, 1);
    for (Version v = 1; v <= 3; ++v) bench.capture_all(v, v - 1);
    bench.run();
    expect_committed(bench, 3);
    bench.hub[1]->store.erase({0, 1});  // the base of the next delta is there, what it stands on is not
    if (offered) {  // nor must version 3, when it is offered anew, be taken for one that is here
      bench.view.epoch = 2;
      bench.view.committed = 3;
      bench.begin();
      bench.run();
      EXPECT_NE(bench.hub[1]->store.find({0, 1}), nullptr);
    }
    bench.capture_all(4, 3);
    bench.run();
    expect_committed(bench, 4);
    for (Version v = 1; v <= 4; ++v) {
      ASSERT_NE(bench.hub[1]->store.find({0, v}), nullptr) << v << (offered ? ", offered" : "");
      EXPECT_EQ(*bench.hub[1]->store.find({0, v}), *bench.hub[0]->store.find({0, v}));
    }
  }
}

TEST(MirrorProtocol, SnapshotThatIsFoldedOnItsWayStillArrivesWhole) {
  Bench bench(2, 2, 1);
  bench.capture_all(1, 0);
  bench.run();
  const auto delta = bench.capture(0, 2, 1, 2'000);
  bench.step();
  bench.hub[0]->store.put({0, 2}, 0, blob(3'000, 77));  // folded while it is sent
  bench.hub[0]->store.erase({0, 1});
  bench.capture(1, 2, 1);
  bench.run();
  expect_committed(bench, 2);
  EXPECT_EQ(*bench.hub[1]->store.find({0, 2}), delta);
  EXPECT_EQ(bench.hub[1]->store.base_of({0, 2}), 1U);
}

TEST(MirrorProtocol, FoldingBetweenListingAndOpeningIsNoticed) {
  Bench bench(2, 2, 1);
  bench.capture_all(1, 0);
  bench.run();
  auto& store = bench.hub[0]->store;
  const auto folded = blob(900, 5);
  store.put({0, 2}, 1, blob(300, 4));
  int calls = 0;
  store.on_list = [&] {
    if (++calls == 3) store.put({0, 2}, 0, folded);  // after the listing that publish and load took
  };
  bench.hub[0]->protocol.publish(2, bench.now);
  store.on_list = nullptr;
  bench.run();
  ASSERT_NE(bench.hub[1]->store.find({0, 2}), nullptr);
  EXPECT_EQ(*bench.hub[1]->store.find({0, 2}), folded);
  EXPECT_EQ(bench.hub[1]->store.base_of({0, 2}), 0U);
  EXPECT_GE(calls, 3);
}

TEST(MirrorProtocol, DamagedTruncatedAndReorderedTransfersAreNeverVisible) {
  for (int kind = 0; kind < 4; ++kind) {
    Bench bench(2, 2, 1);
    int left = 1;
    bench.hub[1]->store.on_commit = [&](SnapshotId id, Version, const Bytes& bytes) {
      EXPECT_EQ(bytes, *bench.hub[0]->store.find(id)) << "kind " << kind;
    };
    bench.tamper = [&](Sent& m) {
      if (m.from != 0 || left == 0) return true;
      if (kind == 0 && m.type == FrameType::snapshot_chunk) {
        --left, m.payload[3] ^= std::byte{1};
      } else if (kind == 1 && m.type == FrameType::snapshot_chunk) {
        --left;
        return false;
      } else if (kind == 2 && m.type == FrameType::snapshot_begin) {
        --left;
        return false;
      } else if (kind == 3 && m.type == FrameType::snapshot_chunk) {
        --left, m.payload.push_back(std::byte{0});
      }
      return true;
    };
    bench.capture_all(1, 0);
    bench.run(10 * ms);
    EXPECT_EQ(left, 0);
    expect_committed(bench, 1);  // a broken transfer is told and sent again at once
    EXPECT_EQ(bench.hub[1]->store.open_writers, 0);
  }
}

TEST(MirrorProtocol, LostAnswersAreAskedForAndNothingIsSentTwice) {
  Bench bench(2, 2, 1);
  int lost = 2;
  bench.tamper = [&](Sent& m) { return !(m.type == FrameType::snapshot_stored && m.to == 0 && lost-- > 0); };
  bench.capture_all(1, 0);
  bench.run(10 * ms);
  EXPECT_EQ(bench.hub[0]->protocol.committed(), 0U);
  bench.run(1'000 * ms);
  expect_committed(bench, 1);
  EXPECT_EQ(bench.hub[0]->protocol.bytes_sent(), 350U);  // an offer was enough
}

TEST(MirrorProtocol, LostCommitNewsAreTold) {
  Bench bench(3, 3, 1);
  int lost = 3;
  bench.tamper = [&](Sent& m) {
    return !((m.type == FrameType::version_committed || m.type == FrameType::version_stored) && lost-- > 0);
  };
  bench.capture_all(1, 0);
  bench.run(3'000 * ms);
  expect_committed(bench, 1);
}

TEST(MirrorProtocol, VersionsMayBeSkipped) {
  Bench bench(2, 2, 1);
  bench.capture(0, 1, 0);
  bench.capture(0, 2, 1);
  bench.capture(0, 4, 2);
  bench.capture(1, 2, 0);  // never captured 1
  bench.run();
  EXPECT_EQ(bench.hub[0]->protocol.committed(), 2U);
  EXPECT_EQ(bench.hub[1]->protocol.committed(), 2U);
  bench.capture(1, 3, 2);
  bench.run();
  EXPECT_EQ(bench.hub[0]->protocol.committed(), 2U);  // rank 0 has no 3, rank 1 no 4
  bench.capture(1, 4, 3);
  bench.run();
  expect_committed(bench, 4);
}

TEST(MirrorProtocol, FramesOfAnotherEpochDoNothing) {
  Bench bench(2, 2, 1);
  bench.capture_all(1, 0);
  auto old = bench.queue;
  bench.run();
  expect_committed(bench, 1);
  bench.view.epoch = 2;
  bench.view.committed = 1;
  bench.begin();
  bench.run();
  const auto listed = bench.hub[1]->store.list().size();
  bench.hub[1]->store.erase({0, 1});
  bench.queue = old;  // what was under way in epoch 1 arrives in epoch 2
  bench.run();
  EXPECT_EQ(bench.hub[1]->store.list().size(), listed - 1);
  EXPECT_EQ(bench.hub[1]->store.open_writers, 0);
}

TEST(MirrorProtocol, BeginErasesWhatWasNotCommittedAndVoidsTransfers) {
  Bench bench(3, 3, 1);
  bench.capture_all(1, 0);
  bench.run();
  for (Rank r = 0; r < 3; ++r) bench.capture(r, 2, 1, 2'000);
  for (int i = 0; i < 5; ++i) bench.step();
  bench.view.epoch = 2;
  bench.view.committed = 1;
  bench.begin();
  for (const auto& h : bench.hub) {
    EXPECT_EQ(h->store.open_writers, 0);
    for (const auto& snapshot : h->store.list()) EXPECT_EQ(snapshot.id.version, 1U);
  }
  bench.run();
  expect_committed(bench, 1);
  const auto anew = bench.capture(0, 2, 1);
  bench.capture(1, 2, 1);
  bench.capture(2, 2, 1);
  bench.run();
  expect_committed(bench, 2);
  EXPECT_EQ(*bench.hub[1]->store.find({0, 2}), anew);
}

TEST(MirrorProtocol, SuspendedHubCommitsNothingBehindTheBackOfTheOthers) {
  Bench bench(2, 2, 1);
  std::vector<Sent> on_the_way;
  bench.tamper = [&](Sent& m) {
    if (m.type == FrameType::version_committed) on_the_way.push_back(m);
    return m.type != FrameType::version_committed;
  };
  bench.capture_all(1, 0);
  bench.run();
  ASSERT_EQ(bench.hub[0]->protocol.committed(), 1U);
  ASSERT_EQ(on_the_way.size(), 1U);
  bench.tamper = nullptr;
  auto& hub = *bench.hub[1];
  hub.protocol.suspend();
  bench.queue.push_back(on_the_way[0]);
  bench.run(3'000 * ms);
  EXPECT_EQ(hub.protocol.committed(), 0U);
  EXPECT_EQ(hub.store.committed(), 0U);
  const auto frames = bench.log.size();
  hub.store.put({1, 2}, 1, blob(10, 1));
  hub.protocol.publish(2, bench.now);  // captured before the death was known
  bench.run(3'000 * ms);
  EXPECT_EQ(bench.log.size(), frames);
  EXPECT_THROW(hub.protocol.fetch(0, {0, 1}, bench.now), Error);
  bench.view.epoch = 2;
  bench.view.committed = 1;  // hub 0 told so
  bench.begin();
  bench.run();
  EXPECT_EQ(hub.store.find({1, 2}), nullptr);
  bench.capture_all(2, 1);
  bench.run();
  expect_committed(bench, 2);
}

TEST(MirrorProtocol, BeginCanBeRepeatedAfterTheStoreFailed) {
  Bench bench(2, 2, 1);
  auto& hub = *bench.hub[1];
  bench.view.epoch = 2;
  bench.view.committed = 4;
  hub.store.marker_fails = true;
  EXPECT_THROW(hub.protocol.begin(bench.view, 1, bench.now), Error);
  EXPECT_EQ(hub.protocol.committed(), 0U);
  hub.store.marker_fails = false;
  bench.begin();
  EXPECT_EQ(hub.protocol.committed(), 4U);
  EXPECT_EQ(hub.store.committed(), 4U);
}

TEST(MirrorProtocol, SpareFetchesTheChainBecomesTheRankAndEverythingIsMirroredAgain) {
  Bench bench(4, 3, 1);
  for (Version v = 1; v <= 3; ++v) bench.capture_all(v, v - 1);
  bench.run();
  expect_committed(bench, 3);
  const auto lost = *bench.hub[1]->store.find({1, 3});
  bench.hub[1].reset();  // rank 1 dies; its mirror is at hub 2, and it held rank 0's
  for (const HubId h : {0U, 2U}) bench.hub[h]->protocol.peer_lost(1);
  bench.view.epoch = 2;
  bench.view.committed = 3;
  bench.view.hub_of_rank[1] = 3;
  bench.begin();
  bench.run(100 * ms);
  EXPECT_FALSE(bench.hub[3]->store.find({1, 3}) != nullptr);
  ASSERT_NE(bench.hub[3]->store.find({0, 3}), nullptr);  // rank 0 has a mirror again, by its chain
  EXPECT_EQ(bench.hub[3]->store.base_of({0, 3}), 2U);
  bench.hub[3]->protocol.fetch(2, {1, 3}, bench.now);
  bench.run(100 * ms);
  EXPECT_EQ(bench.hub[3]->count(Kind::fetched), 1);
  for (Version v = 1; v <= 3; ++v) ASSERT_NE(bench.hub[3]->store.find({1, v}), nullptr) << v;
  EXPECT_EQ(*bench.hub[3]->store.find({1, 3}), lost);
  bench.capture_all(4, 3);
  bench.run();
  expect_committed(bench, 4);
}

TEST(MirrorProtocol, OwnHubFetchesItsChainFromItsPartner) {
  Bench bench(2, 2, 1);
  bench.capture_all(1, 0);
  bench.capture_all(2, 1);
  bench.run();
  auto& store = bench.hub[0]->store;
  const auto right = *store.find({0, 2});
  store.put({0, 2}, 1, blob(350, 1));  // damaged
  int lost = 2;
  bench.tamper = [&](Sent& m) { return !(m.type == FrameType::snapshot_chunk && m.from == 1 && lost-- > 0); };
  bench.hub[0]->protocol.fetch(1, {0, 2}, bench.now);
  bench.run(3'000 * ms);
  EXPECT_EQ(bench.hub[0]->count(Kind::fetched), 1);
  EXPECT_EQ(*store.find({0, 2}), right);
}

TEST(MirrorProtocol, AMirrorGivesWayToAFetchOfTheSamePeer) {
  Bench bench(2, 2, 1);
  for (Version v = 1; v <= 2; ++v) {
    for (const Rank r : {0, 1}) bench.capture(r, v, v - 1, 5'000);
  }
  bench.run();
  expect_committed(bench, 2);
  // Hub 1 lost its memory: it needs its own state to go on, and rank 0 wants a mirror there.
  for (const Rank r : {0, 1}) {
    for (const Version v : {1, 2}) bench.hub[1]->store.erase({r, v});
  }
  std::string order;  // whose chunks go from hub 0 to hub 1
  bench.tamper = [&](Sent& m) {
    if (m.type == FrameType::snapshot_chunk && m.from == 0) {
      order += static_cast<char>('0' + mirror::SnapshotChunk::decode(m.body).rank);
    }
    return true;
  };
  bench.view.epoch = 2;
  bench.view.committed = 2;
  bench.begin();
  bench.hub[1]->protocol.fetch(0, {1, 2}, bench.now);
  bench.run();
  EXPECT_EQ(std::count(order.begin(), order.end(), '0'), 100);
  EXPECT_EQ(std::count(order.begin(), order.end(), '1'), 100);
  // Only what was in the window already, and between two links of the chain, comes in between.
  const auto before_the_last = order.substr(0, order.rfind('1'));
  EXPECT_LE(std::count(before_the_last.begin(), before_the_last.end(), '0'), 12) << order;
}

TEST(MirrorProtocol, FetchOfWhatIsNotThereFails) {
  Bench bench(2, 2, 1);
  bench.capture_all(1, 0);
  bench.run();
  auto& hub = *bench.hub[0];
  hub.protocol.fetch(1, {0, 7}, bench.now);
  bench.run();
  EXPECT_EQ(hub.count(Kind::failed), 1);
  hub.protocol.fetch(0, {0, 7}, bench.now);
  EXPECT_EQ(hub.count(Kind::failed), 2);
  hub.protocol.fetch(0, {0, 1}, bench.now);
  EXPECT_EQ(hub.count(Kind::fetched), 1);
  hub.protocol.fetch(1, {0, 1}, bench.now);
  hub.protocol.peer_lost(1);
  EXPECT_EQ(hub.count(Kind::failed), 3);
  EXPECT_EQ(hub.events.back().note, "hub 1 was lost");
}

TEST(MirrorProtocol, IncompleteChainIsNotServed) {
  Bench bench(2, 2, 1);
  bench.capture_all(1, 0);
  bench.capture_all(2, 1);
  bench.run();
  bench.hub[1]->store.erase({0, 1});
  bench.hub[0]->protocol.fetch(1, {0, 2}, bench.now);
  bench.run();
  EXPECT_EQ(bench.hub[0]->count(Kind::failed), 1);
}

TEST(MirrorProtocol, LostRequestIsRepeated) {
  Bench bench(3, 2, 1);
  bench.capture_all(1, 0);
  bench.run();
  int lost = 3;
  bench.tamper = [&](Sent& m) { return !(m.type == FrameType::fetch && lost-- > 0); };
  bench.hub[2]->protocol.fetch(0, {0, 1}, bench.now);
  bench.run(3'000 * ms);
  EXPECT_EQ(bench.hub[2]->count(Kind::fetched), 1);
}

TEST(MirrorProtocol, FetchFromAHungHubFailsInTheEnd) {
  Bench bench(3, 2, 1);
  bench.capture_all(1, 0);
  bench.run();
  bench.tamper = [](Sent& m) { return m.from != 0; };
  bench.hub[2]->protocol.fetch(0, {0, 1}, bench.now);
  bench.run(7'900 * ms);
  EXPECT_EQ(bench.hub[2]->count(Kind::failed), 0);
  bench.run(200 * ms);
  EXPECT_EQ(bench.hub[2]->count(Kind::failed), 1);
  EXPECT_EQ(bench.hub[2]->events.back().note, "hub 0 does not answer");
}

TEST(MirrorProtocol, FullPartnerStoreIsTriedAgain) {
  Bench bench(2, 2, 1);
  bench.hub[1]->store.budget = 120;
  bench.capture_all(1, 0);
  bench.run(500 * ms);
  EXPECT_EQ(bench.hub[0]->protocol.committed(), 0U);
  EXPECT_GE(bench.hub[0]->count(Kind::refused), 1);
  EXPECT_EQ(bench.hub[1]->store.open_writers, 0);
  bool named = false;
  for (const auto& event : bench.hub[0]->events)
    named = named || event.note.find("No space left") != std::string::npos;
  EXPECT_TRUE(named);
  bench.hub[1]->store.budget = 10'000;
  bench.run(4'000 * ms);
  expect_committed(bench, 1);
}

TEST(MirrorProtocol, MarkerThatCannotBeWrittenIsNoCommit) {
  for (const HubId which : {0U, 1U}) {
    Bench bench(2, 2, 1);
    bench.hub[which]->store.marker_fails = true;
    bench.capture_all(1, 0);
    bench.run(500 * ms);
    EXPECT_EQ(bench.hub[which]->protocol.committed(), 0U);
    EXPECT_GE(bench.hub[which]->count(Kind::failed), 1);
    bench.hub[which]->store.marker_fails = false;
    bench.run(4'000 * ms);
    expect_committed(bench, 1);
  }
}

TEST(MirrorProtocol, StrangersAndLiarsAreRefused) {
  Bench bench(4, 3, 1);
  bench.capture_all(1, 0);
  bench.run();
  const auto inject = [&](HubId from, HubId to, FrameType type, Bytes body) {
    bench.queue.push_back({from, to, type, 1, std::move(body), {}});
    bench.run();
  };
  const auto before = bench.hub[1]->store.list().size();
  ByteWriter begin;  // hub 3 is no rank: a snapshot of rank 0 from it is not taken
  begin.put(std::uint64_t{1000}), begin.put(Rank{0}), begin.put(Version{9}), begin.put(Version{0});
  begin.put(std::uint64_t{0}), begin.put(std::uint8_t{0});
  inject(3, 1, FrameType::snapshot_begin, begin.bytes());
  EXPECT_EQ(bench.log.back(), FrameType::snapshot_refused);
  EXPECT_EQ(bench.hub[1]->store.list().size(), before);
  ByteWriter committed;
  committed.put(Version{9});
  inject(2, 1, FrameType::version_committed, committed.bytes());  // not the coordinator
  EXPECT_EQ(bench.hub[1]->protocol.committed(), 1U);
  ByteWriter stored;
  stored.put(Rank{1}), stored.put(std::uint32_t{1}), stored.put(Version{9});
  inject(2, 0, FrameType::version_stored, stored.bytes());  // not rank 1's hub
  inject(2, 0, FrameType::version_stored, Bytes(3));        // damaged
  EXPECT_EQ(bench.hub[0]->events.back().kind, Kind::refused);
  EXPECT_EQ(bench.hub[0]->protocol.committed(), 1U);
}

TEST(MirrorProtocol, EveryFrameTypeWithAnyTruncatedBodyIsHarmless) {
  Bench bench(2, 2, 1);
  bench.capture_all(1, 0);
  bench.run();
  for (int type = 0; type < 14; ++type) {
    for (std::size_t size = 0; size < 48; ++size) {
      bench.queue.push_back({1, 0, static_cast<FrameType>(type), 1, blob(size, static_cast<unsigned>(type)), {}});
      bench.run();
    }
  }
  bench.capture_all(2, 1);
  bench.run(4'000 * ms);
  expect_committed(bench, 2);
}

TEST(MirrorProtocol, WhatIsNoLongerMirroredHereGoesWithTheFirstCommit) {
  Bench bench(4, 4, 1);
  bench.capture_all(1, 0);
  bench.run();
  ASSERT_NE(bench.hub[1]->store.find({0, 1}), nullptr);
  bench.view.epoch = 2;
  bench.view.committed = 1;
  bench.view.mirrored_by = {{2}, {3}, {0}, {1}};
  bench.begin();
  bench.run();
  EXPECT_NE(bench.hub[1]->store.find({0, 1}), nullptr);  // until it is certain that the others have theirs
  EXPECT_NE(bench.hub[2]->store.find({0, 1}), nullptr);
  bench.capture_all(2, 1);
  bench.run();
  expect_committed(bench, 2);
  EXPECT_EQ(bench.hub[1]->store.find({0, 1}), nullptr);
}

TEST(MirrorProtocol, WrongCommandsAreRefusedByName) {
  Bench bench(2, 2, 1);
  auto& protocol = bench.hub[0]->protocol;
  EXPECT_THROW(protocol.publish(3, bench.now), Error);  // not in the store
  bench.capture_all(1, 0);
  bench.run();
  EXPECT_THROW(protocol.publish(1, bench.now), Error);  // committed
  auto view = bench.view;
  EXPECT_THROW(protocol.begin(view, 0, bench.now), Error);  // the same epoch
  view.epoch = 2;
  EXPECT_THROW(protocol.begin(view, 0, bench.now), Error);  // behind the committed version
  view.committed = 1;
  EXPECT_THROW(protocol.begin(view, 1, bench.now), Error);  // rank 1 is hub 1
  view.mirrored_by.pop_back();
  EXPECT_THROW(protocol.begin(view, 0, bench.now), Error);
  EXPECT_EQ(protocol.committed(), 1U);
  MemoryStore store;
  mirror::MirrorOptions options;
  options.chunk_bytes = 0;
  EXPECT_THROW(mirror::MirrorProtocol(options, store, *bench.hub[0]), Error);
}

TEST(MirrorProtocol, CommittedMarkerOfTheStoreIsKnownAfterARestart) {
  Bench bench(2, 2, 1);
  bench.capture_all(1, 0);
  bench.run();
  mirror::MirrorOptions options;
  options.self = 0;
  options.rank = 0;
  mirror::MirrorProtocol again(options, bench.hub[0]->store, *bench.hub[0]);
  EXPECT_EQ(again.committed(), 1U);

  bench.hub[0]->store.clear();   // the job went on without it
  mirror::View view = bench.view;
  view.epoch = 9;
  again.begin(view, 0, bench.now);
  EXPECT_EQ(again.committed(), 0U);
}

}  // namespace
}  // namespace foreweave::test
