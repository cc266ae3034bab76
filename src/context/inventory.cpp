#include "context/inventory.hpp"

#include <algorithm>
#include <set>

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
  out.put(snapshot_ranks);
  out.put(static_cast<std::uint32_t>(address.size()));
  out.put_bytes(address);
  put_versions(out, host);
  put_versions(out, file);
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
  result.snapshot_ranks = in.get<Rank>();
  const auto address = in.get_bytes(in.get<std::uint32_t>());
  result.address.assign(address.begin(), address.end());
  result.host = get_versions(in);
  result.file = get_versions(in);
  result.failed = get_versions(in)[result.rank];
  in.expect_end();
  return result;
}

std::vector<comm::HubId> drop_stale(std::vector<Inventory>& inventories) {
  std::uint32_t active = 0;
  for (const auto& one : inventories) active = std::max(active, one.active);
  std::vector<comm::HubId> stale;
  for (auto& one : inventories) {
    if (one.joined == 0 || one.joined >= active) continue;   // 0: it never was in any epoch, its memory is empty
    stale.push_back(one.hub);
    one.committed = 0;
    one.step = 0;
    one.snapshot_ranks = 0;
    one.host.clear();
  }
  return stale;
}

std::vector<Version> common_versions(const std::vector<Inventory>& inventories, Rank ranks) {
  std::map<Version, std::set<Rank>> ranks_of;
  for (const auto& inventory : inventories) {
    for (const auto* held : {&inventory.host, &inventory.file}) {
      for (const auto& [rank, versions] : *held) {
        if (rank < 0 || rank >= ranks) continue;
        for (const auto version : versions) ranks_of[version].insert(rank);
      }
    }
  }
  for (const auto& inventory : inventories) {
    for (const auto version : inventory.failed) ranks_of.erase(version);
  }
  std::vector<Version> common;
  for (const auto& [version, held] : ranks_of) {
    if (held.size() == static_cast<std::size_t>(ranks)) common.push_back(version);
  }
  return common;
}

}  // namespace foreweave::context
