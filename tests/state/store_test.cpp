// Stores in folders: atomic, listed from the folder alone, bounded, and leaving nothing behind.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "foreweave/state/packed_store.hpp"
#include "state/snapshot_file_name.hpp"
#include "support.hpp"

namespace foreweave {
namespace {

using test::expect_error;
using test::memory_store;
using test::put;
using test::random_bytes;
using test::stored_bytes;
using test::TemporaryFolder;

enum class Tier { memory, disk, packed };

std::unique_ptr<Store> open_tier(Tier tier, const std::filesystem::path& folder) {
  if (tier == Tier::packed) return make_packed_store({.folder = folder});
  return make_directory_store({folder, tier == Tier::memory ? Durability::memory : Durability::disk, 0});
}

class StoreTest : public testing::TestWithParam<Tier> {
 protected:
  std::unique_ptr<Store> store() { return open_tier(GetParam(), folder_.path()); }
  TemporaryFolder folder_{GetParam() == Tier::memory ? "/dev/shm" : "/tmp"};
};

const char* name_of(Tier tier) { return tier == Tier::memory ? "memory" : tier == Tier::disk ? "disk" : "packed"; }

INSTANTIATE_TEST_SUITE_P(Tiers, StoreTest, testing::Values(Tier::memory, Tier::disk, Tier::packed),
                         [](const auto& info) { return name_of(info.param); });

TEST_P(StoreTest, ReturnsWhatWasWritten) {
  const auto store = this->store();
  for (const std::size_t size : {0, 1, 511, 4096, 4097, 1 << 20}) {
    const auto bytes = random_bytes(size, size);
    put(*store, {0, 1}, bytes);
    EXPECT_EQ(stored_bytes(*store, {0, 1}), bytes) << size;
    EXPECT_EQ(store->bytes(), size);
  }
  EXPECT_EQ(store->open({0, 2}), nullptr);
}

TEST_P(StoreTest, ListsInOrderOfRankThenVersionWithBases) {
  const auto store = this->store();
  put(*store, {1, 2}, random_bytes(10, 1), 1);
  put(*store, {0, 10}, random_bytes(20, 2), 9);
  put(*store, {1, 1}, random_bytes(30, 3), 0);
  put(*store, {0, 9}, random_bytes(40, 4), 0);
  const auto list = store->list();
  ASSERT_EQ(list.size(), 4u);
  EXPECT_EQ(list[0].id, (SnapshotId{0, 9}));
  EXPECT_EQ(list[1].id, (SnapshotId{0, 10}));
  EXPECT_EQ(list[1].base, 9u);
  EXPECT_EQ(list[1].bytes, 20u);
  EXPECT_EQ(list[2].id, (SnapshotId{1, 1}));
  EXPECT_EQ(list[3].base, 1u);
  EXPECT_EQ(store->bytes(), 100u);
}

TEST_P(StoreTest, AppendsAddUp) {
  const auto store = this->store();
  const auto bytes = random_bytes(100000, 5);
  const auto writer = store->create({3, 4});
  for (std::size_t at = 0; at < bytes.size(); at += 777) {
    writer->append(ByteView(bytes).subspan(at, std::min<std::size_t>(777, bytes.size() - at)));
  }
  EXPECT_EQ(writer->written(), bytes.size());
  EXPECT_TRUE(store->list().empty());
  writer->commit(0);
  EXPECT_EQ(stored_bytes(*store, {3, 4}), bytes);
}

TEST_P(StoreTest, AnUncommittedWriteLeavesNothing) {
  const auto store = this->store();
  const auto before = folder_.files();
  {
    const auto writer = store->create({0, 1});
    writer->append(random_bytes(5000, 1));
    EXPECT_EQ(store->open({0, 1}), nullptr);
  }
  EXPECT_EQ(folder_.files(), before);
  EXPECT_EQ(store->bytes(), 0u);
}

TEST_P(StoreTest, ReplacingKeepsOneAndReadersKeepTheirs) {
  const auto store = this->store();
  const auto delta = random_bytes(3000, 1), full = random_bytes(5000, 2);
  put(*store, {0, 7}, delta, 6);
  const auto reader = store->open({0, 7});
  put(*store, {0, 7}, full, 0);
  EXPECT_EQ(store->list().size(), 1u);
  EXPECT_EQ(store->list()[0].base, 0u);
  EXPECT_EQ(stored_bytes(*store, {0, 7}), full);
  EXPECT_TRUE(std::equal(delta.begin(), delta.end(), reader->view().begin(), reader->view().end()));
  store->erase({0, 7});
  EXPECT_EQ(store->open({0, 7}), nullptr);
  EXPECT_TRUE(std::equal(delta.begin(), delta.end(), reader->view().begin(), reader->view().end()));
  store->erase({0, 7});
}

TEST_P(StoreTest, AnInterruptedReplacementShowsTheNewOneOnly) {
  // What a kill between the rename and the removal of the old file leaves.
  const auto old_bytes = random_bytes(100, 1), new_bytes = random_bytes(200, 2);
  {
    const auto store = this->store();
    put(*store, {0, 7}, new_bytes, 0);
    const auto named = [&](Version base, std::uint64_t sequence) {
      return folder_.path() / state_detail::format({{0, 7}, base, sequence, {}});
    };
    std::filesystem::rename(named(0, 0), named(0, 2));
    std::ofstream(named(6, 1), std::ios::binary).write(reinterpret_cast<const char*>(old_bytes.data()), 100);
    ASSERT_EQ(store->list().size(), 1u);
    EXPECT_EQ(store->list()[0].base, 0u);
    EXPECT_EQ(stored_bytes(*store, {0, 7}), new_bytes);
  }
  const auto again = this->store();
  const auto files = folder_.files();
  EXPECT_EQ(std::count_if(files.begin(), files.end(), [](const auto& name) { return name.ends_with(".fwsnap"); }), 1);
  EXPECT_EQ(stored_bytes(*again, {0, 7}), new_bytes);
}

TEST_P(StoreTest, ForeignFilesAreLeftAlone) {
  const std::vector<std::string> foreign{"notes.txt", "r000001-v1-b0-s0.fwsnap",
                                         "r000001-v000000000001-b000000000000-s0000.fwsnap.bak",
                                         "r-00001-v000000000001-b000000000000-s0000.fwsnap", ".hidden"};
  for (const auto& name : foreign) std::ofstream(folder_.path() / name) << "mine";
  const auto store = this->store();
  EXPECT_TRUE(store->list().empty());
  put(*store, {1, 1}, random_bytes(10, 1));
  store->erase({1, 1});
  for (const auto& name : foreign) EXPECT_TRUE(std::filesystem::exists(folder_.path() / name)) << name;
}

TEST_P(StoreTest, CommittedNeverGoesBackAndOutlivesTheStore) {
  {
    const auto store = this->store();
    EXPECT_EQ(store->committed(), 0u);
    store->set_committed(5);
    store->set_committed(3);
    EXPECT_EQ(store->committed(), 5u);
  }
  const auto store = this->store();
  EXPECT_EQ(store->committed(), 5u);
  store->set_committed(~Version{0});
  EXPECT_EQ(store->committed(), ~Version{0});
  store->clear();
  EXPECT_EQ(store->committed(), 0u);
  EXPECT_TRUE(store->list().empty());
  store->clear();   // there is nothing, and that is no error
  store->set_committed(2);
  EXPECT_EQ(store->committed(), 2u);
}

TEST_P(StoreTest, ADamagedCommittedMarkerIsAnErrorThatNamesIt) {
  const auto store = this->store();
  store->set_committed(123);
  const auto file = folder_.path() / "committed";
  std::string text;
  std::getline(std::ifstream(file), text);
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] ^= 1;
    std::ofstream(file) << damaged << "\n";
    expect_error(ErrorCategory::format, {file.string(), "damaged"}, [&] { store->committed(); });
    std::ofstream(file) << text.substr(0, i);
    expect_error(ErrorCategory::format, {file.string(), "damaged"}, [&] { store->committed(); });
  }
}

