#pragma once
// Ledger: which ranks have which versions stored in enough places. The coordinator's part of committing.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "foreweave/state/types.hpp"

namespace foreweave::mirror {

/// A version is complete when every rank has it; ranks may skip versions, and what is complete is then whatever they
/// have in common. Costs O(log) for each new report, and O(versions under way) for each rank.
class Ledger {
 public:
  /// Of one rank no more than this many versions under way are kept, the newest.
  static constexpr std::size_t max_versions = 256;

  /// Starts afresh with so many ranks. Versions up to `committed` are of no interest.
  void begin(Rank ranks, Version committed);
  /// A rank has these.
  void note(Rank rank, const std::vector<Version>& versions);
  /// The newest version that every rank has, newer than the committed one.
  std::optional<Version> complete() const;
  /// Forgets versions up to this one.
  void commit(Version version);

 private:
  void forget(Version version);

  Version committed_ = 0;
  std::vector<std::set<Version>> of_rank_;
  std::map<Version, std::size_t> ranks_with_;
};

}  // namespace foreweave::mirror
