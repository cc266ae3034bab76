// threads
#include "foreweave/comm/engine.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "foreweave/core/error.hpp"

namespace foreweave::comm {
namespace {

struct Seen {
  FrameType type;
  HubId source;
  Epoch epoch;
  Bytes body, payload;
};

class Handler final : public EngineHandler {
 public:
  void on_frame(const Frame& frame, Nanoseconds) override {
    if (during_frame) during_frame(frame);
    change([&] {
      frames.push_back({frame.type, frame.source, frame.epoch, Bytes(frame.body.begin(), frame.body.end()),
                        Bytes(frame.payload.begin(), frame.payload.end())});
    });
  }
  void on_peer_failed(HubId peer, const std::string&, Nanoseconds) override {
    change([&] { failed.push_back(peer); });
  }
  void tick(Nanoseconds) override {
    change([&] { ++ticks; });
  }
  /// Waits until it holds (under the lock); the test's time limit is the only bound.
  template <class F>
  void await(F condition) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, condition);
  }

  std::function<void(const Frame&)> during_frame;
  std::vector<Seen> frames;
  std::vector<HubId> failed;
  int ticks = 0;

 private:
  template <class F>
  void change(F what) {
    const std::lock_guard lock(mutex_);
    what();
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
};

Bytes text(std::string_view words) {
  const auto view = std::as_bytes(std::span(words));
  return {view.begin(), view.end()};
}

/// Two engines that know each other.
struct Pair {
  LocalNetwork network;
  Handler handler_a, handler_b;
  std::unique_ptr<Engine> a, b;
  Pair() {
    auto end_a = network.attach(0), end_b = network.attach(1);
    const Bytes address_a = end_a->address(), address_b = end_b->address();
    a = std::make_unique<Engine>(std::move(end_a), handler_a);
    b = std::make_unique<Engine>(std::move(end_b), handler_b);
    a->connect(1, address_b);
    b->connect(0, address_a);
    b->connect(1, address_b);
    a->start();
    b->start();
  }
};

TEST(Engine, FramesGoAcrossWithEpochAndPayload) {
  Pair pair;
  pair.a->send(1, FrameType::fetch, text("body"), {}, nullptr);
  {
    const Bytes payload = text("payload");
    pair.a->send(1, FrameType::snapshot_chunk, text("two"), payload);  // no owner: it may go at once
  }
  pair.handler_b.await([&] { return pair.handler_b.frames.size() == 2; });
  EXPECT_EQ(pair.handler_b.frames[0].type, FrameType::fetch);
  EXPECT_EQ(pair.handler_b.frames[0].body, text("body"));
  EXPECT_EQ(pair.handler_b.frames[1].payload, text("payload"));
  EXPECT_EQ(pair.handler_b.frames[1].source, 0u);
  EXPECT_EQ(pair.a->counters().frames_sent, 2u);
  EXPECT_EQ(pair.b->counters().frames_received, 2u);
  EXPECT_EQ(pair.a->transport_name(), "local");
}

TEST(Engine, TicksWithoutTraffic) {
  Pair pair;
  pair.handler_a.await([&] { return pair.handler_a.ticks >= 5; });
}

TEST(Engine, FramesOfAnOldEpochAreRefusedAndLaterOnesHeld) {
  Pair pair;
  pair.b->call([&] { pair.b->set_epoch(2); });
  pair.a->send(1, FrameType::fetch, text("old"));  // epoch 0
  pair.a->call([&] { pair.a->set_epoch(3); });
  pair.a->send(1, FrameType::fetch, text("early 1"));
  pair.a->send(1, FrameType::fetch, text("early 2"));
  pair.a->stop();  // all of it lies in b's inbox, or went through
  // b moves on to epoch 3 when a frame of epoch 2 tells it to, from inside the handler.
  pair.handler_b.during_frame = [&](const Frame& frame) {
    if (frame.type == FrameType::goodbye) pair.b->set_epoch(3);
  };
  pair.b->send(1, FrameType::goodbye, {});
  pair.handler_b.await([&] { return pair.handler_b.frames.size() == 3; });
  EXPECT_EQ(pair.handler_b.frames[0].type, FrameType::goodbye);
  EXPECT_EQ(pair.handler_b.frames[1].body, text("early 1"));
  EXPECT_EQ(pair.handler_b.frames[2].body, text("early 2"));
  EXPECT_EQ(pair.b->epoch(), 3u);
  EXPECT_EQ(pair.b->counters().other_epoch, 1u);
  pair.b->call([&] { EXPECT_THROW(pair.b->set_epoch(1), Error); });
}

TEST(Engine, HoldsNoMoreThanItsBudget) {
  LocalNetwork network;
  auto end_a = network.attach(0), end_b = network.attach(1);
  end_a->connect(1, end_b->address());
  Handler handler_a, handler_b;
  Engine a(std::move(end_a), handler_a, {.flush_for = 0}), b(std::move(end_b), handler_b, {.hold_bytes = 2500});
  a.set_epoch(1);
  const Bytes payload(1000);
  for (int i = 0; i < 5; ++i) a.send(1, FrameType::fetch, {}, payload);
  a.start();
  a.stop();
  b.start();
  handler_b.await([&] { return b.counters().other_epoch == 3; });  // two of 1040 bytes fit
  b.call([&] { b.set_epoch(1); });
  handler_b.await([&] { return handler_b.frames.size() == 2; });
}

/// A transport that hands over what the test gives it.
class Scripted final : public Transport {
 public:
  std::string name() const override { return "scripted"; }
  HubId self() const override { return 0; }
  Bytes address() const override { return {}; }
  void connect(HubId, ByteView) override {}
  void disconnect(HubId) override {}
  void send(HubId, Message) override {}
  std::uint64_t pending_bytes(HubId) const override { return stuck; }
  bool progress(TransportListener& listener) override {
    if (next == script.size()) return false;
    const auto& [from, head, payload] = script[next++];
    listener.on_message(from, head, payload);
    return true;
  }
  void wait(std::int64_t) override { std::this_thread::sleep_for(std::chrono::microseconds(100)); }
  void wake() override {}
  struct Item {
    HubId from;
    Bytes head, payload;
  };
  std::vector<Item> script;
  std::size_t next = 0;
  std::uint64_t stuck = 0;
};

Bytes frame_from(HubId source, std::uint64_t sequence) {
  Frame frame;
  frame.type = FrameType::heartbeat;
  frame.source = source;
  frame.sequence = sequence;
  return encode_frame(frame);
}

TEST(Engine, DamagedForgedAndRepeatedFramesAreCountedAndDropped) {
  auto transport = std::make_unique<Scripted>();
  Bytes damaged = frame_from(1, 1);
  damaged.back() ^= std::byte{1};
  transport->script = {{1, damaged, {}},          {1, text("foreign"), {}},  {1, frame_from(2, 1), {}},
                       {1, frame_from(1, 1), {}}, {1, frame_from(1, 1), {}}, {1, frame_from(1, 3), {}},
                       {1, frame_from(1, 2), {}}, {2, frame_from(2, 1), {}}};
  Handler handler;
  Engine engine(std::move(transport), handler);
  engine.start();
  handler.await([&] { return handler.frames.size() == 3; });
  const EngineCounters counters = engine.counters();
  EXPECT_EQ(counters.damaged, 3u);
  EXPECT_EQ(counters.repeated, 2u);
}

TEST(Engine, StopIsBoundedWhenAPeerTakesNothing) {
  auto transport = std::make_unique<Scripted>();
  transport->stuck = 1;
  Handler handler;
  Engine engine(std::move(transport), handler, {.flush_for = 50'000'000});
  engine.start();
  engine.send(1, FrameType::heartbeat, {});
  engine.call([] {});
  engine.stop();  // without the bound the test's time limit ends it
  EXPECT_FALSE(engine.running());
}

TEST(Engine, ErrorsOfTheHandlerReachTheProgram) {
  Pair pair;
  pair.handler_b.during_frame = [](const Frame&) { throw std::runtime_error("from the handler"); };
  pair.a->send(1, FrameType::fetch, {});
  std::exception_ptr error;
  while (!(error = pair.b->take_error())) std::this_thread::yield();
  EXPECT_THROW(std::rethrow_exception(error), std::runtime_error);
  EXPECT_EQ(pair.b->take_error(), nullptr);
  pair.b->call([] {});  // it goes on
}

TEST(Engine, CallReturnsWhatTheCommandThrows) {
  Pair pair;
  EXPECT_THROW(pair.a->call([] { throw std::runtime_error("from the command"); }), std::runtime_error);
  bool there = false;
  pair.a->call([&] {
    pair.a->call([&] { there = pair.a->on_progress_thread(); });  // from the thread itself: at once
  });
  EXPECT_TRUE(there);
  EXPECT_EQ(pair.a->take_error(), nullptr);
  pair.a->stop();
  EXPECT_THROW(pair.a->call([] {}), Error);
  EXPECT_THROW(pair.a->start(), Error);
}

TEST(Engine, FailureOfAPeerIsTold) {
  Pair pair;
  pair.a->call([] {});  // a is connected
  pair.network.kill(1);
  pair.handler_a.await([&] { return pair.handler_a.failed == std::vector<HubId>{1}; });
  EXPECT_EQ(pair.a->counters().peers_failed, 1u);
}

TEST(Engine, StopSendsWhatIsQueued) {
  Pair pair;
  const auto payload = std::make_shared<const Bytes>(100'000);
  for (int i = 0; i < 200; ++i) pair.a->send(1, FrameType::snapshot_chunk, {}, *payload, payload);
  pair.a->stop();
  pair.handler_b.await([&] { return pair.handler_b.frames.size() == 200; });
  pair.b->stop();
  EXPECT_EQ(payload.use_count(), 1);
}

TEST(Engine, ManyThreadsPostAndSend) {
  Pair pair;
  std::atomic<int> ran = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        pair.a->send(1, FrameType::heartbeat, text("x"));
        pair.a->post([&] { ++ran; });
      }
    });
  for (auto& thread : threads) thread.join();
  pair.handler_b.await([&] { return pair.handler_b.frames.size() == 2000; });
  pair.a->call([] {});
  EXPECT_EQ(ran, 2000);
  EXPECT_EQ(pair.b->counters().repeated, 0u);
}

TEST(Engine, NeverStartedIsFine) {
  LocalNetwork network;
  Handler handler;
  Engine engine(network.attach(0), handler);
  engine.post([] {});
  engine.stop();
  EXPECT_THROW(engine.call([] {}), Error);
}

}  // namespace
}  // namespace foreweave::comm
