#include "context/inventory.hpp"

#include <algorithm>
#include <set>

#include "context/redundancy.hpp"

namespace foreweave::context {
namespace {
using Held = std::map<Rank, std::vector<Version>>;

void put_versions(ByteWriter& out, const Held& held) {
  out.put(static_cast<std::uint32_t>(held.size()));
  for (const auto& [rank, versions] : held) {
    out.put(rank);
    out.put(static_cast<std::uint32_t>(versions.size()));
    for (const auto version : versions) out.put(version);
  }
}

Held get_versions(ByteReader& in) {
  Held held;
  for (auto ranks = in.get<std::uint32_t>(); ranks > 0; --ranks) {
    auto& versions = held[in.get<Rank>()];
    for (auto count = in.get<std::uint32_t>(); count > 0; --count) versions.push_back(in.get<Version>());
  }
  return held;
}
}  // namespace

Bytes Inventory::encode() const {
  ByteWriter out;
  out.put(hub);
  out.put(node);
  out.put(rank);
  out.put(epoch);
  out.put(joined);
  out.put(active);
  out.put(committed);
  out.put(step);
  out.put(newest);
  out.put(static_cast<std::uint32_t>(ranks_of.size()));
  for (const auto& [version, ranks] : ranks_of) {
    out.put(version);
    out.put(ranks);
  }
  out.put(static_cast<std::uint32_t>(address.size()));
  out.put_bytes(address);
  put_versions(out, host);
  put_versions(out, file);
  out.put(static_cast<std::uint32_t>(parity.size()));
  for (const auto& record : parity) {
    const auto bytes = record.encode();
    out.put(static_cast<std::uint32_t>(bytes.size()));
    out.put_bytes(bytes);
  }
  out.put(static_cast<std::uint32_t>(loose.size()));
  for (const auto& [version, base] : loose) {
    out.put(version);
    out.put(base);
  }
  put_versions(out, {{rank, failed}});
  return out.take();
}

Inventory Inventory::decode(ByteView bytes) {
  ByteReader in(bytes, "inventory of a hub");
  Inventory result;
  result.hub = in.get<comm::HubId>();
  result.node = in.get<std::uint32_t>();
  result.rank = in.get<Rank>();
  result.epoch = in.get<std::uint32_t>();
  result.joined = in.get<std::uint32_t>();
  result.active = in.get<std::uint32_t>();
  result.committed = in.get<Version>();
  result.step = in.get<std::uint64_t>();
  result.newest = in.get<Version>();
  for (auto versions = in.get<std::uint32_t>(); versions > 0; --versions) {
    const auto version = in.get<Version>();
    result.ranks_of[version] = in.get<Rank>();
  }
  const auto address = in.get_bytes(in.get<std::uint32_t>());
  result.address.assign(address.begin(), address.end());
  result.host = get_versions(in);
  result.file = get_versions(in);
  for (auto count = in.get<std::uint32_t>(); count > 0; --count) {
    result.parity.push_back(ParityRecord::decode(in.get_bytes(in.get<std::uint32_t>())));
  }
  for (auto links = in.get<std::uint32_t>(); links > 0; --links) {
    const auto version = in.get<Version>();
    result.loose[version] = in.get<Version>();
  }
  result.failed = get_versions(in)[result.rank];
  in.expect_end();
  return result;
}

Rank ranks_of(const std::vector<Inventory>& inventories, Version version) {
  Rank ranks = 0;
  for (const auto& inventory : inventories) {
    const auto told = inventory.ranks_of.find(version);
    if (told == inventory.ranks_of.end()) continue;
    if (ranks != 0 && ranks != told->second) return 0;
    ranks = told->second;
  }
  return ranks;
}

Version newest_in_files(std::vector<Inventory> inventories) {
  for (auto& one : inventories) {
    one.host.clear();
    one.parity.clear();
    one.loose.clear();
  }
  const auto common = common_versions(inventories);
  return common.empty() ? 0 : common.back();
}

std::vector<Version> common_versions(const std::vector<Inventory>& inventories) {
  std::map<Version, std::set<Rank>> holders;
  for (const auto& inventory : inventories) {
    for (const auto* held : {&inventory.host, &inventory.file}) {
      for (const auto& [rank, versions] : *held) {
        for (const auto version : versions) holders[version].insert(rank);
      }
    }
  }
  for (const auto& inventory : inventories) {
    for (const auto& [version, base] : inventory.loose) {   // ascending, so a base comes before what stands on it
      if (const auto below = holders.find(base); below != holders.end() && below->second.contains(inventory.rank)) {
        holders[version].insert(inventory.rank);
      }
    }
  }
  for (const auto& inventory : inventories) {
    for (const auto& record : inventory.parity) {
      for (const auto& member : record.members) {
        const SnapshotId id{member.rank, record.version};
        if (holders[id.version].contains(id.rank) || !plan_rebuild(inventories, id)) continue;
        holders[id.version].insert(id.rank);
      }
    }
  }
  for (const auto& inventory : inventories) {
    for (const auto version : inventory.failed) holders.erase(version);
  }
  std::vector<Version> common;
  for (const auto& [version, ranks] : holders) {
    const Rank wanted = ranks_of(inventories, version);
    const auto there = std::distance(ranks.lower_bound(0), ranks.lower_bound(wanted));
    if (wanted > 0 && there == wanted) common.push_back(version);
  }
  return common;
}

}  // namespace foreweave::context
