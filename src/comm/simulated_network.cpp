#include "comm/simulated_network.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include "foreweave/core/error.hpp"

namespace foreweave::comm {
namespace {

/// What waits for a hub: a message, or the news that a connection failed.
struct Item {
  HubId from = 0;
  bool failure = false;
  Nanoseconds departs = 0;
  Bytes head, payload;
  std::string reason;
};

struct Connection {
  Nanoseconds free_at = 0;                                   // the wire is busy until then
  Nanoseconds last_arrival = 0;                              // keeps the order
  std::deque<std::pair<Nanoseconds, std::uint64_t>> queued;  // when it will have left, bytes
};

}  // namespace

struct SimulatedNetwork::State {
  using When = std::pair<Nanoseconds, std::uint64_t>;  // time, and a number that settles ties
  using Inbox = std::map<When, Item>;

  std::uint64_t random() {  // splitmix64: the same everywhere
    auto z = seed += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  bool happens(double probability) {
    return probability > 0 && static_cast<double>(random() >> 11) * 0x1p-53 < probability;
  }
  Nanoseconds delay() {
    const auto range = static_cast<std::uint64_t>(std::max<Nanoseconds>(faults.max_delay - faults.min_delay, 0));
    return std::max<Nanoseconds>(faults.min_delay, 1) + static_cast<Nanoseconds>(random() % (range + 1));
  }

  void put(HubId to, Nanoseconds at, Item item) {
    if (const auto inbox = inboxes.find(to); inbox != inboxes.end()) {
      inbox->second.emplace(When{at, ++numbers}, std::move(item));
    }
  }
  void tell(HubId whom, HubId about, std::string reason, Nanoseconds at) {
    put(whom, at, Item{about, true, 0, {}, {}, std::move(reason)});
  }

  void send(HubId from, HubId to, Message message);
  void fail(HubId a, HubId b, const std::string& reason);
  void die(HubId hub);

  std::uint64_t seed = 0;
  SimulatedFaults faults;
  Nanoseconds now = 0;
  std::uint64_t numbers = 0;
  std::map<HubId, Inbox> inboxes;  // of the living
  std::map<HubId, std::uint64_t> incarnation;
  std::map<std::pair<HubId, HubId>, Connection> connections;  // directed, those that stand
};

void SimulatedNetwork::State::send(HubId from, HubId to, Message message) {
  const auto found = connections.find({from, to});
  if (found == connections.end()) return;  // not connected: dropped, as Transport says
  if (from != to && happens(faults.connection_failure)) {
    fail(from, to, "the connection failed");
    return;
  }
  auto& connection = found->second;
  const auto bytes = message.head.size() + message.payload.size();
  const auto departs = std::max(now, connection.free_at) +
                       static_cast<Nanoseconds>(static_cast<double>(bytes) * 1e9 / faults.bytes_per_second);
  connection.free_at = departs;
  connection.queued.emplace_back(departs, bytes);
  if (happens(faults.loss)) return;
  const int copies = happens(faults.duplication) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    Item item{from, false, departs, message.head, Bytes(message.payload.begin(), message.payload.end()), {}};
    if (happens(faults.corruption)) {
      auto& part = item.payload.empty() || random() % 2 == 0 ? item.head : item.payload;
      if (!part.empty()) part[random() % part.size()] ^= static_cast<std::byte>(1U << (random() % 8));
    }
    auto arrives = departs + delay();
    if (happens(faults.reordering)) {
      arrives += 4 * delay();  // late, and later messages do not wait for it
    } else if (i == 0) {
      arrives = std::max(arrives, connection.last_arrival);
      connection.last_arrival = arrives;
    }
    put(to, arrives, std::move(item));
  }
}

void SimulatedNetwork::State::fail(HubId a, HubId b, const std::string& reason) {
  for (const auto& [to, from] : {std::pair{a, b}, std::pair{b, a}}) {
    if (const auto inbox = inboxes.find(to); inbox != inboxes.end()) {
      std::erase_if(inbox->second, [&, source = from](const auto& entry) {
        return entry.second.from == source && !entry.second.failure;
      });
    }
  }
  for (const auto& [end, other] : {std::pair{a, b}, std::pair{b, a}}) {
    if (connections.erase({end, other}) > 0) tell(end, other, reason, now + delay());
  }
}

void SimulatedNetwork::State::die(HubId hub) {
  if (inboxes.erase(hub) == 0) return;
  for (auto& [to, inbox] : inboxes) {
    std::erase_if(inbox, [&](const auto& entry) { return entry.second.from == hub && entry.second.departs > now; });
  }
  std::erase_if(connections, [&](const auto& entry) { return entry.first.first == hub; });
  std::vector<HubId> told;
  std::erase_if(connections, [&](const auto& entry) {
    if (entry.first.second != hub) return false;
    told.push_back(entry.first.first);
    return true;
  });
  for (const auto peer : told) tell(peer, hub, "its process died", now + 10 * delay());
}

/// One hub's transport.
class SimulatedNetwork::End final : public Transport {
 public:
  End(std::shared_ptr<State> state, HubId self) : state_(std::move(state)), self_(self) {
    if (!state_->inboxes.try_emplace(self).second) {
      throw Error(ErrorCategory::state, "attach hub " + std::to_string(self), "it is attached already");
    }
    incarnation_ = ++state_->incarnation[self];
  }
  ~End() override {
    if (alive()) state_->die(self_);
  }
  std::string name() const override { return "simulated"; }
  HubId self() const override { return self_; }
  Bytes address() const override {
    ByteWriter writer;
    writer.put(self_);
    return writer.take();
  }
  void connect(HubId peer, ByteView) override {
    if (!alive() || state_->connections.contains({self_, peer})) return;
    if (state_->inboxes.contains(peer)) {
      state_->connections[{self_, peer}];
    } else {
      state_->tell(self_, peer, "it cannot be reached", state_->now + state_->delay());
    }
  }
  void disconnect(HubId peer) override {
    if (alive()) state_->connections.erase({self_, peer});
  }
  void send(HubId peer, Message message) override {
    if (message.head.size() > max_head_bytes || message.payload.size() > max_payload_bytes) {
      throw Error(ErrorCategory::argument, "send to hub " + std::to_string(peer), "the message is too large");
    }
    if (alive()) state_->send(self_, peer, std::move(message));
  }
  std::uint64_t pending_bytes(HubId peer) const override {
    const auto found = state_->connections.find({self_, peer});
    if (!alive() || found == state_->connections.end()) return 0;
    auto& queued = found->second.queued;
    while (!queued.empty() && queued.front().first <= state_->now) queued.pop_front();
    std::uint64_t sum = 0;
    for (const auto& [departs, bytes] : queued) sum += bytes;
    return sum;
  }
  bool progress(TransportListener& listener) override {
    if (!alive()) return false;
    auto& inbox = state_->inboxes.at(self_);
    if (inbox.empty() || inbox.begin()->first.first > state_->now) return false;
    const auto item = std::move(inbox.begin()->second);
    inbox.erase(inbox.begin());
    if (item.failure) {
      listener.on_peer_failed(item.from, item.reason);
    } else {
      listener.on_message(item.from, item.head, item.payload);
    }
    return true;
  }
  void wait(std::int64_t) override {}  // time is virtual
  void wake() override {}

