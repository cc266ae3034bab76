// timeout: 240
// Writes found by the kernel: the tracker by itself, the rule, and captures with tracking against a model that compares.
#include "state/write_tracker.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "model.hpp"
#include "foreweave/state/capture.hpp"
#include "state/tracking_rule.hpp"
#include "state/write_watch.hpp"

namespace foreweave {
namespace {

using namespace test;
using kernels::page_bytes;
using state_detail::TrackingRule;
using state_detail::WriteTracker;

/// Private anonymous memory of whole system pages.
class Mapping {
 public:
  explicit Mapping(std::uint64_t bytes, int flags = MAP_PRIVATE | MAP_ANONYMOUS) : bytes_(bytes) {
    void* const raw = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (raw == MAP_FAILED) throw std::runtime_error("mmap");
    data_ = static_cast<std::byte*>(raw);
  }
  ~Mapping() { ::munmap(data_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  std::byte* data() const { return data_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t bytes_;
};

#define SKIP_WITHOUT_TRACKING()                                                   \
  do {                                                                            \
    const Mapping probe(16 * WriteTracker::page());                               \
    std::string why_not;                                                          \
    if (!WriteTracker::watch(probe.data(), probe.bytes(), why_not)) GTEST_SKIP() << why_not; \
  } while (false)

/// mremap() of the library is hooked by UCX where that is linked, and its hook loses the fifth argument.
void* move_memory(void* from, std::uint64_t bytes, void* to) {
  return reinterpret_cast<void*>(::syscall(SYS_mremap, from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to));
}

/// Writes what is there already: that is a write as well.
void rewrite(std::byte* at) { *const_cast<volatile std::byte*>(at) = *const_cast<volatile std::byte*>(at); }

using Pages = std::set<std::uint64_t>;

/// The pages that the tracker tells of, by number from its begin().
Pages collected(WriteTracker& tracker) {
  Pages pages;
  const bool good = tracker.collect(tracker.begin(), tracker.end(), [&](std::uint64_t from, std::uint64_t to) {
    for (; from < to; from += WriteTracker::page()) pages.insert((from - tracker.begin()) / WriteTracker::page());
  });
  if (!good) throw std::runtime_error("tracking was lost");
  return pages;
}
bool lost(WriteTracker& tracker) {
  return !tracker.collect(tracker.begin(), tracker.end(), [](std::uint64_t, std::uint64_t) {});
}

class WriteTrackerTest : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_TRACKING();
    tracker_ = WriteTracker::watch(memory_.data(), memory_.bytes(), why_);
    ASSERT_TRUE(tracker_) << why_;
    std::memset(memory_.data(), 1, memory_.bytes());
    (void)collected(*tracker_);
  }
  std::byte* page(std::uint64_t number) { return memory_.data() + number * WriteTracker::page(); }

  static constexpr std::uint64_t pages_ = 600;
  Mapping memory_{pages_ * WriteTracker::page()};
  std::string why_;
  std::unique_ptr<WriteTracker> tracker_;
};

TEST_F(WriteTrackerTest, TellsWhatWasWrittenOnce) {
  EXPECT_EQ(collected(*tracker_), Pages{});
  rewrite(page(0));
  page(3)[17] = std::byte{9};
  page(599)[4095] = std::byte{9};
  EXPECT_EQ(collected(*tracker_), (Pages{0, 3, 599}));
  EXPECT_EQ(collected(*tracker_), Pages{});
  std::thread([&] { page(7)[0] = std::byte{1}; }).join();
  EXPECT_EQ(collected(*tracker_), Pages{7});
}

TEST_F(WriteTrackerTest, MoreRunsThanOneCallOfTheKernelTells) {
  const Mapping large(8000 * WriteTracker::page());
  std::memset(large.data(), 1, large.bytes());
  const auto tracker = WriteTracker::watch(large.data(), large.bytes(), why_);
  ASSERT_TRUE(tracker) << why_;
  EXPECT_EQ(collected(*tracker).size(), 8000u);
  Pages expected;
  for (std::uint64_t i = 0; i < 8000; i += 2) {
    large.data()[i * WriteTracker::page()] = std::byte{2};
    expected.insert(i);
  }
  EXPECT_EQ(collected(*tracker), expected);
  EXPECT_EQ(collected(*tracker), Pages{});
}

TEST_F(WriteTrackerTest, ReleasedPagesAreWrittenOnesUntilCollected) {
  ASSERT_TRUE(tracker_->release(10 * WriteTracker::page(), 12 * WriteTracker::page()));
  EXPECT_EQ(collected(*tracker_), (Pages{10, 11}));
  EXPECT_EQ(collected(*tracker_), Pages{});
}

TEST_F(WriteTrackerTest, OnlyWholePagesAreTracked) {
  const Mapping other(8 * WriteTracker::page());
  const auto tracker = WriteTracker::watch(other.data() + 100, 3 * WriteTracker::page(), why_);
  ASSERT_TRUE(tracker) << why_;
  EXPECT_EQ(tracker->begin(), WriteTracker::page() - 100);
  EXPECT_EQ(tracker->end(), 3 * WriteTracker::page() - 100);
  EXPECT_FALSE(WriteTracker::watch(other.data() + 5 * WriteTracker::page() + 1, WriteTracker::page(), why_));
  EXPECT_NE(why_.find("whole page"), std::string::npos) << why_;
}

TEST_F(WriteTrackerTest, SeesWhatTheKernelWrites) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const Bytes sent(100, std::byte{5});
  ASSERT_EQ(::write(ends[1], sent.data(), sent.size()), 100);
  ASSERT_EQ(::read(ends[0], page(20) - 50, 100), 100);
  ::close(ends[0]);
  ::close(ends[1]);
  iovec from{const_cast<std::byte*>(sent.data()), 10}, to{page(30), 10};
  const bool by_other = ::process_vm_writev(::getpid(), &from, 1, &to, 1, 0) == 10;  // as shared-memory MPI does
  EXPECT_EQ(collected(*tracker_), by_other ? (Pages{19, 20, 30}) : (Pages{19, 20}));
}

TEST_F(WriteTrackerTest, DroppedPagesCountAsWritten) {
  ASSERT_EQ(::madvise(page(40), 5 * WriteTracker::page(), MADV_DONTNEED), 0);
  EXPECT_EQ(collected(*tracker_), (Pages{40, 41, 42, 43, 44}));
  for (std::uint64_t i = 40; i < 45; ++i) EXPECT_EQ(page(i)[5], std::byte{0});
  (void)collected(*tracker_);
  EXPECT_EQ(collected(*tracker_), Pages{});
  page(41)[0] = std::byte{1};
  EXPECT_EQ(collected(*tracker_), Pages{41});
}

TEST_F(WriteTrackerTest, MemoryMappedAnewIsNoLongerTracked) {
  ::mmap(page(50), WriteTracker::page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  EXPECT_TRUE(lost(*tracker_));
}

TEST_F(WriteTrackerTest, MemoryMovedIntoItIsNoLongerTracked) {
  const Mapping other(WriteTracker::page());
  other.data()[0] = std::byte{77};
  ASSERT_EQ(move_memory(other.data(), WriteTracker::page(), page(60)), page(60));
  EXPECT_TRUE(lost(*tracker_));
}

TEST_F(WriteTrackerTest, ProtectionByTheProgramDoesNoHarm) {
  ASSERT_EQ(::mprotect(page(70), 4 * WriteTracker::page(), PROT_READ), 0);
  EXPECT_EQ(collected(*tracker_), Pages{});
  ASSERT_EQ(::mprotect(page(70), 4 * WriteTracker::page(), PROT_READ | PROT_WRITE), 0);
  page(71)[0] = std::byte{1};
  EXPECT_EQ(collected(*tracker_), Pages{71});
}

TEST_F(WriteTrackerTest, AForkedChildIsToldAndLeavesTheParentAlone) {
  page(3)[0] = std::byte{4};
  const pid_t child = ::fork();
  if (child == 0) {
    for (std::uint64_t i = 0; i < pages_; ++i) page(i)[0] = std::byte{6};
    ::_exit(lost(*tracker_) && !tracker_->release(tracker_->begin(), tracker_->end()) ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  page(5)[0] = std::byte{4};
  EXPECT_EQ(collected(*tracker_), (Pages{3, 5}));
}

TEST_F(WriteTrackerTest, MemoryHasOneTrackerAtMost) {
  EXPECT_FALSE(WriteTracker::watch(page(10), 20 * WriteTracker::page(), why_));
  EXPECT_NE(why_.find("watched already"), std::string::npos) << why_;
  tracker_.reset();
  EXPECT_TRUE(WriteTracker::watch(page(10), 20 * WriteTracker::page(), why_)) << why_;
}

TEST_F(WriteTrackerTest, OnlyPrivateAnonymousMemoryIsTracked) {
  const Mapping shared(16 * WriteTracker::page(), MAP_SHARED | MAP_ANONYMOUS);
  EXPECT_FALSE(WriteTracker::watch(shared.data(), shared.bytes(), why_));
  EXPECT_NE(why_.find("not private and anonymous"), std::string::npos) << why_;
  // One page of it in the middle is enough.
  ASSERT_EQ(move_memory(shared.data(), WriteTracker::page(), page(80)), page(80));
  tracker_.reset();
  EXPECT_FALSE(WriteTracker::watch(memory_.data(), memory_.bytes(), why_));
  ::munmap(page(80), WriteTracker::page());
  EXPECT_FALSE(WriteTracker::watch(memory_.data(), memory_.bytes(), why_));
  EXPECT_NE(why_.find("not all of the memory is mapped"), std::string::npos) << why_;
}

TEST_F(WriteTrackerTest, KnowsWhatAFaultCosts) {
  EXPECT_GT(state_detail::fault_nanoseconds(), 10);
  EXPECT_LT(state_detail::fault_nanoseconds(), 1e7);
}

// ---- the rule --------------------------------------------------------------------------------------------------------

// 1 us a fault; reading a block of 2 MiB costs 200 us.
constexpr state_detail::TrackingPrices prices{1000, 0.1};
constexpr std::uint64_t block = 2 << 20;

TEST(TrackingRule, BeginsAfterQuietCapturesAndEndsWithTheFirstDearOne) {
  TrackingRule rule;
  EXPECT_FALSE(rule.saw_differences(0, block, prices));
  EXPECT_FALSE(rule.saw_differences(120, block, prices));  // costs more than half
  EXPECT_FALSE(rule.saw_differences(100, block, prices));
  EXPECT_TRUE(rule.saw_differences(100, block, prices));
  rule.begin();
  EXPECT_TRUE(rule.saw_faults(200, block, prices));
  EXPECT_FALSE(rule.saw_faults(215, block, prices));
  EXPECT_FALSE(rule.tracked());
}

TEST(TrackingRule, NothingIsTrackedBeforeThePricesAreKnown) {
  TrackingRule rule;
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(rule.saw_differences(0, block, {1000, 0}));
    EXPECT_FALSE(rule.saw_differences(0, block, {0, 0.1}));
  }
}

/// Tracked captures of 1000, where a capture is quiet (no write) or busy (all written).
int tracked_of_1000(const std::function<bool(int)>& quiet) {
  TrackingRule rule;
  int tracked = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t faults = quiet(i) ? 0 : 512;
    if (rule.tracked()) {
      ++tracked;
      (void)rule.saw_faults(faults, block, prices);
    } else if (rule.saw_differences(faults, block, prices)) {
      rule.begin();
    }
  }
  return tracked;
}

TEST(TrackingRule, FollowsTheProgramButNotEveryTurn) {
  EXPECT_GE(tracked_of_1000([](int) { return true; }), 995);
  EXPECT_EQ(tracked_of_1000([](int) { return false; }), 0);
  EXPECT_EQ(tracked_of_1000([](int i) { return i % 2 == 0; }), 0);
  // Three quiet ones and a busy one: tracked in vain only until patience has grown.
  EXPECT_LE(tracked_of_1000([](int i) { return i % 4 != 0; }), 10);
  // Long phases are followed.
  EXPECT_GE(tracked_of_1000([](int i) { return i / 100 % 2 == 0; }), 400);
}

// ---- captures --------------------------------------------------------------------------------------------------------

CaptureOptions with(Tracking tracking) {
  CaptureOptions options;
  options.tracking = tracking;
  return options;
}

/// One capture of regions that lie anywhere, checked against a copy that was taken at its begin().
class Captured {
 public:
  explicit Captured(Tracking tracking) : engine(with(tracking)) {}

  void protect(const std::string& name, std::byte* data, std::uint64_t bytes) {
    engine.add({.name = name, .data = data, .bytes = bytes});
    regions_.emplace_back(data, bytes);
  }
  /// `after`: what the program does while the capture is finished.
  CaptureReport capture(const std::function<void()>& after = [] {}) {
    engine.begin(++version);
    std::vector<Bytes> expected;
    for (const auto& [data, bytes] : regions_) expected.emplace_back(data, data + bytes);
    after();
    const auto report = engine.finish(*store_);
    const auto chain = Chain::open(*store_, {0, version}, nullptr);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(read_region(chain, i) == expected[i]) << "region " << i << " of version " << version;
    }
    retain(*store_, 0, version > 3 ? version - 3 : 1, 4, nullptr);
    return report;
  }
  Store& store() { return *store_; }

  CaptureEngine engine;
  Version version = 0;

 private:
  TemporaryFolder folder_;
  std::unique_ptr<Store> store_ = memory_store(folder_);
  std::vector<std::pair<std::byte*, std::uint64_t>> regions_;
};

TEST(TrackedCapture, CleanPagesAreNotReadAndFirstWritesAreCounted) {
  SKIP_WITHOUT_TRACKING();
  const Mapping memory(8 << 20);
  std::memset(memory.data(), 3, memory.bytes());
  Captured program(Tracking::always);
  program.protect("u", memory.data(), memory.bytes());
  EXPECT_EQ(program.capture().tracked_bytes, 0u) << "the first is full";
  EXPECT_EQ(program.capture().tracked_bytes, memory.bytes());
  for (const std::size_t page : {std::size_t{0}, std::size_t{7}, std::size_t{2047}}) memory.data()[page * 4096] ^= std::byte{1};
  rewrite(memory.data() + 9 * 4096);  // written, not changed
  const auto report = program.capture();
  EXPECT_EQ(report.tracked_bytes, memory.bytes());
  EXPECT_EQ(report.write_faults, 4u);
  EXPECT_EQ(report.dirty_pages, 3u);
  EXPECT_EQ(report.staged_bytes, 3 * page_bytes);
  EXPECT_EQ(program.capture().write_faults, 0u);
}

TEST(TrackedCapture, NeverMeansNever) {
  const Mapping memory(4 << 20);
  std::memset(memory.data(), 3, memory.bytes());
  Captured program(Tracking::never);
  program.protect("u", memory.data(), memory.bytes());
  for (int i = 0; i < 8; ++i) EXPECT_EQ(program.capture().tracked_bytes, 0u);
}

/// A watch over a region, with the reading of a block worth 100 faults of this machine.
class Watched {
 public:
  explicit Watched(const Mapping& memory) : memory_(memory), copy_(memory.bytes()) {
    spec_.name = "u";
    spec_.data = memory.data();
    spec_.bytes = memory.bytes();
  }
  /// One capture; returns the bytes tracked in it.
  std::uint64_t capture(bool interrupted = false) {
    state_detail::CaptureMoment moment(false);
    watch_.begin(spec_, moment);
    const double worth = 100 * state_detail::fault_nanoseconds() / (2 << 20) * (interrupted ? 1000 : 1);
    for (std::uint64_t segment = 0; segment < memory_.bytes() / segment_bytes; ++segment) {
      std::uint64_t differing = 0;
      for (std::uint64_t page = 0; page < pages_per_segment; ++page) {
        const std::uint64_t at = segment * segment_bytes + page * page_bytes;
        if (std::memcmp(memory_.data() + at, copy_.data() + at, page_bytes) == 0) continue;
        EXPECT_NE(watch_.pages(segment) >> page & 1, 0u) << "a change was missed";
        std::memcpy(copy_.data() + at, memory_.data() + at, page_bytes);
        differing |= std::uint64_t{1} << page;
      }
      watch_.differed(segment, differing);
      if (differing == 0) watch_.compared(segment_bytes, static_cast<Nanoseconds>(worth * segment_bytes));
    }
    watch_.decide();
    watch_.settle();
    return watch_.tracked_bytes();
  }

