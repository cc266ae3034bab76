#include "mirror/fetches.hpp"

#include <algorithm>
#include <limits>

namespace foreweave::mirror {

using comm::FrameType;

void Fetches::start(HubId from, SnapshotId id, Nanoseconds now) {
  auto& asked = fetches_[{from, id.rank}];
  asked = {};
  asked.request = {++last_number_, id};
  asked.began = asked.heard = asked.waiting_since = now;
  asked.patience = std::max<Nanoseconds>(options_.retry_after / 16, 1);
  outbox_.send(from, FrameType::fetch, asked.request.encode(), {}, nullptr);
}

bool Fetches::wants(Rank rank) const {
  return std::any_of(fetches_.begin(), fetches_.end(), [&](const auto& entry) { return entry.first.second == rank; });
}

bool Fetches::has(HubId from, SnapshotId id) const {
  const auto found = fetches_.find({from, id.rank});
  return found != fetches_.end() && found->second.links.contains(id.version);
}

void Fetches::heard(HubId from, Rank rank, std::uint64_t bytes, Nanoseconds now) {
  const auto found = fetches_.find({from, rank});
  if (found == fetches_.end()) return;
  found->second.bytes += bytes;
  found->second.heard = found->second.waiting_since = now;
  found->second.patience = options_.retry_after;  // it is on its way
}

bool Fetches::arrived(HubId from, SnapshotId id, Nanoseconds now) {
  const auto found = fetches_.find({from, id.rank});
  if (found == fetches_.end()) return false;
  found->second.links.insert(id.version);
  if (found->second.request.id != id) return false;
  const auto asked = std::move(found->second);
  fetches_.erase(found);
  notice(MirrorEvent::Kind::fetched, from, asked, now, "");
  return true;
}

void Fetches::on_absent(HubId from, const Fetch& fetch, Nanoseconds now) {
  const auto found = fetches_.find({from, fetch.id.rank});
  if (found == fetches_.end() || found->second.request.number != fetch.number) return;
  const auto asked = std::move(found->second);
  fetches_.erase(found);
  notice(MirrorEvent::Kind::failed, from, asked, now,
         "hub " + std::to_string(from) + " has no complete chain of " + to_string(fetch.id));
}

void Fetches::peer_lost(HubId peer, Nanoseconds now) {
  for (auto entry = fetches_.lower_bound({peer, std::numeric_limits<Rank>::min()});
       entry != fetches_.end() && entry->first.first == peer;) {
    const auto asked = std::move(entry->second);
    entry = fetches_.erase(entry);
    notice(MirrorEvent::Kind::failed, peer, asked, now, "hub " + std::to_string(peer) + " was lost");
  }
}

void Fetches::tick(Nanoseconds now) {
  for (auto entry = fetches_.begin(); entry != fetches_.end();) {
    auto& [key, asked] = *entry;
    if (now - asked.heard >= silent_retries * options_.retry_after) {
      const auto from = key.first;
      const auto given_up = std::move(asked);
      entry = fetches_.erase(entry);
      notice(MirrorEvent::Kind::failed, from, given_up, now, "hub " + std::to_string(from) + " does not answer");
      continue;
    }
    if (now - asked.waiting_since >= asked.patience) {
      asked.waiting_since = now;
      asked.patience = std::min(asked.patience * 2, options_.retry_after);
      outbox_.send(key.first, FrameType::fetch, asked.request.encode(), {}, nullptr);
    }
    ++entry;
  }
}

void Fetches::notice(MirrorEvent::Kind kind, HubId from, const Asked& asked, Nanoseconds now, std::string note) {
  outbox_.notice({kind, asked.request.id, from, asked.bytes, asked.began, now, std::move(note)});
}

}  // namespace foreweave::mirror