 private:
  bool alive() const { return state_->inboxes.contains(self_) && state_->incarnation.at(self_) == incarnation_; }

  std::shared_ptr<State> state_;
  HubId self_;
  std::uint64_t incarnation_ = 0;
};

SimulatedNetwork::SimulatedNetwork(std::uint64_t seed, const SimulatedFaults& faults)
    : state_(std::make_shared<State>()) {
  state_->seed = seed;
  state_->faults = faults;
}
SimulatedNetwork::~SimulatedNetwork() = default;

std::unique_ptr<Transport> SimulatedNetwork::attach(HubId self) { return std::make_unique<End>(state_, self); }
void SimulatedNetwork::kill(HubId hub) { state_->die(hub); }
void SimulatedNetwork::set_faults(const SimulatedFaults& faults) { state_->faults = faults; }
Nanoseconds SimulatedNetwork::now() const { return state_->now; }
void SimulatedNetwork::advance_to(Nanoseconds time) { state_->now = std::max(state_->now, time); }

std::optional<Nanoseconds> SimulatedNetwork::next_delivery(HubId hub) const {
  const auto inbox = state_->inboxes.find(hub);
  if (inbox == state_->inboxes.end() || inbox->second.empty()) return std::nullopt;
  return std::max(inbox->second.begin()->first.first, state_->now);
}

}  // namespace foreweave::comm