TEST(DirectoryStore, TheBudgetCountsWhatIsStoredAndWhatIsBeingWritten) {
  const TemporaryFolder folder;
  const auto store = memory_store(folder, 10000);
  put(*store, {0, 1}, random_bytes(4000, 1));
  const auto first = store->create({0, 2}), second = store->create({0, 3});
  first->append(random_bytes(4000, 2));
  expect_error(ErrorCategory::resource, {"rank 0 version 3", "budget of 10000"},
               [&] { second->append(random_bytes(4000, 3)); });
  expect_error(ErrorCategory::state, {"rank 0 version 3"}, [&] { second->commit(0); });
  first->commit(1);
  EXPECT_EQ(store->bytes(), 8000u);
  store->erase({0, 1});
  put(*store, {0, 4}, random_bytes(6000, 4));
  EXPECT_EQ(store->bytes(), 10000u);
}

TEST_P(StoreTest, TheFoldersAreForTheirOwnerAlone) {
  const auto deep = folder_.path() / "a" / "b";
  const auto store = open_tier(GetParam(), deep);
  struct stat status {};
  ASSERT_EQ(::stat(deep.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  ASSERT_EQ(::stat((folder_.path() / "a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
}

TEST_P(StoreTest, AFolderThatCannotBeIsAnErrorThatNamesIt) {
  std::ofstream(folder_.path() / "file") << "x";
  expect_error(ErrorCategory::io, {"file/store"}, [&] {
    open_tier(GetParam(), folder_.path() / "file" / "store");
  });
  expect_error(ErrorCategory::argument, {"empty"}, [&] { open_tier(GetParam(), ""); });
}

TEST_P(StoreTest, RefusesIdsThatCannotBe) {
  const auto store = this->store();
  expect_error(ErrorCategory::argument, {"rank -1"}, [&] { store->create({-1, 1}); });
  expect_error(ErrorCategory::argument, {"version 0"}, [&] { store->create({0, 0}); });
}

TEST_P(StoreTest, AKilledWriterLeavesNothingOnceTheStoreIsOpenedAgain) {
  const auto kept = random_bytes(1000, 1);
  { put(*store(), {0, 1}, kept); }
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto mine = store();
    const auto writer = mine->create({0, 2});
    writer->append(random_bytes(100000, 2));
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char signal = 0;
  ASSERT_EQ(::read(ready[0], &signal, 1), 1);
  const auto temporary = [&] {
    const auto files = folder_.files();
    return std::count_if(files.begin(), files.end(), [](const auto& name) { return name.starts_with(".tmp-"); });
  };
  { const auto while_alive = store(); }
  EXPECT_EQ(temporary(), 1) << "a living writer's file was taken away";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  const auto after = store();
  EXPECT_EQ(temporary(), 0);
  ASSERT_EQ(after->list().size(), 1u);
  EXPECT_EQ(stored_bytes(*after, {0, 1}), kept);
}

TEST_P(StoreTest, ManyThreadsAtOnce) {
  const auto store = this->store();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (Version version = 1; version <= 30; ++version) {
        put(*store, {thread, version}, random_bytes(100 + version, version), version - 1);
        put(*store, {9, 1}, random_bytes(64, 9));  // the same id from all of them
        EXPECT_EQ(stored_bytes(*store, {9, 1}), random_bytes(64, 9));
        if (version > 3) store->erase({thread, version - 3});
        store->set_committed(version);
        store->list();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(store->list().size(), 4u * 3 + 1);
  EXPECT_EQ(store->committed(), 30u);
}

TEST_P(StoreTest, AFullDiskIsAnErrorAndLeavesNothing) {
  // The file size limit of a process stands for a full disk where nothing can be mounted.
  const auto store = this->store();
  put(*store, {0, 1}, random_bytes(1000, 1));
  const auto before = folder_.files();
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  rlimit small = old;
  small.rlim_cur = 64 * 1024;
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    const auto writer = store->create({0, 2});
    writer->append(random_bytes(60000, 2));
    expect_error(ErrorCategory::io, {"rank 0 version 2", folder_.path().string()},
                 [&] { writer->append(random_bytes(60000, 3)); });
    expect_error(ErrorCategory::state, {"rank 0 version 2"}, [&] { writer->commit(0); });
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(folder_.files(), before);
  EXPECT_EQ(stored_bytes(*store, {0, 1}), random_bytes(1000, 1));
  put(*store, {0, 2}, random_bytes(100000, 2));
}

TEST_P(StoreTest, AFullFileSystemIsAnErrorAndLeavesNothing) {
  const auto mounted = folder_.path() / "small";
  std::filesystem::create_directory(mounted);
  if (::mount("none", mounted.c_str(), "tmpfs", 0, "size=1m") != 0) {
    std::puts("cannot mount here; the limit on file sizes above tests the same path");
    return;
  }
  {
    const auto store = open_tier(GetParam(), mounted);
    put(*store, {0, 1}, random_bytes(300000, 1));
    {
      const auto writer = store->create({0, 2});
      expect_error(ErrorCategory::io, {"rank 0 version 2", mounted.string(), "No space left"}, [&] {
        for (int i = 0; i < 100; ++i) writer->append(random_bytes(100000, 2));
      });
    }
    EXPECT_EQ(stored_bytes(*store, {0, 1}), random_bytes(300000, 1));
    EXPECT_EQ(store->list().size(), 1u);
    put(*store, {0, 2}, random_bytes(500000, 3));  // the room is there again
  }
  EXPECT_EQ(::umount(mounted.c_str()), 0);
}

}  // namespace
}  // namespace foreweave
