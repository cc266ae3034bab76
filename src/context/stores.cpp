#include "context/stores.hpp"

#include <algorithm>
#include <map>

namespace foreweave::context {
namespace {
std::filesystem::path hub_folder(const std::filesystem::path& root, const Options& options, comm::HubId hub) {
  return root / options.job / ("hub-" + std::to_string(hub));
}
constexpr std::size_t copy_bytes = std::size_t{1} << 20;
}  // namespace

std::filesystem::path host_folder(const Options& options, comm::HubId hub) {
  return hub_folder(options.store, options, hub);
}

std::unique_ptr<Store> open_host_store(const Options& options, comm::HubId hub) {
  return make_directory_store({host_folder(options, hub), Durability::memory, options.host_budget});
}

std::unique_ptr<Store> open_parity_store(const Options& options, comm::HubId hub) {
  const auto folder = host_folder(options, hub) / "parity";
  if (!parse_redundancy(options.redundancy).groups && !std::filesystem::exists(folder)) return nullptr;
  return make_directory_store({folder, Durability::memory, options.host_budget});
}

namespace {

const std::string& root_of(const Options& options, trace::FileTier tier) {
  return tier == trace::FileTier::local ? options.file_store : options.shared_store;
}

bool archives(const Options& options, trace::FileTier tier) {
  if (options.archive != ArchiveChoice::automatic) return options.archive == ArchiveChoice::on;
  return tier == trace::FileTier::shared;   // docs/decisions/0015-what-is-archived.md
}

}  // namespace

std::unique_ptr<PackedStore> open_file_tier(const Options& options, trace::FileTier tier, comm::HubId hub,
                                            std::function<void(std::uint64_t)> pace) {
  const auto& root = root_of(options, tier);
  if (root.empty()) return nullptr;
  return make_packed_store({.folder = hub_folder(root, options, hub),
                            .durability = Durability::disk,
                            .archive = archives(options, tier),
                            .pace = std::move(pace)});
}

std::vector<std::unique_ptr<Store>> visible_file_stores(const Options& options, comm::HubId own) {
  std::vector<std::unique_ptr<Store>> stores;
  std::vector<std::filesystem::path> others;
  for (const auto tier : {trace::FileTier::local, trace::FileTier::shared}) {
    const auto& root = root_of(options, tier);
    if (root.empty()) continue;
    stores.push_back(open_file_tier(options, tier, own));
    const auto own_folder = hub_folder(root, options, own);
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(root) / options.job)) {
      if (!entry.is_directory() || entry.path() == own_folder) continue;
      if (entry.path().filename().string().starts_with("hub-")) others.push_back(entry.path());
    }
  }
  for (const auto& folder : others) stores.push_back(make_packed_store({.folder = folder, .read_only = true}));
  return stores;
}

std::uint64_t copy_chain(const Store& from, Store& to, SnapshotId id) {
  const auto base_of = [&](const Store& store) {
    std::map<Version, Version> bases;
    for (const auto& stored : store.list()) {
      if (stored.id.rank == id.rank) bases.emplace(stored.id.version, stored.base);
    }
    return bases;
  };
  const auto source = base_of(from), target = base_of(to);
  std::vector<Version> missing;
  for (auto version = id.version; version != 0;) {
    if (target.contains(version)) break;
    const auto link = source.find(version);
    if (link == source.end()) break;   // folded away meanwhile: a later, full copy replaces this one
    missing.push_back(version);
    version = link->second;
  }
  std::uint64_t written = 0;
  for (auto version = missing.rbegin(); version != missing.rend(); ++version) {
    const auto bytes = from.open({id.rank, *version});
    if (!bytes) return written;
    auto writer = to.create({id.rank, *version});
    for (auto rest = bytes->view(); !rest.empty();) {
      const auto piece = rest.first(std::min(rest.size(), copy_bytes));
      writer->append(piece);
      rest = rest.subspan(piece.size());
    }
    writer->commit(source.at(*version));
    written += bytes->view().size();
  }
  return written;
}

}  // namespace foreweave::context
