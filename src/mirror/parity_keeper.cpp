#include "mirror/parity_keeper.hpp"

#include <algorithm>
#include <memory>
#include <string>

#include "foreweave/core/error.hpp"
#include "foreweave/state/erasure.hpp"
#include "mirror/incoming.hpp"

namespace foreweave::mirror {

using comm::FrameType;

struct ParityKeeper::Group {
  std::vector<Rank> members;
  std::vector<HubId> hubs;   // of the members
  int parity = 0, row = 0;
  Rank key = 0;
  std::map<Version, ParityRecord> held;
  std::map<Version, std::vector<std::optional<ParityOffer>>> offered;   // of versions that are not held
  // The one that is being made; the oldest first, for the bases' sake.
  Version making = 0;
  std::uint64_t sum = 0;
  Nanoseconds began = 0;
  std::unique_ptr<SnapshotWriter> writer;
  StreamDigest digest;
  ParityRecord record;

  void stop() {
    making = 0;
    writer.reset();
  }
};

ParityKeeper::ParityKeeper(Store* store, Outbox& outbox, BlockSums& sums) : store_(store), outbox_(outbox), sums_(sums) {}

ParityKeeper::~ParityKeeper() = default;

void ParityKeeper::clear() { groups_.clear(); }

void ParityKeeper::begin(const View& view, std::optional<Rank> own) {
  groups_.clear();
  if (!own || store_ == nullptr) return;
  const auto stored = store_->list();
  std::vector<Group> groups;
  for (const auto& of : view.groups) {
    const auto place = std::find(of.holders.begin(), of.holders.end(), *own);
    if (place == of.holders.end()) continue;
    auto& group = groups.emplace_back();
    group.members = of.members;
    for (const auto rank : of.members) group.hubs.push_back(view.hub_of_rank[static_cast<std::size_t>(rank)]);
    group.parity = static_cast<int>(of.holders.size());
    group.row = static_cast<int>(place - of.holders.begin());
    group.key = ParityRecord::key(group.members, group.parity, group.row);
    for (const auto& one : stored) {
      if (one.id.rank != group.key) continue;
      const auto bytes = store_->open(one.id);
      if (!bytes) continue;
      try {
        auto record = ParityRecord::decode(bytes->view());
        const bool right = record.ranks() == group.members && record.parity == group.parity && record.row == group.row &&
                           record.version == one.id.version;
        if (right) group.held.emplace(record.version, std::move(record));
      } catch (const Error& error) {
        if (error.category() != ErrorCategory::format) throw;
        // A damaged one is made anew when it is offered again.
      }
    }
  }
  groups_ = std::move(groups);
}

bool ParityKeeper::holds(const Group& group, Version version) const {
  return group.held.contains(version) && mirror::holds(*store_, {group.key, version});
}

void ParityKeeper::tell(const Group& group, Version version, std::size_t member) const {
  outbox_.send(group.hubs[member], FrameType::parity_stored, ParityStored{{group.members[member], version}}.encode(), {},
               nullptr);
}

void ParityKeeper::on_offer(HubId from, const ParityOffer& offer, Nanoseconds now) {
  for (auto& group : groups_) {
    const auto place = std::find(group.members.begin(), group.members.end(), offer.id.rank);
    if (place == group.members.end()) continue;
    const auto member = static_cast<std::size_t>(place - group.members.begin());
    if (group.hubs[member] != from) return;
    const auto version = offer.id.version;
    if (holds(group, version)) {
      const auto& made = group.held.at(version).members[member];
      if (made.base == offer.base && made.bytes == offer.bytes) return tell(group, version, member);
    }
    group.held.erase(version);   // not of this, or gone
    auto& offers = group.offered[version];
    offers.resize(group.members.size());
    auto& known = offers[member];
    const bool changed = known && (known->base != offer.base || known->bytes != offer.bytes);
    known = offer;
    if (changed && group.making == version) {
      sums_.cancel(group.sum);
      group.stop();
    }
    return consider(group, now);
  }
}

/// Begins the oldest version that all have offered, and whose bases are held.
void ParityKeeper::consider(Group& group, Nanoseconds now) {
  if (group.making != 0) return;
  for (const auto& [version, offers] : group.offered) {
    const bool ready = std::all_of(offers.begin(), offers.end(), [&](const std::optional<ParityOffer>& offer) {
      return offer && (offer->base == 0 || holds(group, offer->base));
    });
    if (ready) return start(group, version, now);
  }
}

void ParityKeeper::start(Group& group, Version version, Nanoseconds now) {
  const auto index = static_cast<std::size_t>(&group - groups_.data());
  const auto offers = group.offered.at(version);
  const auto data = static_cast<int>(group.members.size());
  group.record = {};
  group.record.version = version;
  group.record.parity = group.parity;
  group.record.row = group.row;
  std::vector<BlockSumJob::Source> sources;
  std::vector<int> all;
  for (std::size_t i = 0; i < offers.size(); ++i) {
    sources.push_back({group.hubs[i], false, offers[i]->id, offers[i]->bytes, std::nullopt});
    all.push_back(static_cast<int>(i));
    group.record.members.push_back({offers[i]->id.rank, offers[i]->base, offers[i]->bytes, {}});
    group.record.bytes = std::max(group.record.bytes, offers[i]->bytes);
  }
  const auto failed = [this, index, version](std::optional<std::size_t>, const std::string& why, Nanoseconds at) {
    auto& of = groups_[index];
    of.stop();
    of.offered.erase(version);   // the members offer it again
    outbox_.notice({MirrorEvent::Kind::refused, {of.key, version}, of.hubs.front(), 0, of.began, at,
                    "parity of version " + std::to_string(version) + ": " + why});
  };
  group.began = now;
  try {
    group.writer = store_->create({group.key, version});
  } catch (const Error& error) {
    return failed(std::nullopt, error.what(), now);
  }
  group.making = version;
  group.digest = StreamDigest();
  const int wanted[] = {data + group.row};
  BlockSumJob job{std::move(sources),
                  ErasureCode(data, group.parity).sum(wanted, all),
                  group.record.bytes,
                  [this, index](ByteView bytes) {
                    groups_[index].writer->append(bytes);
                    groups_[index].digest.update(bytes);
                  },
                  [this, index](const std::vector<Digest128>& contents, Nanoseconds at) {
                    finish(groups_[index], contents, at);
                  },
                  failed};
  group.sum = sums_.start(std::move(job), now);
}

void ParityKeeper::finish(Group& group, const std::vector<Digest128>& contents, Nanoseconds now) {
  const auto version = group.making;
  for (std::size_t i = 0; i < contents.size(); ++i) group.record.members[i].content = contents[i];
  group.record.content = group.digest.value();
  group.writer->append(group.record.encode());
  group.writer->commit(0);
  const auto bytes = group.record.bytes;
  group.held[version] = std::move(group.record);
  group.offered.erase(version);
  group.stop();
  outbox_.notice({MirrorEvent::Kind::received, {group.key, version}, group.hubs.front(), bytes, group.began, now, "parity"});
  for (std::size_t i = 0; i < group.members.size(); ++i) tell(group, version, i);
  consider(group, now);
}

void ParityKeeper::committed(Version version) {
  for (auto& group : groups_) {
    if (group.making != 0 && group.making < version) {
      sums_.cancel(group.sum);
      group.stop();
    }
    group.offered.erase(group.offered.begin(), group.offered.lower_bound(version));
  }
}

void ParityKeeper::drop_strangers() {
  if (store_ == nullptr) return;
  for (const auto& stored : store_->list()) {
    const bool known =
        std::any_of(groups_.begin(), groups_.end(), [&](const Group& group) { return group.key == stored.id.rank; });
    if (!known) store_->erase(stored.id);
  }
}

}  // namespace foreweave::mirror
