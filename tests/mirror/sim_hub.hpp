#pragma once
// One hub's process in the simulation: membership, mirror protocol and transport put together as the engine and the
// context do it, without threads, in virtual time.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "comm/simulated_network.hpp"
#include "foreweave/comm/membership.hpp"
#include "foreweave/mirror/mirror_protocol.hpp"
#include "mirror/memory_store.hpp"

namespace foreweave::test {

using comm::Epoch;
using comm::HubId;
using mirror::MirrorEvent;

struct SimHubOptions {
  mirror::MirrorOptions mirror;
  comm::MembershipOptions membership;
  bool drop_repeated = true;  ///< as the engine does; else the protocol must cope with repetitions by itself
  bool hold_early = true;     ///< keep frames of an epoch that this hub has not reached yet
};

class SimHub final : comm::TransportListener, mirror::Outbox {
 public:
  SimHub(comm::SimulatedNetwork& network, std::shared_ptr<MemoryStore> store, std::shared_ptr<MemoryStore> parity,
         SimHubOptions options)
      : network_(network),
        store_(std::move(store)),
        parity_(std::move(parity)),
        options_(options),
        transport_(network.attach(options.mirror.self)),
        membership_(options.membership),
        protocol_(options.mirror, *store_, *this, parity_.get()) {}

  void begin(const mirror::View& view, std::optional<Rank> rank) {
    const auto now = network_.now();
    std::set<HubId> peers;  // as context::Hub: partners both ways, the coordinator; as coordinator, all ranks
    const auto coordinator = view.hub_of_rank.front();
    for (std::size_t r = 0; r < view.hub_of_rank.size(); ++r) {
      const auto hub = view.hub_of_rank[r];
      if (self() == coordinator) peers.insert(hub);
      for (const auto partner : view.mirrored_by[r]) {
        const auto partner_hub = view.hub_of_rank[static_cast<std::size_t>(partner)];
        if (hub == self()) peers.insert(partner_hub);
        if (partner_hub == self()) peers.insert(hub);
      }
    }
    if (rank) peers.insert(coordinator);
    peers.erase(self());
    const auto before = std::exchange(view_, view);
    try {
      protocol_.begin(view, rank, now);
    } catch (const Error&) {  // its store failed; the caller tries again
      view_ = before;
      throw;
    }
    membership_.begin(view.epoch, {peers.begin(), peers.end()}, now);
  }
  /// Frames of this epoch that came before it was begun here.
  void release_held() {
    auto held = std::exchange(held_, {});
    for (auto& [from, head, payload] : held) deliver(from, head, payload);
  }

  /// Reads one message, when there is one.
  void receive() {
    if (transport_->progress(*this)) tick();
  }
  void tick() {
    const auto now = network_.now();
    for (const auto peer : membership_.due(now)) send(peer, comm::FrameType::heartbeat, {}, {}, nullptr);
    protocol_.tick(now);
    for (auto& verdict : membership_.take_verdicts(now)) {
      protocol_.peer_lost(verdict.peer);
      verdicts.push_back(std::move(verdict));
    }
  }

  HubId self() const { return options_.mirror.self; }
  Epoch epoch() const { return view_.epoch; }
  mirror::MirrorProtocol& protocol() { return protocol_; }
  MemoryStore& store() { return *store_; }

  std::vector<comm::Membership::Verdict> verdicts;  ///< for the world to take
  std::vector<MirrorEvent> events;                  ///< fetched, failed and committed, for the world to take
  std::uint64_t most_pending = 0;
  std::uint64_t frames = 0, damaged = 0, other_epoch = 0, repeated = 0;

 private:
  void on_message(HubId from, ByteView head, ByteView payload) override {
    deliver(from, Bytes(head.begin(), head.end()), Bytes(payload.begin(), payload.end()));
  }

  void deliver(HubId from, const Bytes& head, const Bytes& payload) {
    comm::Frame frame;
    try {
      frame = comm::decode_frame(head, payload);
    } catch (const Error&) {
      ++damaged;
      return;
    }
    const auto now = network_.now();
    if (frame.source != from || frame.epoch < view_.epoch || view_.epoch == 0) {
      ++other_epoch;
      if (view_.epoch != 0 || !options_.hold_early) return;
    }
    if (frame.epoch > view_.epoch) {
      ++other_epoch;
      if (options_.hold_early && held_.size() < 64) held_.emplace_back(from, head, payload);
      return;
    }
    auto& last = seen_[from];
    if (options_.drop_repeated && frame.sequence <= last) {
      ++repeated;
      return;
    }
    last = std::max(last, frame.sequence);
    ++frames;
    membership_.heard(from, now);
    protocol_.on_frame(frame, now);
  }

  void on_peer_failed(HubId peer, const std::string& reason) override {
    connected_.erase(peer);
    not_before_[peer] = network_.now() + 20'000'000;
    protocol_.peer_lost(peer);
    if (reason == "its process died") membership_.reported_dead(peer, reason);
  }

  void send(HubId to, comm::FrameType type, Bytes body, ByteView payload,
            std::shared_ptr<const void> owner) override {
    if (!connected_.contains(to)) {
      if (const auto wait = not_before_.find(to); wait != not_before_.end() && network_.now() < wait->second) return;
      transport_->connect(to, {});
      connected_.insert(to);
    }
    comm::Frame frame;
    frame.type = type;
    frame.source = self();
    frame.epoch = view_.epoch;
    frame.sequence = ++sequence_[to];
    frame.body = body;
    frame.payload = payload;
    transport_->send(to, {comm::encode_frame(frame), payload, std::move(owner)});
    most_pending = std::max(most_pending, transport_->pending_bytes(to));
  }
  std::uint64_t pending_bytes(HubId to) const override { return transport_->pending_bytes(to); }
  void notice(const MirrorEvent& event) override { events.push_back(event); }

  comm::SimulatedNetwork& network_;
  std::shared_ptr<MemoryStore> store_, parity_;
  SimHubOptions options_;
  std::unique_ptr<comm::Transport> transport_;
  comm::Membership membership_;
  mirror::View view_;
  mirror::MirrorProtocol protocol_;
  std::set<HubId> connected_;
  std::map<HubId, Nanoseconds> not_before_;
  std::map<HubId, std::uint64_t> sequence_, seen_;
  std::vector<std::tuple<HubId, Bytes, Bytes>> held_;
};

}  // namespace foreweave::test
