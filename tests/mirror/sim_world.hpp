#pragma once
// The world of the simulation: hubs that run a program together, capture versions, die, hang, are taken over by
// spares or started again. After every step the promises of the mirror protocol are checked.

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "context/redundancy.hpp"
#include "foreweave/state/chain.hpp"
#include "foreweave/state/erasure.hpp"
#include "mirror/sim_hub.hpp"
#include "mirror/sim_snapshot.hpp"

namespace foreweave::test {

inline constexpr Nanoseconds ms = 1'000'000;

/// What a run is made of. Everything else follows from the seed.
struct Scenario {
  std::uint64_t seed = 1;
  Rank ranks = 3;
  int spares = 1, copies = 1;
  int data = 0, parity = 0;  ///< data > 0: parity groups instead of copies
  std::uint32_t nodes = 1;
  Version versions = 10, in_flight = 2;
  bool skips = false;  ///< ranks skip versions now and then
  std::size_t max_chain = 4;
  std::uint32_t max_filler = 1500;
  std::uint64_t chunk = 100, window = 300;
  comm::SimulatedFaults faults;
  bool drop_repeated = true, hold_early = true;
  bool failing_stores = false;
  Nanoseconds faults_until = 1'000 * ms;

  enum class Blow { kill, hang, relaunch };
  struct Death {
    std::uint64_t step = 0;
    Blow blow = Blow::kill;
    std::uint64_t victim = 0;  ///< chosen among the living by this number
    bool store_lost = true;
  };
  std::vector<Death> deaths;

