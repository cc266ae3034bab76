#pragma once
// Restores the order in which a peer sent. Active messages of different sizes take different protocols inside UCX and
// may complete in another order than they were sent in.

#include <cstdint>
#include <deque>
#include <map>
#include <utility>

#include "foreweave/comm/transport.hpp"

namespace foreweave::comm {

/// Items carry the number of the sender's connection (grows with every connect) and their own in it, from 0.
template <class Item>
class ArrivalOrder {
 public:
  /// Takes one item and appends all that are due now to `ready`. Items of an older connection and repeated ones are
  /// dropped; the first one of a newer connection makes what is missing of the older void.
  void arrive(HubId from, std::uint64_t connection, std::uint64_t number, Item item, std::deque<Item>& ready) {
    Stream& stream = streams_[from];
    if (connection < stream.connection) return;
    if (connection > stream.connection) stream = Stream{connection, 0, {}};
    if (number < stream.due) return;
    if (number > stream.due) {
      stream.early.emplace(number, std::move(item));
      return;
    }
    ready.push_back(std::move(item));
    ++stream.due;
    for (auto next = stream.early.begin(); next != stream.early.end() && next->first == stream.due; ++stream.due) {
      ready.push_back(std::move(next->second));
      next = stream.early.erase(next);
    }
  }
  void clear() { streams_.clear(); }

 private:
  struct Stream {
    std::uint64_t connection = 0;
    std::uint64_t due = 0;
    std::map<std::uint64_t, Item> early;
  };
  std::map<HubId, Stream> streams_;
};

}  // namespace foreweave::comm
