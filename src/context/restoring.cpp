// Context: bringing a version back, from wherever it stands. All members go through this together.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>

#include "context/context_impl.hpp"
#include "context/redundancy.hpp"
#include "context/stores.hpp"
#include "foreweave/state/redistribution.hpp"

namespace foreweave {

using context::Inventory;
using context::Outcome;

namespace {

std::string list_text(const std::vector<Version>& versions) {
  std::string text;
  for (const auto version : versions) text += (text.empty() ? "" : ", ") + std::to_string(version);
  return text.empty() ? "none" : text;
}

}  // namespace

std::vector<Inventory> Context::Impl::exchange() {
  auto all = spares;
  for (const auto& bytes : group->gather_members(inventory().encode())) all.push_back(Inventory::decode(bytes));
  // No number is used twice, and all ranks count alike: also what nobody can restore is somebody's file of that name.
  for (const auto& one : all) newest_listed = std::max(newest_listed, one.newest);
  return all;
}

std::optional<Version> Context::Impl::restore(std::optional<Version> named) {
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
        throw Error(ErrorCategory::absent,
                    "restore version " + std::to_string(*named) + " of job '" + options.job + "'",
                    "not there for every rank; versions that are: " + list_text(common) + problems);
      }
      target = *named;
    } else {
      if (common.empty() && floor == 0) {
        must_restore = false;
        steps = 0;
        newest = abandoned = newest_listed;
        capture->forget();  // what was captured before a repair was never committed, and is void
        if (recovery) restored_to(0, "nothing: no version was committed yet", 0);
        return std::nullopt;
      }
      if (common.empty() || (common.back() < floor && !options.restore_older)) {
        throw Error(ErrorCategory::format, "restore job '" + options.job + "'",
                    "version " + std::to_string(floor) +
                        " was committed, but not every rank can be restored to it; "
                        "versions whose files every rank has: " +
                        list_text(common) +
                        (common.empty() ? "" : " (option restore_older=true goes on from the newest of them)") +
                        problems);
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

std::string Context::Impl::agree_on(const Outcome& mine, Version target) {
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

std::uint64_t Context::Impl::bytes_of(const Chain& chain) {
  std::uint64_t total = 0;
  for (const auto& link : chain.links()) total += link->bytes();
  return total;
}

Chain Context::Impl::open_mixture(SnapshotId id, const std::vector<std::unique_ptr<Store>>& files,
                                  const std::vector<Inventory>& all) {
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
      if (hub->fetch(
              one.hub, {id.rank, version}, [&] { look_for_deaths(); }, to_nanoseconds(options.commit_wait)))
        break;
    }
    break;  // with its chain, or there is none
  }
  return Chain::open(stores, id, key.get());
}

Outcome Context::Impl::restore_to(Version target, const std::vector<Inventory>& all, std::string& source,
                                  std::uint64_t& bytes) {
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
      if (dead_spares.contains(one.hub))
        throw Error(ErrorCategory::absent, "fetch " + to_string(id), "that hub died");
      if (!hub->fetch(
              one.hub, id, [&] { look_for_deaths(); }, to_nanoseconds(options.commit_wait))) {
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
  if (!files.empty())
    attempt("several tiers together", [&] {
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

Outcome Context::Impl::redistribute_to(Version target, Rank before, const std::vector<Inventory>& all,
                                       std::string& source, std::uint64_t& bytes) {
  Outcome outcome;
  try {
    Redistribution parts(capture->regions());
    // Blocks are mostly numbered in the order of their place: those in this rank's place come first.
    std::vector<Rank> order(static_cast<std::size_t>(before));
    std::iota(order.begin(), order.end(), 0);
    const auto distance = [&](Rank of) { return std::abs((2.0 * of + 1) / before - (2.0 * *rank + 1) / ranks); };
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
    capture->forget();  // the next capture is full, and of this number of ranks
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

template <class Use>
std::uint64_t Context::Impl::with_chain(SnapshotId id, const std::vector<Inventory>& all, Use use) {
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
        if (!own && !hub->fetch(
                        one.hub, id, [&] { look_for_deaths(); }, to_nanoseconds(options.commit_wait))) {
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

template <class Attempt, class Read>
void Context::Impl::rebuild(SnapshotId id, const std::vector<Inventory>& all, const Outcome& outcome,
                            Attempt& attempt, Read& read) {
  for (std::set<comm::HubId> without; !outcome.ok && !outcome.fatal;) {
    const auto plans = context::plan_rebuild(all, id, without);
    if (!plans) return;
    std::string hubs;
    for (const auto& source : plans->back().sources) hubs += (hubs.empty() ? "" : ", ") + std::to_string(source.hub);
    std::optional<comm::HubId> blamed;
    attempt("parity (" + options.redundancy + "), blocks of hubs " + hubs, [&] {
      for (const auto& plan : *plans) {
        blamed = hub->rebuild(
            plan, [&] { look_for_deaths(); }, to_nanoseconds(options.commit_wait));
        if (!blamed) continue;
        throw Error(ErrorCategory::absent, "rebuild " + to_string(plan.id),
                    "the block of hub " + std::to_string(*blamed) + " could not be used");
      }
      return read(*store);
    });
    if (!blamed || !without.insert(*blamed).second) return;
  }
}

void Context::Impl::restored_to(Version version, const std::string& source, std::uint64_t bytes) {
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

void Context::Impl::say_recovered() const {
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

}  // namespace foreweave
