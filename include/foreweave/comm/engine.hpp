#pragma once
// Engine: the progress thread of a hub. It owns a Transport, turns frames into messages and back, and drives a
// handler (the protocols) with frames, failures and ticks, all on that one thread. The program's threads reach it by
// post().

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "foreweave/comm/frame.hpp"
#include "foreweave/comm/transport.hpp"
#include "foreweave/core/clock.hpp"

namespace foreweave::comm {

/// What the engine drives. Called on the progress thread only, never two calls at once. Must not block: while it
/// runs, nothing is sent or received. It may call any method of the engine but stop(). An exception that leaves it is
/// kept (Engine::take_error) and the engine goes on.
class EngineHandler {
 public:
  virtual ~EngineHandler() = default;
  /// A frame of the present epoch that is whole and new; its views are valid during the call.
  virtual void on_frame(const Frame& frame, Nanoseconds now) = 0;
  virtual void on_peer_failed(HubId peer, const std::string& reason, Nanoseconds now) = 0;
  virtual void tick(Nanoseconds now) = 0;
};

struct EngineOptions {
  /// The handler is ticked at least this often, and whenever something moved.
  Nanoseconds tick_every = 20'000'000;
  /// How long stop() goes on sending what is queued.
  Nanoseconds flush_for = 1'000'000'000;
  /// Frames of an epoch this hub has not reached yet (others began it earlier) are kept up to this many bytes and
  /// handed over when it gets there; above it they are refused.
  std::uint64_t hold_bytes = 16 << 20;
};

/// Counted since construction.
struct EngineCounters {
  std::uint64_t frames_sent = 0, bytes_sent = 0;
  std::uint64_t frames_received = 0, bytes_received = 0;
  std::uint64_t other_epoch = 0;  ///< refused: of an old epoch, or of a later one beyond hold_bytes
  std::uint64_t damaged = 0;      ///< dropped: did not decode, or names another source than its sender
  std::uint64_t repeated = 0;     ///< dropped: its sequence was seen before
  std::uint64_t peers_failed = 0;
};

class Engine {
 public:
  /// The handler, and the clock where one is given, must outlive the engine. The thread starts in start().
  Engine(std::unique_ptr<Transport> transport, EngineHandler& handler, EngineOptions options = {},
         const Clock* clock = nullptr);
  /// stop().
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Starts the progress thread. Commands posted before run first. Throws Error(state) when it was started before.
  void start();
  /// Runs the commands posted so far, sends what is queued for at most flush_for, and ends the thread; a dead or hung
  /// peer cannot hold it up. The transport is closed then. Calling it again does nothing. Not from the handler.
  void stop();
  bool running() const;

  /// Runs a command on the progress thread, soon, in the order of posting. After stop() it is dropped. Any thread.
  void post(std::function<void()> command);
  /// The same, and waits until it ran; what it throws is thrown here. On the progress thread it runs at once. Throws
  /// Error(state) when the engine is not running, so that nobody waits for ever. Any thread.
  void call(const std::function<void()>& command);
  bool on_progress_thread() const;

  /// Sends a frame of the present epoch; returns at once. The payload goes from where it lies and `owner` keeps it
  /// alive until then; without an owner it is copied. To a peer that is not connected, or failed, it is dropped. Any
  /// thread; from others than the progress thread it is posted.
  void send(HubId to, FrameType type, Bytes body, ByteView payload = {}, std::shared_ptr<const void> owner = nullptr);
  /// Makes a peer reachable, or reachable again after a failure. Any thread (posted).
  void connect(HubId peer, Bytes address);
  void disconnect(HubId peer);

  /// Frames sent from now on carry this epoch, frames of others are refused. Epochs only grow; Error(argument) when
  /// it would shrink. On the progress thread, or before start().
  void set_epoch(Epoch epoch);
  Epoch epoch() const;  ///< any thread

  /// Bytes queued for a peer and not yet handed over. On the progress thread.
  std::uint64_t pending_bytes(HubId peer) const;
  /// For all peers, as of the last turn of the progress thread. Any thread.
  std::uint64_t pending_bytes() const;

  /// The first exception that left the handler or a command since the last call, or none. Any thread.
  std::exception_ptr take_error();
  EngineCounters counters() const;     ///< any thread
  std::string transport_name() const;  ///< any thread
  HubId self() const;                  ///< any thread

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace foreweave::comm
