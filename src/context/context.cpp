#include "foreweave/context/context.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <sstream>

#include "context/fault.hpp"
#include "context/flusher.hpp"
#include "context/hub.hpp"
#include "context/inventory.hpp"
#include "context/orphans.hpp"
#include "context/redundancy.hpp"
#include "context/spare_cores.hpp"
#include "context/status_page.hpp"
#include "context/stores.hpp"
#include "context/worker.hpp"
#include "foreweave/core/log.hpp"
#include "foreweave/device/memory.hpp"
#include "foreweave/state/redistribution.hpp"

namespace foreweave {

using context::Inventory;

namespace {

constexpr const char* steps_region = "foreweave.steps";
constexpr Nanoseconds wait_slice = 10'000'000;        // how soon a waiting program thread looks for deaths
constexpr Nanoseconds progress_every = 200'000'000;
constexpr int gave_up_status = 86;                    // exit status when only a relaunch can help

Nanoseconds to_nanoseconds(double seconds) { return static_cast<Nanoseconds>(seconds * 1e9); }

std::shared_ptr<const Key> read_key(const Options& options) {
  if (!options.key.empty()) return Key::from_hex(options.key);
  if (!options.key_file.empty()) return Key::from_file(options.key_file);
  return nullptr;
}

std::string list_text(const std::vector<Version>& versions) {
  std::string text;
  for (const auto version : versions) text += (text.empty() ? "" : ", ") + std::to_string(version);
  return text.empty() ? "none" : text;
}

/// How one member fared with a restore, for the others.
struct Outcome {
  bool ok = true;
  bool fatal = false;        ///< no other copy can help: wrong key, regions that do not match
  ErrorCategory category = ErrorCategory::format;
  std::string text;

  Bytes encode() const {
    ByteWriter out;
    out.put(static_cast<std::uint8_t>(ok));
    out.put(static_cast<std::uint8_t>(fatal));
    out.put(static_cast<std::uint8_t>(category));
    out.put_string(std::string_view(text).substr(0, 4000));
    return out.take();
  }
  static Outcome decode(ByteView bytes) {
    ByteReader in(bytes, "outcome of a restore");
    Outcome result;
    result.ok = in.get<std::uint8_t>() != 0;
    result.fatal = in.get<std::uint8_t>() != 0;
    result.category = static_cast<ErrorCategory>(in.get<std::uint8_t>());
    result.text = in.get_string();
    return result;
  }
};

}  // namespace

struct Context::Impl {
  Impl(std::unique_ptr<Group> group_of_job, Options given) : options(std::move(given)), group(std::move(group_of_job)) {
    options.check();
    log::set_level(options.log);
    const auto hubs = static_cast<Rank>(group->living().size());
    ranks = hubs - static_cast<Rank>(options.spares);
    if (ranks < 1) {
      throw Error(ErrorCategory::argument, "option spares=" + std::to_string(options.spares),
                  "only " + std::to_string(hubs) + " processes were started, and one at least must be no spare");
    }
    if (!options.enabled) {
      adopt_role(group->hub() < static_cast<comm::HubId>(ranks) ? std::optional(static_cast<Rank>(group->hub()))
                                                                 : std::nullopt);
      std::vector<comm::HubId> roles;
      for (Rank r = 0; r < ranks; ++r) roles.push_back(static_cast<comm::HubId>(r));
      group->assign(roles);
      return;
    }
    key = read_key(options);
    faults = parse_faults(options.fault);
    if (key == nullptr && group->hub() == 0) log::info("no key: snapshots are not sealed (give key_file to seal them)");
    store = context::open_host_store(options, group->hub());
    parity_store = context::open_parity_store(options, group->hub());
    status = std::make_unique<context::StatusPage>(context::host_folder(options, group->hub()) / "status");
    earlier_steps = status->previous_step();
    if (!options.trace.empty()) open_trace();
    flusher = std::make_unique<context::Flusher>(
        options, group->hub(), *store, key, recorder.get(), [this] { keep_house(); },
        [this](const context::FlushDone& done) { hub->flushed(done); });
    hub = std::make_unique<context::Hub>(
        group->make_transport(options), *store, parity_store.get(),
        context::HubOptions{group->hub(), to_nanoseconds(options.heartbeat), to_nanoseconds(options.suspect_after)},
        recorder.get(), [this](Version) { flusher->wake(); });
    hub->schedule_flushes(context::FlushSchedule({options.file_store.empty() ? 0 : options.file_every,
                                                  options.shared_store.empty() ? 0 : options.shared_every}),
                          [this](const context::FlushOrder& order) { flusher->order(order); });
    worker = std::make_unique<context::Worker>([this] { hub->notify(); });
    try {
      form_first();
    } catch (...) {
      flusher->finish(0);
      hub.reset();   // before the worker, which its progress thread knows
      throw;
    }
    if (options.attempt > 0) {
      recovery = trace::RecoveryRecord{};
      recovery->mode = trace::RecoveryMode::relaunch;
      recovery->begin = monotonic_of_wall(options.died_at != 0 ? static_cast<Nanoseconds>(options.died_at) : wall_now());
    }
  }

