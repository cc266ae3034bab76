#pragma once
// What every transport must do, written as programs that each hub of a group runs on its own transport: so the same
// text runs on threads (local, UCX in one process) and on MPI ranks. They synchronise by messages alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "foreweave/comm/transport.hpp"
#include "foreweave/core/bytes.hpp"
#include "foreweave/core/clock.hpp"

namespace foreweave::comm::conformance {

inline constexpr Nanoseconds second = 1'000'000'000;
inline constexpr Nanoseconds patience = 100 * second;  ///< only a hang comes near it

/// Bytes that tell sender, receiver and number apart; cheap enough for hundreds of megabytes.
inline Bytes pattern(HubId from, HubId to, std::uint64_t number, std::size_t size) {
  Bytes bytes(size);
  std::uint64_t x = (std::uint64_t{from} << 40 ^ std::uint64_t{to} << 20 ^ number) * 0x9E3779B97F4A7C15ull + 1;
  for (std::size_t i = 0; i < size; i += 8) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    std::memcpy(bytes.data() + i, &x, std::min<std::size_t>(8, size - i));
  }
  return bytes;
}

enum class Kind : std::uint8_t { data = 1, finished = 2 };

inline Bytes head_of(Kind kind, std::uint64_t number, std::uint64_t payload, std::size_t padding = 0) {
  ByteWriter out;
  out.put(kind);
  out.put(number);
  out.put(payload);
  out.put_bytes(Bytes(padding, std::byte{0x5a}));
  return out.take();
}

/// Checks that data comes in order, whole and once; counts it.
class Checker : public TransportListener {
 public:
  explicit Checker(HubId self) : self_(self) {}

  void on_message(HubId from, ByteView head, ByteView payload) override {
    ByteReader in(head, "test head");
    const auto kind = in.get<Kind>();
    const auto number = in.get<std::uint64_t>();
    const auto bytes = in.get<std::uint64_t>();
    for (const std::byte pad : in.get_bytes(in.remaining()))
      if (pad != std::byte{0x5a}) complain("padding of the head was damaged");
    if (bytes != payload.size())
      complain("payload of " + std::to_string(payload.size()) + ", said " + std::to_string(bytes));
    if (kind == Kind::finished) {
      ++finished_from[from];
    } else {
      if (number == 0 && from == may_restart) received_from[from] = 0;
      if (number != received_from[from]) {
        complain("from " + std::to_string(from) + " number " + std::to_string(number) + " where " +
                 std::to_string(received_from[from]) + " was due");
      }
      ++received_from[from];
      const Bytes due = pattern(from, self_, number, payload.size());
      if (!std::ranges::equal(due, payload)) complain("number " + std::to_string(number) + " was damaged");
    }
    if (then) then(from);
  }
  void on_peer_failed(HubId peer, const std::string& reason) override { failed[peer] = reason, ++failures[peer]; }

  std::map<HubId, std::uint64_t> received_from, finished_from;
  std::map<HubId, std::string> failed;
  std::map<HubId, int> failures;
  std::vector<std::string> complaints;
  std::function<void(HubId)> then;
  HubId may_restart = ~HubId{0};  ///< this hub may be replaced by another that begins anew

 private:
  void complain(const std::string& text) {
    if (complaints.size() < 5) complaints.push_back(text);
  }
  HubId self_;
};

/// Turns the transport until `done`, sleeping when there is nothing to do. False when patience ended.
inline bool drive(Transport& transport, TransportListener& listener, const std::function<bool()>& done,
                  Nanoseconds limit = patience) {
  const Nanoseconds end = monotonic_now() + limit;
  while (!done()) {
    if (monotonic_now() > end) return false;
    if (!transport.progress(listener)) transport.wait(2'000'000);
  }
  return true;
}

/// Tells everybody, and waits until everybody told: nobody leaves while another still needs him.
inline void finish(Transport& transport, Checker& checker, HubId hubs, std::uint64_t round = 1) {
  for (HubId peer = 0; peer < hubs; ++peer) transport.send(peer, {head_of(Kind::finished, 0, 0), {}, nullptr});
  const auto all = [&] {
    for (HubId peer = 0; peer < hubs; ++peer)
      if (checker.finished_from[peer] < round || transport.pending_bytes(peer) > 0) return false;
    return true;
  };
  EXPECT_TRUE(drive(transport, checker, all)) << "hub " << transport.self() << " did not hear that all finished";
  EXPECT_EQ(checker.complaints, std::vector<std::string>{}) << "on hub " << transport.self();
}

