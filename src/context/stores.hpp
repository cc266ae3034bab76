#pragma once
// Where a job's snapshots stand: <folder>/<job>/hub-<number>, one folder a hub, in the host tier and in the file tier.

#include <filesystem>
#include <memory>
#include <vector>

#include "foreweave/comm/transport.hpp"
#include "foreweave/context/options.hpp"
#include "foreweave/state/store.hpp"

namespace foreweave::context {

std::filesystem::path host_folder(const Options& options, comm::HubId hub);
std::unique_ptr<Store> open_host_store(const Options& options, comm::HubId hub);
/// Where parity blocks for others stand: beside the snapshots, bounded by host_budget for itself. Null where there is
/// none and is to be none: redundancy=copies.
std::unique_ptr<Store> open_parity_store(const Options& options, comm::HubId hub);

/// The own file tier; null where Options::file_store is empty.
std::unique_ptr<Store> open_file_store(const Options& options, comm::HubId hub);
/// Every hub's file tier that can be seen from this node (all of them on a parallel file system), the own one first.
std::vector<std::unique_ptr<Store>> visible_file_stores(const Options& options, comm::HubId own);

/// Copies the links of the chain ending in `id` that `to` lacks, oldest first. Returns the bytes written.
std::uint64_t copy_chain(const Store& from, Store& to, SnapshotId id);

}  // namespace foreweave::context
