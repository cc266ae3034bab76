#pragma once
// A bench for the mirror protocol: several hubs with stores in memory, joined by queues that a test can look into,
// hold up, and tamper with. No network, no clock but the test's own.

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "foreweave/mirror/mirror_protocol.hpp"
#include "mirror/memory_store.hpp"

namespace foreweave::test {

using comm::FrameType;
using mirror::HubId;
using mirror::MirrorEvent;

inline Bytes blob(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>((seed = seed * 1664525U + 1013904223U) >> 24);
  return bytes;
}

struct Sent {
  HubId from, to;
  FrameType type;
  comm::Epoch epoch;
  Bytes body, payload;
};

class Bench;

struct BenchHub final : mirror::Outbox {
  BenchHub(Bench& in, mirror::MirrorOptions options)
      : bench(in), self(options.self), protocol(options, store, *this, &parity) {}
  void send(HubId to, FrameType type, Bytes body, ByteView payload, std::shared_ptr<const void>) override;
  std::uint64_t pending_bytes(HubId to) const override;
  void notice(const MirrorEvent& event) override { events.push_back(event); }

  int count(MirrorEvent::Kind kind) const {
    int n = 0;
    for (const auto& event : events) n += event.kind == kind ? 1 : 0;
    return n;
  }

  Bench& bench;
  HubId self;
  comm::Epoch epoch = 0;
  MemoryStore store, parity;
  std::vector<MirrorEvent> events;
  mirror::MirrorProtocol protocol;
};

class Bench {
 public:
  static constexpr Nanoseconds ms = 1'000'000;

  /// `hubs` hubs, of which the first `ranks` are the ranks.
  Bench(int hubs, Rank ranks, int copies, std::uint64_t chunk = 100, std::uint64_t window = 250) : copies_(copies) {
    for (int i = 0; i < hubs; ++i) {
      mirror::MirrorOptions options;
      options.self = static_cast<HubId>(i);
      if (i < ranks) options.rank = i;
      options.chunk_bytes = chunk;
      options.window_bytes = window;
      options.retry_after = 1'600 * ms;
      hub.push_back(std::make_unique<BenchHub>(*this, options));
    }
    view.epoch = 1;
    for (Rank r = 0; r < ranks; ++r) view.hub_of_rank.push_back(static_cast<HubId>(r));
    view.mirrored_by = mirror::choose_partners(ranks, copies, {});
    begin();
  }

  std::optional<Rank> rank_of(HubId id) const {
    for (std::size_t r = 0; r < view.hub_of_rank.size(); ++r) {
      if (view.hub_of_rank[r] == id) return static_cast<Rank>(r);
    }
    return std::nullopt;
  }

  void begin(HubId id) {
    hub[id]->epoch = view.epoch;
    hub[id]->protocol.begin(view, rank_of(id), now);
  }
  void begin() {
    for (auto& h : hub) {
      if (h) begin(h->self);
    }
  }

  /// The rank's capture: a snapshot into its own store, then published.
  Bytes capture(Rank rank, Version version, Version base, std::size_t size = 350) {
    auto& h = *hub[view.hub_of_rank[static_cast<std::size_t>(rank)]];
    auto bytes = blob(size, static_cast<unsigned>(rank * 1000 + static_cast<int>(version) + view.epoch * 100000));
    h.store.put({rank, version}, base, bytes);
    h.protocol.publish(version, now);
    return bytes;
  }
  void capture_all(Version version, Version base) {
    for (std::size_t r = 0; r < view.hub_of_rank.size(); ++r) capture(static_cast<Rank>(r), version, base);
  }

  /// Delivers the oldest message; false when there is none.
  bool step() {
    if (queue.empty()) return false;
    auto message = std::move(queue.front());
    queue.pop_front();
    if (tamper && !tamper(message)) return true;
    if (!hub[message.to]) return true;
    comm::Frame frame;
    frame.type = message.type;
    frame.source = message.from;
    frame.epoch = message.epoch;
    frame.body = message.body;
    frame.payload = message.payload;
    hub[message.to]->protocol.on_frame(frame, now);
    return true;
  }
  /// Lets so much time pass, ticking and delivering all there is.
  void run(Nanoseconds for_so_long = 0) {
    const auto until = now + for_so_long;
    do {
      for (bool more = true; more;) {
        more = step();
        for (auto& h : hub) {
          if (h) h->protocol.tick(now);
        }
        more = more || !queue.empty();
      }
      now += 10 * ms;
    } while (now < until);
  }

  std::uint64_t pending(HubId from, HubId to) const {
    std::uint64_t sum = 0;
    for (const auto& message : queue) {
      if (message.from == from && message.to == to) sum += message.payload.size();
    }
    return sum;
  }
  int sent(FrameType type) const {
    int n = 0;
    for (const auto& entry : log) n += entry == type ? 1 : 0;
    return n;
  }

  std::vector<std::unique_ptr<BenchHub>> hub;
  mirror::View view;
  Nanoseconds now = 1'000 * ms;
  std::deque<Sent> queue;
  std::vector<FrameType> log;
  std::uint64_t most_pending = 0;
  std::function<bool(Sent&)> tamper;  ///< may change a message; false: it is lost

 private:
  int copies_;
};

inline void BenchHub::send(HubId to, FrameType type, Bytes body, ByteView payload, std::shared_ptr<const void>) {
  bench.queue.push_back({self, to, type, epoch, std::move(body), Bytes(payload.begin(), payload.end())});
  bench.log.push_back(type);
  bench.most_pending = std::max(bench.most_pending, bench.pending(self, to));
}
inline std::uint64_t BenchHub::pending_bytes(HubId to) const { return bench.pending(self, to); }

}  // namespace foreweave::test
