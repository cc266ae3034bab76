#include "mirror/ledger.hpp"

namespace foreweave::mirror {

void Ledger::begin(Rank ranks, Version committed) {
  committed_ = committed;
  of_rank_.assign(static_cast<std::size_t>(ranks), {});
  ranks_with_.clear();
}

void Ledger::note(Rank rank, const std::vector<Version>& versions) {
  if (rank < 0 || static_cast<std::size_t>(rank) >= of_rank_.size()) return;
  auto& known = of_rank_[static_cast<std::size_t>(rank)];
  for (const auto version : versions) {
    if (version <= committed_ || !known.insert(version).second) continue;
    ++ranks_with_[version];
    if (known.size() > max_versions) {
      forget(*known.begin());
      known.erase(known.begin());
    }
  }
}

void Ledger::forget(Version version) {
  const auto found = ranks_with_.find(version);
  if (--found->second == 0) ranks_with_.erase(found);
}

std::optional<Version> Ledger::complete() const {
  for (auto entry = ranks_with_.rbegin(); entry != ranks_with_.rend(); ++entry) {
    if (entry->second == of_rank_.size()) return entry->first;
  }
  return std::nullopt;
}

void Ledger::commit(Version version) {
  committed_ = version;
  ranks_with_.erase(ranks_with_.begin(), ranks_with_.upper_bound(version));
  for (auto& known : of_rank_) known.erase(known.begin(), known.upper_bound(version));
}

}  // namespace foreweave::mirror
