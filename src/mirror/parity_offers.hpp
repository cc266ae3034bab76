#pragma once
// ParityOffers: a member's part in parity: says to those who hold its group's parity that a snapshot stands, until they
// say that parity of it does.

#include <functional>
#include <map>
#include <utility>

#include "foreweave/mirror/mirror_protocol.hpp"
#include "mirror/bodies.hpp"

namespace foreweave::mirror {

class ParityOffers {
 public:
  /// Called when a hub has parity of a snapshot: (hub, snapshot).
  using Arrived = std::function<void(HubId, SnapshotId, Nanoseconds)>;

  ParityOffers(const MirrorOptions& options, Outbox& outbox, Arrived arrived)
      : options_(options), outbox_(outbox), arrived_(std::move(arrived)) {}

  void clear() { offers_.clear(); }
  void offer(HubId to, const ParityOffer& offer, Nanoseconds now);
  void on_stored(HubId from, const ParityStored& stored, Nanoseconds now);
  /// A later version is committed, so nobody needs parity of this one and those before.
  void forget(Version version);
  void tick(Nanoseconds now);
  bool pending() const { return !offers_.empty(); }

 private:
  struct Offered {
    ParityOffer offer;
    Nanoseconds began = 0, waiting_since = 0, patience = 0;
  };
  const MirrorOptions& options_;
  Outbox& outbox_;
  Arrived arrived_;
  std::map<std::pair<HubId, SnapshotId>, Offered> offers_;
};

}  // namespace foreweave::mirror