  ~Impl() {
    if (worker) worker->finish();   // ends what was captured; it needs the hub
    if (flusher) flusher->finish(std::uncaught_exceptions() ? 0 : to_nanoseconds(options.commit_wait));
    if (hub && !std::uncaught_exceptions()) {
      try {
        hub->leave();
      } catch (const std::exception& error) {
        log::warning(std::string("leaving the group: ") + error.what());
      }
    }
    hub.reset();
    recorder.reset();
  }

  static std::string command_line() {
    std::ifstream file("/proc/self/cmdline", std::ios::binary);
    std::string text(std::istreambuf_iterator<char>(file), {});
    while (!text.empty() && text.back() == '\0') text.pop_back();
    std::replace(text.begin(), text.end(), '\0', ' ');
    return text;
  }

  // ---- forming the group -------------------------------------------------------------------------------------------

  void open_trace() {
    trace::RunInfo info;
    info.run_id = options.run_id;
    info.job = options.job;
    info.command_line = command_line();
    info.rank = group->hub() < static_cast<comm::HubId>(ranks) ? static_cast<Rank>(group->hub()) : -1;   // a spare
    info.ranks = ranks;
    info.hub = group->hub();
    info.hubs = static_cast<std::uint32_t>(group->living().size());
    info.attempt = static_cast<int>(options.attempt);
    for (const auto& entry : options.list()) info.options.emplace_back(entry.name, entry.value);
    recorder = std::make_unique<trace::Recorder>(options.trace, info);
    if (group->hub() == 0) trace::write_index(options.trace, info);
  }

  /// A trace that cannot be written ends neither the program nor its recovery: the records wait for the next drain.
  template <class Drain>
  void drain_trace(Drain drain) {
    if (!recorder) return;
    try {
      drain(*recorder);
    } catch (const Error& error) {
      if (!trace_trouble) log::warning(std::string("the trace falls behind: ") + error.what());
      trace_trouble = true;
    }
  }

