#include "context/redundancy.hpp"

#include <algorithm>
#include <map>

#include "foreweave/core/error.hpp"

namespace foreweave::context {
namespace {

std::size_t distinct(std::vector<std::uint32_t> nodes) {
  std::sort(nodes.begin(), nodes.end());
  return static_cast<std::size_t>(std::unique(nodes.begin(), nodes.end()) - nodes.begin());
}

std::string count(std::size_t n, const std::string& what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

/// One link, from the grouping that `record` is of: any row of it will do for what it says about the members.
std::optional<mirror::RebuildPlan> plan_link(const std::vector<Inventory>& inventories, SnapshotId id,
                                             const ParityRecord& record, const std::set<comm::HubId>& without) {
  mirror::RebuildPlan plan;
  plan.id = id;
  plan.data = static_cast<int>(record.members.size());
  plan.parity = record.parity;
  for (std::size_t i = 0; i < record.members.size(); ++i) {
    const auto& member = record.members[i];
    const SnapshotId wanted{member.rank, id.version};
    if (member.rank == id.rank) {
      plan.block = static_cast<int>(i);
      plan.base = member.base;
      plan.bytes = member.bytes;
      plan.content = member.content;
      continue;
    }
    for (const auto& one : inventories) {
      const auto held = one.host.find(member.rank);
      if (held == one.host.end() || without.contains(one.hub)) continue;
      if (!std::binary_search(held->second.begin(), held->second.end(), id.version)) continue;
      plan.sources.push_back({one.hub, static_cast<int>(i), false, wanted, member.bytes, member.content});
      break;
    }
  }
  std::set<int> rows;
  for (const auto& one : inventories) {
    if (without.contains(one.hub)) continue;
    for (const auto& other : one.parity) {
      if (other.version != record.version || other.parity != record.parity || other.members != record.members) continue;
      if (!rows.insert(other.row).second) continue;
      plan.sources.push_back({one.hub, plan.data + other.row, true, other.id(), other.bytes, other.content});
    }
  }
  if (plan.sources.size() < record.members.size()) return std::nullopt;
  plan.sources.resize(record.members.size());
  return plan;
}

}  // namespace

std::string choose_redundancy(mirror::View& view, const Options& options,
                              const std::vector<std::uint32_t>& node_of_rank) {
  const auto ranks = static_cast<Rank>(view.hub_of_rank.size());
  const auto asked = parse_redundancy(options.redundancy);
  const auto nodes = distinct(node_of_rank);
  std::string less;
  if (!asked.groups) {
    view.mirrored_by = mirror::choose_partners(ranks, static_cast<int>(options.copies), node_of_rank);
    const auto copies = view.mirrored_by.front().size();
    if (ranks > 1 && copies < options.copies) {   // one rank alone has nobody, and knows it
      less = "copies=" + std::to_string(options.copies) + ": with " + count(static_cast<std::size_t>(ranks), "rank") +
             " each snapshot stands in " + count(copies, "other place");
    } else if (nodes > 1 && copies >= nodes) {
      less = "copies=" + std::to_string(options.copies) + ": on " + count(nodes, "node") +
             " some copies share a node; losing it may lose several";
    }
    return less;
  }
  auto groups = mirror::choose_groups(ranks, asked.data, asked.parity, node_of_rank);
  std::size_t largest = 0;
  for (const auto& group : groups) largest = std::max(largest, group.members.size());
  const auto holders = groups.front().holders.size();
  if (holders < static_cast<std::size_t>(asked.parity) || ranks < asked.data + asked.parity) {
    less = "redundancy=" + options.redundancy + ": with " + count(static_cast<std::size_t>(ranks), "rank") +
           " groups are " + std::to_string(largest) + "+" + std::to_string(holders);
  } else if (nodes > 1 && nodes < largest + holders) {
    less = "redundancy=" + options.redundancy + ": on " + count(nodes, "node") +
           " a node holds several blocks of a group; losing it may lose more than the parity makes good";
  }
  mirror::use_groups(view, std::move(groups));
  return less;
}

std::optional<std::vector<mirror::RebuildPlan>> plan_rebuild(const std::vector<Inventory>& inventories, SnapshotId id,
                                                             const std::set<comm::HubId>& without) {
  const auto has = [&](const ParityRecord& record, Version version) {
    return record.version == version && std::any_of(record.members.begin(), record.members.end(),
                                                    [&](const auto& member) { return member.rank == id.rank; });
  };
  std::map<Version, mirror::RebuildPlan> plans;
  std::set<Version> wanted{id.version}, needed{id.version};   // needed: links of the chain itself
  while (!wanted.empty()) {
    const auto version = *wanted.rbegin();
    wanted.erase(version);
    for (const auto& one : inventories) {
      if (plans.contains(version)) break;
      for (const auto& record : one.parity) {
        if (!has(record, version)) continue;
        auto plan = plan_link(inventories, {id.rank, version}, record, without);
        if (!plan) continue;
        if (plan->base != 0 && needed.contains(version)) needed.insert(plan->base);
        for (const auto& member : record.members) {
          if (member.base != 0) wanted.insert(member.base);
        }
        plans.emplace(version, std::move(*plan));
        break;
      }
    }
    if (!plans.contains(version) && needed.contains(version)) return std::nullopt;
  }
  std::vector<mirror::RebuildPlan> all;
  for (auto& [version, plan] : plans) all.push_back(std::move(plan));
  return all;
}

std::vector<ParityRecord> parity_records(const Store& store) {
  std::vector<ParityRecord> records;
  for (const auto& stored : store.list()) {
    const auto bytes = store.open(stored.id);
    if (!bytes) continue;
    try {
      auto record = ParityRecord::decode(bytes->view());
      if (record.id() == stored.id) records.push_back(std::move(record));
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::format) throw;
    }
  }
  return records;
}

Version needed_from(Version first_full, Version oldest, std::uint32_t max_chain) {
  if (first_full == 0 || oldest < first_full) return 0;
  return oldest - (oldest - first_full) % max_chain;
}

bool full_is_due(Version first_full, Version version, std::uint32_t max_chain) {
  return version <= first_full || (version - first_full) % max_chain == 0;
}

void erase_below(Store& store, Version version) {
  auto all = store.list();
  // Newest first: what a kill half way leaves are whole chains.
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id.version > b.id.version; });
  for (const auto& stored : all) {
    if (stored.id.version < version) store.erase(stored.id);
  }
}

}  // namespace foreweave::context
