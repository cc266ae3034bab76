// From the host tier to files: what is ordered arrives, restorable; what cannot arrive costs no program its run.
// threads
#include "context/flusher.hpp"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "context/stores.hpp"
#include "foreweave/state/capture.hpp"
#include "foreweave/state/chain.hpp"
#include "state/support.hpp"

namespace foreweave::context {
namespace {

using test::TemporaryFolder;

class FlusherTest : public testing::Test {
 protected:
  FlusherTest() {
    options_.store = (folder_.path() / "host").string();
    options_.file_store = (folder_.path() / "file").string();
    options_.shared_store = (folder_.path() / "shared").string();
    host_ = open_host_store(options_, 0);
    data_.resize(5 * segment_bytes / 8);
    for (std::size_t i = 0; i < data_.size(); ++i) data_[i] = 1.0 + 1e-6 * static_cast<double>(i);
    capture_ = std::make_unique<CaptureEngine>(CaptureOptions{});
    capture_->add({"data", data_.data(), data_.size() * 8, ElementType::f64, {}});
  }
  void start() {
    flusher_ = std::make_unique<Flusher>(
        options_, 0, *host_, nullptr, nullptr, [this] { ++kept_house_; },
        [this](const FlushDone& done) {
          const std::lock_guard lock(mutex_);
          done_.push_back(done);
          changed_.notify_all();
        });
    flusher_->set_rank(0);
  }
  /// The next version: a few values are others, or all of them, and noise, when `fully`.
  Version capture(bool fully = false) {
    ++version_;
    for (std::size_t i = 0; i < data_.size(); i += 50'000) data_[i] += 1e-3 * static_cast<double>(version_);
    if (fully) {
      for (auto& value : data_) value = static_cast<double>(random_());
    }
    capture_->begin(version_);
    capture_->finish(*host_);
    host_->set_committed(version_);
    states_.push_back(data_);
    return version_;
  }
  FlushDone next_done() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return !done_.empty(); })) << "nothing was done";
    if (done_.empty()) return {};
    const auto done = done_.front();
    done_.pop_front();
    return done;
  }
  std::unique_ptr<PackedStore> tier(FileTier which) { return open_file_tier(options_, which, 0); }
  void expect_version(const Store& store, Version version) {
    SCOPED_TRACE("version " + std::to_string(version) + " in " + store.name());
    const auto chain = Chain::open(store, {0, version}, nullptr);
    std::vector<double> found(data_.size());
    for (std::uint64_t s = 0; s < segment_count(found.size() * 8); ++s) {
      chain.read_segment(0, s, reinterpret_cast<std::byte*>(found.data()) + s * segment_bytes,
                         segment_length(found.size() * 8, s));
    }
    EXPECT_TRUE(found == states_[version - 1]);
  }

  TemporaryFolder folder_{"/tmp"};
  Options options_;
  std::unique_ptr<Store> host_;
  std::vector<double> data_;
  std::unique_ptr<CaptureEngine> capture_;
  std::vector<std::vector<double>> states_;
  std::mt19937_64 random_{1};
  Version version_ = 0;
  std::atomic<int> kept_house_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<FlushDone> done_;
  std::unique_ptr<Flusher> flusher_;   // last: its thread uses the others
};

TEST_F(FlusherTest, WhatIsOrderedStandsInItsTierWithItsChain) {
  start();
  capture();
  capture();
  flusher_->order({FileTier::local, 2, 0, 0});
  const auto done = next_done();
  EXPECT_EQ(done.tier, FileTier::local);
  EXPECT_EQ(done.version, 2u);
  EXPECT_TRUE(done.ok);
  EXPECT_THAT(flusher_->pending(), ::testing::IsEmpty());
  expect_version(*tier(FileTier::local), 2);
  EXPECT_TRUE(tier(FileTier::shared)->list().empty());
  // From the tier before, when memory has it no more.
  host_->erase({0, 1});
  host_->erase({0, 2});
  flusher_->order({FileTier::shared, 2, 0, 0});
  EXPECT_TRUE(next_done().ok);
  expect_version(*tier(FileTier::shared), 2);
}

TEST_F(FlusherTest, AVersionThatIsNowhereIsToldAndTheNextOneGoes) {
  start();
  capture();
  flusher_->order({FileTier::local, 9, 0, 0});
  EXPECT_FALSE(next_done().ok);
  flusher_->order({FileTier::local, 1, 0, 0});
  EXPECT_TRUE(next_done().ok);
}

