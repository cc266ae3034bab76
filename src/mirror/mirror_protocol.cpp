#include "foreweave/mirror/mirror_protocol.hpp"

#include <algorithm>
#include <set>

#include "foreweave/core/error.hpp"
#include "foreweave/state/chain.hpp"
#include "mirror/block_server.hpp"
#include "mirror/block_sums.hpp"
#include "mirror/bodies.hpp"
#include "mirror/fetches.hpp"
#include "mirror/incoming.hpp"
#include "mirror/ledger.hpp"
#include "mirror/outgoing.hpp"
#include "mirror/parity_keeper.hpp"
#include "mirror/parity_offers.hpp"

namespace foreweave::mirror {

using comm::Frame;
using comm::FrameType;

struct MirrorProtocol::State {
  State(MirrorOptions given, Store& to_store, Outbox& to_outbox, Store* to_parity)
      : options(given),
        store(to_store),
        parity(to_parity),
        outbox(to_outbox),
        server(options, store, parity, outbox),
        sums(options, server, outbox),
        keeper(parity, outbox, sums),
        offers(options, outbox, [this](HubId to, SnapshotId id, Nanoseconds now) { mirrored(to, id, now); }),
        fetches(options, outbox),
        outgoing(options, store, outbox, [this](HubId to, SnapshotId id, Nanoseconds now) { mirrored(to, id, now); }),
        incoming(
            store, outbox, [this](HubId from, Rank rank) { return wanted(from, rank); },
            [this](HubId from, SnapshotId id) { return have(from, id); },
            [this](HubId from, Rank rank, std::uint64_t bytes, Nanoseconds now) {
              fetches.heard(from, rank, bytes, now);
            },
            [this](HubId from, SnapshotId id, Nanoseconds now) { arrived(from, id, now); }),
        committed(store.committed()) {}

  // Roles.
  bool coordinates() const { return !view.hub_of_rank.empty() && view.hub_of_rank.front() == options.self; }
  HubId hub(Rank rank) const { return view.hub_of_rank[static_cast<std::size_t>(rank)]; }
  bool known(Rank rank) const { return rank >= 0 && static_cast<std::size_t>(rank) < view.hub_of_rank.size(); }
  bool mirrored_here(Rank rank) const {
    if (!options.rank || !known(rank) || !view.groups.empty()) return false;
    const auto& holders = view.mirrored_by[static_cast<std::size_t>(rank)];
    return std::find(holders.begin(), holders.end(), *options.rank) != holders.end();
  }
  std::set<HubId> partners() const;

  // Receiving.
  bool wanted(HubId from, Rank rank) const {
    return fetches.wants(from, rank) || (mirrored_here(rank) && hub(rank) == from);
  }
  // What stands in the store is right for a mirror: the begin of the epoch erased whatever was not committed, and what
  // has come since came from the rank itself.
  bool have(HubId from, SnapshotId id) const {
    return fetches.wants(from, id.rank) ? fetches.has(from, id) : stands(store, id);
  }
  void arrived(HubId from, SnapshotId id, Nanoseconds at);

  // Committing.
  void void_all();
  bool takes_part() const { return view.epoch != 0 && !suspended; }
  void protect(Nanoseconds at);
  void mirrored(HubId to, SnapshotId id, Nanoseconds at);
  void stored_enough(Version version, Nanoseconds at);
  void report(Nanoseconds at);
  bool commit_complete(Nanoseconds at);
  bool advance(Version version, Nanoseconds at);
  void drop_strangers(Nanoseconds at);
  void on_version_stored(HubId from, const VersionStored& stored, Nanoseconds at);
  void dispatch(const Frame& frame, Nanoseconds at);
  void trouble(SnapshotId id, const std::string& what, Nanoseconds at) {
    outbox.notice({MirrorEvent::Kind::failed, id, options.self, 0, at, at, what});
  }
  Rank own() const { return options.rank.value_or(-1); }

