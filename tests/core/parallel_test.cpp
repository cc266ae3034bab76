// Loops on several threads: every piece once, errors out of any thread, callers one after another.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstdint>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/parallel.hpp"
#include "state/support.hpp"

namespace foreweave {
namespace {

using test::expect_error;

class Team : public testing::TestWithParam<int> {};

TEST_P(Team, RunsEveryPieceOnce) {
  Parallel team(GetParam());
  EXPECT_EQ(team.threads(), GetParam());
  for (const std::uint64_t count : {0, 1, 2, 3, 17, 1000}) {
    for (int again = 0; again < 20; ++again) {
      std::vector<int> runs(count, 0);
      std::atomic<bool> strange = false;
      team.for_each(count, [&](std::uint64_t index, int member) {
        ++runs[index];  // not atomic: pieces are nobody else's, and the caller sees what was written
        if (member < 0 || member >= GetParam()) strange = true;
      });
      EXPECT_EQ(runs, std::vector<int>(count, 1));
      EXPECT_FALSE(strange);
    }
  }
}

TEST_P(Team, AMemberIsOneThread) {
  Parallel team(GetParam());
  std::vector<std::thread::id> ids(static_cast<std::size_t>(GetParam()));
  std::atomic<bool> changed = false;
  for (int again = 0; again < 20; ++again) {
    team.for_each(200, [&](std::uint64_t, int member) {
      auto& id = ids[static_cast<std::size_t>(member)];
      if (id == std::thread::id()) id = std::this_thread::get_id();
      if (id != std::this_thread::get_id()) changed = true;
    });
  }
  EXPECT_FALSE(changed);
  EXPECT_TRUE(ids[0] == std::thread::id() || ids[0] == std::this_thread::get_id());
}

TEST_P(Team, ThrowsWhatAPieceThrewAndGoesOn) {
  Parallel team(GetParam());
  for (const std::uint64_t bad : {0, 1, 50, 99}) {
    std::atomic<int> runs = 0;
    try {
      team.for_each(100, [&](std::uint64_t index, int) {
        ++runs;
        if (index == bad) throw std::runtime_error(std::to_string(bad));
      });
      ADD_FAILURE() << "no error from piece " << bad;
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), std::to_string(bad));
    }
    EXPECT_GE(runs, static_cast<int>(bad) + 1) << "pieces are handed out in ascending order";
    std::atomic<int> after = 0;
    team.for_each(100, [&](std::uint64_t, int) { ++after; });
    EXPECT_EQ(after, 100);
  }
}

TEST_P(Team, RefusesALoopInsideItsOwnLoop) {
  Parallel team(GetParam()), other(2);
  std::atomic<int> runs = 0;
  team.for_each(4, [&](std::uint64_t, int) { other.for_each(3, [&](std::uint64_t, int) { ++runs; }); });
  EXPECT_EQ(runs, 12) << "another team's loop is no harm";
  expect_error(ErrorCategory::state, {"same team"},
               [&] { team.for_each(4, [&](std::uint64_t, int) { team.for_each(1, [](std::uint64_t, int) {}); }); });
  team.for_each(4, [&](std::uint64_t, int) { ++runs; });
  EXPECT_EQ(runs, 16);
}

TEST_P(Team, PiecesStillRunningAreWaitedFor) {
  Parallel team(GetParam());
  for (int again = 0; again < 200; ++again) {
    std::atomic<int> over = 0;
    const auto count = static_cast<std::uint64_t>(GetParam());
    team.for_each(count, [&](std::uint64_t index, int) {
      for (std::uint64_t i = 0; i < index * 3; ++i) std::this_thread::yield();
      ++over;
    });
    EXPECT_EQ(over, GetParam());
  }
}

TEST_P(Team, SeveralCallersFollowOneAnother) {
  Parallel team(GetParam());
  std::atomic<int> total = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int again = 0; again < 50; ++again) {
        std::atomic<int> mine = 0;
        team.for_each(10, [&](std::uint64_t, int) { ++mine; });
        total += mine;
      }
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 50 * 10);
}

INSTANTIATE_TEST_SUITE_P(Threads, Team, testing::Values(1, 2, 3, 8));

TEST(Parallel, RefusesATeamOfNobody) {
  for (const int threads : {0, -1}) {
    expect_error(ErrorCategory::argument, {"at least 1"}, [&] { Parallel team(threads); });
  }
}

TEST(Parallel, SignalsStayTheProgramsOwn) {
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  Parallel team(2);
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
  std::atomic<int> seen = 0, blocked = 0;
  // Both pieces wait for each other, so that each member has one.
  team.for_each(2, [&](std::uint64_t, int member) {
    ++seen;
    while (seen < 2) std::this_thread::yield();
    sigset_t mine;
    pthread_sigmask(SIG_SETMASK, nullptr, &mine);
    if (member == 1) blocked = sigismember(&mine, SIGTERM);
  });
  EXPECT_EQ(blocked, 1);
}

}  // namespace
}  // namespace foreweave
