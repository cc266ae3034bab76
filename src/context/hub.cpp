#include "context/hub.hpp"

#include <chrono>

#include "foreweave/core/log.hpp"

namespace foreweave::context {

Hub::Hub(std::unique_ptr<comm::Transport> transport, Store& store, Store* parity, const HubOptions& options,
         trace::Recorder* recorder, std::function<void(Version)> committed)
    : self_(options.self),
      recorder_(recorder),
      on_committed_(std::move(committed)),
      address_(transport->address()),
      membership_({options.self, options.heartbeat_every, options.suspect_after}),
      protocol_(mirror::MirrorOptions{.self = options.self, .rank = std::nullopt}, store, *this, parity),
      committed_(store.committed()),
      engine_(std::make_unique<comm::Engine>(std::move(transport), static_cast<comm::EngineHandler&>(*this),
                                              comm::EngineOptions{}, &clock_)) {
  engine_->start();
}

Hub::~Hub() { engine_->stop(); }

void Hub::begin(const mirror::View& view, std::optional<Rank> rank, const std::map<comm::HubId, Bytes>& addresses) {
  engine_->call([&] {
    const auto now = clock_.now();
    // Whom this hub deals with: its partners, those it is a partner of, and the coordinator; as coordinator, all ranks.
    std::set<comm::HubId> peers;
    const auto coordinator = view.hub_of_rank.front();
    for (std::size_t r = 0; r < view.hub_of_rank.size(); ++r) {
      const auto hub = view.hub_of_rank[r];
      if (self_ == coordinator) peers.insert(hub);
      for (const auto partner : view.mirrored_by[r]) {
        const auto partner_hub = view.hub_of_rank[static_cast<std::size_t>(partner)];
        if (hub == self_) peers.insert(partner_hub);
        if (partner_hub == self_) peers.insert(hub);
      }
    }
    if (rank) peers.insert(coordinator);
    peers.erase(self_);

    std::erase_if(connected_, [&](comm::HubId hub) {
      if (addresses.contains(hub)) return false;
      engine_->disconnect(hub);
      return true;
    });
    failed_.clear();
    addresses_ = addresses;
    engine_->set_epoch(view.epoch);
    membership_.begin(view.epoch, {peers.begin(), peers.end()}, now);
    view_ = view;
    published_at_.clear();
    flushes_.begin(static_cast<Rank>(view.hub_of_rank.size()));
    {
      const std::lock_guard lock(mutex_);
      lost_.reset();
    }
    protocol_.begin(view, rank, now);
    committed_.store(protocol_.committed());
  });
}

void Hub::suspend() {
  engine_->call([&] { protocol_.suspend(); });
}

void Hub::publish(Version version) {
  engine_->post([this, version] {
    const auto now = clock_.now();
    published_at_[version] = now;
    protocol_.publish(version, now);
  });
}

bool Hub::fetch(comm::HubId from, SnapshotId id, const std::function<void()>& while_waiting, Nanoseconds patience) {
  {
    const std::lock_guard lock(mutex_);
    fetch_ = Fetch{from, id, std::nullopt};
  }
  engine_->call([&] { protocol_.fetch(from, id, clock_.now()); });
  const auto until = clock_.now() + patience;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (fetch_->outcome) return *fetch_->outcome;
    }
    if (clock_.now() > until) return false;
    rethrow();
    while_waiting();
    wait_for_change(10'000'000);
  }
}

std::optional<comm::HubId> Hub::rebuild(const mirror::RebuildPlan& plan, const std::function<void()>& while_waiting,
                                        Nanoseconds patience) {
  {
    const std::lock_guard lock(mutex_);
    rebuild_ = Rebuild{plan.id, false, std::nullopt};
  }
  engine_->call([&] { protocol_.rebuild(plan, clock_.now()); });
  const auto until = clock_.now() + patience;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (rebuild_->over) return rebuild_->blamed;
    }
    if (clock_.now() > until) return self_;
    rethrow();
    while_waiting();
    wait_for_change(10'000'000);
  }
}

bool Hub::settled() {
  bool result = false;
  engine_->call([&] { result = protocol_.settled(); });
  return result;
}

std::optional<std::string> Hub::lost() const {
  const std::lock_guard lock(mutex_);
  return lost_;
}

void Hub::rethrow() {
  if (auto error = engine_->take_error()) std::rethrow_exception(error);
}

void Hub::leave() {
  engine_->call([&] {
    const auto others = connected_;
    for (const auto hub : others) deliver(hub, comm::FrameType::goodbye, {}, {}, nullptr);
  });
}

void Hub::wait_for_change(Nanoseconds nanoseconds) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::nanoseconds(nanoseconds), [&] { return changes_ != seen_changes_; });
  seen_changes_ = changes_;
}

void Hub::notify() {
  {
    const std::lock_guard lock(mutex_);
    ++changes_;
  }
  changed_.notify_all();
}

void Hub::on_frame(const comm::Frame& frame, Nanoseconds now) {
  membership_.heard(frame.source, now);
  if (frame.type == comm::FrameType::heartbeat) return;
  if (frame.type == comm::FrameType::goodbye) {
    membership_.left(frame.source);
    return;
  }
  if (frame.type == comm::FrameType::flush_order) {
    if (frame.source == view_.hub_of_rank.front() && on_order_) on_order_(FlushOrder::decode(frame.body));
    return;
  }
  if (frame.type == comm::FrameType::flush_done) return on_flushed(frame.source, FlushDone::decode(frame.body));
  protocol_.on_frame(frame, now);
}