  static Scenario draw(std::uint64_t seed) {
    Random random(seed * 0x5851F42D4C957F2DULL + 1);
    Scenario s;
    s.seed = seed;
    s.ranks = random.between<Rank>(1, 5);
    s.spares = random.between(0, 2);
    s.copies = random.between(0, 3);
    s.versions = random.between<Version>(4, 14);
    s.in_flight = random.between<Version>(1, 3);
    s.skips = s.in_flight > 1 && random.happens(0.3);
    s.max_chain = random.between<std::size_t>(1, 6);
    s.max_filler = random.between<std::uint32_t>(0, 1500);
    s.chunk = random.between<std::uint64_t>(40, 400);
    s.window = random.between<std::uint64_t>(s.chunk, 5 * s.chunk);
    s.faults.max_delay = random.between<Nanoseconds>(30'000, 3 * ms);
    s.faults.bytes_per_second = random.happens(0.5) ? 1e9 : 1e6;
    const auto mode = random.between(0, 3);
    if (mode == 1) {
      s.faults.loss = 0.1 * static_cast<double>(random.between(0, 10)) / 10;
      s.faults.duplication = 0.1 * static_cast<double>(random.between(0, 10)) / 10;
      s.faults.reordering = 0.2 * static_cast<double>(random.between(0, 10)) / 10;
      s.faults.corruption = 0.1 * static_cast<double>(random.between(0, 10)) / 10;
      s.drop_repeated = random.happens(0.5);
    } else if (mode == 2) {
      s.faults.connection_failure = 0.03 * static_cast<double>(random.between(1, 10)) / 10;
    }
    s.hold_early = random.happens(0.5);
    s.failing_stores = random.happens(0.25);
    s.faults_until = random.between<Nanoseconds>(200 * ms, 1'500 * ms);
    if (random.happens(0.5)) {
      s.data = random.between(1, 4);
      s.parity = random.between(1, 3);
      s.ranks = random.between<Rank>(1, 7);
      s.spares = random.between(0, 3);
      s.skips = false;
      s.nodes = random.between(1U, 4U);
    }
    for (auto n = random.between(0, 5); n > 0; --n) {
      Death death;
      death.step = random.between<std::uint64_t>(1, 2'500);
      const auto kind = random.between(0, 9);
      death.blow = kind < 5 ? Blow::kill : kind < 7 ? Blow::hang : Blow::relaunch;
      death.victim = random.next();
      death.store_lost = random.happens(0.5);
      s.deaths.push_back(death);
    }
    return s;
  }
};

class World {
 public:
  explicit World(const Scenario& scenario, bool trace = false)
      : scenario_(scenario), trace_(trace), random_(scenario.seed), network_(scenario.seed + 77, scenario.faults) {
    const auto hubs = static_cast<std::size_t>(scenario.ranks + scenario.spares);
    nodes_.resize(hubs);
    for (std::size_t h = 0; h < hubs; ++h) {
      nodes_[h].store = new_store();
      nodes_[h].parity = new_parity();
      start(static_cast<HubId>(h));
    }
    restart_roles();
    form();
    if (scenario.failing_stores) at(random_.between<Nanoseconds>(20 * ms, 200 * ms), [this] { fail_a_store(); });
    at(scenario.faults_until, [this] { end_faults(); });
  }

  /// Runs to the end. Empty when all promises held, else what was broken.
  std::string run() {
    constexpr std::uint64_t too_many = 3'000'000;
    while (problem_.empty() && !finished()) {
      if (++steps_ > too_many || network_.now() > scenario_.faults_until + 60'000 * ms) {
        report("no progress: " + state());
        break;
      }
      step();
    }
    if (problem_.empty()) check_end();
    return problem_;
  }
  std::uint64_t steps() const { return steps_; }
  /// Runs to that moment; how many steps it took.
  std::uint64_t steps_until(Nanoseconds time) {
    while (network_.now() < time) {
      ++steps_;
      step();
    }
    return steps_;
  }
  Nanoseconds time() const { return network_.now(); }

  struct Tally {
    std::uint64_t kills = 0, hangs = 0, relaunches = 0, takeovers = 0, fetches = 0, stores_lost = 0, commits = 0,
                  folds = 0, refused = 0, damaged = 0, other_epoch = 0, stale = 0, rebuilds = 0, parities = 0;
  } tally;

 private:
  struct Node {
    std::shared_ptr<MemoryStore> store, parity;
    std::unique_ptr<SimHub> hub;  // null: its process is dead
    bool hung = false;
    bool suspended = false, begun = false, may_capture = false;
    Epoch joined = 0, active = 0;  // beside the store
    bool out = false;                   // dead or hung in this launch of the job
    Version committed = 0, marker = 0;  // last seen
    std::uint64_t process = 0;          // counts processes, so that timers of a dead one do nothing
    std::optional<Rank> rank;           // in the present epoch, once begun
    bool restored = false;
    std::size_t next_holder = 0;
    Version published = 0, first_full = 0;
    std::vector<mirror::RebuildPlan> plans;  // still to be carried out, the next one last
  };

  // ---- time
  // --------------------------------------------------------------------------------------------------------

  void at(Nanoseconds delay, std::function<void()> what) {
    timers_.emplace(std::pair(network_.now() + delay, ++timer_numbers_), std::move(what));
  }
  /// Does nothing when the process is gone by then.
  void at(HubId hub, Nanoseconds delay, std::function<void()> what) {
    at(delay, [this, hub, process = nodes_[hub].process, what = std::move(what)] {
      if (nodes_[hub].process == process && nodes_[hub].hub && !nodes_[hub].hung) what();
    });
  }

  void step() {
    std::optional<HubId> reader;
    auto next = timers_.begin()->first.first;
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      if (!nodes_[h].hub || nodes_[h].hung) continue;
      const auto time = network_.next_delivery(static_cast<HubId>(h));
      if (time && (*time < next || (*time == next && !reader))) {
        next = *time;
        reader = static_cast<HubId>(h);
      }
    }
    network_.advance_to(next);
    if (reader) {
      nodes_[*reader].hub->receive();
    } else {
      const auto what = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      what();
    }
    take_news();
    for (const auto& death : scenario_.deaths) {
      if (death.step == steps_ && network_.now() < scenario_.faults_until) strike(death);
    }
    check();
  }

  // ---- processes and stores
  // ----------------------------------------------------------------------------------------

  std::shared_ptr<MemoryStore> new_store() {
    auto store = std::make_shared<MemoryStore>();
    store->on_commit = [this, raw = store.get()](SnapshotId id, Version base, const Bytes& bytes) {
      check_snapshot(*raw, id, base, bytes);
    };
    return store;
  }

  /// Parity of what was not committed, or is not what it says, is found out when something is rebuilt from it.
  static std::shared_ptr<MemoryStore> new_parity() { return std::make_shared<MemoryStore>(); }

  void start(HubId h) {
    auto& node = nodes_[h];
    ++node.process;
    node.hung = node.out = node.restored = node.suspended = node.begun = node.may_capture = false;
    node.rank.reset();
    SimHubOptions options;
    options.mirror.self = options.membership.self = h;
    options.mirror.chunk_bytes = scenario_.chunk;
    options.mirror.window_bytes = scenario_.window;
    options.mirror.retry_after = 160 * ms;
    options.membership.heartbeat_every = 30 * ms;
    options.membership.suspect_after = 300 * ms;
    options.drop_repeated = scenario_.drop_repeated;
    options.hold_early = scenario_.hold_early;
    node.hub = std::make_unique<SimHub>(network_, node.store, node.parity, options);
    node.committed = node.hub->protocol().committed();
    if (node.committed != node.store->committed()) report("a new process does not know its store's marker");
    tick(h);
    keep_house(h);
  }
  void tick(HubId h) {
    at(h, 5 * ms + random_.between<Nanoseconds>(0, ms), [this, h] {
      nodes_[h].hub->tick();
      tick(h);
    });
  }

  void stop(HubId h) {
    auto& node = nodes_[h];
    if (!node.hub) return;
    collect(h);
    node.hub.reset();
    ++node.process;
    node.out = true;
    node.rank.reset();
    node.restored = false;
  }

  bool is_rank(HubId h) const {
    return std::find(view_.hub_of_rank.begin(), view_.hub_of_rank.end(), h) != view_.hub_of_rank.end();
  }
  /// Stores that this launch of the job can reach.
  bool reachable(HubId h) const { return nodes_[h].store && !nodes_[h].out; }
  bool with_parity() const { return scenario_.data > 0; }
  /// Hubs that may be lost before everything is protected again.
  int copies() const {
    return std::min<int>(with_parity() ? scenario_.parity : scenario_.copies, scenario_.ranks - 1);
  }

  void lose_store(HubId h) {
    nodes_[h].store = new_store();
    nodes_[h].parity = new_parity();
    nodes_[h].marker = 0;
    nodes_[h].joined = nodes_[h].active = 0;
    ++tally.stores_lost;
  }

  void strike(const Scenario::Death& death) {
    std::vector<HubId> living;
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      if (nodes_[h].hub && !nodes_[h].hung) living.push_back(static_cast<HubId>(h));
    }
    if (living.empty()) return;
    const auto victim = living[death.victim % living.size()];
    // No more than `copies` hubs may lose what they hold before everything is mirrored again.
    const bool holds = is_rank(victim) || !nodes_[victim].store->list().empty() || !nodes_[victim].parity->list().empty();
    const bool may_lose = !holds || lost_since_protected_ < copies();
    if (death.blow == Scenario::Blow::relaunch) {
      note("relaunch", victim);
      if (death.store_lost && may_lose) {
        if (holds) ++lost_since_protected_;
        stop(victim);
        lose_store(victim);
      }
      relaunch();
      return;
    }
    if (!may_lose) return;
    if (holds) ++lost_since_protected_;
    note(death.blow == Scenario::Blow::kill ? "kill" : "hang", victim);
    if (death.blow == Scenario::Blow::kill) {
      ++tally.kills;
      stop(victim);
      if (death.store_lost) lose_store(victim);
    } else {
      ++tally.hangs;
      nodes_[victim].hung = nodes_[victim].out = true;
    }
    // When nobody is left to notice, the launcher does, or those who wait for a spare to begin.
    at((is_rank(victim) ? 2'000 : 200) * ms, [this, epoch = view_.epoch] {
      if (view_.epoch == epoch && !recovering_) recover();
    });
  }

  void fail_a_store() {
    if (network_.now() >= scenario_.faults_until) return;
    auto& node = nodes_[random_.between<std::size_t>(0, nodes_.size() - 1)];
    auto store = with_parity() && random_.happens(0.5) ? node.parity : node.store;
    if (random_.happens(0.5)) {
      store->budget = random_.between<std::uint64_t>(0, 200);
    } else {
      store->marker_fails = true;
    }
    at(random_.between<Nanoseconds>(10 * ms, 200 * ms), [store] {
      store->budget = ~std::uint64_t{0};
      store->marker_fails = false;
    });
    at(random_.between<Nanoseconds>(20 * ms, 200 * ms), [this] { fail_a_store(); });
  }

  void end_faults() {
    auto calm = scenario_.faults;
    calm.loss = calm.duplication = calm.reordering = calm.corruption = calm.connection_failure = 0;
    network_.set_faults(calm);
    calm_ = true;
  }

  // ---- recovery, as the launcher and the contexts do it
  // ------------------------------------------------------------

  void restart_roles() {
    roles_.clear();
    for (Rank r = 0; r < scenario_.ranks; ++r) roles_.push_back(static_cast<HubId>(r));
  }

  /// Everyone who lives leaves the epoch, at a moment of its own; then the group is formed anew.
  void recover() {
    recovering_ = true;
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      const auto id = static_cast<HubId>(h);
      if (nodes_[h].hung) stop(id);
      if (!nodes_[h].hub) continue;
      at(id, random_.between<Nanoseconds>(0, 10 * ms), [this, id, epoch = view_.epoch] {
        if (view_.epoch != epoch) return;
        nodes_[id].hub->protocol().suspend();
        nodes_[id].suspended = true;
      });
    }
    at(11 * ms, [this, epoch = view_.epoch] {
      if (view_.epoch == epoch) take_over();
    });
  }

