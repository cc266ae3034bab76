#include "state/link_fit.hpp"

namespace foreweave::state_detail {

void check_identity(const Snapshot& snapshot, SnapshotId id, const std::string& what) {
  const SnapshotId found{snapshot.manifest().rank, snapshot.manifest().version};
  if (found != id) {
    throw Error(ErrorCategory::format, "read " + what, "the snapshot stored there is of " + to_string(found));
  }
}

std::string region_difference(const RegionRecord& a, const RegionRecord& b) {
  if (a.name != b.name) return "region '" + a.name + "' against region '" + b.name + "'";
  const std::string name = "region '" + a.name + "' has ";
  if (a.bytes != b.bytes) return name + std::to_string(a.bytes) + " bytes against " + std::to_string(b.bytes);
  if (a.type != b.type) return name + "type " + to_string(a.type) + " against " + to_string(b.type);
  if (a.extents != b.extents) return name + "other extents";
  if (a.part != b.part) return name + "another part of the whole";
  return {};
}

void check_fit(const Snapshot& base, const Snapshot& delta, const std::string& operation) {
  const Manifest &below = base.manifest(), &above = delta.manifest();
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCategory::format, operation,
                "version " + std::to_string(above.version) + " is a delta that does not fit the stored version " +
                    std::to_string(below.version) + ": " + why);
  };
  if (above.base_state != below.state) {
    refuse("it was taken against the state " + to_string(above.base_state) + ", and this is " +
           to_string(below.state));
  }
  if (above.regions.size() != below.regions.size()) {
    refuse(std::to_string(above.regions.size()) + " regions against " + std::to_string(below.regions.size()));
  }
  for (std::size_t i = 0; i < above.regions.size(); ++i) {
    const auto difference = region_difference(above.regions[i], below.regions[i]);
    if (!difference.empty()) refuse(difference);
  }
}

}  // namespace foreweave::state_detail
