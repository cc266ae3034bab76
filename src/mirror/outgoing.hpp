#pragma once
// Outgoing: sends snapshots to peers and sees to it that they arrive. One stream for each (peer, rank); the snapshots
// of a stream go one after the other, streams go at once.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "foreweave/mirror/mirror_protocol.hpp"
#include "mirror/bodies.hpp"

namespace foreweave::mirror {

class Outgoing {
 public:
  /// Called when a peer has said that a snapshot stands in its store: (peer, snapshot).
  using Arrived = std::function<void(HubId, SnapshotId, Nanoseconds)>;

  Outgoing(const MirrorOptions& options, Store& store, Outbox& outbox, Arrived arrived);
  ~Outgoing();

  /// Everything that is under way is void (a new epoch).
  void clear();
  /// Keeps a mirror fresh: sends the snapshot; its whole chain where the peer lacks the base. `offer` asks first
  /// whether the peer has it already.
  void mirror(HubId to, SnapshotId id, bool offer, Nanoseconds now);
  /// Answers a fetch: the whole chain, or "absent".
  void serve(HubId to, const Fetch& fetch, Nanoseconds now);
  void on_stored(HubId from, const SnapshotStored& stored, Nanoseconds now);
  void on_refused(HubId from, const SnapshotRefused& refused, Nanoseconds now);
  /// What was on its way to the peer may be lost. Mirrors are offered again later, fetches are for the peer to
  /// repeat.
  void peer_lost(HubId peer, Nanoseconds now);
  void tick(Nanoseconds now);

  bool mirrors_pending() const;
  std::uint64_t bytes_sent() const { return bytes_sent_; }

 private:
  struct Job;
  struct Link;
  struct Stream;
  using Key = std::pair<HubId, Rank>;

  std::optional<std::vector<Link>> load(SnapshotId id, bool chain) const;
  void advance(Stream& stream, Nanoseconds now);
  void start(Stream& stream, Nanoseconds now);
  void send_begin(Stream& stream, bool offer, Nanoseconds now);
  void rest(Stream& stream, Nanoseconds now);
  void give_up(Stream& stream, const std::string& why, Nanoseconds now);
  void send_chain(Stream& stream, Nanoseconds now);
  bool pump_once(Stream& stream, Nanoseconds now);
  void pump(Nanoseconds now);
  Nanoseconds first_patience() const;

  const MirrorOptions& options_;
  Store& store_;
  Outbox& outbox_;
  Arrived arrived_;
  std::map<Key, Stream> streams_;
  TransferId last_transfer_ = 0;
  std::uint64_t bytes_sent_ = 0;
};

}  // namespace foreweave::mirror
