#include "foreweave/comm/engine.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "comm/owned_message.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave::comm {
namespace {

/// A frame of a later epoch, kept until this hub gets there.
struct HeldFrame {
  HubId from;
  Epoch epoch;
  Bytes head, payload;
};

/// The progress thread takes no signals: the program's handlers run on the program's threads.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

struct Engine::State final : TransportListener {
  State(std::unique_ptr<Transport> transport_, EngineHandler& handler_, EngineOptions options_, const Clock* clock_)
      : transport(std::move(transport_)),
        handler(handler_),
        options(options_),
        clock(clock_ ? *clock_ : own_clock),
        transport_name(transport->name()),
        self(transport->self()) {}

  // Used by the progress thread; by the owner's before it starts and after it ended.
  std::unique_ptr<Transport> transport;
  EngineHandler& handler;
  const EngineOptions options;
  MonotonicClock own_clock;
  const Clock& clock;
  const std::string transport_name;
  const HubId self;
  std::map<HubId, std::uint64_t> sent_sequence, seen_sequence;
  std::deque<HeldFrame> held;
  std::uint64_t held_bytes = 0;

  std::thread thread;
  std::atomic<std::thread::id> thread_id{};
  std::atomic<Epoch> epoch{0};
  std::atomic<std::uint64_t> pending{0};
  std::mutex lifetime;  ///< start() and stop() are one after the other

  mutable std::mutex mutex;  ///< guards all below
  std::vector<std::function<void()>> commands;
  bool started = false, stopping = false, ended = false;
  std::exception_ptr error;
  EngineCounters counters;

  template <class F>
  void count(F change) {
    const std::lock_guard lock(mutex);
    change(counters);
  }

