#include "foreweave/state/chain.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <utility>

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

namespace {

/// The search for a chain over several stores. Each copy of a link is read once.
class Mixture {
 public:
  Mixture(std::span<const Store* const> stores, Rank rank, const Key* key) : stores_(stores), rank_(rank), key_(key) {}

  using Links = std::vector<std::shared_ptr<const Snapshot>>;

  /// The links below and with `version`, the full one first, that fit `above` (null: no matter); nothing when there are
  /// none.
  std::optional<Links> below(Version version, const Snapshot* above) {
    bool there = false;
    for (const Store* store : stores_) {
      const auto& link = read(*store, version);
      there = there || known_.at({store, version}).there;
      if (!link || (above != nullptr && !fits(*link, *above))) continue;
      if (link->manifest().base == 0) return Links{link};
      if (known_.at({store, version}).dead) continue;
      if (auto links = below(link->manifest().base, link.get())) {
        links->push_back(link);
        return links;
      }
      known_.at({store, version}).dead = true;
    }
    if (!there) {
      problem("version " + std::to_string(version) + " is not there" +
              (above != nullptr ? ", and version " + std::to_string(above->manifest().version) + " is a delta against it"
                                : ""));
    }
    return std::nullopt;
  }

  [[noreturn]] void fail(SnapshotId id) const {
    throw Error(damaged_ ? ErrorCategory::format : ErrorCategory::absent, "open the chain of " + to_string(id),
                problems_);
  }

 private:
  struct Copy {
    std::shared_ptr<const Snapshot> link;  ///< null: not there, or damaged
    bool there = false;
    bool dead = false;                     ///< nothing below it fits
  };

  const std::shared_ptr<const Snapshot>& read(const Store& store, Version version) {
    const auto [copy, fresh] = known_.try_emplace({&store, version});
    if (!fresh) return copy->second.link;
    const SnapshotId id{rank_, version};
    const std::string what = to_string(id) + " in " + store.name();
    try {
      if (auto bytes = store.open(id)) {
        copy->second.there = true;
        auto link = Snapshot::parse(std::move(bytes), key_, what);
        check_identity(*link, id, what);
        link->verify();
        copy->second.link = std::move(link);
      }
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::format && error.category() != ErrorCategory::io) throw;
      copy->second.there = true;
      damaged_ = true;
      problem(error.what());
    }
    return copy->second.link;
  }

  bool fits(const Snapshot& base, const Snapshot& delta) {
    try {
      check_fit(base, delta, "look for a chain");
      return true;
    } catch (const Error& error) {
      problem(error.what());
      return false;
    }
  }

  void problem(const std::string& text) {
    if (problems_.find(text) == std::string::npos) problems_ += (problems_.empty() ? "" : "; ") + text;
  }

  std::span<const Store* const> stores_;
  Rank rank_;
  const Key* key_;
  std::map<std::pair<const Store*, Version>, Copy> known_;
  std::string problems_;
  bool damaged_ = false;
};

}  // namespace

Chain Chain::open(std::span<const Store* const> stores, SnapshotId id, const Key* key) {
  Mixture mixture(stores, id.rank, key);
  auto links = mixture.below(id.version, nullptr);
  if (!links) mixture.fail(id);
  Chain chain;
  chain.links_ = std::move(*links);
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
