// timeout: 300
// A process that records is killed (SIGKILL) at moments chosen by seed; stock h5py must read every file that is left,
// with at least the rows whose drain had returned. FOREWEAVE_TEST_SEEDS sets how many moments (default 60).
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "foreweave/trace/recorder.hpp"

namespace foreweave::trace {
namespace {

namespace fs = std::filesystem;

struct Shared {
  std::atomic<bool> ready{false};
  std::atomic<std::uint64_t> drained{0};
};

[[noreturn]] void record_until_killed(const fs::path& folder, Shared& shared, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Recorder recorder(folder, {"run", "job", "command", 0, 1, 0, 1, 0, {}});
  std::uint64_t version = 0;
  // Ahead of the kill: enough rows that some runs are in the middle of packing, some at a chunk border.
  for (std::uint64_t i = random() % 600; version < i;) {
    CaptureReport report;
    report.version = ++version;
    report.snapshot_bytes = version * 2654435761u;
    report.pages_by_transform[4] = version * 7;
    recorder.add(report, 1);
  }
  shared.ready = true;
  while (true) {
    for (std::uint64_t i = 1 + random() % 20; i > 0; --i) {
      CaptureReport report;
      report.version = ++version;
      report.snapshot_bytes = version * 2654435761u;
      report.pages_by_transform[4] = version * 7;
      recorder.add(report, 1);
    }
    if (random() % 3 == 0) {
      const auto hub = static_cast<std::uint32_t>(random() % 1000);
      recorder.add(FailureRecord{1, hub, -1, "reason " + std::to_string(hub)});
    }
    recorder.drain();
    shared.drained = version;
  }
}

std::string python_with_h5py() {
  const char* named = std::getenv("FOREWEAVE_PYTHON");
  for (std::string candidate : {named != nullptr ? named : "", "python3", "/usr/bin/python3"}) {
    if (!candidate.empty() && std::system((candidate + " -c 'import h5py' 2>/dev/null").c_str()) == 0)
      return candidate;
  }
  return {};
}

TEST(RecorderKill, EveryMomentLeavesAFileThatH5pyReads) {
  const auto python = python_with_h5py();
  ASSERT_FALSE(python.empty()) << "no Python with h5py: install python3-h5py";
  const char* wanted = std::getenv("FOREWEAVE_TEST_SEEDS");
  const std::uint64_t seeds = wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 60;
  std::string name = (fs::temp_directory_path() / "foreweave-kill-XXXXXX").string();
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  const fs::path folder = name;
  std::string arguments;
  std::uint64_t rows = 0;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    auto* shared =
        new (::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared;
    const auto own = folder / std::to_string(seed);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) record_until_killed(own, *shared, seed);
    while (!shared->ready) std::this_thread::sleep_for(std::chrono::microseconds(100));
    std::mt19937_64 random(seed + 1'000'000);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 40'000));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the recording process ended by itself: status " << status;
    rows += shared->drained;
    arguments += " " + (own / "ranks/attempt0.hub0.h5").string() + "=" + std::to_string(shared->drained);
    ::munmap(shared, sizeof(Shared));
    if (seed % 100 == 99 || seed + 1 == seeds) {
      EXPECT_EQ(std::system((python + " " FOREWEAVE_SOURCE_DIR "/tests/trace/check_traces.py" + arguments).c_str()),
                0)
          << "kept in " << folder;
      arguments.clear();
    }
  }
  EXPECT_GT(rows, 0u);
  if (!::testing::Test::HasFailure()) fs::remove_all(folder);
}

}  // namespace
}  // namespace foreweave::trace
