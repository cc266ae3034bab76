#include "foreweave/comm/membership.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "foreweave/core/error.hpp"

namespace foreweave::comm {

struct Membership::Peer {
  Nanoseconds heard = 0;  // on the counted clock, see count()
  bool alive = true;
};

Membership::Membership(MembershipOptions options) : options_(options) {
  if (options_.heartbeat_every <= 0 || options_.suspect_after <= options_.heartbeat_every) {
    throw Error(ErrorCategory::argument, "membership of hub " + std::to_string(options_.self),
                "heartbeat_every must be above 0 and suspect_after above heartbeat_every");
  }
}

Membership::~Membership() = default;

// Silence is counted on a clock of its own, on which the time between two looks weighs at most a quarter of
// suspect_after. A process that was itself stopped for a minute has then heard nobody for a minute, but has not
// looked either: it must read what waits for it before it calls everyone dead.
Nanoseconds Membership::count(Nanoseconds now) {
  counted_ += std::clamp<Nanoseconds>(now - last_look_, 0, options_.suspect_after / 4);
  last_look_ = std::max(last_look_, now);
  return counted_;
}

void Membership::begin(Epoch epoch, const std::vector<HubId>& watched, Nanoseconds now) {
  if (epoch <= epoch_) {
    throw Error(ErrorCategory::state, "begin epoch " + std::to_string(epoch),
                "epochs only grow, and this hub is in epoch " + std::to_string(epoch_));
  }
  epoch_ = epoch;
  last_look_ = now;
  last_beat_ = now - options_.heartbeat_every;  // the first heartbeat is due at once
  peers_.clear();
  verdicts_.clear();
  for (const auto peer : watched) {
    if (peer != options_.self) peers_[peer] = Peer{counted_, true};
  }
}

Epoch Membership::epoch() const { return epoch_; }

void Membership::heard(HubId from, Nanoseconds now) {
  const auto at = count(now);
  if (const auto found = peers_.find(from); found != peers_.end()) found->second.heard = at;
}

void Membership::reported_dead(HubId peer, const std::string& reason) {
  const auto found = peers_.find(peer);
  if (found == peers_.end() || !found->second.alive) return;
  found->second.alive = false;
  verdicts_.push_back({peer, reason});
}

void Membership::left(HubId peer) {
  if (const auto found = peers_.find(peer); found != peers_.end()) found->second.alive = false;
}

std::vector<HubId> Membership::due(Nanoseconds now) {
  std::vector<HubId> peers;
  if (now - last_beat_ < options_.heartbeat_every) return peers;
  last_beat_ = now;
  for (const auto& [id, peer] : peers_) {
    if (peer.alive) peers.push_back(id);
  }
  return peers;
}

std::vector<Membership::Verdict> Membership::take_verdicts(Nanoseconds now) {
  const auto at = count(now);
  for (auto& [id, peer] : peers_) {
    if (!peer.alive || at - peer.heard < options_.suspect_after) continue;
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.3g", static_cast<double>(at - peer.heard) * 1e-9);
    reported_dead(id, std::string("silent for ") + seconds + " s");
  }
  return std::exchange(verdicts_, {});
}

bool Membership::alive(HubId peer) const {
  const auto found = peers_.find(peer);
  return found != peers_.end() && found->second.alive;
}

}  // namespace foreweave::comm
