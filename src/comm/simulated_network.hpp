#pragma once
// SimulatedNetwork: a transport among simulated hubs in virtual time, with seeded faults. The same seed and the same
// calls give the same run, to the byte. For tests of protocols; one thread.

#include <cstdint>
#include <memory>
#include <optional>

#include "foreweave/comm/transport.hpp"
#include "foreweave/core/clock.hpp"

namespace foreweave::comm {

/// Probabilities are per message. With all of them 0 a connection is in order and loses nothing, as Transport
/// promises; the first group breaks that promise on purpose.
struct SimulatedFaults {
  double loss = 0, duplication = 0, reordering = 0, corruption = 0;
  /// The connection fails: what was in flight both ways is lost, both ends are told and may connect again.
  double connection_failure = 0;
  Nanoseconds min_delay = 20'000, max_delay = 200'000;
  double bytes_per_second = 1e9;
};

class SimulatedNetwork final : public Clock {
 public:
  SimulatedNetwork(std::uint64_t seed, const SimulatedFaults& faults);
  ~SimulatedNetwork() override;

  /// The end of one hub: a process. Destroying it is its death, see kill(). A dead hub may be attached anew (its
  /// process was started again). progress() delivers one message at a time, so that a test can look in between.
  std::unique_ptr<Transport> attach(HubId self);
  /// The hub's process dies: what it had queued is lost, what had left still arrives, its peers are told after a
  /// while.
  void kill(HubId hub);
  void set_faults(const SimulatedFaults& faults);

  Nanoseconds now() const override;
  /// Time only moves by this.
  void advance_to(Nanoseconds time);
  /// When progress() of that hub next has something to do.
  std::optional<Nanoseconds> next_delivery(HubId hub) const;

 private:
  struct State;
  class End;
  std::shared_ptr<State> state_;
};

}  // namespace foreweave::comm