TEST_F(FlusherTest, ATierThatRefusesIsToldAndTheOtherGoesOn) {
  start();
  capture();
  const auto place = folder_.path() / "file" / options_.job / "hub-0";
  std::filesystem::remove_all(place);   // the store has lost its folder
  flusher_->order({FileTier::local, 1, 0, 0});
  EXPECT_FALSE(next_done().ok);
  flusher_->order({FileTier::shared, 1, 0, 0});
  EXPECT_TRUE(next_done().ok);
}

TEST_F(FlusherTest, AFullDiskIsToldAndWhenThereIsRoomAgainAllIsWell) {
  start();
  capture(true);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 2 * segment_bytes;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  flusher_->order({FileTier::local, 1, 0, 0});
  const auto done = next_done();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  ::signal(SIGXFSZ, handler);
  EXPECT_FALSE(done.ok);
  EXPECT_TRUE(tier(FileTier::local)->list().empty());
  capture();
  flusher_->order({FileTier::local, 2, 0, 0});
  EXPECT_TRUE(next_done().ok);
  expect_version(*tier(FileTier::local), 2);
}

TEST_F(FlusherTest, AHubWithoutARankSaysThatItCannot) {
  start();
  flusher_->set_rank(-1);
  capture();
  flusher_->order({FileTier::local, 1, 0, 0});
  EXPECT_FALSE(next_done().ok) << "else the others would wait for ever";
}

TEST_F(FlusherTest, ADamagedPackIsReplacedByWhatMemoryHas) {
  options_.max_chain = 3;
  start();
  const auto flush_next = [&] {
    const auto version = capture();
    flusher_->order({FileTier::local, version, 0, 0});
    EXPECT_TRUE(next_done().ok);
    flusher_->finish(60'000'000'000);   // with what follows a flush
    start();
    return version;
  };
  const auto first = flush_next();
  flush_next();
  const auto place = folder_.path() / "file" / options_.job / "hub-0";
  for (const auto& entry : std::filesystem::directory_iterator(place)) {
    const auto name = entry.path().filename().string();
    if (name.find("-v" + std::string(11, '0') + std::to_string(first) + "-") == std::string::npos) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
    file << "damage";
  }
  EXPECT_FALSE(newest_restorable(*tier(FileTier::local), 0, nullptr));
  // Found when the chain is folded, and mended by the flush after that.
  for (int i = 0; i < 8; ++i) flush_next();
  expect_version(*tier(FileTier::local), version_);
}

TEST_F(FlusherTest, KilledWhileFlushingItGoesOnWhereThatWas) {
  capture(true);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    options_.flush_bandwidth = 1;
    start();
    flusher_->order({FileTier::local, 1, 0, 0});
    ::pause();
    ::_exit(1);
  }
  const auto place = folder_.path() / "file" / options_.job / "hub-0";
  const auto unfinished = [&] {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(place, none)) {
      if (entry.path().filename().string().starts_with(".tmp-") && entry.file_size(none) > 0) return true;
    }
    return false;
  };
  const auto begin = monotonic_now();
  while (!unfinished() && monotonic_now() - begin < 20'000'000'000) std::this_thread::yield();
  EXPECT_TRUE(unfinished());
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  start();
  EXPECT_FALSE(unfinished());
  EXPECT_TRUE(tier(FileTier::local)->list().empty());
  flusher_->order({FileTier::local, 1, 0, 0});
  EXPECT_TRUE(next_done().ok);
  expect_version(*tier(FileTier::local), 1);
}

