// Killed at any moment: the newest restorable version is bit-exact, and nothing that was told to be stored is lost.
// timeout: 300
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <new>
#include <thread>

#include "foreweave/state/capture.hpp"
#include "foreweave/state/packed_store.hpp"
#include "model.hpp"

namespace foreweave {
namespace {

using namespace test;
using kernels::page_bytes;

/// What the child says; in memory that both processes share.
struct Told {
  std::atomic<Version> stored{0};     ///< finish() returned for it
  std::atomic<Version> committed{0};  ///< set_committed() returned for it
  std::atomic<int> trouble{0};        ///< the child saw something wrong
};

class SharedTold {
 public:
  SharedTold()
      : memory_(::mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        told_(new (memory_) Told) {}
  ~SharedTold() { ::munmap(memory_, sizeof(Told)); }
  Told& operator*() const { return *told_; }
  Told* operator->() const { return told_; }

 private:
  void* memory_;
  Told* told_;
};

constexpr std::array<std::size_t, 3> region_sizes{segment_bytes + 3 * page_bytes + 100, 5, 40 * page_bytes};

/// The content of every region follows from the version alone. A page changes in every fifth version, in a few words.
void fill(std::size_t region, Version version, Bytes& content) {
  content.resize(region_sizes[region]);
  for (std::size_t page = 0; page * page_bytes < content.size(); ++page) {
    const Version stamp = version - (version + page) % 5;
    std::uint64_t state = (stamp * 1000003 + page) * 8191 + region + 1;
    const std::size_t end = std::min(content.size(), (page + 1) * page_bytes);
    for (std::size_t at = page * page_bytes; at < end; at += 8) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const std::uint64_t value = at % 64 == 0 ? state : page;
      std::memcpy(content.data() + at, &value, std::min<std::size_t>(8, end - at));
    }
  }
}

struct Setting {
  Durability durability;
  bool sealed;
  bool packed = false;
};

class KillTest : public testing::TestWithParam<Setting> {
 protected:
  std::unique_ptr<Store> open_store() const {
    if (GetParam().packed) return make_packed_store({.folder = folder_.path(), .archive = true});
    return make_directory_store({folder_.path(), GetParam().durability, 0});
  }
  std::shared_ptr<const Key> key() const { return GetParam().sealed ? key_ : nullptr; }

  /// Restores, checks, and captures version after version until it is killed.
  void child(Told& told) const {
    const auto store = open_store();
    std::array<Bytes, region_sizes.size()> memory;
    CaptureEngine engine({.key = key()});
    for (std::size_t region = 0; region < memory.size(); ++region) {
      memory[region].resize(region_sizes[region]);
      engine.add(
          {.name = "region" + std::to_string(region), .data = memory[region].data(), .bytes = memory[region].size()});
    }
    Version version = newest_restorable(*store, 0, key().get()).value_or(0);
    if (version != 0) {
      engine.restore(Chain::open(*store, {0, version}, key().get()));
      Bytes expected;
      for (std::size_t region = 0; region < memory.size(); ++region) {
        fill(region, version, expected);
        if (memory[region] != expected) told.trouble = 1;
      }
    }
    for (;;) {
      ++version;
      for (std::size_t region = 0; region < memory.size(); ++region) fill(region, version, memory[region]);
      engine.begin(version);
      engine.finish(*store);
      told.stored = version;
      const Version committed = version - 1;
      store->set_committed(committed);
      told.committed = committed;
      retain(*store, 0, committed != 0 ? committed : 1, 2, key());
    }
  }

  void check(Told& told) const {
    const auto store = open_store();
    EXPECT_EQ(told.trouble, 0) << "a child restored something else";
    std::vector<std::string> problems;
    const auto newest = newest_restorable(*store, 0, key().get(), ~Version{0}, &problems);
    EXPECT_TRUE(problems.empty()) << problems[0];
    EXPECT_GE(newest.value_or(0), told.stored) << "a version that was told to be stored is gone";
    EXPECT_GE(store->committed(), told.committed);
    EXPECT_LE(store->committed(), newest.value_or(0));
    for (const auto& stored : store->list()) {
      if (stored.id.version < told.committed) continue;
      const Chain chain = Chain::open(*store, stored.id, key().get());
      for (std::size_t region = 0; region < region_sizes.size(); ++region) {
        Bytes expected;
        fill(region, stored.id.version, expected);
        ASSERT_TRUE(read_region(chain, region) == expected)
            << "version " << stored.id.version << " region " << region;
      }
    }
    for (const auto& file : folder_.files()) EXPECT_FALSE(file.starts_with(".tmp-")) << file;
  }

  TemporaryFolder folder_{GetParam().durability == Durability::memory ? "/dev/shm" : "/tmp"};
  std::shared_ptr<const Key> key_ = Key::random();
};

INSTANTIATE_TEST_SUITE_P(Tiers, KillTest,
                         testing::Values(Setting{Durability::memory, false}, Setting{Durability::memory, true},
                                         Setting{Durability::disk, false}, Setting{Durability::disk, false, true}),
                         [](const auto& info) {
                           return std::string(info.param.durability == Durability::memory ? "memory" : "disk") +
                                  (info.param.sealed ? "_sealed" : "") + (info.param.packed ? "_packed" : "");
                         });

TEST_P(KillTest, TheNewestVersionIsExactWheneverTheProcessDies) {
  using namespace std::chrono;
  constexpr int kills = 40;
  SharedTold told;
  for (int kill = 0; kill < kills; ++kill) {
    std::mt19937_64 random(1000 + kill);
    const Version wait_for = told->stored + random() % 4;
    const auto moment = microseconds(random() % 6000);
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      try {
        child(*told);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "child: %s\n", error.what());
        told->trouble = 2;
      }
      ::_exit(1);
    }
    const auto limit = steady_clock::now() + seconds(60);
    while (told->stored < wait_for && told->trouble == 0 && steady_clock::now() < limit) {
      std::this_thread::sleep_for(microseconds(200));
    }
    std::this_thread::sleep_for(moment);
    ::kill(pid, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself";
    check(*told);
    if (HasFatalFailure() || HasNonfatalFailure()) {
      ADD_FAILURE() << "after kill " << kill;
      return;
    }
  }
  EXPECT_GT(told->stored, 20u);
}

}  // namespace
}  // namespace foreweave