  /// Runs a piece of the handler's or the program's code; what it throws is kept for take_error().
  template <class F>
  void guarded(F piece) {
    try {
      piece();
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }

  void on_message(HubId from, ByteView head, ByteView payload) override {
    // The handler may have begun an epoch a moment ago: what was held for it is older than this message.
    while (release_held()) {
    }
    accept(from, head, payload);
  }

  void accept(HubId from, ByteView head, ByteView payload) {
    Frame frame;
    try {
      frame = decode_frame(head, payload);
    } catch (const Error&) {
      count([](EngineCounters& all) { ++all.damaged; });
      return;
    }
    if (frame.source != from) {
      count([](EngineCounters& all) { ++all.damaged; });
      return;
    }
    const Epoch here = epoch.load(std::memory_order_relaxed);
    if (frame.epoch > here && held_bytes + head.size() + payload.size() <= options.hold_bytes) {
      held_bytes += head.size() + payload.size();
      held.push_back({from, frame.epoch, Bytes(head.begin(), head.end()), Bytes(payload.begin(), payload.end())});
      return;
    }
    if (frame.epoch != here) {
      count([](EngineCounters& all) { ++all.other_epoch; });
      return;
    }
    deliver(frame, head.size() + payload.size());
  }

  void deliver(const Frame& frame, std::uint64_t bytes) {
    std::uint64_t& seen = seen_sequence[frame.source];
    if (frame.sequence <= seen) {
      count([](EngineCounters& all) { ++all.repeated; });
      return;
    }
    seen = frame.sequence;
    count([&](EngineCounters& all) { ++all.frames_received, all.bytes_received += bytes; });
    guarded([&] { handler.on_frame(frame, clock.now()); });
  }

  void on_peer_failed(HubId peer, const std::string& reason) override {
    count([](EngineCounters& all) { ++all.peers_failed; });
    guarded([&] { handler.on_peer_failed(peer, reason, clock.now()); });
  }

  /// Hands over the oldest frame that was held for the present epoch (or an older one: it is refused then). One at a
  /// time, for the handler may begin the next epoch meanwhile. Returns whether there was one.
  bool release_held() {
    const Epoch here = epoch.load(std::memory_order_relaxed);
    const auto ready = std::ranges::find_if(held, [&](const HeldFrame& frame) { return frame.epoch <= here; });
    if (ready == held.end()) return false;
    const HeldFrame frame = std::move(*ready);
    held.erase(ready);
    held_bytes -= frame.head.size() + frame.payload.size();
    accept(frame.from, frame.head, frame.payload);
    return true;
  }

  bool run_commands() {
    std::vector<std::function<void()>> batch;
    {
      const std::lock_guard lock(mutex);
      batch.swap(commands);
    }
    for (auto& command : batch) {
      guarded(command);
      command = nullptr;
    }
    return !batch.empty();
  }

  void send_now(HubId to, FrameType type, const Bytes& body, ByteView payload, std::shared_ptr<const void> owner) {
    Frame frame;
    frame.type = type;
    frame.source = self;
    frame.epoch = epoch.load(std::memory_order_relaxed);
    frame.sequence = sent_sequence[to] + 1;
    frame.body = body;
    frame.payload = payload;
    Message message{encode_frame(frame), payload, std::move(owner)};
    sent_sequence[to] = frame.sequence;
    const std::uint64_t bytes = message.head.size() + payload.size();
    transport->send(to, std::move(message));
    count([&](EngineCounters& all) { ++all.frames_sent, all.bytes_sent += bytes; });
  }

  std::uint64_t total_pending() const {
    std::uint64_t total = 0;
    for (const auto& [peer, sequence] : sent_sequence) total += transport->pending_bytes(peer);
    return total;
  }

  void loop() {
    thread_id.store(std::this_thread::get_id());
    pthread_setname_np(pthread_self(), "foreweave");
    Nanoseconds next_tick = clock.now();
    bool stop = false;
    while (!stop) {
      {
        const std::lock_guard lock(mutex);
        stop = stopping;
      }
      bool moved = run_commands();
      while (release_held()) moved = true;
      guarded([&] { moved |= transport->progress(*this); });
      pending.store(total_pending(), std::memory_order_relaxed);
      const Nanoseconds now = clock.now();
      // Something moved: the handler may have held back for a full window, which has room now.
      if (moved || now >= next_tick) {
        guarded([&] { handler.tick(now); });
        next_tick = now + options.tick_every;
        continue;
      }
      if (!stop) guarded([&] { transport->wait(next_tick - now); });
    }
    flush();
    guarded([&] { transport.reset(); });
    std::vector<std::function<void()>> dropped;
    {
      const std::lock_guard lock(mutex);
      ended = true;
      dropped.swap(commands);
    }
    thread_id.store({});
  }

  /// What was queued before stop() still goes out, within bounds: the clock of the machine, for a virtual one may
  /// stand.
  void flush() {
    const Nanoseconds end = monotonic_now() + options.flush_for;
    while (total_pending() > 0 && monotonic_now() < end) {
      bool moved = false;
      guarded([&] { moved = transport->progress(*this); });
      if (!moved) guarded([&] { transport->wait(1'000'000); });
    }
    pending.store(0);
  }
};

Engine::Engine(std::unique_ptr<Transport> transport, EngineHandler& handler, EngineOptions options,
               const Clock* clock)
    : state_(std::make_unique<State>(std::move(transport), handler, options, clock)) {}

Engine::~Engine() { stop(); }

void Engine::start() {
  const std::lock_guard alone(state_->lifetime);
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->started)
      throw Error(ErrorCategory::state, "start the engine of hub " + std::to_string(state_->self),
                  "it was started before: an engine runs once");
    state_->started = true;
  }
  const SignalsBlocked blocked;
  state_->thread = std::thread([state = state_.get()] { state->loop(); });
}

