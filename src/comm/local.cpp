// LocalNetwork: hubs of one process. A message is handed over as it is, payload and owner with it; nothing is copied.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "comm/owned_message.hpp"
#include "foreweave/comm/transport.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave::comm {
namespace {

struct Item {
  HubId from = 0;
  Message message;
  std::string failure;  ///< not empty: the peer failed, and there is no message
};

std::uint64_t size_of(const Message& message) { return message.head.size() + message.payload.size(); }

/// What the network knows of one hub. Guarded by the network's mutex.
struct Inbox {
  std::condition_variable changed;
  std::deque<Item> items;
  std::map<HubId, std::uint64_t> bytes_from;
  std::set<HubId> connected;  ///< peers this hub can send to
  bool woken = false;
  bool dead = false;
};

}  // namespace

struct LocalNetwork::State {
  std::mutex mutex;
  std::map<HubId, std::shared_ptr<Inbox>> hubs;

  /// Tells everyone who was connected to `gone`. Needs the lock.
  void tell_failure(HubId gone, const std::string& reason) {
    for (auto& [hub, inbox] : hubs)
      if (hub != gone && inbox->connected.erase(gone) > 0) {
        inbox->items.push_back({gone, {}, reason});
        inbox->changed.notify_all();
      }
  }
};

namespace {

template <class State>
class LocalTransport final : public Transport {
 public:
  LocalTransport(HubId self, std::shared_ptr<State> state, std::shared_ptr<Inbox> inbox)
      : self_(self), state_(std::move(state)), inbox_(std::move(inbox)) {}

  ~LocalTransport() override {
    const std::lock_guard lock(state_->mutex);
    if (inbox_->dead) return;
    inbox_->dead = true;
    state_->hubs.erase(self_);
    state_->tell_failure(self_, "hub " + std::to_string(self_) + " closed its transport");
  }

  std::string name() const override { return "local"; }
  HubId self() const override { return self_; }

  Bytes address() const override {
    ByteWriter out;
    out.put_string("local");
    out.put(self_);
    return out.take();
  }

  void connect(HubId peer, ByteView address) override {
    ByteReader in(address, "local address of hub " + std::to_string(peer));
    if (in.get_string(16) != "local" || in.get<HubId>() != peer)
      throw Error(ErrorCategory::argument, "connect to hub " + std::to_string(peer),
                  "the address is not that of this hub on a local network");
    const std::lock_guard lock(state_->mutex);
    if (inbox_->dead) return;
    if (state_->hubs.contains(peer))
      inbox_->connected.insert(peer);
    else
      inbox_->items.push_back({peer, {}, "hub " + std::to_string(peer) + " is not on the network"});
  }

  void disconnect(HubId peer) override {
    const std::lock_guard lock(state_->mutex);
    inbox_->connected.erase(peer);
  }

  void send(HubId peer, Message message) override {
    require_size(message, peer);
    own_payload(message);
    const std::lock_guard lock(state_->mutex);
    if (inbox_->dead || !inbox_->connected.contains(peer)) return;
    Inbox& to = *state_->hubs.at(peer);
    to.bytes_from[self_] += size_of(message);
    to.items.push_back({self_, std::move(message), {}});
    to.changed.notify_all();
  }

  std::uint64_t pending_bytes(HubId peer) const override {
    const std::lock_guard lock(state_->mutex);
    if (!inbox_->connected.contains(peer)) return 0;
    const auto& from = state_->hubs.at(peer)->bytes_from;
    const auto found = from.find(self_);
    return found == from.end() ? 0 : found->second;
  }

  bool progress(TransportListener& listener) override {
    std::deque<Item> items;
    {
      const std::lock_guard lock(state_->mutex);
      items.swap(inbox_->items);
    }
    for (Item& item : items) {
      {
        const std::lock_guard lock(state_->mutex);
        if (inbox_->dead) return false;
        // A peer that was killed meanwhile has no count any more.
        if (const auto count = inbox_->bytes_from.find(item.from);
            item.failure.empty() && count != inbox_->bytes_from.end())
          count->second -= std::min(count->second, size_of(item.message));
      }
      if (item.failure.empty())
        listener.on_message(item.from, item.message.head, item.message.payload);
      else
        listener.on_peer_failed(item.from, item.failure);
      item.message = {};
    }
    return !items.empty();
  }

  void wait(std::int64_t nanoseconds) override {
    std::unique_lock lock(state_->mutex);
    inbox_->changed.wait_for(lock, std::chrono::nanoseconds(nanoseconds),
                             [&] { return inbox_->woken || (!inbox_->items.empty() && !inbox_->dead); });
    inbox_->woken = false;
  }

  void wake() override {
    const std::lock_guard lock(state_->mutex);
    inbox_->woken = true;
    inbox_->changed.notify_all();
  }

 private:
  HubId self_;
  std::shared_ptr<State> state_;
  std::shared_ptr<Inbox> inbox_;
};

}  // namespace

LocalNetwork::LocalNetwork() : state_(std::make_shared<State>()) {}
LocalNetwork::~LocalNetwork() = default;

std::unique_ptr<Transport> LocalNetwork::attach(HubId self) {
  const std::lock_guard lock(state_->mutex);
  auto [place, fresh] = state_->hubs.try_emplace(self);
  if (!fresh)
    throw Error(ErrorCategory::argument, "attach hub " + std::to_string(self), "it is on this local network already");
  place->second = std::make_shared<Inbox>();
  return std::make_unique<LocalTransport<State>>(self, state_, place->second);
}

void LocalNetwork::kill(HubId hub) {
  std::vector<Item> lost;  // owners go after the lock: their destructors are anyone's
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->hubs.find(hub);
  if (found == state_->hubs.end()) return;
  const std::shared_ptr<Inbox> inbox = found->second;
  inbox->dead = true;
  for (Item& item : inbox->items) lost.push_back(std::move(item));
  inbox->items.clear();
  state_->hubs.erase(found);
  for (auto& [other, theirs] : state_->hubs) {
    std::deque<Item> kept;
    for (Item& item : theirs->items) {
      const bool queued_by_it = item.from == hub && item.failure.empty();
      (queued_by_it ? lost.emplace_back() : kept.emplace_back()) = std::move(item);
    }
    theirs->items.swap(kept);
    theirs->bytes_from.erase(hub);
  }
  state_->tell_failure(hub, "hub " + std::to_string(hub) + " was killed");
}

}  // namespace foreweave::comm