/// Every hub sends messages of each size to every hub, itself included.
inline void all_pairs(Transport& transport, HubId hubs, const std::vector<std::size_t>& sizes, int repeats) {
  Checker checker(transport.self());
  std::map<HubId, std::uint64_t> number;
  for (int repeat = 0; repeat < repeats; ++repeat)
    for (const std::size_t size : sizes)
      for (HubId peer = 0; peer < hubs; ++peer) {
        const auto n = number[peer]++;
        auto data = std::make_shared<const Bytes>(pattern(transport.self(), peer, n, size));
        const ByteView view = *data;
        transport.send(peer, {head_of(Kind::data, n, size, n * 37 % 3000), view, std::move(data)});
        transport.progress(checker);
      }
  finish(transport, checker, hubs);
  for (HubId peer = 0; peer < hubs; ++peer)
    EXPECT_EQ(checker.received_from[peer], sizes.size() * static_cast<unsigned>(repeats));
  // One that finished may have closed its end already.
  for (const auto& [peer, reason] : checker.failed) EXPECT_GT(checker.finished_from[peer], 0u) << peer << ": " << reason;
}

inline std::vector<std::size_t> all_sizes() {
  std::vector<std::size_t> sizes{0};
  for (std::size_t size = 1; size <= max_payload_bytes; size *= 4) {
    sizes.push_back(size);
    if (size > 1) sizes.push_back(size - 1);
    if (size < max_payload_bytes) sizes.push_back(size + 1);
  }
  // Small and large in turn: they travel by different protocols and must still arrive in order.
  std::vector<std::size_t> mixed;
  for (std::size_t i = 0, j = sizes.size(); i < j--; ++i) {
    mixed.push_back(sizes[j]);
    if (i < j) mixed.push_back(sizes[i]);
  }
  return mixed;
}

/// Many megabytes to everyone, never more than a window pending; owners are released once sent.
inline void back_pressure(Transport& transport, HubId hubs, std::uint64_t messages, std::size_t size) {
  constexpr std::uint64_t window = 2u << 20;
  Checker checker(transport.self());
  std::map<HubId, std::uint64_t> number;
  std::vector<std::weak_ptr<const Bytes>> owners;
  std::uint64_t most = 0;
  const auto sent_all = [&] {
    bool all = true;
    for (HubId peer = 0; peer < hubs; ++peer) {
      if (peer == transport.self()) continue;
      while (number[peer] < messages && transport.pending_bytes(peer) < window) {
        const auto n = number[peer]++;
        auto data = std::make_shared<const Bytes>(pattern(transport.self(), peer, n, size));
        owners.push_back(data);
        const ByteView view = *data;
        transport.send(peer, {head_of(Kind::data, n, size), view, std::move(data)});
        most = std::max(most, transport.pending_bytes(peer));
      }
      all &= number[peer] == messages;
    }
    return all;
  };
  EXPECT_TRUE(drive(transport, checker, sent_all)) << "hub " << transport.self() << " could not send all";
  finish(transport, checker, hubs);
  EXPECT_LE(most, window + size + max_head_bytes);
  for (HubId peer = 0; peer < hubs; ++peer) {
    if (peer == transport.self()) continue;
    EXPECT_EQ(checker.received_from[peer], messages) << "from " << peer;
  }
  EXPECT_TRUE(std::ranges::all_of(owners, [](const auto& owner) { return owner.expired(); }));
}

/// Every message is answered from inside the listener; a token goes round `laps` times.
inline void token_ring(Transport& transport, HubId hubs, std::uint64_t laps) {
  Checker checker(transport.self());
  const HubId next = (transport.self() + 1) % hubs;
  std::uint64_t sent = 0;
  const auto pass = [&](HubId) {
    if (sent < laps) {
      const Bytes data = pattern(transport.self(), next, sent, 100);
      transport.send(next, {head_of(Kind::data, sent, 100), data, nullptr});  // no owner: copied
      ++sent;
    }
  };
  if (transport.self() == 0) pass(0);
  const HubId before = (transport.self() + hubs - 1) % hubs;
  checker.then = [&](HubId from) {
    if (from == before && checker.finished_from[before] == 0) pass(from);
  };
  EXPECT_TRUE(drive(transport, checker, [&] { return sent == laps && checker.received_from[before] == laps; }));
  checker.then = nullptr;
  finish(transport, checker, hubs);
}

}  // namespace foreweave::comm::conformance
