// Folding, choosing what can be restored, and erasing what is not needed: all over a Store, without the live state.

#include <algorithm>
#include <map>
#include <set>

#include "foreweave/core/error.hpp"
#include "foreweave/state/chain.hpp"
#include "state/link_fit.hpp"
#include "state/snapshot_format.hpp"

namespace foreweave {

using namespace state_detail;

void fold(Store& store, SnapshotId id, std::shared_ptr<const Key> key) {
  const Chain chain = Chain::open(store, id, key.get());
  if (chain.length() > 1) fold(chain, store, std::move(key));
}

std::uint64_t fold(const Chain& chain, Store& store, std::shared_ptr<const Key> key) {
  Manifest header = chain.manifest();
  header.base = 0;
  header.base_state = {};
  SnapshotBuilder builder(store, header, key);
  Bytes data(segment_bytes);
  std::array<kernels::PageEntry, pages_per_segment> entries;
  for (std::size_t r = 0; r < header.regions.size(); ++r) {
    const RegionRecord& region = chain.manifest().regions[r];
    std::set<std::uint64_t> written;  // segments that no link has are zeros
    for (const auto& link : chain.links()) {
      for (const auto& segment : link->manifest().regions[r].segments) written.insert(segment.index);
    }
    const auto shape = page_shape(region.type, region.extents);
    for (const std::uint64_t segment : written) {
      const std::uint64_t bytes = segment_length(region.bytes, segment);
      chain.read_segment(r, segment, data.data(), bytes);
      std::byte* const out = builder.segment_room();
      const std::uint64_t size = kernels::host::encode_pages({.current = data.data(),
                                                              .base = nullptr,
                                                              .bytes = bytes,
                                                              .shape = shape,
                                                              .update_base = false,
                                                              .out = out,
                                                              .entries = entries.data()});
      builder.add_segment(r, segment, std::span(entries).first(kernels::page_count(bytes)), {out, size});
    }
  }
  return builder.finish().bytes;
}

std::optional<Version> newest_restorable(const Store& store, Rank rank, const Key* key, Version limit,
                                         std::vector<std::string>* problems) {
  std::vector<Version> versions;
  for (const auto& stored : store.list()) {
    if (stored.id.rank == rank && stored.id.version <= limit) versions.push_back(stored.id.version);
  }
  // Links are shared by many chains; each is read once. Null: damaged, or gone.
  std::map<Version, std::shared_ptr<const Snapshot>> checked;
  const auto check = [&](Version version) {
    const auto known = checked.find(version);
    if (known != checked.end()) return known->second;
    const SnapshotId id{rank, version};
    std::shared_ptr<const Snapshot> link;
    try {
      if (auto bytes = store.open(id)) {
        const std::string what = to_string(id) + " in " + store.name();
        link = Snapshot::parse(std::move(bytes), key, what);
        check_identity(*link, id, what);
        link->verify();
      } else if (problems != nullptr) {
        problems->push_back(to_string(id) + " is not in " + store.name());
      }
    } catch (const Error& error) {
      if (problems != nullptr) problems->push_back(error.what());
      link = nullptr;
    }
    checked[version] = link;
    return link;
  };
  std::sort(versions.rbegin(), versions.rend());
  for (const Version version : versions) {
    auto link = check(version);
    try {
      while (link && link->manifest().base != 0) {
        const auto base = check(link->manifest().base);
        if (base)
          check_fit(*base, *link, "restore " + to_string(SnapshotId{rank, version}) + " from " + store.name());
        link = base;
      }
    } catch (const Error& error) {
      if (problems != nullptr) problems->push_back(error.what());
      link = nullptr;
    }
    if (link) return version;
  }
  return std::nullopt;
}

std::uint64_t retain(Store& store, Rank rank, Version oldest, std::size_t max_chain, std::shared_ptr<const Key> key) {
  return retain(store, rank, oldest, {}, max_chain, std::move(key));
}

std::uint64_t retain(Store& store, Rank rank, Version oldest, const std::set<Version>& besides, std::size_t max_chain,
                     std::shared_ptr<const Key> key) {
  std::map<Version, Version> base_of;
  std::uint64_t before = 0;
  for (const auto& stored : store.list()) {
    if (stored.id.rank != rank) continue;
    base_of[stored.id.version] = stored.base;
    before += stored.bytes;
  }
  if (base_of.empty()) return 0;
  // Whatever is asked, the newest stays.
  oldest = std::min(oldest, base_of.rbegin()->first);

  const auto stays = [&](Version version) { return version >= oldest || besides.contains(version); };
  std::set<Version> needed;
  for (auto kept = base_of.begin(); kept != base_of.end(); ++kept) {
    if (!stays(kept->first)) continue;
    std::size_t links_before = 0;
    std::vector<Version> chain;
    for (Version version = kept->first; version != 0;) {
      const auto link = base_of.find(version);
      if (link == base_of.end()) break;  // an incomplete chain is left as it is
      chain.push_back(version);
      if (!stays(version)) ++links_before;
      version = link->second < version ? link->second : 0;
    }
    if (links_before > max_chain) {
      fold(store, {rank, kept->first}, key);
      kept->second = 0;
      chain = {kept->first};
    }
    needed.insert(chain.begin(), chain.end());
  }
  // Newest first: what a kill half way leaves are whole chains.
  for (auto link = base_of.rbegin(); link != base_of.rend(); ++link) {
    if (!needed.contains(link->first)) store.erase({rank, link->first});
  }
  std::uint64_t after = 0;
  for (const auto& stored : store.list()) {
    if (stored.id.rank == rank) after += stored.bytes;
  }
  return before > after ? before - after : 0;
}

}  // namespace foreweave
