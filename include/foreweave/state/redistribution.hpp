#pragma once
// Redistribution: fills the regions of one rank from snapshots of a job that had another number of ranks.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "foreweave/state/chain.hpp"
#include "foreweave/state/region.hpp"

namespace foreweave {

/// Give it, in any order, the chains of that job's ranks, all of one version, until it is complete. What several ranks
/// own alike (GlobalPart::replicated) is taken from the first. Needs one MiB besides the regions, and as much again as
/// those on a device. Not thread safe.
class Redistribution {
 public:
  /// Error(argument) naming a region that does not say which part it is: only with the same number of ranks can such a
  /// one be restored.
  explicit Redistribution(std::vector<RegionSpec> regions);
  ~Redistribution();

  /// Takes what this chain's rank owned of what is still missing. Every byte that is taken was checked. Returns the
  /// bytes taken. Error(argument) where a region is not in the snapshot, or is another one there (type, array, no
  /// part); Error(format/security) for damage: the regions' contents are then undefined.
  std::uint64_t take(const Chain& chain);
  bool complete() const;
  /// The first thing that is not there, for a message: "region 'u', elements [0, 4) x [16, 32)".
  std::string missing() const;
  /// Brings what was taken to where the regions are, where that is not host memory. Error(state) when incomplete.
  void finish();

 private:
  struct Target;
  std::vector<Target> targets_;
};

}  // namespace foreweave