void Engine::stop() {
  const std::lock_guard alone(state_->lifetime);
  Transport* transport = nullptr;
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    // The thread destroys the transport only after it saw `stopping`, and takes this lock once more before it ends.
    if (state_->started && !state_->ended) transport = state_->transport.get();
    if (transport) transport->wake();
  }
  if (state_->thread.joinable()) state_->thread.join();
  state_->transport.reset();
}

bool Engine::running() const {
  const std::lock_guard lock(state_->mutex);
  return state_->started && !state_->stopping;
}

bool Engine::on_progress_thread() const { return state_->thread_id.load() == std::this_thread::get_id(); }

void Engine::post(std::function<void()> command) {
  const std::lock_guard lock(state_->mutex);
  if (state_->stopping) return;
  state_->commands.push_back(std::move(command));
  // Under the lock: stop() cannot have begun, so the transport is there.
  if (state_->started) state_->transport->wake();
}

void Engine::call(const std::function<void()>& command) {
  if (on_progress_thread()) return command();
  struct Result {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    std::exception_ptr error;
    void finish(std::exception_ptr why) {
      const std::lock_guard lock(mutex);
      if (done) return;
      done = true;
      error = std::move(why);
      changed.notify_all();
    }
  };
  const auto result = std::make_shared<Result>();
  // Goes with the command, whether it ran or was dropped: so that the caller is woken in either case.
  struct Ticket {
    std::shared_ptr<Result> result;
    ~Ticket() {
      result->finish(std::make_exception_ptr(
          Error(ErrorCategory::state, "call the progress thread", "the engine was stopped before the command ran")));
    }
  };
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->started || state_->stopping)
      throw Error(ErrorCategory::state, "call the progress thread of hub " + std::to_string(state_->self),
                  "the engine is not running: start() it first, and call nothing after stop()");
    state_->commands.push_back([&command, ticket = std::make_shared<Ticket>(result)] {
      std::exception_ptr error;
      try {
        command();
      } catch (...) {
        error = std::current_exception();
      }
      ticket->result->finish(error);
    });
    state_->transport->wake();
  }
  std::unique_lock lock(result->mutex);
  result->changed.wait(lock, [&] { return result->done; });
  if (result->error) std::rethrow_exception(result->error);
}

void Engine::send(HubId to, FrameType type, Bytes body, ByteView payload, std::shared_ptr<const void> owner) {
  if (on_progress_thread()) return state_->send_now(to, type, body, payload, std::move(owner));
  Message kept{std::move(body), payload, std::move(owner)};
  own_payload(kept);
  post([state = state_.get(), to, type, kept = std::move(kept)] {
    state->send_now(to, type, kept.head, kept.payload, kept.owner);
  });
}

void Engine::connect(HubId peer, Bytes address) {
  post([state = state_.get(), peer, address = std::move(address)] { state->transport->connect(peer, address); });
}

void Engine::disconnect(HubId peer) {
  post([state = state_.get(), peer] { state->transport->disconnect(peer); });
}

void Engine::set_epoch(Epoch epoch) {
  const Epoch before = state_->epoch.load();
  if (epoch < before)
    throw Error(ErrorCategory::argument, "set epoch " + std::to_string(epoch) + " of hub " + std::to_string(self()),
                "it is in epoch " + std::to_string(before) + " already, and epochs only grow");
  state_->epoch.store(epoch);
}

Epoch Engine::epoch() const { return state_->epoch.load(); }
std::uint64_t Engine::pending_bytes(HubId peer) const { return state_->transport->pending_bytes(peer); }
std::uint64_t Engine::pending_bytes() const { return state_->pending.load(std::memory_order_relaxed); }

std::exception_ptr Engine::take_error() {
  const std::lock_guard lock(state_->mutex);
  return std::exchange(state_->error, nullptr);
}

EngineCounters Engine::counters() const {
  const std::lock_guard lock(state_->mutex);
  return state_->counters;
}

std::string Engine::transport_name() const { return state_->transport_name; }
HubId Engine::self() const { return state_->self; }

}  // namespace foreweave::comm