  void take_over() {
    std::vector<HubId> spares;
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      const auto id = static_cast<HubId>(h);
      if (nodes_[h].hung) stop(id);
      if (nodes_[h].hub && std::find(roles_.begin(), roles_.end(), id) == roles_.end()) spares.push_back(id);
    }
    for (auto& role : roles_) {
      if (nodes_[role].hub) continue;
      if (spares.empty()) {
        relaunch();
        return;
      }
      ++tally.takeovers;
      role = spares.front();
      spares.erase(spares.begin());
    }
    form();
  }

  void relaunch() {
    ++tally.relaunches;
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      stop(static_cast<HubId>(h));
      nodes_[h].out = false;  // its store can be reached again
    }
    for (std::size_t h = 0; h < nodes_.size(); ++h) start(static_cast<HubId>(h));
    restart_roles();
    form();
  }

  /// A new epoch. Every hub begins it at a moment of its own.
  void form() {
    recovering_ = false;
    mirror::View view;
    view.epoch = view_.epoch + 1;
    view.hub_of_rank = roles_;
    std::vector<std::uint32_t> nodes;
    for (const auto h : roles_) nodes.push_back(h % scenario_.nodes);
    if (with_parity()) {
      mirror::use_groups(view, mirror::choose_groups(scenario_.ranks, scenario_.data, scenario_.parity, nodes));
    } else {
      view.mirrored_by = mirror::choose_partners(scenario_.ranks, scenario_.copies, nodes);
    }
    empty_stale();
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      if (reachable(static_cast<HubId>(h))) view.committed = std::max(view.committed, nodes_[h].store->committed());
    }
    view_ = view;
    first_ = view.committed + 1;
    last_ = std::max(scenario_.versions, first_ + 2);
    note("epoch " + std::to_string(view.epoch) + " from version " + std::to_string(view.committed), roles_.front());
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      const auto id = static_cast<HubId>(h);
      auto& node = nodes_[h];
      node.rank.reset();
      node.restored = node.begun = node.may_capture = false;
      node.first_full = 0;
      node.plans.clear();
      if (!node.hub || node.hung) continue;
      at(id, random_.between<Nanoseconds>(0, 10 * ms), [this, id, epoch = view.epoch] {
        if (view_.epoch == epoch) join(id);
      });
    }
  }

  /// Two numbers stand beside each store, and outlive the process: the last epoch it joined, and the last one it
  /// worked in. All join before any works in it.
  void join(HubId h) {
    nodes_[h].joined = view_.epoch;
    for (const auto& node : nodes_) {
      if (node.hub && node.joined != view_.epoch) return;
    }
    for (std::size_t other = 0; other < nodes_.size(); ++other) {
      const auto id = static_cast<HubId>(other);
      if (!nodes_[other].hub || nodes_[other].hung) continue;
      at(id, random_.between<Nanoseconds>(0, 30 * ms), [this, id, epoch = view_.epoch] {
        if (view_.epoch != epoch) return;
        nodes_[id].active = epoch;
        begin(id);
      });
    }
  }

  /// A store whose hub was lost, while the others went on in a later epoch, may be reached again after a relaunch. It
  /// is of a past that did not happen: what it holds has numbers that were given anew since, and what it knows to be
  /// committed was perhaps never told. It does not count.
  void empty_stale() {
    Epoch active = 0;
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      if (reachable(static_cast<HubId>(h))) active = std::max(active, nodes_[h].active);
    }
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      auto& node = nodes_[h];
      if (!reachable(static_cast<HubId>(h)) || node.joined >= active) continue;
      const bool empty =
          node.store->list().empty() && node.store->committed() == 0 && node.parity->list().empty();
      if (empty) continue;
      tally.stale += node.store->list().size();
      const bool runs = node.hub != nullptr;
      stop(static_cast<HubId>(h));
      node.store = new_store();
      node.parity = new_parity();
      node.marker = 0;
      if (runs) start(static_cast<HubId>(h));
      node.out = false;
    }
  }

  /// All have begun: what the contexts agree on before anyone goes on.
  void agree() {
    for (const auto& node : nodes_) {
      if (node.hub && !node.begun) return;
    }
    for (auto& node : nodes_) node.may_capture = node.hub != nullptr;
  }

  void begin(HubId h) {
    auto& node = nodes_[h];
    for (std::size_t r = 0; r < roles_.size(); ++r) {
      if (roles_[r] == h) node.rank = static_cast<Rank>(r);
    }
    try {
      node.hub->begin(view_, node.rank);
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::io) return report(error.what());
      at(h, 10 * ms, [this, h, epoch = view_.epoch] {
        if (view_.epoch == epoch) begin(h);
      });
      return;
    }
    for (const auto& stored : node.store->list()) {
      if (stored.id.version > view_.committed)
        report("begin left " + to_string(stored.id) + " at hub " + std::to_string(h));
    }
    node.suspended = false;
    node.begun = true;
    node.hub->release_held();
    agree();
    if (!node.rank) return;
    node.published = first_ - 1;
    node.next_holder = h;
    restore(h);
  }

  void restore(HubId h) {
    auto& node = nodes_[h];
    if (node.suspended) return;
    const SnapshotId id{*node.rank, view_.committed};
    if (id.version == 0 || chain_of(*node.store, id)) {
      node.restored = true;
      next_capture(h);
      return;
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {  // whoever has it, one after the other
      node.next_holder = (node.next_holder + 1) % nodes_.size();
      const auto from = static_cast<HubId>(node.next_holder);
      if (from == h || !reachable(from) || !nodes_[from].hub || !chain_of(*nodes_[from].store, id)) continue;
      note("fetches from hub " + std::to_string(from), h);
      ++tally.fetches;
      node.hub->protocol().fetch(from, id, network_.now());
      return;
    }
    if (auto plans = with_parity() ? context::plan_rebuild(inventories(true), id) : std::nullopt) {
      std::reverse(plans->begin(), plans->end());
      node.plans = std::move(*plans);
      rebuild_next(h);
      return;
    }
    at(h, 50 * ms, [this, h, epoch = view_.epoch] {  // perhaps the one who has it is just being started
      if (view_.epoch == epoch && nodes_[h].rank && !nodes_[h].restored) restore(h);
    });
  }

  void rebuild_next(HubId h) {
    auto& node = nodes_[h];
    const auto plan = node.plans.back();
    note("rebuilds " + to_string(plan.id), h);
    try {
      node.hub->protocol().rebuild(plan, network_.now());
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::io) return report(error.what());
      restore_later(h);
    }
  }
  void restore_later(HubId h) {
    at(h, ms, [this, h, epoch = view_.epoch] {
      if (view_.epoch == epoch && nodes_[h].rank && !nodes_[h].restored) restore(h);
    });
  }

  /// As the contexts tell each other; of the living, or of all whose memory can be reached.
  std::vector<context::Inventory> inventories(bool living) const {
    std::vector<context::Inventory> all;
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      const auto id = static_cast<HubId>(h);
      if (!reachable(id) || (living && !nodes_[h].hub)) continue;
      auto& one = all.emplace_back();
      one.hub = id;
      const auto list = nodes_[h].store->list();
      for (Rank r = 0; r < scenario_.ranks; ++r) one.host[r] = complete_versions(list, r);
      one.parity = context::parity_records(*nodes_[h].parity);
    }
    return all;
  }

  void collect(HubId h) {
    auto& hub = *nodes_[h].hub;
    tally.damaged += hub.damaged;
    tally.other_epoch += hub.other_epoch;
    const auto head = std::uint64_t{300};  // heads and small frames ride above the window
    if (hub.most_pending > scenario_.window + scenario_.chunk + 20 * head) {
      report("hub " + std::to_string(h) + " had " + std::to_string(hub.most_pending) + " bytes waiting");
    }
  }

  void take_news() {
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      const auto id = static_cast<HubId>(h);
      auto& node = nodes_[h];
      if (!node.hub) continue;
      for (const auto& verdict : std::exchange(node.hub->verdicts, {})) {
        if (nodes_[verdict.peer].hub && !nodes_[verdict.peer].hung) {
          report("hub " + std::to_string(h) + " calls living hub " + std::to_string(verdict.peer) +
                 " dead: " + verdict.reason);
          return;
        }
        note("hub " + std::to_string(verdict.peer) + " is lost: " + verdict.reason, id);
        if (recovering_) continue;
        recovering_ = true;
        at(random_.between<Nanoseconds>(0, 40 * ms), [this, epoch = view_.epoch] {
          if (view_.epoch == epoch) recover();
        });
      }
      for (const auto& event : std::exchange(node.hub->events, {})) {
        using Kind = MirrorEvent::Kind;
        if (trace_)
          note("event " + std::to_string(int(event.kind)) + " " + to_string(event.id) + " peer " +
                   std::to_string(event.peer) + " " + event.note,
               id);
        if (event.kind == Kind::refused) ++tally.refused;
        if (event.kind == Kind::committed) ++tally.commits;
        const bool rebuilding = node.rank && !node.restored && !node.plans.empty() && event.id == node.plans.back().id;
        if (rebuilding && event.kind == Kind::rebuilt) {
          ++tally.rebuilds;
          node.plans.pop_back();
          if (node.plans.empty()) {
            restore_later(id);
          } else {
            rebuild_next(id);
          }
        }
        if (rebuilding && event.kind == Kind::rebuild_failed) {
          node.plans.clear();
          restore_later(id);
        }
        if (event.kind == Kind::received && event.note == "parity") ++tally.parities;
        const bool own = node.rank && event.id == SnapshotId{*node.rank, view_.committed};
        if (own && !node.restored && (event.kind == Kind::fetched || event.kind == Kind::failed)) {
          if (event.kind == Kind::fetched && !chain_of(*node.store, event.id)) report("fetched, but not there whole");
          at(id, ms, [this, id, epoch = view_.epoch] {
            if (view_.epoch == epoch && nodes_[id].rank && !nodes_[id].restored) restore(id);
          });
        }
      }
    }
  }

  // ---- the program
  // -------------------------------------------------------------------------------------------------

  void next_capture(HubId h) {
    at(h, random_.between<Nanoseconds>(ms, 40 * ms), [this, h, epoch = view_.epoch] {
      if (view_.epoch == epoch) capture(h);
    });
  }

  void capture(HubId h) {
    auto& node = nodes_[h];
    const auto version = node.published + 1;
    if (version > last_) return;
    next_capture(h);
    if (!node.may_capture || version - std::max(node.hub->protocol().committed(), first_ - 1) > scenario_.in_flight)
      return;
    const auto base = node.published >= first_ ? newest_in(*node.store, *node.rank) : view_.committed;
    node.published = version;
    if (scenario_.skips && version % 2 == 1 && version != last_ && random_.happens(0.2)) return;
    SimSnapshot snapshot;
    snapshot.seed = scenario_.seed;
    snapshot.rank = *node.rank;
    snapshot.version = version;
    snapshot.timeline = view_.epoch;
    snapshot.filler = random_.between<std::uint32_t>(0, scenario_.max_filler);
    bool full = random_.happens(0.15);
    if (with_parity()) {
      if (node.first_full == 0) node.first_full = version;
      full = full || context::full_is_due(node.first_full, version, static_cast<std::uint32_t>(scenario_.max_chain));
    }
    if (base != 0 && !full) {
      snapshot.base = base;
      snapshot.base_timeline = SimSnapshot::head(*node.store->find({*node.rank, base})).timeline;
    }
    const SnapshotId id{*node.rank, version};
    auto bytes = snapshot.bytes();
    check_snapshot(*node.store, id, snapshot.base, bytes);
    node.store->put(id, snapshot.base, std::move(bytes));
    node.hub->protocol().publish(version, network_.now());
  }

  Version newest_in(const MemoryStore& store, Rank rank) const {
    Version newest = 0;
    for (const auto& stored : store.list()) {
      if (stored.id.rank == rank) newest = stored.id.version;
    }
    return newest;
  }

  /// What the context does after commits: folds chains that grew long, and erases what no restore needs.
  void keep_house(HubId h) {
    at(h, random_.between<Nanoseconds>(10 * ms, 80 * ms), [this, h] {
      auto& store = *nodes_[h].store;
      const auto committed = store.committed();
      if (with_parity()) {
        const auto from = context::needed_from(nodes_[h].first_full, committed,
                                               static_cast<std::uint32_t>(scenario_.max_chain));
        for (auto* one : {&store, nodes_[h].parity.get()}) context::erase_below(*one, from);
        keep_house(h);
        return;
      }
      for (Rank r = 0; r < scenario_.ranks; ++r) {
        const SnapshotId oldest{r, committed};
        auto chain = chain_of(store, oldest);
        if (committed == 0 || !chain) continue;
        if (chain->size() > scenario_.max_chain) {
          auto full = SimSnapshot::head(*store.find(oldest));
          full.base = full.base_timeline = 0;
          store.put(oldest, 0, full.bytes());
          chain = {committed};
          ++tally.folds;
        }
        for (const auto& stored : store.list()) {
          const bool needed = std::find(chain->begin(), chain->end(), stored.id.version) != chain->end();
          if (stored.id.rank == r && stored.id.version < committed && !needed) store.erase(stored.id);
        }
      }
      keep_house(h);
    });
  }

  // ---- promises
  // ----------------------------------------------------------------------------------------------------

  /// The versions of the chain that ends in `id`, when it is whole and each link fits its base.
  std::optional<std::vector<Version>> chain_of(const MemoryStore& store, SnapshotId id) const {
    std::vector<Version> versions;
    std::uint32_t timeline = 0;
    for (auto version = id.version;;) {
      const auto* bytes = store.find({id.rank, version});
      if (bytes == nullptr) return std::nullopt;
      const auto snapshot = SimSnapshot::head(*bytes);
      if (version != id.version && snapshot.timeline != timeline) return std::nullopt;
      versions.push_back(version);
      if (snapshot.base == 0) return versions;
      version = snapshot.base;
      timeline = snapshot.base_timeline;
    }
  }

  /// Of what becomes visible in a store: the right bytes, under the right name, on the right base.
  void check_snapshot(const MemoryStore& store, SnapshotId id, Version base, const Bytes& bytes) {
    const auto snapshot = SimSnapshot::parse(bytes, scenario_.seed);
    const auto what = to_string(id) + " on version " + std::to_string(base);
    if (!snapshot) return report("damaged bytes became visible as " + what);
    if (snapshot->rank != id.rank || snapshot->version != id.version || snapshot->base != base) {
      return report("rank " + std::to_string(snapshot->rank) + " version " + std::to_string(snapshot->version) +
                    " on " + std::to_string(snapshot->base) + " became visible as " + what);
    }
    if (base == 0) return;
    const auto* under = store.find({id.rank, base});
    if (under == nullptr) return report(what + " became visible without its base");
    if (SimSnapshot::head(*under).timeline != snapshot->base_timeline) {
      report(what + " stands on the base of another epoch");
    }
  }

  void check() {
    std::uint64_t changes = 0;
    bool all_settled = true;
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      auto& node = nodes_[h];
      changes += node.store->changes + node.parity->changes + h;
      if (node.store->committed() < node.marker) report("the marker of hub " + std::to_string(h) + " went back");
      node.marker = node.store->committed();
      const bool serves = node.hub && !node.hung;
      if (node.hub) {
        const auto committed = node.hub->protocol().committed();
        if (committed < node.committed) report("the committed version of hub " + std::to_string(h) + " went back");
        node.committed = committed;
        if (committed != node.marker)
          report("hub " + std::to_string(h) + " says it is committed before it is marked");
        const int sources = with_parity() ? scenario_.ranks : copies();
        if (node.store->open_writers + node.parity->open_writers > (sources + 1) * 2)
          report("hub " + std::to_string(h) + " holds too many writers");
      }
      if (is_rank(static_cast<HubId>(h))) {
        all_settled = all_settled && serves && node.hub->epoch() == view_.epoch && node.restored &&
                      node.hub->protocol().settled();
      }
    }
    if (all_settled) lost_since_protected_ = 0;
    if (changes != changes_seen_ || view_.epoch != epoch_seen_) check_restorable();
    changes_seen_ = changes;
    epoch_seen_ = view_.epoch;
  }

  /// The newest version that any reachable hub knows to be committed can be restored by every rank, and is of one
  /// epoch.
  void check_restorable() {
    Version committed = 0;
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      if (reachable(static_cast<HubId>(h))) committed = std::max(committed, nodes_[h].store->committed());
    }
    if (committed == 0) return;
    std::optional<std::uint32_t> timeline;
    for (Rank r = 0; r < scenario_.ranks; ++r) {
      bool found = false;
      for (std::size_t h = 0; h < nodes_.size(); ++h) {
        const SnapshotId id{r, committed};
        if (!reachable(static_cast<HubId>(h)) || !chain_of(*nodes_[h].store, id)) continue;
        found = true;
        const auto of = SimSnapshot::head(*nodes_[h].store->find(id)).timeline;
        if (timeline && *timeline != of) report(to_string(id) + " is there of two epochs");
        timeline = of;
      }
      if (!found && with_parity()) {
        const auto head = rebuild_by_hand({r, committed});
        found = head.has_value();
        if (head && timeline && *timeline != head->timeline) report(to_string(SnapshotId{r, committed}) + " is there of two epochs");
      }
      if (!found)
        report("committed version " + std::to_string(committed) + " of rank " + std::to_string(r) + " is lost");
    }
  }

  /// The whole chain out of the blocks that are there, without the protocol; its last link, or none when there are too
  /// few blocks or one is not what it should be.
  std::optional<SimSnapshot> rebuild_by_hand(SnapshotId id) {
    const auto plans = context::plan_rebuild(inventories(false), id);
    if (!plans) return std::nullopt;
    std::map<Version, Version> base_of;
    std::optional<SimSnapshot> last;
    for (const auto& plan : *plans) {
      std::vector<ByteView> from;
      std::vector<int> blocks;
      std::uint64_t longest = plan.bytes;
      for (const auto& source : plan.sources) {
        const auto& node = nodes_[source.hub];
        const auto* bytes = (source.parity ? node.parity : node.store)->find(source.id);
        if (bytes == nullptr || digest128(ByteView(*bytes).first(source.bytes)) != source.content) return std::nullopt;
        from.push_back(ByteView(*bytes).first(source.bytes));
        blocks.push_back(source.block);
        longest = std::max(longest, source.bytes);
      }
      Bytes made(longest);
      std::byte* const to[] = {made.data()};
      const int wanted[] = {plan.block};
      ErasureCode(plan.data, plan.parity).sum(wanted, blocks).apply(from, to, longest);
      made.resize(plan.bytes);
      const auto snapshot = SimSnapshot::parse(made, scenario_.seed);
      if (!snapshot || snapshot->rank != id.rank || snapshot->version != plan.id.version) return std::nullopt;
      base_of[snapshot->version] = snapshot->base;
      last = snapshot;
    }
    for (auto version = id.version; version != 0; version = base_of[version]) {
      if (!base_of.contains(version)) return std::nullopt;
    }
    return last;
  }

  bool finished() const {
    if (!calm_) return false;
    for (const auto h : roles_) {
      const auto& node = nodes_[h];
      if (!node.hub || node.hung || !node.restored || node.published != last_ || !node.hub->protocol().settled() ||
          node.hub->protocol().committed() != last_) {
        return false;
      }
    }
    return true;
  }

  void check_end() {
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      if (nodes_[h].hub) collect(static_cast<HubId>(h));
    }
    for (std::size_t r = 0; r < roles_.size(); ++r) {
      const SnapshotId id{static_cast<Rank>(r), last_};
      if (!chain_of(*nodes_[roles_[r]].store, id)) report("at the end " + to_string(id) + " is not with its rank");
      for (const auto& group : view_.groups) check_parity(group);
      if (with_parity()) continue;
      for (const auto partner : view_.mirrored_by[r]) {
        const auto holder = roles_[static_cast<std::size_t>(partner)];
        if (!chain_of(*nodes_[holder].store, id)) report("at the end " + to_string(id) + " is not with its partner");
      }
    }
  }

  /// At the end each holder has parity of the last version, and of all that it stands on.
  void check_parity(const mirror::ParityGroup& group) {
    for (const auto holder : group.holders) {
      const auto records = context::parity_records(*nodes_[roles_[static_cast<std::size_t>(holder)]].parity);
      std::set<Version> wanted{last_};
      while (!wanted.empty()) {
        const auto version = *wanted.begin();
        wanted.erase(wanted.begin());
        const auto found = std::find_if(records.begin(), records.end(), [&](const ParityRecord& record) {
          return record.version == version && record.ranks() == group.members;
        });
        if (found == records.end()) {
          return report("at the end there is no parity of version " + std::to_string(version) + " with rank " +
                        std::to_string(holder));
        }
        for (const auto& member : found->members) {
          if (member.base != 0) wanted.insert(member.base);
        }
      }
    }
  }

  void report(const std::string& what) {
    if (!problem_.empty()) return;
    std::ostringstream text;
    text << "step " << steps_ << ", " << static_cast<double>(network_.now()) * 1e-6 << " ms, epoch " << view_.epoch
         << ": " << what;
    problem_ = text.str();
    if (trace_) std::fprintf(stderr, "%s\n", problem_.c_str());
  }

  void note(const std::string& what, HubId hub) const {
    if (!trace_) return;
    std::fprintf(stderr, "%9.3f ms  step %6llu  hub %u  %s\n", static_cast<double>(network_.now()) * 1e-6,
                 static_cast<unsigned long long>(steps_), hub, what.c_str());
  }

  std::string state() const {
    std::ostringstream text;
    for (std::size_t h = 0; h < nodes_.size(); ++h) {
      const auto& node = nodes_[h];
      text << "hub " << h << (node.hub ? "" : " dead") << (node.hung ? " hung" : "");
      if (node.hub) {
        text << " rank " << node.rank.value_or(-1) << " epoch " << node.hub->epoch() << " restored " << node.restored
             << " published " << node.published << "/" << last_ << " committed " << node.hub->protocol().committed()
             << (node.hub->protocol().settled() ? " settled" : " unsettled");
      }
      text << "; ";
    }
    return text.str();
  }

  Scenario scenario_;
  bool trace_;
  Random random_;
  comm::SimulatedNetwork network_;
  std::vector<Node> nodes_;
  mirror::View view_;
  std::vector<HubId> roles_;
  std::map<std::pair<Nanoseconds, std::uint64_t>, std::function<void()>> timers_;
  std::uint64_t timer_numbers_ = 0, steps_ = 0, changes_seen_ = ~std::uint64_t{0};
  Epoch epoch_seen_ = 0;
  Version first_ = 1, last_ = 1;
  int lost_since_protected_ = 0;
  bool recovering_ = false, calm_ = false;
  std::string problem_;
};

}  // namespace foreweave::test
