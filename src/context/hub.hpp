#pragma once
// Hub: the part of a process that serves others. Puts membership, the mirror protocol and a transport together on one
// progress thread, and gives the program's thread a view of it.

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "context/flush_schedule.hpp"
#include "foreweave/comm/engine.hpp"
#include "foreweave/comm/membership.hpp"
#include "foreweave/mirror/mirror_protocol.hpp"
#include "foreweave/trace/recorder.hpp"

namespace foreweave::context {

struct HubOptions {
  comm::HubId self = 0;
  Nanoseconds heartbeat_every = 0, suspect_after = 0;
};

/// All public calls are made from other threads than the progress thread, and are thread safe.
class Hub final : comm::EngineHandler, mirror::Outbox {
 public:
  /// @param parity may be null without parity groups
  /// @param recorder may be null; must outlive the hub, as the stores must.
  /// @param committed is called on the progress thread when a version was committed; it must not block.
  Hub(std::unique_ptr<comm::Transport> transport, Store& store, Store* parity, const HubOptions& options,
      trace::Recorder* recorder, std::function<void(Version)> committed);
  ~Hub() override;

  const Bytes& address() const { return address_; }

  /// Starts an epoch and returns when the progress thread works in it: watches the hubs that this one deals with, and
  /// forgets who is not in `addresses` (the living). Connections are made when there is something to send.
  void begin(const mirror::View& view, std::optional<Rank> rank, const std::map<comm::HubId, Bytes>& addresses);
  /// Leaves the epoch: nothing is committed here any more. To be called before this hub tells others what it holds.
  void suspend();
  void publish(Version version);
  /// Brings a rank's chain from another hub into the own store. False: it was not there, or the time was over.
  bool fetch(comm::HubId from, SnapshotId id, const std::function<void()>& while_waiting, Nanoseconds patience);

  /// Computes a snapshot into the own store. Empty when it is there; else the hub whose block is missing or not right,
  /// or this one.
  std::optional<comm::HubId> rebuild(const mirror::RebuildPlan& plan, const std::function<void()>& while_waiting,
                                     Nanoseconds patience);
  /// Which versions go to files when. Before begin(); `on_order` is called on the progress thread and must not block.
  void schedule_flushes(const FlushSchedule& schedule, std::function<void(const FlushOrder&)> on_order);
  /// Tells the coordinator what became of an order.
  void flushed(const FlushDone& done);

  Version committed() const { return committed_.load(); }
  bool settled();
  std::uint64_t bytes_sent() const { return bytes_sent_.load(); }
  /// Why this epoch cannot go on: a rank that this hub watches was found dead.
  std::optional<std::string> lost() const;
  /// Rethrows what went wrong on the progress thread, once.
  void rethrow();
  /// Says goodbye to those who watch this hub; silence is no failure from now on.
  void leave();

  /// Sleeps until something changed on the progress thread (or notify()), `nanoseconds` at most.
  void wait_for_change(Nanoseconds nanoseconds);
  void notify();

 private:
  void on_frame(const comm::Frame& frame, Nanoseconds now) override;
  void on_peer_failed(comm::HubId peer, const std::string& reason, Nanoseconds now) override;
  void tick(Nanoseconds now) override;
  void send(comm::HubId to, comm::FrameType type, Bytes body, ByteView payload,
            std::shared_ptr<const void> owner) override;
  std::uint64_t pending_bytes(comm::HubId to) const override;
  void notice(const mirror::MirrorEvent& event) override;

  void judge(Nanoseconds now);
  /// As the coordinator, to all ranks.
  void give(const std::vector<FlushOrder>& orders);
  void on_flushed(comm::HubId from, const FlushDone& done);
  void deliver(comm::HubId to, comm::FrameType type, Bytes body, ByteView payload, std::shared_ptr<const void> owner);

  const comm::HubId self_;
  MonotonicClock clock_;
  trace::Recorder* recorder_;
  std::function<void(Version)> on_committed_;
  Bytes address_;

  // Touched on the progress thread alone.
  comm::Membership membership_;
  mirror::MirrorProtocol protocol_;
  mirror::View view_;
  std::map<comm::HubId, Bytes> addresses_;     // of the living
  std::set<comm::HubId> connected_, failed_;   // failed: not connected to again in this epoch
  std::map<Version, Nanoseconds> published_at_;
  FlushSchedule flushes_{{0, 0}};
  std::function<void(const FlushOrder&)> on_order_;

  std::atomic<Version> committed_{0};
  std::atomic<std::uint64_t> bytes_sent_{0};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t changes_ = 0, seen_changes_ = 0;
  std::optional<std::string> lost_;
  struct Fetch { comm::HubId from; SnapshotId id; std::optional<bool> outcome; };
  std::optional<Fetch> fetch_;
  struct Rebuild { SnapshotId id; bool over = false; std::optional<comm::HubId> blamed; };
  std::optional<Rebuild> rebuild_;

  std::unique_ptr<comm::Engine> engine_;   // last: its thread ends first
};

}  // namespace foreweave::context