 private:
  const Mapping& memory_;
  Bytes copy_;
  RegionSpec spec_;
  state_detail::WriteWatch watch_{Tracking::automatic};
};

TEST(WriteWatch, AdaptsBlockByBlock) {
  SKIP_WITHOUT_TRACKING();
  if (state_detail::pinned_memory()) GTEST_SKIP() << "this process has pinned memory";
  const Mapping memory(16 << 20);
  std::memset(memory.data(), 3, memory.bytes());
  Watched watched(memory);
  const auto write = [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t at = from; at < to; at += 4096) memory.data()[at] ^= std::byte{1};
  };
  std::uint64_t tracked = 0;
  for (int i = 0; i < 8; ++i) {
    write(0, 6 << 20);  // always the same part, all of it
    tracked = watched.capture(i == 3);
  }
  EXPECT_LE(tracked, 10u << 20) << "what changes is compared";
  EXPECT_GE(tracked, 6u << 20) << "what does not is tracked";
  for (int i = 0; i < 3; ++i) {
    write(0, memory.bytes());
    tracked = watched.capture();
  }
  EXPECT_EQ(tracked, 0u);
}

TEST(TrackedCapture, RegionsThatOverlapOrShareAPageLoseNothing) {
  SKIP_WITHOUT_TRACKING();
  const Mapping memory(8 << 20);
  std::memset(memory.data(), 3, memory.bytes());
  Captured program(Tracking::always);
  constexpr std::uint64_t middle = (3 << 20) + 1234;
  program.protect("first", memory.data() + 10, middle - 10);
  program.protect("second", memory.data() + middle, memory.bytes() - middle);
  program.protect("both", memory.data() + (2 << 20), 2 << 20);
  std::mt19937_64 random(3);
  for (int i = 0; i < 8; ++i) {
    program.capture([&] {
      for (int k = 0; k < 20; ++k) memory.data()[random() % memory.bytes()] ^= std::byte{1};
      memory.data()[middle - 1] ^= std::byte{1};
      memory.data()[middle] ^= std::byte{1};
    });
  }
}

TEST(TrackedCapture, ASecondEngineOverTheSameMemoryComparesIt) {
  SKIP_WITHOUT_TRACKING();
  const Mapping memory(4 << 20);
  std::memset(memory.data(), 3, memory.bytes());
  Captured first(Tracking::always), second(Tracking::always);
  first.protect("u", memory.data(), memory.bytes());
  second.protect("u", memory.data(), memory.bytes());
  std::mt19937_64 random(4);
  for (int i = 0; i < 6; ++i) {
    const auto a = first.capture(), b = second.capture();
    EXPECT_EQ(a.tracked_bytes, i == 0 ? 0 : memory.bytes());
    EXPECT_EQ(b.tracked_bytes, 0u);
    for (int k = 0; k < 5; ++k) memory.data()[random() % memory.bytes()] ^= std::byte{1};
  }
}

TEST(TrackedCapture, WhereTheSystemRefusesRegionsAreCompared) {
  const Mapping memory(4 << 20);
  std::memset(memory.data(), 3, memory.bytes());
  Captured program(Tracking::always);
  program.protect("u", memory.data(), memory.bytes());
  program.capture();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);  // as a seccomp filter or an old kernel would
  std::string why;
  const auto tracker = WriteTracker::watch(memory.data(), memory.bytes(), why);
  EXPECT_TRUE(state_detail::pinned_memory()) << "what cannot be told is taken for pinned";
  const Mapping other(4 << 20);
  std::memset(other.data(), 3, other.bytes());
  CaptureEngine engine(with(Tracking::always));
  engine.add({.name = "u", .data = other.data(), .bytes = other.bytes()});
  engine.begin(1);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_FALSE(tracker);
  EXPECT_FALSE(why.empty());
  const TemporaryFolder folder;
  const auto store = memory_store(folder);
  engine.finish(*store);
  for (Version version = 2; version <= 5; ++version) {
    other.data()[version * 100000] ^= std::byte{1};
    engine.begin(version);
    const auto report = engine.finish(*store);
    EXPECT_EQ(report.tracked_bytes, 0u);
    EXPECT_EQ(report.dirty_pages, 1u);
  }
}