  Inventory inventory() {
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
      // Any snapshot of a version tells how many ranks the job had; a damaged one is found out when it is restored from.
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

  /// Before the first epoch of this start: a hub that the job went on without forgets what it holds, and what hubs held
  /// that are not started this time goes to the first hub of their node.
  void settle() {
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
      status->set_joined(active);   // nothing is what it holds, and that is right
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

  void form() {
    std::vector<Inventory> all;
    hub->suspend();   // else a commit under way could overtake what this hub tells the others now
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
                      "rank " + std::to_string(r) + " was lost and no spare is left; start with more --spares, or let "
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
    group->agree_all(true);   // all have joined before one of them erases or adds anything
    status->set_active(epoch);
    hub->begin(view, role, addresses);
    group->agree_all(true);   // from here on no frame of the new epoch meets a hub of the old one
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

  void adopt_role(std::optional<Rank> role) {
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
    capture->add(RegionSpec{steps_region, &steps, sizeof steps, ElementType::u64, {}, {}, {}, GlobalPart::replicated()});
  }

  void form_first() {
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

  /// Everyone who lives comes here after a death.
  void repair() {
    const auto known = monotonic_now();
    const context::Flusher::Hold hold(flusher.get());   // what this hub tells the others that it has must stay
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

  // ---- waiting -----------------------------------------------------------------------------------------------------

  /// Waits for `done`, but not for the dead, and not for ever.
  template <class Done>
  void wait_until(Done done, const std::string& what) {
    const auto until = monotonic_now() + to_nanoseconds(options.commit_wait);
    while (!done()) {
      look_for_deaths();
      hub->rethrow();
      if (monotonic_now() > until) {
        throw Error(ErrorCategory::peer, what, "not done after " + std::to_string(options.commit_wait) +
                                                   " s (option commit_wait); another rank stands still or its snapshots fail");
      }
      hub->wait_for_change(wait_slice);
    }
  }

  /// The worker depends on no other rank, so this ends.
  void wait_for_worker() {
    while (!worker->idle()) hub->wait_for_change(wait_slice);
  }

  void look_for_deaths() {
    for (const auto lost : group->check()) {
      // A spare: no rank has lost anything. Everyone keeps its inventory, so that all go on to choose alike.
      dead_spares.insert(lost);
      log::info("hub " + std::to_string(lost) + ", which had no rank, is lost: nobody steps back");
      if (recorder) recorder->add(trace::FailureRecord{monotonic_now(), lost, -1, "a spare died"});
    }
    if (const auto lost = hub->lost()) throw RankLost("look for lost ranks", *lost);
  }

  // ---- capture -----------------------------------------------------------------------------------------------------

  Version checkpoint() {
    if (!options.enabled) return 0;
    if (must_restore) {
      throw Error(ErrorCategory::state, "checkpoint", "a rank was replaced: call restore() before the next checkpoint");
    }
    const auto begin = monotonic_now();
    drain_trace([](trace::Recorder& trace) { trace.drain_if_due(); });
    worker->rethrow();
    const auto version = newest + 1;
    const auto in_flight = static_cast<Version>(options.in_flight);
    wait_until([&] { return worker->idle() && newest <= std::max(hub->committed(), abandoned) + in_flight; },
               "checkpoint: commit of version " + std::to_string(hub->committed() + 1));
    worker->rethrow();
    look_for_deaths();
    strike(0, version);
    if (with_parity) {
      if (first_full == 0) first_full = version;
      if (context::full_is_due(first_full, version, options.max_chain)) capture->forget();
    }
    capture->begin(version);
    newest = version;
    const auto blocked = monotonic_now() - begin;
    {
      const std::lock_guard lock(statistics_mutex);
      ++statistics.captures;
      statistics.blocked.add(blocked);
    }
    worker->post([this, version, blocked, begin] {
      auto report = capture->finish(*store);
      report.blocked_ns = blocked;
      {
        const std::lock_guard lock(statistics_mutex);
        statistics.bytes_captured += report.region_bytes;
        statistics.bytes_tracked += report.tracked_bytes;
        statistics.bytes_stored += report.snapshot_bytes;
      }
      if (recorder) recorder->add(report, begin);
      hub->publish(version);
      flusher->catch_up();
    });
    return version;
  }

  /// Of the host tier, on the flusher's thread.
  void keep_house() {
    if (const auto committed = store->committed(); committed != 0) retain_in(*store, committed);
  }

  void retain_in(Store& tier, Version committed) {
    std::map<Rank, std::vector<Version>> versions;
    for (const auto& stored : tier.list()) {
      if (stored.id.version <= committed) versions[stored.id.rank].push_back(stored.id.version);
    }
    const auto kept = static_cast<std::size_t>(options.keep);
    const auto pending = flusher->pending();   // for files
    for (const auto& [held, list] : versions) {
      const auto oldest = list.size() > kept ? list[list.size() - 1 - kept] : list.front();
      if (with_parity && &tier == store.get()) {
        // Others' snapshots are rebuilt from this file as it is: it is not folded, and goes when the group's all go.
        if (held != rank) continue;
        const auto from = context::needed_from(first_full, pending.empty() ? oldest : std::min(oldest, *pending.begin()),
                                               options.max_chain);
        for (auto* one : {store.get(), parity_store.get()}) context::erase_below(*one, from);
        continue;
      }
      try {
        retain(tier, held, oldest, pending, static_cast<std::size_t>(options.max_chain), key);
      } catch (const Error& error) {
        // This costs room and no version of the own rank; captures go on.
        log::warning(std::string("keeping house: ") + error.what());
        // A damaged mirror is worth nothing, and its owner is alive: without it the next delta is refused, and the
        // whole chain comes anew.
        if (held != rank && error.category() == ErrorCategory::format) {
          for (const auto& stored : tier.list()) {
            if (stored.id.rank == held) tier.erase(stored.id);
          }
        }
      }
    }
  }

  // ---- restore -----------------------------------------------------------------------------------------------------

  std::vector<Inventory> exchange() {
    auto all = spares;
    for (const auto& bytes : group->gather_members(inventory().encode())) all.push_back(Inventory::decode(bytes));
    // No number is used twice, and all ranks count alike: also what nobody can restore is somebody's file of that name.
    for (const auto& one : all) newest_listed = std::max(newest_listed, one.newest);
    return all;
  }

  std::optional<Version> restore(std::optional<Version> named) {
    if (!options.enabled) return std::nullopt;
    wait_for_worker();
    const context::Flusher::Hold hold(flusher.get());
    failed_versions.clear();
    std::string problems;
    for (;;) {
      const auto all = exchange();
      const auto common = context::common_versions(all);
      Version floor = 0;
      for (const auto& one : all) floor = std::max(floor, one.committed);
      Version target = 0;
      if (named) {
        if (!std::binary_search(common.begin(), common.end(), *named)) {
          throw Error(ErrorCategory::absent, "restore version " + std::to_string(*named) + " of job '" + options.job + "'",
                      "not there for every rank; versions that are: " + list_text(common) + problems);
        }
        target = *named;
      } else {
        if (common.empty() && floor == 0) {
          must_restore = false;
          steps = 0;
          newest = abandoned = newest_listed;
          capture->forget();   // what was captured before a repair was never committed, and is void
          if (recovery) restored_to(0, "nothing: no version was committed yet", 0);
          return std::nullopt;
        }
        if (common.empty() || (common.back() < floor && !options.restore_older)) {
          throw Error(ErrorCategory::format, "restore job '" + options.job + "'",
                      "version " + std::to_string(floor) + " was committed, but not every rank can be restored to it; "
                      "versions whose files every rank has: " + list_text(common) +
                      (common.empty() ? "" : " (option restore_older=true goes on from the newest of them)") + problems);
        }
        target = common.back();
        if (target < floor) {
          log::warning("version " + std::to_string(floor) + " was committed and is lost; going on from version " +
                       std::to_string(target) + problems);
        }
      }
      std::string source;
      std::uint64_t bytes = 0;
      const auto before = context::ranks_of(all, target);
      const auto mine = before == ranks ? restore_to(target, all, source, bytes)
                                        : redistribute_to(target, before, all, source, bytes);
      problems = agree_on(mine, target);
      if (problems.empty()) {
        restored_to(target, source, bytes);
        newest = abandoned = std::max(newest_listed, target);
        first_full = 0;
        must_restore = false;
        status->set_step(steps);
        // What was newer is left behind, and what other ranks wrote too: the state is the newest from here on.
        if (named || before != ranks || target < floor) checkpoint();
        return target;
      }
    }
  }

  /// Empty when every member restored `target`; else what went wrong. Throws, on all, what no other copy can mend.
  std::string agree_on(const Outcome& mine, Version target) {
    std::string problems;
    const auto outcomes = group->gather_members(mine.encode());
    for (std::size_t r = 0; r < outcomes.size(); ++r) {
      const auto one = Outcome::decode(outcomes[r]);
      if (one.fatal) {
        throw Error(one.category, "restore version " + std::to_string(target),
                    "rank " + std::to_string(r) + ": " + one.text);
      }
      if (!one.ok) problems += "; rank " + std::to_string(r) + ": " + one.text;
    }
    return problems;
  }

  static std::uint64_t bytes_of(const Chain& chain) {
    std::uint64_t total = 0;
    for (const auto& link : chain.links()) total += link->bytes();
    return total;
  }

  /// The chain of `id` with links from the own memory and from files, where no tier alone has all of them undamaged; what
  /// only another hub's memory has is fetched first.
  Chain open_mixture(SnapshotId id, const std::vector<std::unique_ptr<Store>>& files, const std::vector<Inventory>& all) {
    std::vector<const Store*> stores{store.get()};
    for (const auto& one : files) stores.push_back(one.get());
    std::map<Version, Version> base_of;
    for (const auto* from : stores) {
      for (const auto& link : from->list()) {
        if (link.id.rank == id.rank) base_of.emplace(link.id.version, link.base);
      }
    }
    for (auto version = id.version; version != 0;) {
      const auto link = base_of.find(version);
      if (link != base_of.end()) {
        version = link->second;
        continue;
      }
      for (const auto& one : all) {
        const auto held = one.host.find(id.rank);
        if (one.hub == group->hub() || dead_spares.contains(one.hub) || held == one.host.end() ||
            !std::binary_search(held->second.begin(), held->second.end(), version)) {
          continue;
        }
        if (hub->fetch(one.hub, {id.rank, version}, [&] { look_for_deaths(); }, to_nanoseconds(options.commit_wait))) break;
      }
      break;   // with its chain, or there is none
    }
    return Chain::open(stores, id, key.get());
  }

  Outcome restore_to(Version target, const std::vector<Inventory>& all, std::string& source, std::uint64_t& bytes) {
    const SnapshotId id{*rank, target};
    Outcome outcome;
    outcome.ok = false;
    // True when it worked; otherwise the next source is tried, unless nothing else can help.
    const auto attempt = [&](const std::string& from, auto&& action) {
      if (outcome.ok || outcome.fatal) return;
      try {
        bytes = action();
        outcome.ok = true;
        source = from;
      } catch (const RankLost&) {
        throw;
      } catch (const Error& error) {
        outcome.text += (outcome.text.empty() ? "" : "; ") + from + ": " + error.what();
        outcome.category = error.category();
        outcome.fatal = error.category() == ErrorCategory::security || error.category() == ErrorCategory::argument;
        log::warning(from + ": " + error.what());
      }
    };
    const auto read = [&](const Store& from) {
      const auto chain = Chain::open(from, id, key.get());
      capture->restore(chain);
      return bytes_of(chain);
    };
    const auto holds = [&](const Inventory& one) {
      const auto held = one.host.find(*rank);
      return held != one.host.end() && std::binary_search(held->second.begin(), held->second.end(), target);
    };
    for (const auto& one : all) {
      if (one.hub == group->hub() && holds(one)) attempt("own memory", [&] { return read(*store); });
    }
    for (const auto& one : all) {
      if (one.hub == group->hub() || !holds(one)) continue;
      attempt("mirror on hub " + std::to_string(one.hub), [&] {
        if (dead_spares.contains(one.hub)) throw Error(ErrorCategory::absent, "fetch " + to_string(id), "that hub died");
        if (!hub->fetch(one.hub, id, [&] { look_for_deaths(); }, to_nanoseconds(options.commit_wait))) {
          throw Error(ErrorCategory::absent, "fetch " + to_string(id), "the other hub did not deliver it");
        }
        return read(*store);
      });
    }
    rebuild(id, all, outcome, attempt, read);
    const bool in_memory = outcome.ok;
    const auto files = context::visible_file_stores(options, group->hub());
    for (const auto& from : files) {
      if (!outcome.ok && stands(*from, id)) attempt(from->name(), [&] { return read(*from); });
    }
    if (!files.empty()) attempt("several tiers together", [&] {
      const auto chain = open_mixture(id, files, all);
      capture->restore(chain);
      return bytes_of(chain);
    });
    // The host tier lacks links, or has damaged ones: the next capture stands on its own.
    if (outcome.ok && !in_memory) capture->forget();
    if (!outcome.ok && outcome.text.empty()) outcome.text = "no copy can be reached";
    if (!outcome.ok) failed_versions.insert(target);
    return outcome;
  }

  /// From the snapshots of a job of `before` ranks, each rank taking what its regions are parts of.
  Outcome redistribute_to(Version target, Rank before, const std::vector<Inventory>& all, std::string& source,
                          std::uint64_t& bytes) {
    Outcome outcome;
    try {
      Redistribution parts(capture->regions());
      // Blocks are mostly numbered in the order of their place: those in this rank's place come first.
      std::vector<Rank> order(static_cast<std::size_t>(before));
      std::iota(order.begin(), order.end(), 0);
      const auto distance = [&](Rank of) {
        return std::abs((2.0 * of + 1) / before - (2.0 * *rank + 1) / ranks);
      };
      std::stable_sort(order.begin(), order.end(), [&](Rank a, Rank b) { return distance(a) < distance(b); });
      for (const auto of : order) {
        if (parts.complete()) break;
        bytes += with_chain({of, target}, all, [&](const Chain& chain) { return parts.take(chain); });
      }
      if (!parts.complete()) {
        throw Error(ErrorCategory::argument, "restore version " + std::to_string(target),
                    parts.missing() + " were no rank's part");
      }
      parts.finish();
      capture->forget();   // the next capture is full, and of this number of ranks
      source = "the parts of " + std::to_string(before) + " ranks";
    } catch (const RankLost&) {
      throw;
    } catch (const Error& error) {
      outcome.ok = false;
      outcome.category = error.category();
      outcome.fatal = error.category() == ErrorCategory::security || error.category() == ErrorCategory::argument;
      outcome.text = error.what();
      if (error.category() == ErrorCategory::argument) {
        outcome.text += " (the snapshots of job '" + options.job + "' are of " + std::to_string(before) +
                        " ranks: start that many, or choose another job name, or remove its folders)";
      }
      failed_versions.insert(target);
    }
    return outcome;
  }

  /// Calls use(chain) with the chain of `id` from wherever it stands whole and undamaged.
  template <class Use>
  std::uint64_t with_chain(SnapshotId id, const std::vector<Inventory>& all, Use use) {
    std::string problems;
    const auto attempt = [&](const std::string& from, auto&& open) -> std::optional<std::uint64_t> {
      try {
        return open();
      } catch (const RankLost&) {
        throw;
      } catch (const Error& error) {
        if (error.category() != ErrorCategory::format && error.category() != ErrorCategory::absent &&
            error.category() != ErrorCategory::peer) {
          throw;
        }
        problems += "; " + from + ": " + error.what();
        return std::nullopt;
      }
    };
    const auto read = [&](const Store& from) {
      const auto chain = Chain::open(from, id, key.get());
      for (const auto& link : chain.links()) link->verify();
      return use(chain);
    };
    for (const bool own : {true, false}) {
      for (const auto& one : all) {
        const auto held = one.host.find(id.rank);
        if ((one.hub == group->hub()) != own || held == one.host.end() ||
            !std::binary_search(held->second.begin(), held->second.end(), id.version)) {
          continue;
        }
        const auto taken = attempt("hub " + std::to_string(one.hub), [&] {
          if (!own && !hub->fetch(one.hub, id, [&] { look_for_deaths(); }, to_nanoseconds(options.commit_wait))) {
            throw Error(ErrorCategory::absent, "fetch " + to_string(id), "the other hub did not deliver it");
          }
          return read(*store);
        });
        if (taken) return *taken;
      }
    }
    const auto files = context::visible_file_stores(options, group->hub());
    for (const auto& from : files) {
      if (!stands(*from, id)) continue;
      if (const auto taken = attempt(from->name(), [&] { return read(*from); })) return *taken;
    }
    if (const auto taken = attempt("several tiers together", [&] { return use(open_mixture(id, files, all)); })) {
      return *taken;
    }
    throw Error(ErrorCategory::format, "restore " + to_string(id), "no copy can be read" + problems);
  }

  /// From parity: a block that turns out to be gone or damaged is replaced by another, as long as there are others.
  template <class Attempt, class Read>
  void rebuild(SnapshotId id, const std::vector<Inventory>& all, const Outcome& outcome, Attempt& attempt, Read& read) {
    for (std::set<comm::HubId> without; !outcome.ok && !outcome.fatal;) {
      const auto plans = context::plan_rebuild(all, id, without);
      if (!plans) return;
      std::string hubs;
      for (const auto& source : plans->back().sources) hubs += (hubs.empty() ? "" : ", ") + std::to_string(source.hub);
      std::optional<comm::HubId> blamed;
      attempt("parity (" + options.redundancy + "), blocks of hubs " + hubs, [&] {
        for (const auto& plan : *plans) {
          blamed = hub->rebuild(plan, [&] { look_for_deaths(); }, to_nanoseconds(options.commit_wait));
          if (!blamed) continue;
          throw Error(ErrorCategory::absent, "rebuild " + to_string(plan.id),
                      "the block of hub " + std::to_string(*blamed) + " could not be used");
        }
        return read(*store);
      });
      if (!blamed || !without.insert(*blamed).second) return;
    }
  }

  void restored_to(Version version, const std::string& source, std::uint64_t bytes) {
    log::info("restored version " + std::to_string(version) + " from " + source);
    earlier_steps = 0;
    if (!recovery) return;
    recovery->end = monotonic_now();
    recovery->version = version;
    recovery->source = source;
    recovery->bytes = bytes;
    recovery->lost_steps = steps_when_lost > steps ? steps_when_lost - steps : 0;
    if (recovery->lost_rank < 0 && source != "own memory") recovery->lost_rank = *rank;
    if (*rank == 0) say_recovered();
    if (recorder) {
      recorder->add(*recovery);
      drain_trace([](trace::Recorder& trace) { trace.drain(); });
    }
    recovery.reset();
    const std::lock_guard lock(statistics_mutex);
    ++statistics.recoveries;
  }

  // ---- running -----------------------------------------------------------------------------------------------------

  /// Carries out the faults that are planned for this process, step and version (0: not asked for).
  void strike(std::uint64_t at_step, Version at_version) {
    for (auto& plan : faults) {
      // The process that began as the rank, not one that took its place.
      if (plan.attempt != static_cast<int>(options.attempt) || group->hub() != static_cast<comm::HubId>(plan.rank)) continue;
      if ((plan.step == 0 || plan.step != at_step) && (plan.version == 0 || plan.version != at_version)) continue;
      plan.attempt = -1;   // once
      const auto job = std::filesystem::path(options.store) / options.job;
      context::strike(plan, context::host_folder(options, group->hub()),
                      job / ("fault-" + std::to_string(options.attempt)));
    }
  }

  /// One line on the terminal, overwritten in place; nothing where stderr is no terminal.
  void show_progress() {
    const auto now = monotonic_now();
    if (now - progress_shown < progress_every || ::isatty(STDERR_FILENO) == 0) return;
    progress_shown = now;
    std::fprintf(stderr, "\rstep %llu, version %llu, committed %llu ", static_cast<unsigned long long>(steps),
                 static_cast<unsigned long long>(newest), static_cast<unsigned long long>(hub->committed()));
  }

  void step() {
    ++steps;
    if (!options.enabled) return;
    status->set_step(steps);
    strike(steps, 0);
    if (options.progress && *rank == 0) show_progress();
    if (options.every > 0 && steps % options.every == 0) checkpoint();
  }

  void flush() {
    if (!options.enabled || !rank) return;
    wait_until([&] { return worker->idle() && (hub->committed() >= newest || newest == abandoned); },
               "commit of version " + std::to_string(newest));
    worker->rethrow();
  }

  void say_outcome(const std::string& text) {
    if (!options.enabled) return;
    const auto folder = std::filesystem::path(options.store) / options.job;
    const auto file = folder / ("outcome-" + std::to_string(options.attempt));
    const auto temporary = file.string() + ".tmp-" + std::to_string(group->hub());
    std::ofstream(temporary) << text << '\n';
    std::error_code problem;
    std::filesystem::rename(temporary, file, problem);
    if (problem) log::warning("write " + file.string() + ": " + problem.message());
  }

  /// A line for foreweave-run and for people.
  void say_recovered() const {
    const bool in_place = recovery->mode == trace::RecoveryMode::in_place;
    std::ostringstream line;
    line << (in_place ? "in place" : "by relaunch") << ": version " << recovery->version << ", " << recovery->lost_steps
         << " steps to repeat, " << static_cast<double>(recovery->end - recovery->begin) * 1e-9
         << " s from the death being known to resumed";
    for (const auto lost : lost_ranks) line << "; rank " << lost << " is now on a spare";
    const auto file =
        std::filesystem::path(options.store) / options.job / ("recovered-" + std::to_string(options.attempt));
    std::ofstream(file, std::ios::app) << line.str() << '\n';
  }

  void run(const std::function<void()>& body) {
    for (;;) {
      if (!rank) {
        if (group->wait_as_spare() == Group::SpareCall::finished) return;
        repair_or_give_up();
        continue;
      }
      try {
        body();
        flush();
        if (group->agree_members(true)) {
          group->release_spares();
          if (*rank == 0) say_outcome("finished");
          return;
        }
      } catch (const RankLost& lost) {
        log::info(lost.what());
        if (!group->can_repair()) give_up(lost);
      } catch (const std::exception& error) {
        // An ordinary error would only happen again: say so, for foreweave-run.
        say_outcome(std::string("error: ") + error.what());
        throw;
      }
      repair_or_give_up();
    }
  }

  void repair_or_give_up() {
    try {
      repair();
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::resource) throw;
      give_up(error);
    }
  }

  [[noreturn]] void give_up(const Error& why) {
    if (options.recover == RecoverChoice::none) {
      say_outcome(std::string("error: ") + why.what());
      throw why;
    }
    log::error(std::string(why.what()) + "; ending the job, so that foreweave-run can start it again");
    drain_trace([](trace::Recorder& trace) { trace.drain(); });
    group->abort(gave_up_status);
    std::abort();   // not reached; abort() of a group is virtual, and the compiler does not see that it never returns
  }

  Options options;
  std::unique_ptr<Group> group;
  std::shared_ptr<const Key> key;
  std::vector<FaultPlan> faults;
  std::unique_ptr<Store> store, parity_store;
  std::unique_ptr<context::StatusPage> status;
  std::unique_ptr<trace::Recorder> recorder;
  std::unique_ptr<CaptureEngine> capture;
  std::unique_ptr<context::Flusher> flusher;
  std::unique_ptr<context::Hub> hub;
  std::unique_ptr<context::Worker> worker;

  Rank ranks = 0;
  std::optional<Rank> rank;
  int hubs_here = 1;   ///< ranks on this node
  comm::Epoch epoch = 0;
  std::vector<Inventory> spares;
  std::set<comm::HubId> dead_spares;   // of those
  std::vector<Rank> lost_ranks;
  std::uint64_t steps = 0, steps_when_lost = 0;
  std::uint64_t earlier_steps = 0;   // of the process before this one, until something was restored
  Version newest = 0, newest_listed = 0, formed_committed = 0;
  Version abandoned = 0;   ///< since the last restore: what up to here was not committed then, never will be
  std::set<Version> failed_versions;
  bool with_parity = false;                // of parity groups, not of copies; set while the worker is idle
  std::atomic<Version> first_full{0};      // the first version since the last restore, full on all ranks; 0: none yet
  bool must_restore = false;
  Nanoseconds progress_shown = 0;
  bool trace_trouble = false;   // said already
  std::optional<trace::RecoveryRecord> recovery;
  mutable std::mutex statistics_mutex;
  Statistics statistics;
};

Context::Context(Options options) : Context(make_solo_group(), std::move(options)) {}
Context::Context(std::unique_ptr<Group> group, Options options)
    : impl_(std::make_unique<Impl>(std::move(group), std::move(options))) {}
Context::~Context() {
  if (impl_->options.enabled && !std::uncaught_exceptions()) {
    try {
      impl_->flush();
    } catch (const std::exception& error) {
      log::warning(std::string("the newest version may not be committed: ") + error.what());
    }
  }
}

Rank Context::rank() const {
  if (!impl_->rank) throw Error(ErrorCategory::state, "ask for the rank", "this process is a spare; use run()");
  return *impl_->rank;
}
Rank Context::ranks() const { return impl_->ranks; }
bool Context::is_spare() const { return !impl_->rank; }
const Options& Context::options() const { return impl_->options; }

void Context::protect(RegionSpec spec) {
  (void)rank();
  if (!impl_->options.enabled) return;
  if (spec.data != nullptr) spec.space = memory_space_of(spec.data);
  impl_->wait_for_worker();
  impl_->capture->add(spec);
}

void Context::unprotect(const std::string& name) {
  (void)rank();
  if (!impl_->options.enabled) return;
  impl_->wait_for_worker();
  impl_->capture->remove(name);
}

std::optional<Version> Context::restore() {
  (void)rank();
  return impl_->restore(std::nullopt);
}
void Context::restore(Version version) {
  (void)rank();
  impl_->restore(version);
}

void Context::step() {
  (void)rank();
  impl_->step();
}
std::uint64_t Context::steps() const { return impl_->steps; }
Version Context::checkpoint() {
  (void)rank();
  return impl_->checkpoint();
}
void Context::flush() { impl_->flush(); }
Version Context::committed() const { return impl_->hub ? impl_->hub->committed() : 0; }
void Context::run(const std::function<void()>& body) { impl_->run(body); }

Statistics Context::statistics() const {
  if (impl_->worker) impl_->wait_for_worker();   // it changes what a capture holds
  const auto held = impl_->capture ? impl_->capture->held_bytes() : 0;
  const std::lock_guard lock(impl_->statistics_mutex);
  auto result = impl_->statistics;
  result.held_bytes = held;
  if (impl_->hub) result.bytes_sent = impl_->hub->bytes_sent();
  return result;
}

Group& Context::group() { return *impl_->group; }

}  // namespace foreweave
