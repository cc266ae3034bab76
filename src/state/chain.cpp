#include "foreweave/state/chain.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <set>

#include "state/link_fit.hpp"

namespace foreweave {

using namespace state_detail;

namespace {

/// "1 (full), 2, 3, 7 (full)": what there is of a rank, for the message about what is not.
std::string describe_versions(const Store& store, Rank rank) {
  std::string text;
  for (const auto& stored : store.list()) {
    if (stored.id.rank != rank) continue;
    if (!text.empty()) text += ", ";
    text += std::to_string(stored.id.version);
    if (stored.base == 0) text += " (full)";
  }
  return text.empty() ? "none of this rank" : text;
}

}  // namespace

Chain Chain::open(const Store& store, SnapshotId id, const Key* key) {
  const std::string operation = "open the chain of " + to_string(id) + " in " + store.name();
  Chain chain;
  SnapshotId wanted = id;
  for (;;) {
    auto bytes = store.open(wanted);
    if (!bytes) {
      std::string why = "version " + std::to_string(wanted.version) + " is not there";
      if (!chain.links_.empty()) {
        why += ", and version " + std::to_string(chain.links_.back()->manifest().version) + " is a delta against it";
      }
      throw Error(ErrorCategory::absent, operation, why + "; versions there: " + describe_versions(store, id.rank));
    }
    const std::string what = to_string(wanted) + " in " + store.name();
    auto link = Snapshot::parse(std::move(bytes), key, what);
    check_identity(*link, wanted, what);
    if (!chain.links_.empty()) check_fit(*link, *chain.links_.back(), operation);
    const Version base = link->manifest().base;
    chain.links_.push_back(std::move(link));
    if (base == 0) break;
    wanted.version = base;  // always smaller: parse() saw to it
  }
  std::reverse(chain.links_.begin(), chain.links_.end());
  return chain;
}

void Chain::read_segment(std::size_t region, std::uint64_t segment, std::byte* data, std::uint64_t bytes) const {
  std::memset(data, 0, bytes);
  for (const auto& link : links_) {
    const auto& segments = link->manifest().regions.at(region).segments;
    const auto found =
        std::lower_bound(segments.begin(), segments.end(), segment,
                         [](const SegmentRecord& record, std::uint64_t index) { return record.index < index; });
    if (found == segments.end() || found->index != segment) continue;
    link->apply(region, static_cast<std::size_t>(found - segments.begin()), data, bytes);
  }
}

std::vector<Version> complete_versions(const std::vector<StoredSnapshot>& list, Rank rank) {
  std::set<Version> complete;   // the list ascends by version, so a base comes before what stands on it
  for (const auto& stored : list) {
    if (stored.id.rank == rank && (stored.base == 0 || complete.contains(stored.base))) {
      complete.insert(stored.id.version);
    }
  }
  return {complete.begin(), complete.end()};
}

bool stands(const Store& store, SnapshotId id) {
  const auto complete = complete_versions(store.list(), id.rank);
  return std::binary_search(complete.begin(), complete.end(), id.version);
}

}  // namespace foreweave
