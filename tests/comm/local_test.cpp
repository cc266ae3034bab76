#include <gtest/gtest.h>

#include <barrier>
#include <thread>

#include "comm/conformance.hpp"
#include "foreweave/comm/transport.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave::comm {
namespace {

using namespace conformance;

/// One thread a hub, all connected, each runs the program.
void on_threads(HubId hubs, const std::function<void(Transport&)>& program) {
  LocalNetwork network;
  std::vector<std::unique_ptr<Transport>> ends;
  for (HubId hub = 0; hub < hubs; ++hub) ends.push_back(network.attach(hub));
  for (auto& end : ends)
    for (auto& other : ends) end->connect(other->self(), other->address());
  std::vector<std::thread> threads;
  std::barrier all(static_cast<std::ptrdiff_t>(hubs));
  for (HubId hub = 0; hub < hubs; ++hub)
    threads.emplace_back([&, hub] {
      program(*ends[hub]);
      all.arrive_and_wait();
    });
  for (auto& thread : threads) thread.join();
}

TEST(Local, AllPairs) {
  for (const HubId hubs : {1u, 2u, 4u})
    on_threads(hubs, [&](Transport& transport) { all_pairs(transport, hubs, all_sizes(), 2); });
}
TEST(Local, BackPressure) {
  on_threads(3, [](Transport& transport) { back_pressure(transport, 3, 40, 1 << 20); });
}
TEST(Local, TokenRing) {
  on_threads(3, [](Transport& transport) { token_ring(transport, 3, 300); });
}

TEST(Local, KillTellsPeersOnceAndDropsWhatWasQueued) {
  LocalNetwork network;
  auto a = network.attach(0), b = network.attach(1);
  a->connect(1, b->address());
  b->connect(0, a->address());
  const Bytes data = pattern(1, 0, 0, 10);
  b->send(0, {head_of(Kind::data, 0, 10), data, nullptr});
  network.kill(1);
  Checker checker(0);
  for (int turn = 0; turn < 3; ++turn) a->progress(checker);
  EXPECT_EQ(checker.failures[1], 1);
  EXPECT_EQ(checker.received_from[1], 0u);
  a->send(1, {head_of(Kind::data, 0, 0), {}, nullptr});
  EXPECT_EQ(a->pending_bytes(1), 0u);
  Checker dead(1);
  EXPECT_FALSE(b->progress(dead));
}

TEST(Local, ReconnectsToAHubThatCameBack) {
  LocalNetwork network;
  auto a = network.attach(0), b = network.attach(1);
  a->connect(1, b->address());
  network.kill(1);
  Checker checker(0);
  a->progress(checker);
  EXPECT_EQ(checker.failures[1], 1);
  a->connect(1, b->address());  // it is not back yet
  a->progress(checker);
  EXPECT_EQ(checker.failures[1], 2);
  auto again = network.attach(1);
  a->connect(1, again->address());
  const Bytes data = pattern(0, 1, 0, 10);
  a->send(1, {head_of(Kind::data, 0, 10), data, nullptr});
  Checker theirs(1);
  again->progress(theirs);
  EXPECT_EQ(theirs.received_from[0], 1u);
  EXPECT_EQ(theirs.complaints, std::vector<std::string>{});
}

TEST(Local, WhatWasSentBeforeAnOrderlyEndStillArrives) {
  LocalNetwork network;
  auto a = network.attach(0), b = network.attach(1);
  a->connect(1, b->address());
  b->connect(0, a->address());
  const Bytes data = pattern(1, 0, 0, 10);
  b->send(0, {head_of(Kind::data, 0, 10), data, nullptr});
  b.reset();
  Checker checker(0);
  a->progress(checker);
  EXPECT_EQ(checker.received_from[1], 1u);
  EXPECT_EQ(checker.failures[1], 1);
}

TEST(Local, WakeEndsAWait) {
  LocalNetwork network;
  auto a = network.attach(0);
  std::thread other([&] { a->wake(); });
  a->wait(100 * second);  // without the wake the test's time limit ends it
  other.join();
}

TEST(Local, BadUseIsNamed) {
  LocalNetwork network;
  auto a = network.attach(0);
  EXPECT_THROW(network.attach(0), Error);
  EXPECT_THROW(a->connect(1, a->address()), Error);
  EXPECT_THROW(a->connect(1, {}), Error);
  const Bytes large(max_payload_bytes + 1);
  EXPECT_THROW(a->send(0, {Bytes{}, large, nullptr}), Error);
  EXPECT_THROW(a->send(0, {Bytes(max_head_bytes + 1), {}, nullptr}), Error);
}

}  // namespace
}  // namespace foreweave::comm