void Hub::schedule_flushes(const FlushSchedule& schedule, std::function<void(const FlushOrder&)> on_order) {
  engine_->call([&] {
    flushes_ = schedule;
    on_order_ = std::move(on_order);
  });
}

void Hub::flushed(const FlushDone& done) {
  engine_->post([this, done] {
    if (view_.hub_of_rank.empty()) return;
    const auto coordinator = view_.hub_of_rank.front();
    if (coordinator == self_) return on_flushed(self_, done);
    deliver(coordinator, comm::FrameType::flush_done, done.encode(), {}, nullptr);
  });
}

void Hub::on_flushed(comm::HubId from, const FlushDone& done) {
  if (view_.hub_of_rank.front() != self_) return;
  for (std::size_t r = 0; r < view_.hub_of_rank.size(); ++r) {
    if (view_.hub_of_rank[r] == from) give(flushes_.done(static_cast<Rank>(r), done));
  }
}

void Hub::give(const std::vector<FlushOrder>& orders) {
  for (const auto& order : orders) {
    for (const auto hub : view_.hub_of_rank) {
      if (hub != self_) deliver(hub, comm::FrameType::flush_order, order.encode(), {}, nullptr);
    }
    if (on_order_) on_order_(order);
  }
}

void Hub::on_peer_failed(comm::HubId peer, const std::string& reason, Nanoseconds now) {
  connected_.erase(peer);
  failed_.insert(peer);
  protocol_.peer_lost(peer);   // also of a hub that is not watched: a fetch from it is over
  membership_.reported_dead(peer, reason);
  judge(now);
}

void Hub::tick(Nanoseconds now) {
  for (const auto peer : membership_.due(now)) deliver(peer, comm::FrameType::heartbeat, {}, {}, nullptr);
  protocol_.tick(now);
  judge(now);
}

void Hub::judge(Nanoseconds now) {
  for (const auto& verdict : membership_.take_verdicts(now)) {
    protocol_.peer_lost(verdict.peer);
    Rank lost_rank = -1;
    for (std::size_t r = 0; r < view_.hub_of_rank.size(); ++r) {
      if (view_.hub_of_rank[r] == verdict.peer) lost_rank = static_cast<Rank>(r);
    }
    if (recorder_ != nullptr) recorder_->add(trace::FailureRecord{now, verdict.peer, lost_rank, verdict.reason});
    log::info("hub " + std::to_string(verdict.peer) + " is lost: " + verdict.reason);
    if (lost_rank >= 0) {
      const std::lock_guard lock(mutex_);
      lost_ = "rank " + std::to_string(lost_rank) + " (hub " + std::to_string(verdict.peer) + "): " + verdict.reason;
    }
    notify();
  }
}

void Hub::send(comm::HubId to, comm::FrameType type, Bytes body, ByteView payload, std::shared_ptr<const void> owner) {
  bytes_sent_ += body.size() + payload.size();
  deliver(to, type, std::move(body), payload, std::move(owner));
}

void Hub::deliver(comm::HubId to, comm::FrameType type, Bytes body, ByteView payload,
                  std::shared_ptr<const void> owner) {
  if (failed_.contains(to)) return;
  if (!connected_.contains(to)) {
    const auto address = addresses_.find(to);
    if (address == addresses_.end()) return;   // not of the living any more
    engine_->connect(to, address->second);
    connected_.insert(to);
  }
  engine_->send(to, type, std::move(body), payload, std::move(owner));
}

std::uint64_t Hub::pending_bytes(comm::HubId to) const { return engine_->pending_bytes(to); }

void Hub::notice(const mirror::MirrorEvent& event) {
  using Kind = mirror::MirrorEvent::Kind;
  const bool transfer = event.kind == Kind::sent || event.kind == Kind::received || event.kind == Kind::refused ||
                        event.kind == Kind::rebuilt;
  if (transfer && recorder_ != nullptr) {
    recorder_->add(trace::TransferRecord{event.begin, event.end, event.id.rank, event.id.version, event.peer,
                                         event.kind == Kind::sent || event.kind == Kind::refused,
                                         event.kind != Kind::refused, event.bytes});
  }
  if (event.kind == Kind::committed) {
    const auto version = protocol_.committed();
    committed_.store(version);
    if (recorder_ != nullptr) {
      const auto at = published_at_.find(version);
      recorder_->add(trace::CommitRecord{event.end, version, at == published_at_.end() ? 0 : event.end - at->second});
    }
    published_at_.erase(published_at_.begin(), published_at_.upper_bound(version));
    if (view_.hub_of_rank.front() == self_) give(flushes_.committed(version));
    on_committed_(version);
  }
  if (event.kind == Kind::fetched || event.kind == Kind::failed) {
    const std::lock_guard lock(mutex_);
    if (fetch_ && fetch_->id == event.id && fetch_->from == event.peer) fetch_->outcome = event.kind == Kind::fetched;
  }
  if (event.kind == Kind::rebuilt || event.kind == Kind::rebuild_failed) {
    const std::lock_guard lock(mutex_);
    if (rebuild_ && rebuild_->id == event.id) {
      rebuild_->over = true;
      if (event.kind == Kind::rebuild_failed) rebuild_->blamed = event.peer;
    }
  }
  if (!event.note.empty()) log::debug(to_string(event.id) + ": " + event.note);
  notify();
}

}  // namespace foreweave::context
