#pragma once
// Incoming: receives snapshots, checks them and puts them into the store. One transfer at a time from each (peer,
// rank); a newer one from there replaces it. Nothing is visible in the store before all of it is there and its digest
// is right.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "foreweave/mirror/mirror_protocol.hpp"
#include "mirror/bodies.hpp"

namespace foreweave::mirror {

/// Whether the store lists it.
bool holds(const Store& store, SnapshotId id);

class Incoming {
 public:
  /// Whether snapshots of a rank are to be taken from a peer.
  using Wanted = std::function<bool(HubId, Rank)>;
  /// Whether an offered snapshot need not be sent.
  using Have = std::function<bool(HubId, SnapshotId)>;
  /// Called when so many bytes of a (peer, rank) came, and when a snapshot stands in the store.
  using Heard = std::function<void(HubId, Rank, std::uint64_t, Nanoseconds)>;
  using Arrived = std::function<void(HubId, SnapshotId, Nanoseconds)>;

  Incoming(Store& store, Outbox& outbox, Wanted wanted, Have have, Heard heard, Arrived arrived);
  ~Incoming();

  void clear();
  void on_begin(HubId from, const SnapshotBegin& begin, Nanoseconds now);
  void on_chunk(HubId from, const SnapshotChunk& chunk, ByteView payload, Nanoseconds now);
  void on_end(HubId from, const SnapshotEnd& end, Nanoseconds now);
  void peer_lost(HubId peer);

 private:
  struct Transfer;
  using Key = std::pair<HubId, Rank>;

  void refuse(HubId to, TransferId transfer, SnapshotId id, Refusal reason, std::string text);
  void accept(HubId to, TransferId transfer, SnapshotId id);
  void abandon(HubId from, Transfer& transfer, Refusal reason, std::string text, Nanoseconds now);

  Store& store_;
  Outbox& outbox_;
  Wanted wanted_;
  Have have_;
  Heard heard_;
  Arrived arrived_;
  std::map<Key, Transfer> transfers_;
};

}  // namespace foreweave::mirror