TEST(TrackedCapture, AForkedChildThatGoesOnCapturingComparesAndIsRight) {
  SKIP_WITHOUT_TRACKING();
  const Mapping memory(4 << 20);
  std::memset(memory.data(), 3, memory.bytes());
  Captured program(Tracking::always);
  program.protect("u", memory.data(), memory.bytes());
  program.capture();
  program.capture();
  memory.data()[5] = std::byte{8};
  const pid_t child = ::fork();
  if (child == 0) {
    memory.data()[3 << 20] = std::byte{9};
    bool good = program.capture().tracked_bytes == 0;
    memory.data()[2 << 20] = std::byte{9};
    program.capture();
    memory.data()[1 << 20] = std::byte{9};
    program.capture();
    ::_exit(good && !testing::Test::HasFailure() ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  // The child wrote versions into the same store; the parent has its own view of what it holds.
  for (Version v = program.version + 1; v <= program.version + 3; ++v) program.store().erase({0, v});
  memory.data()[6] = std::byte{8};
  EXPECT_EQ(program.capture().dirty_pages, 1u);
}

/// Everything that can happen to memory between two captures, at random, against a model that copies it.
class HazardTest : public testing::TestWithParam<Tracking> {};

TEST_P(HazardTest, NoChangeIsEverMissed) {
  SKIP_WITHOUT_TRACKING();
  std::uint64_t tracked = 0;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const std::uint64_t size = std::uint64_t{3} << 20, shift = random() % 5000, bytes = size - shift - random() % 9000;
    const Mapping memory(size);
    if (seed % 2 == 0) ::madvise(memory.data(), size, MADV_HUGEPAGE);
    std::byte* const data = memory.data() + shift;
    std::memset(data, 3, bytes);
    Captured program(GetParam());
    program.protect("a", data, bytes / 2 + 777);
    program.protect("b", data + bytes / 2 + 777, bytes - bytes / 2 - 777);
    program.capture();
    const std::uint64_t page = WriteTracker::page(), pages = size / page;
    const auto some_pages = [&](std::uint64_t& first, std::uint64_t& count) {
      first = random() % pages;
      count = 1 + random() % std::min<std::uint64_t>(pages - first, 20);
      return memory.data() + first * page;
    };
    const auto write = [&](int times) {
      for (int i = 0; i < times; ++i) data[random() % bytes] = static_cast<std::byte>(random());
    };
    for (int step = 0; step < 40; ++step) {
      std::uint64_t first = 0, count = 0;
      switch (random() % 14) {
        case 0:
          ::madvise(some_pages(first, count), count * page, MADV_DONTNEED);
          break;
        case 1: {  // unmapped, and mapped again: zeros
          std::byte* const at = some_pages(first, count);
          ::munmap(at, count * page);
          ASSERT_EQ(::mmap(at, count * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), at);
          if (random() % 2 == 0) at[7] = std::byte{7};
          break;
        }
        case 2: {  // other memory is moved there
          std::byte* const at = some_pages(first, count);
          void* const other =
              ::mmap(nullptr, count * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
          std::memset(other, static_cast<int>(random() % 256), count * page);
          ASSERT_EQ(move_memory(other, count * page, at), at);
          break;
        }
        case 3: {  // the kernel writes
          std::byte* const at = some_pages(first, count);
          const int zero = ::open("/dev/urandom", O_RDONLY);
          EXPECT_GT(::read(zero, at, count * page), 0);
          ::close(zero);
          break;
        }
        case 4: {
          std::byte* const at = some_pages(first, count);
          ::mprotect(at, count * page, PROT_READ);
          ::mprotect(at, count * page, PROT_READ | PROT_WRITE);
          write(2);
          break;
        }
        case 5: {
          const pid_t child = ::fork();
          if (child == 0) {
            std::memset(data, 9, bytes);
            ::_exit(0);
          }
          int status = 0;
          ::waitpid(child, &status, 0);
          break;
        }
        case 6:
          std::thread([&] { write(50); }).join();
          break;
        case 7:  // captured and given up
          write(10);
          program.engine.begin(program.version + 1);
          write(1);
          program.engine.abandon();
          break;
        case 8:
          program.engine.restore(Chain::open(program.store(), {0, program.version}, nullptr));
          break;
        case 9:
          std::memset(data, static_cast<int>(random() % 256), bytes);
          break;
        case 10: {  // a huge page comes or goes
          std::byte* const at = some_pages(first, count);
          ::madvise(at, count * page, random() % 2 == 0 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
          break;
        }
        default:
          write(static_cast<int>(random() % 4));
          break;
      }
      const auto report = program.capture([&] { write(static_cast<int>(random() % 5)); });
      tracked += report.tracked_bytes;
      if (testing::Test::HasFailure()) return;
    }
  }
  EXPECT_TRUE(tracked > 0 || GetParam() != Tracking::always) << "nothing was tracked, so nothing was tested";
}

INSTANTIATE_TEST_SUITE_P(Choices, HazardTest, testing::Values(Tracking::always, Tracking::automatic));

}  // namespace
}  // namespace foreweave
