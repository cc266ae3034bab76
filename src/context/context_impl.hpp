#pragma once
// What a Context is made of. Its parts: context.cpp (the public face), forming.cpp (the group, its epochs),
// checkpointing.cpp, restoring.cpp and running.cpp (the program's steps, and what happens after a loss).

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "context/fault.hpp"
#include "context/flusher.hpp"
#include "context/hub.hpp"
#include "context/inventory.hpp"
#include "context/outcome.hpp"
#include "context/status_page.hpp"
#include "context/worker.hpp"
#include "foreweave/context/context.hpp"
#include "foreweave/core/clock.hpp"
#include "foreweave/core/log.hpp"
#include "foreweave/state/capture.hpp"

namespace foreweave {

struct Context::Impl {
  using Inventory = context::Inventory;
  using Outcome = context::Outcome;

  static constexpr Nanoseconds wait_slice = 10'000'000;  // how soon a waiting program thread looks for deaths
  static Nanoseconds to_nanoseconds(double seconds) { return static_cast<Nanoseconds>(seconds * 1e9); }

  Impl(std::unique_ptr<Group> group_of_job, Options given);
  ~Impl();

  // ---- the trace ----

  static std::string command_line();
  void open_trace();

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

  // ---- forming the group ----

  /// What this hub holds and knows, for the others.
  Inventory inventory();
  /// Before the first epoch of this start: a hub that the job went on without forgets what it holds, and what hubs
  /// held that are not started this time goes to the first hub of their node.
  void settle();
  void form();
  void adopt_role(std::optional<Rank> role);
  void form_first();
  /// Everyone who lives comes here after a death.
  void repair();

  // ---- waiting ----

  /// Waits for `done`, but not for the dead, and not for ever.
  template <class Done>
  void wait_until(Done done, const std::string& what) {
    const auto until = monotonic_now() + to_nanoseconds(options.commit_wait);
    while (!done()) {
      look_for_deaths();
      hub->rethrow();
      if (monotonic_now() > until) {
        throw Error(ErrorCategory::peer, what,
                    "not done after " + std::to_string(options.commit_wait) +
                        " s (option commit_wait); another rank stands still or its snapshots fail");
      }
      hub->wait_for_change(wait_slice);
    }
  }

  /// The worker depends on no other rank, so this ends.
  void wait_for_worker();
  void look_for_deaths();

  // ---- capture ----

  Version checkpoint();
  /// Of the host tier, on the flusher's thread.
  void keep_house();
  void retain_in(Store& tier, Version committed);

  // ---- restore ----

  std::vector<Inventory> exchange();
  std::optional<Version> restore(std::optional<Version> named);
  /// Empty when every member restored `target`; else what went wrong. Throws, on all, what no other copy can mend.
  std::string agree_on(const Outcome& mine, Version target);
  static std::uint64_t bytes_of(const Chain& chain);
  /// The chain of `id` with links from the own memory and from files, where no tier alone has all of them undamaged;
  /// what only another hub's memory has is fetched first.
  Chain open_mixture(SnapshotId id, const std::vector<std::unique_ptr<Store>>& files,
                     const std::vector<Inventory>& all);
  Outcome restore_to(Version target, const std::vector<Inventory>& all, std::string& source, std::uint64_t& bytes);
  /// From the snapshots of a job of `before` ranks, each rank taking what its regions are parts of.
  Outcome redistribute_to(Version target, Rank before, const std::vector<Inventory>& all, std::string& source,
                          std::uint64_t& bytes);
  /// Calls use(chain) with the chain of `id` from wherever it stands whole and undamaged.
  template <class Use>
  std::uint64_t with_chain(SnapshotId id, const std::vector<Inventory>& all, Use use);
  /// From parity: a block that turns out to be gone or damaged is replaced by another, as long as there are others.
  template <class Attempt, class Read>
  void rebuild(SnapshotId id, const std::vector<Inventory>& all, const Outcome& outcome, Attempt& attempt,
               Read& read);
  void restored_to(Version version, const std::string& source, std::uint64_t bytes);

  // ---- running ----

  /// Carries out the faults that are planned for this process, step and version (0: not asked for).
  void strike(std::uint64_t at_step, Version at_version);
  /// One line on the terminal, overwritten in place; nothing where stderr is no terminal.
  void show_progress();
  void step();
  void flush();
  void say_outcome(const std::string& text);
  /// A line for foreweave-run and for people.
  void say_recovered() const;
  void run(const std::function<void()>& body);
  void repair_or_give_up();
  [[noreturn]] void give_up(const Error& why);

  // ---- what there is ----

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
  int hubs_here = 1;  ///< ranks on this node
  comm::Epoch epoch = 0;
  std::vector<Inventory> spares;
  std::set<comm::HubId> dead_spares;  // of those
  std::vector<Rank> lost_ranks;
  std::uint64_t steps = 0, steps_when_lost = 0;
  std::uint64_t earlier_steps = 0;  // of the process before this one, until something was restored
  Version newest = 0, newest_listed = 0, formed_committed = 0;
  Version abandoned = 0;  ///< since the last restore: what up to here was not committed then, never will be
  std::set<Version> failed_versions;
  bool with_parity = false;            // of parity groups, not of copies; set while the worker is idle
  std::atomic<Version> first_full{0};  // the first version since the last restore, full on all ranks; 0: none yet
  bool must_restore = false;
  Nanoseconds progress_shown = 0;
  bool trace_trouble = false;  // said already
  std::optional<trace::RecoveryRecord> recovery;
  mutable std::mutex statistics_mutex;
  Statistics statistics;
};

}  // namespace foreweave
