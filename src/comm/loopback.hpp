#pragma once
// Messages a hub sends to itself: they wait here and never touch the network.

#include <cstdint>
#include <deque>

#include "foreweave/comm/transport.hpp"

namespace foreweave::comm {

class Loopback {
 public:
  explicit Loopback(HubId self) : self_(self) {}
  void connect() { connected_ = true; }
  void disconnect() { connected_ = false; }
  /// The message has an owner, or no payload.
  void send(Message message) {
    if (!connected_) return;
    pending_ += message.head.size() + message.payload.size();
    queue_.push_back(std::move(message));
  }
  std::uint64_t pending_bytes() const { return pending_; }
  bool empty() const { return queue_.empty(); }
  /// What the listener sends from inside comes with the next call: so that a call ends.
  bool deliver(TransportListener& listener) {
    const bool any = !queue_.empty();
    for (std::size_t count = queue_.size(); count > 0; --count) {
      const Message message = std::move(queue_.front());
      queue_.pop_front();
      pending_ -= message.head.size() + message.payload.size();
      listener.on_message(self_, message.head, message.payload);
    }
    return any;
  }

 private:
  HubId self_;
  bool connected_ = false;
  std::deque<Message> queue_;
  std::uint64_t pending_ = 0;
};

}  // namespace foreweave::comm
