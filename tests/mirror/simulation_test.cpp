// The mirror protocol under seeded faults in virtual time. Environment:
// timeout: 600
//   FOREWEAVE_SIM_SEEDS=N  so many schedules (default 2000)     FOREWEAVE_SIM_FIRST=S  from this seed on (default 1)
//   SIMULATION_PART=N       an N-th of the schedules (default 1; the sanitizers' builds are slow and run 8)
//   FOREWEAVE_SIM_TRACE=1  tell what happens (with FOREWEAVE_SIM_SEEDS=1 and the seed that failed)
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>

#include "mirror/sim_world.hpp"

namespace foreweave::test {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const auto* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::uint64_t part() { return std::max<std::uint64_t>(from_environment("SIMULATION_PART", 1), 1); }

TEST(Simulation, SeededSchedules) {
  const auto first = from_environment("FOREWEAVE_SIM_FIRST", 1);
  const auto seeds = from_environment("FOREWEAVE_SIM_SEEDS", 2000 / part());
  const bool trace = from_environment("FOREWEAVE_SIM_TRACE", 0) != 0;
  World::Tally sum;
  std::uint64_t steps = 0;
  int failures = 0;
  for (auto seed = first; seed < first + seeds && failures < 5; ++seed) {
    World world(Scenario::draw(seed), trace);
    const auto problem = world.run();
    if (!problem.empty()) {
      ++failures;
      ADD_FAILURE() << "seed " << seed << ": " << problem << "\n  again: FOREWEAVE_SIM_TRACE=1 FOREWEAVE_SIM_SEEDS=1 "
                    << "FOREWEAVE_SIM_FIRST=" << seed << " mirror.simulation_test";
    }
    steps += world.steps();
    sum.kills += world.tally.kills, sum.hangs += world.tally.hangs, sum.relaunches += world.tally.relaunches;
    sum.takeovers += world.tally.takeovers, sum.fetches += world.tally.fetches, sum.folds += world.tally.folds;
    sum.stores_lost += world.tally.stores_lost, sum.commits += world.tally.commits,
        sum.refused += world.tally.refused;
    sum.rebuilds += world.tally.rebuilds, sum.parities += world.tally.parities;
    sum.damaged += world.tally.damaged, sum.other_epoch += world.tally.other_epoch, sum.stale += world.tally.stale;
  }
  std::cout << seeds << " schedules, " << steps << " steps: " << sum.kills << " kills, " << sum.hangs << " hangs, "
            << sum.relaunches << " relaunches, " << sum.takeovers << " takeovers, " << sum.fetches << " fetches, "
            << sum.stores_lost << " stores lost, " << sum.stale << " stale snapshots, " << sum.commits << " commits, "
            << sum.folds << " folds, " << sum.parities << " parity blocks, " << sum.rebuilds << " rebuilds, " << sum.refused << " refusals, " << sum.damaged << " damaged frames, "
            << sum.other_epoch << " of another epoch\n";
  if (seeds >= 1000) {  // the schedules did meet what they are for
    EXPECT_GT(sum.takeovers, 100U);
    EXPECT_GT(sum.fetches, 100U);
    EXPECT_GT(sum.folds, 100U);
    EXPECT_GT(sum.hangs, 50U);
    EXPECT_GT(sum.relaunches, 100U);
    EXPECT_GT(sum.refused, 100U);
    EXPECT_GT(sum.damaged, 100U);
    EXPECT_GT(sum.stale, 10U);
    EXPECT_GT(sum.parities, 1000U);
    EXPECT_GT(sum.rebuilds, 100U);
  }
}

/// One scenario, and at each of its steps each kind of blow to each hub that is a rank.
TEST(Simulation, DeathAtEveryStep) {
  Scenario scenario;
  scenario.seed = 7;
  scenario.versions = 3;
  scenario.max_filler = 300;
  scenario.faults_until = 150 * ms;
  World undisturbed(scenario);
  ASSERT_EQ(undisturbed.run(), "");
  std::uint64_t last = 0;
  {
    auto no_end = scenario;
    World world(no_end);
    last = world.steps_until(scenario.faults_until);
  }
  ASSERT_GT(last, 100U);
  int runs = 0, failures = 0;
  for (std::uint64_t step = 1; step <= last && failures < 5; step += part()) {
    for (std::uint64_t victim = 0; victim < 3; ++victim) {
      for (const auto& [blow, store_lost] : {std::pair{Scenario::Blow::kill, true},
                                             {Scenario::Blow::kill, false},
                                             {Scenario::Blow::hang, false},
                                             {Scenario::Blow::relaunch, true}}) {
        auto with_death = scenario;
        with_death.deaths = {{step, blow, victim, store_lost}};
        World world(with_death);
        const auto problem = world.run();
        ++runs;
        if (problem.empty()) continue;
        ++failures;
        ADD_FAILURE() << "blow " << static_cast<int>(blow) << " to hub " << victim << " at step " << step
                      << (store_lost ? ", store lost" : "") << ": " << problem;
      }
    }
  }
  std::cout << runs << " schedules, " << last << " steps each at which something could happen\n";
}

/// Copies and parity groups of several shapes; every choice of as many hubs as may be lost, all at once at several random
/// steps, and their memory with them.
TEST(Simulation, EveryChoiceOfDeaths) {
  struct Shape {
    Rank ranks;
    int copies, data, parity;
  };
  Random random(11);
  int runs = 0, failures = 0;
  World::Tally sum;
  for (const auto& shape : {Shape{3, 2, 0, 0}, {4, 3, 0, 0}, {5, 2, 0, 0}, {3, 0, 2, 1}, {4, 0, 3, 1}, {5, 0, 2, 1}, {4, 0, 2, 2},
                            {5, 0, 3, 2}, {7, 0, 2, 2}, {6, 0, 3, 3}}) {
    Scenario scenario;
    scenario.ranks = shape.ranks;
    scenario.copies = shape.copies;
    scenario.data = shape.data;
    scenario.parity = shape.parity;
    const int most = shape.data > 0 ? shape.parity : shape.copies;
    scenario.spares = most;
    scenario.versions = 7;
    scenario.max_chain = 3;
    scenario.max_filler = 300;
    scenario.faults_until = 400 * ms;
    std::uint64_t last = 0;
    {
      World world(scenario);
      last = world.steps_until(scenario.faults_until);
    }
    for (unsigned choice = 1; choice < 1U << shape.ranks; ++choice) {
      if (__builtin_popcount(choice) > most) continue;
      for (std::uint64_t round = 0; round < 40 / part() && failures < 5; ++round) {
        auto with_deaths = scenario;
        with_deaths.seed = random.next() % 1000 + 1;
        const auto step = random.between<std::uint64_t>(1, last);
        // The highest first: a number names one of the living.
        for (Rank victim = shape.ranks; victim-- > 0;) {
          if ((choice >> victim & 1) == 0) continue;
          with_deaths.deaths.push_back({step, Scenario::Blow::kill, static_cast<std::uint64_t>(victim), true});
        }
        World world(with_deaths);
        const auto problem = world.run();
        ++runs;
        sum.kills += world.tally.kills, sum.rebuilds += world.tally.rebuilds, sum.fetches += world.tally.fetches;
        if (problem.empty()) continue;
        ++failures;
        ADD_FAILURE() << shape.ranks << " ranks, " << shape.copies << " copies, groups " << shape.data << "+"
                      << shape.parity << ", hubs " << choice << " at step " << step << " of seed " << with_deaths.seed
                      << ": " << problem;
      }
    }
  }
  std::cout << runs << " schedules: " << sum.kills << " kills, " << sum.fetches << " fetches, " << sum.rebuilds
            << " rebuilds\n";
  EXPECT_GT(sum.rebuilds, 1000U);
}

}  // namespace
}  // namespace foreweave::test
