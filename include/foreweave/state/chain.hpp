#pragma once
// Chain: a full snapshot and the deltas after it, up to one version, read as one state.

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "foreweave/state/snapshot.hpp"

namespace foreweave {

class Chain {
 public:
  /// The chain that ends in `id`, out of `store`. Throws Error(absent) naming the version that is missing and listing
  /// those that are there; Error(format/security) where a link is damaged or does not fit its base.
  static Chain open(const Store& store, SnapshotId id, const Key* key);
  /// The chain that ends in `id`, each link out of whichever store has it whole: what stands first in `stores` is taken
  /// first. Links are verified, so that one that is damaged here is taken from there; reads everything. Throws as above:
  /// Error(format) naming what is damaged when that is why there is no chain.
  static Chain open(std::span<const Store* const> stores, SnapshotId id, const Key* key);
  const Manifest& manifest() const { return links_.back()->manifest(); }
  std::size_t length() const { return links_.size(); }
  const std::vector<std::shared_ptr<const Snapshot>>& links() const { return links_; }   ///< the full one first
  /// Reads one MiB (segment) of a region: `data` gets its content, zeros and all. Thread safe.
  void read_segment(std::size_t region, std::uint64_t segment, std::byte* data, std::uint64_t bytes) const;

 private:
  std::vector<std::shared_ptr<const Snapshot>> links_;
};

/// The versions of `rank` in a store's list whose chains are complete by name, ascending: every link down to a full
/// snapshot is there. What the links hold is checked when they are read.
std::vector<Version> complete_versions(const std::vector<StoredSnapshot>& list, Rank rank);
/// Whether `id` is one of those in `store`.
bool stands(const Store& store, SnapshotId id);

/// Replaces the chain ending in `id` by one full snapshot of the same version (in place, atomically), in memory bounded
/// by one segment. The snapshots before it stay; erase them when nothing needs them. The result's bytes depend on the
/// state alone, so two holders fold alike. A delta on top still fits: it names its base by the *state's* identity.
void fold(Store& store, SnapshotId id, std::shared_ptr<const Key> key);
/// The same of a chain that is open, into any store. Returns the bytes of the full snapshot.
std::uint64_t fold(const Chain& chain, Store& to, std::shared_ptr<const Key> key);

/// The newest version of `rank` in `store`, not above `limit`, whose chain is complete and undamaged. Damaged ones are
/// passed over and named in `problems` when given.
std::optional<Version> newest_restorable(const Store& store, Rank rank, const Key* key, Version limit = ~Version{0},
                                         std::vector<std::string>* problems = nullptr);

/// Erases what is not needed to restore any of `rank`'s versions from `oldest` on (folding first where the chain before
/// `oldest` is longer than `max_chain` links). Returns the bytes freed.
std::uint64_t retain(Store& store, Rank rank, Version oldest, std::size_t max_chain, std::shared_ptr<const Key> key);
/// The same with single versions before `oldest` that stay, too (a chain is folded when more than `max_chain` of its
/// links are kept for its sake alone).
std::uint64_t retain(Store& store, Rank rank, Version oldest, const std::set<Version>& besides, std::size_t max_chain,
                     std::shared_ptr<const Key> key);

}  // namespace foreweave