  MirrorOptions options;
  Store& store;
  Store* parity;
  Outbox& outbox;
  View view;
  BlockServer server;
  BlockSums sums;
  ParityKeeper keeper;
  ParityOffers offers;
  Fetches fetches;
  Outgoing outgoing;
  Incoming incoming;
  Ledger ledger;  // the coordinator's
  Version committed = 0;
  bool suspended = false;
  std::map<Version, std::set<HubId>> waiting_for;  // published versions: partners that do not have them yet
  std::set<Version> stored;                        // published versions that stand in enough places
  std::map<Version, Nanoseconds> published;        // when
  Nanoseconds reported = 0, report_patience = 0;
  Nanoseconds now = 0;  // of the last call that told the time
};

MirrorProtocol::MirrorProtocol(MirrorOptions options, Store& store, Outbox& outbox, Store* parity) {
  if (options.chunk_bytes == 0 || options.chunk_bytes > comm::max_payload_bytes || options.window_bytes == 0 ||
      options.retry_after <= 0) {
    throw Error(ErrorCategory::argument, "mirror protocol of hub " + std::to_string(options.self),
                "chunk_bytes must be 1 to " + std::to_string(comm::max_payload_bytes) +
                    ", window_bytes and retry_after above 0");
  }
  state_ = std::make_unique<State>(options, store, outbox, parity);
}

MirrorProtocol::~MirrorProtocol() = default;

std::set<HubId> MirrorProtocol::State::partners() const {
  std::set<HubId> hubs;
  for (const auto rank : view.mirrored_by[static_cast<std::size_t>(own())]) hubs.insert(hub(rank));
  hubs.erase(options.self);
  return hubs;
}

void MirrorProtocol::begin(const View& view, std::optional<Rank> rank, Nanoseconds now) {
  auto& s = *state_;
  const auto operation = "begin epoch " + std::to_string(view.epoch) + " on hub " + std::to_string(s.options.self);
  if (view.epoch <= s.view.epoch) {
    throw Error(ErrorCategory::state, operation,
                "epochs only grow, and this hub is in epoch " + std::to_string(s.view.epoch));
  }
  if (s.view.epoch == 0) s.committed = s.store.committed();  // the store may have been cleared before the first epoch
  if (view.committed < s.committed) {
    throw Error(ErrorCategory::state, operation,
                "it would start from version " + std::to_string(view.committed) + ", but version " +
                    std::to_string(s.committed) + " is committed and a committed version never goes back");
  }
  const auto ranks = view.hub_of_rank.size();
  const auto inside = [&](Rank r) { return r >= 0 && static_cast<std::size_t>(r) < ranks; };
  bool sound = ranks > 0 && view.mirrored_by.size() == ranks && (!rank || inside(*rank));
  for (const auto& holders : view.mirrored_by) sound = sound && std::all_of(holders.begin(), holders.end(), inside);
  for (const auto& group : view.groups) {
    sound = sound && s.parity != nullptr && !group.members.empty();
    for (const auto* some : {&group.members, &group.holders}) {
      sound = sound && std::all_of(some->begin(), some->end(), inside);
    }
  }
  if (!sound || (rank && view.hub_of_rank[static_cast<std::size_t>(*rank)] != s.options.self)) {
    throw Error(
        ErrorCategory::argument, operation,
        "the view does not fit together: hub_of_rank and mirrored_by need one entry for each rank, mirrors must "
        "be ranks, this hub's rank must be its own, and groups need a store for parity");
  }
  s.void_all();  // before erasing: unfinished writes go first
  // What can fail comes before the view changes: begin can then be called again.
  for (auto* store : {&s.store, s.parity}) {
    if (store == nullptr) continue;
    for (const auto& snapshot : store->list()) {
      if (snapshot.id.version > view.committed) store->erase(snapshot.id);
    }
  }
  s.keeper.begin(view, rank);
  if (view.committed > s.committed) {
    s.store.set_committed(view.committed);
    s.committed = view.committed;
  }
  s.view = view;
  s.suspended = false;
  s.options.rank = rank;
  s.now = now;
  s.ledger.begin(static_cast<Rank>(ranks), view.committed);
  s.protect(now);
}

/// After a change of partners the committed version must stand on the new ones too. Those that have it say so.
void MirrorProtocol::State::protect(Nanoseconds at) {
  const SnapshotId id{own(), view.committed};
  if (!options.rank || view.committed == 0 || !holds(store, id)) return;  // absent: it will be fetched first
  if (view.groups.empty()) {
    for (const auto partner : partners()) outgoing.mirror(partner, id, true, at);
    return;
  }
  // Parity of a version needs every member's, also of those whose own chain is shorter.
  for (const auto& snapshot : store.list()) {
    if (snapshot.id.rank != own() || snapshot.id.version > view.committed) continue;
    for (const auto holder : partners()) offers.offer(holder, {snapshot.id, snapshot.base, snapshot.bytes}, at);
  }
}

void MirrorProtocol::suspend() {
  state_->void_all();
  state_->suspended = true;
}

void MirrorProtocol::State::void_all() {
  outgoing.clear();
  incoming.clear();
  fetches.clear();
  keeper.clear();
  sums.clear();
  server.clear();
  offers.clear();
  waiting_for.clear();
  published.clear();
  stored.clear();
}

void MirrorProtocol::publish(Version version, Nanoseconds now) {
  auto& s = *state_;
  s.now = now;
  const SnapshotId id{s.own(), version};
  const auto operation = "publish " + to_string(id);
  if (!s.options.rank || s.view.epoch == 0) {
    throw Error(ErrorCategory::state, operation, "this hub is no rank of an epoch; call begin first");
  }
  if (s.suspended) return;
  if (version <= s.committed) {
    throw Error(ErrorCategory::argument, operation,
                "version " + std::to_string(s.committed) + " is committed already; versions only grow");
  }
  const auto all = s.store.list();
  const auto stored = std::find_if(all.begin(), all.end(), [&](const StoredSnapshot& one) { return one.id == id; });
  if (stored == all.end()) throw Error(ErrorCategory::absent, operation, "it is not in " + s.store.name());
  if (s.published.contains(version)) return;
  s.published[version] = now;
  const auto partners = s.partners();
  if (partners.empty()) {
    s.stored_enough(version, now);
    return;
  }
  s.waiting_for[version] = partners;
  for (const auto partner : partners) {
    if (s.view.groups.empty()) {
      s.outgoing.mirror(partner, id, false, now);
    } else {
      s.offers.offer(partner, {id, stored->base, stored->bytes}, now);
    }
  }
}

void MirrorProtocol::fetch(HubId from, SnapshotId id, Nanoseconds now) {
  auto& s = *state_;
  s.now = now;
  if (!s.takes_part()) {
    throw Error(ErrorCategory::state, "fetch " + to_string(id), "this hub is in no epoch; call begin first");
  }
  if (from != s.options.self) {
    s.fetches.start(from, id, now);
  } else if (holds(s.store, id)) {
    s.outbox.notice({MirrorEvent::Kind::fetched, id, from, 0, now, now, "it is in the own store"});
  } else {
    s.trouble(id, "it is not in the own store", now);
  }
}

void MirrorProtocol::rebuild(const RebuildPlan& plan, Nanoseconds now) {
  auto& s = *state_;
  s.now = now;
  const auto operation = "rebuild " + to_string(plan.id);
  if (!s.takes_part()) throw Error(ErrorCategory::state, operation, "this hub is in no epoch; call begin first");
  std::vector<BlockSumJob::Source> sources;
  std::vector<int> from;
  std::uint64_t longest = plan.bytes;
  for (const auto& source : plan.sources) {
    sources.push_back({source.hub, source.parity, source.id, source.bytes, source.content});
    from.push_back(source.block);
    longest = std::max(longest, source.bytes);
  }
  const int wanted[] = {plan.block};
  struct Made {
    std::unique_ptr<SnapshotWriter> writer;
    StreamDigest digest;
  };
  auto made = std::make_shared<Made>();
  made->writer = s.store.create(plan.id);
  const auto note = "from " + std::to_string(plan.sources.size()) + " blocks";
  s.sums.start({std::move(sources), ErasureCode(plan.data, plan.parity).sum(wanted, from), longest,
                [made, bytes = plan.bytes](ByteView piece) {   // the sources may be longer than what is rebuilt
                  const auto left = bytes - made->writer->written();
                  const auto part = piece.first(std::min<std::uint64_t>(piece.size(), left));
                  made->writer->append(part);
                  made->digest.update(part);
                },
                [&s, made, plan, note, now](const std::vector<Digest128>&, Nanoseconds at) {
                  if (made->digest.value() != plan.content) {
                    throw Error(ErrorCategory::format, "rebuild " + to_string(plan.id), "it does not match its digest");
                  }
                  made->writer->commit(plan.base);
                  s.outbox.notice({MirrorEvent::Kind::rebuilt, plan.id, s.options.self, plan.bytes, now, at, note});
                  if (plan.id == SnapshotId{s.own(), s.view.committed}) s.protect(at);
                },
                [&s, plan, now](std::optional<std::size_t> source, const std::string& why, Nanoseconds at) {
                  const auto blamed = source ? plan.sources[*source].hub : s.options.self;
                  s.outbox.notice({MirrorEvent::Kind::rebuild_failed, plan.id, blamed, 0, now, at, why});
                }},
               now);
}

void MirrorProtocol::State::arrived(HubId from, SnapshotId id, Nanoseconds at) {
  if (fetches.arrived(from, id, at) && id == SnapshotId{own(), view.committed}) protect(at);
}

/// A partner has a snapshot of this rank.
void MirrorProtocol::State::mirrored(HubId to, SnapshotId id, Nanoseconds at) {
  const auto found = waiting_for.find(id.version);
  if (id.rank != own() || found == waiting_for.end()) return;
  found->second.erase(to);
  if (!found->second.empty()) return;
  waiting_for.erase(found);
  stored_enough(id.version, at);
}

void MirrorProtocol::State::stored_enough(Version version, Nanoseconds at) {
  stored.insert(version);
  outbox.notice({MirrorEvent::Kind::stored, {own(), version}, options.self, 0, published[version], at, ""});
  report_patience = std::max<Nanoseconds>(options.retry_after / 16, 1);
  report(at);
}

void MirrorProtocol::State::report(Nanoseconds at) {
  reported = at;
  VersionStored body{own(), {}};
  const auto skipped = stored.size() - std::min(stored.size(), VersionStored::max_versions);
  body.versions.assign(std::next(stored.begin(), static_cast<std::ptrdiff_t>(skipped)), stored.end());
  if (coordinates()) {
    on_version_stored(options.self, body, at);
  } else {
    outbox.send(view.hub_of_rank.front(), FrameType::version_stored, body.encode(), {}, nullptr);
  }
}

void MirrorProtocol::State::on_version_stored(HubId from, const VersionStored& told, Nanoseconds at) {
  if (!coordinates() || !known(told.rank) || hub(told.rank) != from) return;
  ledger.note(told.rank, told.versions);
  if (commit_complete(at) || from == options.self) return;  // everyone was told
  const bool late =
      std::any_of(told.versions.begin(), told.versions.end(), [&](Version v) { return v <= committed; });
  if (late) outbox.send(from, FrameType::version_committed, VersionCommitted{committed}.encode(), {}, nullptr);
}

/// The coordinator's decision. Its own marker is written first: what it tells others it will not forget.
bool MirrorProtocol::State::commit_complete(Nanoseconds at) {
  const auto version = ledger.complete();
  if (!version || !advance(*version, at)) return false;
  ledger.commit(*version);
  const std::set<HubId> hubs(view.hub_of_rank.begin(), view.hub_of_rank.end());
  for (const auto to : hubs) {
    if (to == options.self) continue;
    outbox.send(to, FrameType::version_committed, VersionCommitted{*version}.encode(), {}, nullptr);
  }
  return true;
}

/// False when the marker could not be written; it is then tried again when the commit is told again.
bool MirrorProtocol::State::advance(Version version, Nanoseconds at) {
  if (version <= committed) return true;
  try {
    store.set_committed(version);
  } catch (const Error& error) {
    trouble({own(), version}, error.what(), at);
    return false;
  }
  const bool first = committed == view.committed;
  committed = version;
  const auto found = published.find(version);
  const auto begun = found == published.end() ? at : found->second;
  waiting_for.erase(waiting_for.begin(), waiting_for.upper_bound(version));
  published.erase(published.begin(), published.upper_bound(version));
  stored.erase(stored.begin(), stored.upper_bound(version));
  offers.forget(version);
  keeper.committed(version);
  server.clear();  // whoever read it has it; what is held open here could not be freed
  if (first) drop_strangers(at);  // before the notice: whoever keeps house on it finds nothing that is about to go
  outbox.notice({MirrorEvent::Kind::committed, {own(), version}, options.self, 0, begun, at, ""});
  return true;
}

/// The first commit of an epoch says that every rank's state stands on the new partners: what this hub held for ranks
/// that it does not mirror any more is of no use.
void MirrorProtocol::State::drop_strangers(Nanoseconds at) {
  for (const auto& snapshot : store.list()) {
    const auto rank = snapshot.id.rank;
    if (rank == own() || mirrored_here(rank) || fetches.wants(rank)) continue;
    try {
      store.erase(snapshot.id);
    } catch (const Error& error) {
      trouble(snapshot.id, error.what(), at);
    }
  }
  try {
    keeper.drop_strangers();
  } catch (const Error& error) {
    trouble({own(), committed}, error.what(), at);
  }
}

void MirrorProtocol::on_frame(const Frame& frame, Nanoseconds now) {
  auto& s = *state_;
  s.now = now;
  if (!s.takes_part() || frame.epoch != s.view.epoch) return;
  try {
    s.dispatch(frame, now);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::format) throw;
    s.outbox.notice({MirrorEvent::Kind::refused, {}, frame.source, frame.payload.size(), now, now, error.what()});
  }
}

