// Context: the group and its epochs. What each hub holds is told to all, and all make the same of it.
#include <algorithm>
#include <map>
#include <set>

#include "context/context_impl.hpp"
#include "context/orphans.hpp"
#include "context/redundancy.hpp"
#include "context/spare_cores.hpp"
#include "context/stores.hpp"

namespace foreweave {

using context::Inventory;

namespace {
constexpr const char* steps_region = "foreweave.steps";
}

Inventory Context::Impl::inventory() {
  Inventory mine;
  mine.hub = group->hub();
  mine.node = group->node();
  mine.rank = rank.value_or(-1);
  mine.epoch = epoch;
  mine.joined = status->joined();
  mine.active = status->active();
  mine.committed = store->committed();
  mine.step = std::max(earlier_steps, steps);
  mine.address = hub->address();
  const auto note = [&](const Store& from, std::map<Rank, std::vector<Version>>& held) {
    const auto list = from.list();
    for (const auto& stored : list) {
      if (!held.contains(stored.id.rank)) held[stored.id.rank] = complete_versions(list, stored.id.rank);
      newest_listed = std::max(newest_listed, stored.id.version);
    }
    // Any snapshot of a version tells how many ranks the job had; a damaged one is found out when it is restored
    // from.
    for (const auto& stored : list) {
      if (mine.ranks_of.contains(stored.id.version)) continue;
      try {
        if (auto bytes = from.open(stored.id)) {
          const auto snapshot = Snapshot::parse(std::move(bytes), key.get(), to_string(stored.id));
          mine.ranks_of[stored.id.version] = snapshot->manifest().ranks;
        }
      } catch (const Error& error) {
        // Without the right key: as if it were of as many ranks as now, so that the restore says what is wrong.
        if (error.category() == ErrorCategory::security) mine.ranks_of[stored.id.version] = ranks;
        log::debug(error.what());
      }
    }
  };
  note(*store, mine.host);
  auto links = store->list();
  const auto files = context::visible_file_stores(options, group->hub());
  std::set<SnapshotId> in_files;
  for (const auto& from : files) {
    note(*from, mine.file);
    const auto list = from->list();
    links.insert(links.end(), list.begin(), list.end());
    for (const auto& link : list) in_files.insert(link.id);
    mine.committed = std::max(mine.committed, from->committed());
  }
  if (parity_store) mine.parity = context::parity_records(*parity_store);
  // A chain may have some of its links in one tier and the others in another.
  std::sort(links.begin(), links.end(), [](const auto& one, const auto& other) { return one.id < other.id; });
  for (auto& [held, versions] : mine.file) {
    versions = complete_versions(links, held);
    std::erase_if(versions, [&, of = held](Version version) { return !in_files.contains({of, version}); });
  }
  if (rank) {
    const auto told = [&](const std::map<Rank, std::vector<Version>>& held, Version version) {
      const auto versions = held.find(*rank);
      return versions != held.end() && std::binary_search(versions->second.begin(), versions->second.end(), version);
    };
    for (const auto& link : links) {
      if (link.id.rank != *rank || told(mine.host, link.id.version) || told(mine.file, link.id.version)) continue;
      mine.loose[link.id.version] = link.base;
    }
  }
  mine.newest = newest_listed;
  mine.failed.assign(failed_versions.begin(), failed_versions.end());
  return mine;
}

void Context::Impl::settle() {
  const auto orphans = context::find_orphans(options, group->living());
  auto active = status->active();
  for (const auto& orphan : orphans) active = std::max(active, orphan.active);
  ByteWriter mine;
  mine.put(group->node());
  mine.put(active);
  bool first_of_node = true;
  for (const auto& [from, bytes] : group->gather_all(mine.take())) {
    ByteReader in(bytes, "status of a hub");
    first_of_node = first_of_node && (in.get<std::uint32_t>() != group->node() || from >= group->hub());
    active = std::max(active, in.get<std::uint32_t>());
  }
  if (context::left_behind(status->joined(), active)) {
    log::info("the job went on without hub " + std::to_string(group->hub()) + ": what it held is cleared");
    store->clear();
    if (parity_store) parity_store->clear();
    status->set_joined(active);  // nothing is what it holds, and that is right
  }
  for (const auto& orphan : orphans) {
    if (!first_of_node) break;
    if (context::left_behind(orphan.joined, active)) {
      context::remove_orphan(options, orphan.hub);
    } else {
      context::adopt(options, orphan.hub, *store, parity_store.get());
    }
  }
}

void Context::Impl::form() {
  std::vector<Inventory> all;
  hub->suspend();  // else a commit under way could overtake what this hub tells the others now
  for (const auto& [from, bytes] : group->gather_all(inventory().encode())) all.push_back(Inventory::decode(bytes));

  std::set<comm::HubId> free;
  std::map<comm::HubId, const Inventory*> by_hub;
  for (const auto& one : all) {
    by_hub[one.hub] = &one;
    free.insert(one.hub);
  }
  // A hub that became a spare's replacement in a form that failed half-way may not know it yet; everyone's roles are
  // rebuilt from the same inventories, so all arrive at the same assignment.
  std::vector<std::optional<comm::HubId>> roles(static_cast<std::size_t>(ranks));
  const bool first = std::all_of(all.begin(), all.end(), [](const Inventory& one) { return one.epoch == 0; });
  for (const auto& one : all) {
    const Rank held = first && one.hub < static_cast<comm::HubId>(ranks) ? static_cast<Rank>(one.hub) : one.rank;
    if (held < 0) continue;
    roles[static_cast<std::size_t>(held)] = one.hub;
    free.erase(one.hub);
  }
  lost_ranks.clear();
  mirror::View view;
  for (std::size_t r = 0; r < roles.size(); ++r) {
    if (!roles[r]) {
      lost_ranks.push_back(static_cast<Rank>(r));
      if (free.empty()) {
        throw Error(ErrorCategory::resource, "repair the group",
                    "rank " + std::to_string(r) +
                        " was lost and no spare is left; start with more --spares, or let "
                        "foreweave-run start the job again");
      }
      roles[r] = *free.begin();
      free.erase(free.begin());
    }
    view.hub_of_rank.push_back(*roles[r]);
  }
  std::vector<std::uint32_t> nodes;
  for (const auto holder : view.hub_of_rank) nodes.push_back(by_hub.at(holder)->node);
  const auto less = context::choose_redundancy(view, options, nodes);
  if (!less.empty() && group->hub() == view.hub_of_rank.front()) log::warning(less);
  with_parity = !view.groups.empty();
  first_full = 0;

  hubs_here = static_cast<int>(std::count(nodes.begin(), nodes.end(), group->node()));
  std::map<comm::HubId, Bytes> addresses;
  steps_when_lost = 0;
  for (const auto& one : all) {
    view.epoch = std::max({view.epoch, one.epoch + 1, one.joined + 1});
    view.committed = std::max(view.committed, one.committed);
    steps_when_lost = std::max(steps_when_lost, one.step);
    addresses[one.hub] = one.address;
  }
  // No marker anywhere: the first version was about to be committed, or the markers are gone. What every rank has is
  // kept then; without this it would be void.
  if (view.committed == 0) {
    if (const auto common = context::common_versions(all); !common.empty()) view.committed = common.back();
  }
  view.committed = std::max(view.committed, context::newest_in_files(all));
  group->assign(view.hub_of_rank);
  std::optional<Rank> role;
  for (std::size_t r = 0; r < view.hub_of_rank.size(); ++r) {
    if (view.hub_of_rank[r] == group->hub()) role = static_cast<Rank>(r);
  }
  epoch = view.epoch;
  status->set_joined(epoch);
  group->agree_all(true);  // all have joined before one of them erases or adds anything
  status->set_active(epoch);
  hub->begin(view, role, addresses);
  group->agree_all(true);  // from here on no frame of the new epoch meets a hub of the old one
  adopt_role(role);
  spares.clear();
  dead_spares.clear();
  for (auto& one : all) {
    if (free.contains(one.hub)) spares.push_back(std::move(one));
  }
  newest = newest_listed = view.committed;
  abandoned = 0;
  formed_committed = view.committed;
}

void Context::Impl::adopt_role(std::optional<Rank> role) {
  rank = role;
  if (!role) return;
  set_error_rank(*role);
  log::set_rank(*role);
  if (recorder) recorder->set_rank(*role);
  if (flusher) flusher->set_rank(*role);
  if (capture || !options.enabled) return;
  capture = std::make_unique<CaptureEngine>(
      CaptureOptions{*role, ranks, options.job, key, options.staging, options.max_chain, options.track,
                     context::capture_threads(options, hubs_here), options.base_budget});
  capture->add(
      RegionSpec{steps_region, &steps, sizeof steps, ElementType::u64, {}, {}, {}, GlobalPart::replicated()});
}

void Context::Impl::form_first() {
  for (;;) {
    try {
      settle();
      return form();
    } catch (const RankLost&) {
      if (!group->can_repair()) throw;
      group->repair();
    }
  }
}

void Context::Impl::repair() {
  const auto known = monotonic_now();
  const context::Flusher::Hold hold(flusher.get());  // what this hub tells the others that it has must stay
  for (;;) {
    try {
      hub->suspend();
      wait_for_worker();
      group->repair();
      form();
      break;
    } catch (const RankLost& again) {
      log::info(std::string("another death during the repair: ") + again.what());
    }
  }
  must_restore = true;
  recovery = trace::RecoveryRecord{};
  recovery->mode = trace::RecoveryMode::in_place;
  recovery->begin = known;
  if (!lost_ranks.empty()) recovery->lost_rank = lost_ranks.front();
}

void Context::Impl::wait_for_worker() {
  while (!worker->idle()) hub->wait_for_change(wait_slice);
}

void Context::Impl::look_for_deaths() {
  for (const auto lost : group->check()) {
    // A spare: no rank has lost anything. Everyone keeps its inventory, so that all go on to choose alike.
    dead_spares.insert(lost);
    log::info("hub " + std::to_string(lost) + ", which had no rank, is lost: nobody steps back");
    if (recorder) recorder->add(trace::FailureRecord{monotonic_now(), lost, -1, "a spare died"});
  }
  if (const auto lost = hub->lost()) throw RankLost("look for lost ranks", *lost);
}

}  // namespace foreweave
