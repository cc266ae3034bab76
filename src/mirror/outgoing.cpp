#include "mirror/outgoing.hpp"

#include <algorithm>
#include <set>

#include "foreweave/core/digest.hpp"

namespace foreweave::mirror {

using comm::FrameType;

struct Outgoing::Job {
  SnapshotId id;
  bool serve = false;
  bool offer = false;
  std::uint64_t fetch = 0;
};

/// One snapshot on its way, held open: it stays readable when the store folds or erases it meanwhile.
struct Outgoing::Link {
  SnapshotId id;
  Version base = 0;
  std::shared_ptr<const SnapshotBytes> bytes;
};

struct Outgoing::Stream {
  enum class Phase {
    idle,      // no job begun
    offered,   // asked whether the peer has the link; asked again when patience is over
    sending,   // chunks go as the window allows
    awaiting,  // the end went; the answer is due
    resting,   // failed or cut off; offered again when patience is over
  };
  HubId to = 0;
  std::deque<Job> jobs;
  Phase phase = Phase::idle;
  std::vector<Link> links;  // of the first job: itself, or its chain
  std::size_t at = 0;       // the link under way
  bool chain = false;
  TransferId transfer = 0;
  std::uint64_t offset = 0;
  StreamDigest digest;
  int breaks = 0;         // of this link
  Nanoseconds began = 0;  // of the job
  Nanoseconds waiting_since = 0;
  bool left = false;  // all of the link was handed over to the peer
  Nanoseconds patience = 0;
  std::uint64_t job_bytes = 0;