TEST_F(FlusherTest, ASlowTierDoesNotHoldTheNearerOneUp) {
  options_.flush_bandwidth = 2;
  start();
  capture(true);
  flusher_->order({FileTier::shared, 1, 0, 0});
  const int before = kept_house_;
  flusher_->wake();
  const auto begin = monotonic_now();
  while (kept_house_ == before && monotonic_now() - begin < 20'000'000'000) std::this_thread::yield();
  flusher_->order({FileTier::local, 1, 0, 0});
  EXPECT_EQ(next_done().tier, FileTier::local);
  EXPECT_EQ(next_done().tier, FileTier::shared);
  expect_version(*tier(FileTier::local), 1);
  expect_version(*tier(FileTier::shared), 1);
}

TEST_F(FlusherTest, ADamagedSnapshotInMemoryIsNotBroughtAnywhere) {
  start();
  capture();
  for (const auto& entry : std::filesystem::directory_iterator(host_folder(options_, 0))) {
    if (entry.path().extension() != ".fwsnap") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
    file << "damage";
  }
  flusher_->order({FileTier::local, 1, 0, 0});
  EXPECT_FALSE(next_done().ok);
  EXPECT_TRUE(tier(FileTier::local)->list().empty());
}

TEST_F(FlusherTest, KeepsTheNewestAndTheFirstOfEachBlockAndWhatAllHave) {
  options_.keep = 1;
  options_.keep_every = 4;
  options_.max_chain = 2;
  start();
  for (int i = 0; i < 11; ++i) {
    const auto version = capture();
    flusher_->order({FileTier::local, version, version > 6 ? Version{6} : Version{0}, 0});
    EXPECT_TRUE(next_done().ok);
  }
  flusher_->finish(60'000'000'000);
  const auto store = tier(FileTier::local);
  std::set<Version> there;
  for (const auto& stored : store->list()) there.insert(stored.id.version);
  EXPECT_THAT(there, ::testing::IsSupersetOf({Version{4}, Version{6}, Version{8}, Version{10}, Version{11}}));
  EXPECT_THAT(there, ::testing::Not(::testing::Contains(Version{1})));
  EXPECT_LE(there.size(), 5u + 2 * 2u);
  for (const Version version : {4, 6, 8, 10, 11}) expect_version(*store, version);
  EXPECT_EQ(store->committed(), 6u);
}

TEST_F(FlusherTest, ManyLinksThatTookMoreThanAFullSnapshotGoAsOne) {
  start();
  for (int i = 0; i < 5; ++i) capture(true);
  flusher_->order({FileTier::shared, 5, 0, 0});
  EXPECT_TRUE(next_done().ok);
  const auto store = tier(FileTier::shared);
  EXPECT_EQ(store->list().size(), 1u);
  expect_version(*store, 5);
}

TEST_F(FlusherTest, TheCapHoldsAndHostMemoryIsKeptInOrderMeanwhile) {
  options_.flush_bandwidth = 2;
  start();
  capture(true);
  const auto bytes = host_->bytes();
  const auto begin = monotonic_now();
  flusher_->order({FileTier::local, 1, 0, 0});
  const int before = kept_house_;
  flusher_->wake();
  while (kept_house_ == before && monotonic_now() - begin < 20'000'000'000) std::this_thread::yield();
  EXPECT_GT(kept_house_, before);
  EXPECT_THAT(flusher_->pending(), ::testing::ElementsAre(1)) << "while the flush is under way";
  EXPECT_TRUE(next_done().ok);
  const auto seconds = static_cast<double>(monotonic_now() - begin + TokenBucket::burst) * 1e-9;
  EXPECT_LT(static_cast<double>(bytes) / seconds, 2.05e6);
}

TEST_F(FlusherTest, NobodyWaitsForASlowFileSystem) {
  options_.flush_bandwidth = 1;
  start();
  capture(true);
  flusher_->order({FileTier::local, 1, 0, 0});
  flusher_->finish(200'000'000);   // 5 MiB would take 5 s
  EXPECT_TRUE(done_.empty());
  EXPECT_TRUE(tier(FileTier::local)->list().empty());
}

TEST_F(FlusherTest, TheEndBringsTheNewestVersionToEveryTier) {
  start();
  capture();
  capture();
  flusher_->finish(60'000'000'000);
  expect_version(*tier(FileTier::local), 2);
  expect_version(*tier(FileTier::shared), 2);
}

TEST_F(FlusherTest, WhoCapturesCatchesUpWithTheHostTier) {
  start();
  flusher_->finish(0);   // as if the flush thread got no processor
  flusher_->wake();
  flusher_->catch_up();
  EXPECT_EQ(kept_house_, 0) << "one behind is nothing";
  flusher_->wake();
  {
    const Flusher::Hold hold(flusher_.get());
  }
  flusher_->catch_up();
  EXPECT_EQ(kept_house_, 1);
  flusher_->catch_up();
  EXPECT_EQ(kept_house_, 1);
}

TEST_F(FlusherTest, AHoldKeepsHouseOff) {
  start();
  {
    const Flusher::Hold hold(flusher_.get());
    const int before = kept_house_;
    flusher_->wake();
    capture();
    flusher_->order({FileTier::local, 1, 0, 0});
    EXPECT_TRUE(next_done().ok) << "flushing goes on";
    EXPECT_EQ(kept_house_, before);
  }
  const auto begin = monotonic_now();
  while (kept_house_ == 0 && monotonic_now() - begin < 20'000'000'000) std::this_thread::yield();
  EXPECT_GT(kept_house_, 0) << "made up for";
}

}  // namespace
}  // namespace foreweave::context
