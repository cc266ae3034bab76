#pragma once
// Whether a snapshot is the one its name says, and whether a delta belongs on a base.

#include <string>

#include "foreweave/state/snapshot.hpp"

namespace foreweave::state_detail {

/// Error(format) when the snapshot is not of that rank and version (a file that was renamed).
void check_identity(const Snapshot& snapshot, SnapshotId id, const std::string& what);

/// Error(format), under `operation`, when `delta` was not taken against the state that `base` holds.
void check_fit(const Snapshot& base, const Snapshot& delta, const std::string& operation);

/// Name, type, size and extents of the first region in which the two differ, as text; empty when they agree.
std::string region_difference(const RegionRecord& a, const RegionRecord& b);

}  // namespace foreweave::state_detail
