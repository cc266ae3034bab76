// Context: taking versions, and what of them is kept in memory.
#include <algorithm>
#include <map>

#include "context/context_impl.hpp"
#include "context/redundancy.hpp"

namespace foreweave {

Version Context::Impl::checkpoint() {
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

void Context::Impl::keep_house() {
  if (const auto committed = store->committed(); committed != 0) retain_in(*store, committed);
}

void Context::Impl::retain_in(Store& tier, Version committed) {
  std::map<Rank, std::vector<Version>> versions;
  for (const auto& stored : tier.list()) {
    if (stored.id.version <= committed) versions[stored.id.rank].push_back(stored.id.version);
  }
  const auto kept = static_cast<std::size_t>(options.keep);
  const auto pending = flusher->pending();  // for files
  for (const auto& [held, list] : versions) {
    const auto oldest = list.size() > kept ? list[list.size() - 1 - kept] : list.front();
    if (with_parity && &tier == store.get()) {
      // Others' snapshots are rebuilt from this file as it is: it is not folded, and goes when the group's all go.
      if (held != rank) continue;
      const auto from = context::needed_from(
          first_full, pending.empty() ? oldest : std::min(oldest, *pending.begin()), options.max_chain);
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

}  // namespace foreweave
