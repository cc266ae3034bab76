#pragma once
// What stands where: the choice of partners or parity groups, what can be computed from what is left, and which parity
// blocks are needed no more. Pure functions but for the last.

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "context/inventory.hpp"
#include "foreweave/context/options.hpp"
#include "foreweave/mirror/mirror_protocol.hpp"
#include "foreweave/state/store.hpp"

namespace foreweave::context {

/// Fills in mirrored_by (and groups) of a view that has its hubs. Returns what is less than was asked for, because there
/// are too few ranks or nodes; empty when nothing is.
std::string choose_redundancy(mirror::View& view, const Options& options, const std::vector<std::uint32_t>& node_of_rank);

/// How a version of a rank is computed from snapshots and parity blocks that hubs hold: one plan for each link of its
/// chain, the full one first (and for older versions that others of its group need, where they can be had too). None
/// when too few blocks are left. Hubs in `without` are passed over, and so is what they hold.
std::optional<std::vector<mirror::RebuildPlan>> plan_rebuild(const std::vector<Inventory>& inventories, SnapshotId id,
                                                             const std::set<comm::HubId>& without = {});

/// The parity records in a store, ascending; what is damaged is passed over.
std::vector<ParityRecord> parity_records(const Store& store);

/// With parity groups all ranks take full snapshots at the same versions, `first_full` and every max_chain-th after it,
/// and nothing is folded: what is older than the newest of these that is not above `oldest` is needed by nobody. 0:
/// nothing can be said yet.
Version needed_from(Version first_full, Version oldest, std::uint32_t max_chain);
bool full_is_due(Version first_full, Version version, std::uint32_t max_chain);
void erase_below(Store& store, Version version);

}  // namespace foreweave::context
