#include "comm/simulated_network.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "foreweave/core/error.hpp"

namespace foreweave::comm {
namespace {

struct Inbox final : TransportListener {
  void on_message(HubId from, ByteView head, ByteView payload) override {
    log.push_back(std::to_string(from) + ":" + text(head) + ":" + text(payload));
  }
  void on_peer_failed(HubId peer, const std::string& reason) override {
    log.push_back(std::to_string(peer) + " failed: " + reason);
  }
  static std::string text(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  std::vector<std::string> log;
};

Bytes bytes_of(const std::string& text) {
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}

void send(Transport& from, HubId to, const std::string& head, const std::string& payload = "") {
  const auto owner = std::make_shared<const Bytes>(bytes_of(payload));
  from.send(to, {bytes_of(head), *owner, owner});
}

/// Runs until nothing is left for these hubs.
void run(SimulatedNetwork& network, const std::map<HubId, std::pair<Transport*, Inbox*>>& hubs) {
  for (;;) {
    std::optional<Nanoseconds> next;
    for (const auto& [hub, end] : hubs) {
      const auto time = network.next_delivery(hub);
      if (time && (!next || *time < *next)) next = time;
    }
    if (!next) return;
    network.advance_to(*next);
    for (const auto& [hub, end] : hubs) {
      while (end.first->progress(*end.second)) {
      }
    }
  }
}

TEST(SimulatedNetwork, CalmConnectionsKeepOrderAndLoseNothing) {
  SimulatedNetwork network(1, {});
  const auto a = network.attach(0), b = network.attach(1);
  Inbox at_a, at_b;
  send(*a, 1, "too early");  // not connected: dropped
  a->connect(1, b->address());
  std::vector<std::string> expected;
  for (int i = 0; i < 200; ++i) {
    send(*a, 1, std::to_string(i), "payload");
    expected.push_back("0:" + std::to_string(i) + ":payload");
  }
  EXPECT_GT(a->pending_bytes(1), 0U);
  EXPECT_FALSE(b->progress(at_b));  // no time has passed
  run(network, {{0, {a.get(), &at_a}}, {1, {b.get(), &at_b}}});
  EXPECT_EQ(at_b.log, expected);
  EXPECT_EQ(a->pending_bytes(1), 0U);
}

TEST(SimulatedNetwork, SameSeedSameRun) {
  const auto record = [](std::uint64_t seed) {
    SimulatedFaults faults;
    faults.loss = faults.duplication = faults.reordering = faults.corruption = 0.1;
    faults.connection_failure = 0.01;
    SimulatedNetwork network(seed, faults);
    const auto a = network.attach(0), b = network.attach(1);
    Inbox at_a, at_b;
    for (int i = 0; i < 300; ++i) {
      a->connect(1, {});
      send(*a, 1, std::to_string(i));
    }
    run(network, {{0, {a.get(), &at_a}}, {1, {b.get(), &at_b}}});
    at_b.log.push_back(std::to_string(network.now()));
    return at_b.log;
  };
  EXPECT_EQ(record(5), record(5));
  EXPECT_NE(record(5), record(6));
}

TEST(SimulatedNetwork, FaultsDoWhatTheySay) {
  const auto count = [](SimulatedFaults faults, auto&& judge) {
    SimulatedNetwork network(3, faults);
    const auto a = network.attach(0), b = network.attach(1);
    Inbox at_a, at_b;
    for (int i = 1000; i < 2000; ++i) {
      a->connect(1, {});
      send(*a, 1, std::to_string(i));
    }
    run(network, {{0, {a.get(), &at_a}}, {1, {b.get(), &at_b}}});
    return judge(at_b.log, at_a.log);
  };
  using Log = std::vector<std::string>;
  const auto received = [](const Log& at_b, const Log&) { return at_b.size(); };
  SimulatedFaults loss, twice, late, damage, broken;
  loss.loss = twice.duplication = late.reordering = damage.corruption = 0.2;
  broken.connection_failure = 0.01;
  EXPECT_NEAR(static_cast<double>(count(loss, received)), 800, 80);
  EXPECT_NEAR(static_cast<double>(count(twice, received)), 1200, 80);
  EXPECT_FALSE(count(late, [](const Log& log, const Log&) { return std::is_sorted(log.begin(), log.end()); }));
  EXPECT_EQ(count(late, received), 1000U);
  EXPECT_NEAR(count(damage,
                    [](const Log& log, const Log&) {
                      int damaged = 0;
                      for (const auto& line : log) {
                        const auto number = line.substr(2, 4);
                        const bool whole =
                            line.size() == 7 && number.find_first_not_of("0123456789") == std::string::npos;
                        damaged += whole ? 0 : 1;
                      }
                      return damaged;
                    }),
              150, 70);  // a flipped bit can turn a digit into another
  EXPECT_NEAR(
      count(broken,
            [](const Log&, const Log& at_a) {
              return static_cast<int>(std::count(at_a.begin(), at_a.end(), "1 failed: the connection failed"));
            }),
      10, 8);
}

TEST(SimulatedNetwork, DeathLosesWhatWasQueuedAndIsTold) {
  SimulatedFaults slow;
  slow.bytes_per_second = 1e6;
  SimulatedNetwork network(1, slow);
  auto a = network.attach(0);
  const auto b = network.attach(1);
  Inbox at_b;
  a->connect(1, {});
  b->connect(0, {});
  for (int i = 0; i < 10; ++i) send(*a, 1, "x", std::string(1'000, 'y'));  // one takes a millisecond to leave
  network.advance_to(4'500'000);
  a.reset();
  EXPECT_FALSE(network.next_delivery(0));
  run(network, {{1, {b.get(), &at_b}}});
  ASSERT_EQ(at_b.log.size(), 5U);  // four had left
  EXPECT_EQ(at_b.log.back(), "0 failed: its process died");
  b->connect(0, {});
  run(network, {{1, {b.get(), &at_b}}});
  EXPECT_EQ(at_b.log.back(), "0 failed: it cannot be reached");
  EXPECT_THROW(network.attach(1), Error);
  const auto again = network.attach(0);  // a new process
  Inbox at_a;
  b->connect(0, {});
  send(*b, 0, "hello");
  run(network, {{0, {again.get(), &at_a}}, {1, {b.get(), &at_b}}});
  EXPECT_EQ(at_a.log, (std::vector<std::string>{"1:hello:"}));
}

}  // namespace
}  // namespace foreweave::comm