void MirrorProtocol::State::dispatch(const Frame& frame, Nanoseconds at) {
  const auto from = frame.source;
  switch (frame.type) {
    case FrameType::snapshot_begin:
      incoming.on_begin(from, SnapshotBegin::decode(frame.body), at);
      break;
    case FrameType::snapshot_chunk:
      incoming.on_chunk(from, SnapshotChunk::decode(frame.body), frame.payload, at);
      break;
    case FrameType::snapshot_end:
      incoming.on_end(from, SnapshotEnd::decode(frame.body), at);
      break;
    case FrameType::snapshot_stored:
      outgoing.on_stored(from, SnapshotStored::decode(frame.body), at);
      break;
    case FrameType::snapshot_refused:
      outgoing.on_refused(from, SnapshotRefused::decode(frame.body), at);
      break;
    case FrameType::version_stored:
      on_version_stored(from, VersionStored::decode(frame.body), at);
      break;
    case FrameType::version_committed: {
      const auto told = VersionCommitted::decode(frame.body);
      if (from == view.hub_of_rank.front()) advance(told.version, at);
      break;
    }
    case FrameType::fetch:
      outgoing.serve(from, Fetch::decode(frame.body), at);
      break;
    case FrameType::fetch_absent:
      fetches.on_absent(from, Fetch::decode(frame.body), at);
      break;
    case FrameType::parity_offer:
      keeper.on_offer(from, ParityOffer::decode(frame.body), at);
      break;
    case FrameType::parity_stored: {
      const auto told = ParityStored::decode(frame.body);
      if (told.id.rank == own()) offers.on_stored(from, told, at);
      break;
    }
    case FrameType::block_fetch:
      server.on_fetch(from, BlockFetch::decode(frame.body));
      break;
    case FrameType::block:
      sums.on_block(from, BlockPiece::decode(frame.body), frame.payload, at);
      break;
    case FrameType::block_absent:
      sums.on_absent(from, BlockPiece::decode(frame.body), at);
      break;
    case FrameType::heartbeat:
    case FrameType::goodbye:
      break;  // the membership's
    case FrameType::flush_order:
    case FrameType::flush_done:
      break;  // the flush schedule's
  }
}

void MirrorProtocol::peer_lost(HubId peer) {
  auto& s = *state_;
  s.incoming.peer_lost(peer);
  s.outgoing.peer_lost(peer, s.now);
  s.fetches.peer_lost(peer, s.now);
  s.sums.peer_lost(peer, s.now);
}

void MirrorProtocol::tick(Nanoseconds now) {
  auto& s = *state_;
  s.now = now;
  if (!s.takes_part()) return;
  s.outgoing.tick(now);
  s.fetches.tick(now);
  s.sums.tick(now);
  s.offers.tick(now);
  if (!s.stored.empty() && now - s.reported >= s.report_patience) {
    s.report_patience = std::min(s.report_patience * 2, s.options.retry_after);
    s.report(now);
  }
}

Version MirrorProtocol::committed() const { return state_->committed; }

bool MirrorProtocol::settled() const {
  return state_->waiting_for.empty() && state_->stored.empty() && !state_->outgoing.mirrors_pending() &&
         !state_->offers.pending();
}

std::uint64_t MirrorProtocol::bytes_sent() const { return state_->outgoing.bytes_sent(); }

}  // namespace foreweave::mirror
