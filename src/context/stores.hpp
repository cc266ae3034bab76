#pragma once
// Where a job's snapshots stand: <folder>/<job>/hub-<number>, one folder a hub, in the host tier and in the file tiers.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "foreweave/comm/transport.hpp"
#include "foreweave/context/options.hpp"
#include "foreweave/state/packed_store.hpp"
#include "foreweave/trace/recorder.hpp"

namespace foreweave::context {

std::filesystem::path host_folder(const Options& options, comm::HubId hub);
std::unique_ptr<Store> open_host_store(const Options& options, comm::HubId hub);
/// Where parity blocks for others stand: beside the snapshots, bounded by host_budget for itself. Null where there is
/// none and is to be none: redundancy=copies.
std::unique_ptr<Store> open_parity_store(const Options& options, comm::HubId hub);

/// The own folder of a file tier; null where Options::file_store or shared_store is empty. `pace` as in
/// PackedStoreOptions.
std::unique_ptr<PackedStore> open_file_tier(const Options& options, trace::FileTier tier, comm::HubId hub,
                                            std::function<void(std::uint64_t)> pace = {});
/// Every hub's file tiers that can be seen from this node (all of them on a parallel file system), the own ones first.
std::vector<std::unique_ptr<Store>> visible_file_stores(const Options& options, comm::HubId own);

/// Copies the links of the chain ending in `id` that `to` lacks, oldest first. Returns the bytes written.
std::uint64_t copy_chain(const Store& from, Store& to, SnapshotId id);

}  // namespace foreweave::context