  const Link& link() const { return links[at]; }
};

Outgoing::Outgoing(const MirrorOptions& options, Store& store, Outbox& outbox, Arrived arrived)
    : options_(options), store_(store), outbox_(outbox), arrived_(std::move(arrived)) {}

Outgoing::~Outgoing() = default;

void Outgoing::clear() { streams_.clear(); }

// The first questions come soon, because a peer that entered the epoch late has thrown away what came before.
Nanoseconds Outgoing::first_patience() const { return std::max<Nanoseconds>(options_.retry_after / 16, 1); }

/// Opens a snapshot, or the chain that ends in it, full one first. None: it is not (wholly) in the store. Another
/// thread may fold or erase meanwhile, so the listing is read until it is the same before and after opening.
std::optional<std::vector<Outgoing::Link>> Outgoing::load(SnapshotId id, bool chain) const {
  constexpr int tries = 16;
  for (int i = 0; i < tries; ++i) {
    std::map<Version, Version> base_of;
    for (const auto& stored : store_.list()) {
      if (stored.id.rank == id.rank) base_of[stored.id.version] = stored.base;
    }
    std::vector<Link> links;
    bool complete = true;
    for (auto version = id.version; complete;) {
      const auto found = base_of.find(version);
      if (found == base_of.end() || found->second >= version) {
        complete = false;
        break;
      }
      links.push_back({{id.rank, version}, found->second, store_.open({id.rank, version})});
      complete = links.back().bytes != nullptr;
      if (!chain || found->second == 0) break;
      version = found->second;
    }
    std::map<Version, Version> now;
    for (const auto& stored : store_.list()) {
      if (stored.id.rank == id.rank) now[stored.id.version] = stored.base;
    }
    const bool same = std::all_of(links.begin(), links.end(), [&](const Link& link) {
      const auto found = now.find(link.id.version);
      return found != now.end() && found->second == link.base;
    });
    if (complete && same) {
      std::reverse(links.begin(), links.end());
      return links;
    }
    if (!complete && now == base_of) return std::nullopt;
  }
  return std::nullopt;
}

void Outgoing::mirror(HubId to, SnapshotId id, bool offer, Nanoseconds now) {
  auto& stream = streams_[{to, id.rank}];
  stream.to = to;
  stream.jobs.push_back({id, false, offer, 0});
  if (stream.phase == Stream::Phase::idle) start(stream, now);
  pump(now);
}

void Outgoing::serve(HubId to, const Fetch& fetch, Nanoseconds now) {
  auto& stream = streams_[{to, fetch.id.rank}];
  stream.to = to;
  const bool known = std::any_of(stream.jobs.begin(), stream.jobs.end(),
                                 [&](const Job& job) { return job.serve && job.fetch == fetch.number; });
  if (known) return;  // under way; it has retries of its own
  stream.jobs.push_back({fetch.id, true, false, fetch.number});
  if (stream.phase == Stream::Phase::idle) start(stream, now);
  pump(now);
}

/// Begins the first job that can be begun.
void Outgoing::start(Stream& stream, Nanoseconds now) {
  while (!stream.jobs.empty()) {
    const auto& job = stream.jobs.front();
    stream.began = now;
    stream.job_bytes = 0;
    stream.breaks = 0;
    stream.patience = first_patience();
    stream.at = 0;
    stream.chain = job.serve;
    auto links = load(job.id, stream.chain);
    if (!links) {
      give_up(stream, "the snapshot or a link of its chain is not in the own store any more", now);
      continue;
    }
    stream.links = std::move(*links);
    send_begin(stream, job.offer, now);
    return;
  }
  stream.phase = Stream::Phase::idle;
  stream.links.clear();
}

/// Drops the first job. The caller begins the next one.
void Outgoing::give_up(Stream& stream, const std::string& why, Nanoseconds now) {
  const auto job = stream.jobs.front();
  stream.jobs.pop_front();
  stream.links.clear();
  stream.phase = Stream::Phase::idle;
  if (job.serve) outbox_.send(stream.to, FrameType::fetch_absent, Fetch{job.fetch, job.id}.encode(), {}, nullptr);
  outbox_.notice({MirrorEvent::Kind::refused, job.id, stream.to, stream.job_bytes, stream.began, now, why});
}

void Outgoing::send_begin(Stream& stream, bool offer, Nanoseconds now) {
  const auto& link = stream.link();
  stream.transfer = ++last_transfer_;
  stream.waiting_since = now;
  stream.offset = 0;
  stream.left = false;
  stream.digest = StreamDigest();
  stream.phase = offer ? Stream::Phase::offered : Stream::Phase::sending;
  const SnapshotBegin begin{stream.transfer, link.id, link.base, link.bytes->view().size(), offer};
  outbox_.send(stream.to, FrameType::snapshot_begin, begin.encode(), {}, nullptr);
}

void Outgoing::rest(Stream& stream, Nanoseconds now) {
  stream.phase = Stream::Phase::resting;
  stream.waiting_since = now;
}

/// One chunk or the end, where the window has room. Returns whether there is more to do.
bool Outgoing::pump_once(Stream& stream, Nanoseconds now) {
  if (stream.phase != Stream::Phase::sending) return false;
  if (outbox_.pending_bytes(stream.to) >= options_.window_bytes) return false;
  const auto& link = stream.link();
  const auto all = link.bytes->view();
  if (stream.offset < all.size()) {
    const auto piece =
        all.subspan(stream.offset, std::min<std::uint64_t>(options_.chunk_bytes, all.size() - stream.offset));
    const SnapshotChunk chunk{stream.transfer, link.id.rank, stream.offset};
    stream.digest.update(piece);
    outbox_.send(stream.to, FrameType::snapshot_chunk, chunk.encode(), piece, link.bytes);
    stream.offset += piece.size();
    stream.job_bytes += piece.size();
    bytes_sent_ += piece.size();
    return true;
  }
  const SnapshotEnd end{stream.transfer, link.id, all.size(), stream.digest.value()};
  outbox_.send(stream.to, FrameType::snapshot_end, end.encode(), {}, nullptr);
  stream.phase = Stream::Phase::awaiting;
  stream.waiting_since = now;
  return false;
}

/// A chunk of each stream in turn, so that no stream waits for another; but mirrors to a peer that waits for what it
/// fetched give way, because its program stands still meanwhile.
void Outgoing::pump(Nanoseconds now) {
  std::set<HubId> fetching;
  for (const auto& [key, stream] : streams_) {
    if (stream.phase == Stream::Phase::sending && stream.jobs.front().serve) fetching.insert(stream.to);
  }
  for (bool more = true; more;) {
    more = false;
    for (auto& [key, stream] : streams_) {
      const bool waits = fetching.contains(stream.to) && !stream.jobs.empty() && !stream.jobs.front().serve;
      if (!waits) more = pump_once(stream, now) || more;
    }
  }
}

void Outgoing::on_stored(HubId from, const SnapshotStored& stored, Nanoseconds now) {
  const auto found = streams_.find({from, stored.id.rank});
  if (found == streams_.end()) return;
  auto& stream = found->second;
  if (stream.phase == Stream::Phase::idle || stream.link().id != stored.id) return;  // of an attempt that is over
  advance(stream, now);
  pump(now);
}

/// The link arrived: the next one, or the next job.
void Outgoing::advance(Stream& stream, Nanoseconds now) {
  stream.patience = first_patience();
  stream.breaks = 0;
  if (++stream.at < stream.links.size()) {
    send_begin(stream, false, now);
    return;
  }
  const auto job = stream.jobs.front();
  const auto to = stream.to;
  outbox_.notice(
      {MirrorEvent::Kind::sent, job.id, to, stream.job_bytes, stream.began, now, stream.chain ? "whole chain" : ""});
  stream.jobs.pop_front();
  start(stream, now);
  if (!job.serve) arrived_(to, job.id, now);
}

void Outgoing::send_chain(Stream& stream, Nanoseconds now) {
  auto links = load(stream.jobs.front().id, true);
  if (!links) {
    give_up(stream, "the peer lacks the base, and the own store lacks a link of the chain", now);
    start(stream, now);
    return;
  }
  stream.links = std::move(*links);
  stream.at = 0;
  stream.chain = true;
  send_begin(stream, false, now);
}

void Outgoing::on_refused(HubId from, const SnapshotRefused& refused, Nanoseconds now) {
  const auto found = streams_.find({from, refused.id.rank});
  if (found == streams_.end()) return;
  auto& stream = found->second;
  if (stream.phase == Stream::Phase::idle || stream.transfer != refused.transfer) return;  // of an earlier attempt
  if (stream.phase == Stream::Phase::resting) return;
  if (refused.reason != Refusal::absent) {
    outbox_.notice({MirrorEvent::Kind::refused, refused.id, from, stream.offset, stream.began, now, refused.text});
  }
  constexpr int quick_retries = 2;
  switch (refused.reason) {
    case Refusal::absent:
      send_begin(stream, false, now);
      break;
    case Refusal::base_missing:
      if (!stream.chain) {
        send_chain(stream, now);
      } else if (stream.breaks++ < quick_retries) {
        send_chain(stream, now);  // the peer lost a link that it had: from the start
      } else {
        stream.at = 0;
        rest(stream, now);
      }
      break;
    case Refusal::broken:
      if (stream.breaks++ < quick_retries) {
        send_begin(stream, false, now);
      } else {
        rest(stream, now);
      }
      break;
    case Refusal::store:
      rest(stream, now);
      break;
    case Refusal::unwanted:
      give_up(stream, "the peer does not want it: " + refused.text, now);
      start(stream, now);
      break;
  }
  pump(now);
}

void Outgoing::peer_lost(HubId peer, Nanoseconds now) {
  for (auto& [key, stream] : streams_) {
    if (key.first != peer) continue;
    const bool was_serving = !stream.jobs.empty() && stream.jobs.front().serve;
    std::erase_if(stream.jobs, [](const Job& job) { return job.serve; });
    if (stream.jobs.empty()) {
      stream.phase = Stream::Phase::idle;
      stream.links.clear();
    } else if (was_serving) {
      start(stream, now);
    } else if (stream.phase != Stream::Phase::idle) {
      rest(stream, now);
    }
  }
}

void Outgoing::tick(Nanoseconds now) {
  pump(now);
  for (auto& [key, stream] : streams_) {
    if (stream.phase == Stream::Phase::idle || stream.phase == Stream::Phase::sending) continue;
    // The answer cannot come before everything has left. Later small frames to the same peer do not count.
    if (stream.phase == Stream::Phase::awaiting && !stream.left) {
      stream.waiting_since = now;
      stream.left = outbox_.pending_bytes(stream.to) == 0;
      continue;
    }
    if (now - stream.waiting_since < stream.patience) continue;
    stream.patience = std::min(stream.patience * 2, options_.retry_after);
    send_begin(stream, true, now);
  }
  std::erase_if(streams_, [](const auto& entry) { return entry.second.jobs.empty(); });
}

bool Outgoing::mirrors_pending() const {
  return std::any_of(streams_.begin(), streams_.end(), [](const auto& entry) {
    const auto& jobs = entry.second.jobs;
    return std::any_of(jobs.begin(), jobs.end(), [](const Job& job) { return !job.serve; });
  });
}

}  // namespace foreweave::mirror
