#pragma once
// Membership: who is in the group and who is suspected. A state machine: frames, transport reports and ticks go in,
// heartbeats and verdicts come out. No threads, sockets or clocks inside.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "foreweave/comm/frame.hpp"
#include "foreweave/core/clock.hpp"

namespace foreweave::comm {

struct MembershipOptions {
  HubId self = 0;
  Nanoseconds heartbeat_every = 100'000'000;
  /// A hub that was silent for so long is dead to us (a hung one as well).
  Nanoseconds suspect_after = 3'000'000'000;
};

class Membership {
 public:
  /// Error(argument) unless 0 < heartbeat_every < suspect_after.
  explicit Membership(MembershipOptions options);
  ~Membership();
  /// Begins an epoch with these peers (without self). Everyone starts as just heard of. Epochs only grow.
  /// Error(state) otherwise.
  void begin(Epoch epoch, const std::vector<HubId>& watched, Nanoseconds now);
  Epoch epoch() const;
  void heard(HubId from, Nanoseconds now);                    ///< any frame is a sign of life; the dead stay dead
  void reported_dead(HubId peer, const std::string& reason);  ///< transport or MPI says so
  void left(HubId peer);                                      ///< goodbye: no longer alive, and no verdict
  /// Peers that a heartbeat is due to now.
  std::vector<HubId> due(Nanoseconds now);
  struct Verdict {
    HubId peer;
    std::string reason;
  };
  /// Newly dead since the last call. To be called often: silence is counted between calls, and one interval counts
  /// for at most a quarter of suspect_after, so that a process that was itself stopped does not call its peers dead.
  std::vector<Verdict> take_verdicts(Nanoseconds now);
  bool alive(HubId peer) const;

 private:
  struct Peer;
  Nanoseconds count(Nanoseconds now);

  MembershipOptions options_;
  Epoch epoch_ = 0;
  Nanoseconds last_beat_ = 0;
  Nanoseconds last_look_ = 0;
  Nanoseconds counted_ = 0;
  std::map<HubId, Peer> peers_;
  std::vector<Verdict> verdicts_;
};

}  // namespace foreweave::comm
