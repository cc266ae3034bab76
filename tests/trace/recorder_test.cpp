// threads
#include "foreweave/trace/recorder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "foreweave/core/error.hpp"
#include "foreweave/trace/reader.hpp"
#include "trace/hdf5.hpp"
#include "trace/schema.hpp"

namespace foreweave::trace {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class RecorderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "foreweave-trace-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override { fs::remove_all(folder); }
  static RunInfo info() {
    return {"run-1", "demo", "program --steps 3", 1, 3, 1, 4, 0, {{"copies", "1"}, {"job", "demo"}}};
  }
  static CaptureReport report(Version version) {
    CaptureReport r;
    r.version = version;
    r.base = version - 1;
    r.region_bytes = 1 << 20;
    r.pages = 64;
    r.dirty_pages = version % 64;
    r.staged_bytes = 100 * version;
    r.tracked_bytes = 50 * version;
    r.write_faults = 6 * version;
    r.digest_bytes = 7 * version;
    r.hold_ns = static_cast<std::int64_t>(900 * version);
    r.snapshot_bytes = 10 * version;
    r.pages_by_transform = {version, 2 * version, 3 * version, 4 * version, 5 * version};
    r.blocked_ns = static_cast<std::int64_t>(1000 * version);
    r.encode_ns = static_cast<std::int64_t>(2000 * version);
    return r;
  }
  fs::path folder;
};

// Reads with plain HDF5 calls, apart from the code under test.
std::vector<std::int64_t> column(const fs::path& file, const std::string& path) {
  const hid_t f = H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  EXPECT_GE(f, 0) << file;
  const hid_t set = H5Dopen2(f, path.c_str(), H5P_DEFAULT);
  EXPECT_GE(set, 0) << path;
  const hid_t space = H5Dget_space(set);
  std::vector<std::int64_t> values(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space)));
  const hid_t type = H5Dget_type(set);
  if (H5Tget_class(type) == H5T_ENUM) {
    std::vector<std::int8_t> small(values.size());
    EXPECT_GE(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, small.data()), 0);
    std::copy(small.begin(), small.end(), values.begin());
  } else if (!values.empty()) {
    EXPECT_GE(H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  }
  H5Tclose(type);
  H5Sclose(space);
  H5Dclose(set);
  H5Fclose(f);
  return values;
}

std::int64_t number(const fs::path& file, const char* name, const char* object = "/") {
  const hid_t f = H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t attribute = H5Aopen_by_name(f, object, name, H5P_DEFAULT, H5P_DEFAULT);
  std::int64_t value = -1;
  EXPECT_GE(H5Aread(attribute, H5T_NATIVE_INT64, &value), 0) << name;
  H5Aclose(attribute);
  H5Fclose(f);
  return value;
}

TEST_F(RecorderTest, EveryTableHasWhatWasRecordedAfterADrain) {
  Recorder recorder(folder, info());
  recorder.add(report(7), 1111);
  recorder.add(TransferRecord{10, 20, 2, 7, 3, false, true, 4096});
  recorder.add(TransferRecord{11, 21, 1, 7, 2, true, false, 4097});
  recorder.add(CommitRecord{30, 7, 29});
  recorder.add(FailureRecord{40, 2, -1, "connection reset"});
  recorder.add(RecoveryRecord{50, 60, RecoveryMode::relaunch, 2, 6, "mirror on hub 2", 99});
  recorder.drain();
  const auto file = recorder.file();
  EXPECT_THAT(column(file, "captures/time"), ElementsAre(1111));
  EXPECT_THAT(column(file, "captures/rank"), ElementsAre(1));
  EXPECT_THAT(column(file, "captures/version"), ElementsAre(7));
  EXPECT_THAT(column(file, "captures/base"), ElementsAre(6));
  EXPECT_THAT(column(file, "captures/region_bytes"), ElementsAre(1 << 20));
  EXPECT_THAT(column(file, "captures/pages"), ElementsAre(64));
  EXPECT_THAT(column(file, "captures/dirty_pages"), ElementsAre(7));
  EXPECT_THAT(column(file, "captures/staged_bytes"), ElementsAre(700));
  EXPECT_THAT(column(file, "captures/snapshot_bytes"), ElementsAre(70));
  EXPECT_THAT(column(file, "captures/pages_by_transform"), ElementsAre(7, 14, 21, 28, 35));
  EXPECT_THAT(column(file, "captures/blocked"), ElementsAre(7000));
  EXPECT_THAT(column(file, "captures/encode"), ElementsAre(14000));
  EXPECT_THAT(column(file, "transfers/begin"), ElementsAre(10, 11));
  EXPECT_THAT(column(file, "transfers/end"), ElementsAre(20, 21));
  EXPECT_THAT(column(file, "transfers/rank"), ElementsAre(2, 1));
  EXPECT_THAT(column(file, "transfers/peer"), ElementsAre(3, 2));
  EXPECT_THAT(column(file, "transfers/direction"), ElementsAre(0, 1));
  EXPECT_THAT(column(file, "transfers/ok"), ElementsAre(1, 0));
  EXPECT_THAT(column(file, "transfers/bytes"), ElementsAre(4096, 4097));
  EXPECT_THAT(column(file, "commits/time"), ElementsAre(30));
  EXPECT_THAT(column(file, "commits/version"), ElementsAre(7));
  EXPECT_THAT(column(file, "commits/after_capture"), ElementsAre(29));
  EXPECT_THAT(column(file, "failures/hub"), ElementsAre(2));
  EXPECT_THAT(column(file, "failures/rank"), ElementsAre(-1));
  EXPECT_THAT(column(file, "recoveries/begin"), ElementsAre(50));
  EXPECT_THAT(column(file, "recoveries/end"), ElementsAre(60));
  EXPECT_THAT(column(file, "recoveries/mode"), ElementsAre(2));
  EXPECT_THAT(column(file, "recoveries/lost_rank"), ElementsAre(2));
  EXPECT_THAT(column(file, "recoveries/version"), ElementsAre(6));
  EXPECT_THAT(column(file, "recoveries/bytes"), ElementsAre(99));
  EXPECT_EQ(number(file, "format_version"), 1);
  EXPECT_EQ(number(file, "hub"), 1);
  EXPECT_EQ(number(file, "hubs"), 4);
  EXPECT_EQ(number(file, "ranks"), 3);
  EXPECT_GT(number(file, "clock_wall_ns"), number(file, "clock_monotonic_ns"));
}

TEST_F(RecorderTest, ADamagedFileOfOneHubLeavesTheOthersReadable) {
  auto run = info();
  write_index(folder, run);
  std::vector<std::filesystem::path> files;
  for (const std::uint32_t hub : {0u, 1u}) {
    run.hub = hub;
    Recorder recorder(folder, run);
    recorder.add(report(1), 5);
  }
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().filename().string().find("hub0") != std::string::npos) files.push_back(entry.path());
  }
  ASSERT_THAT(files, SizeIs(1));
  std::filesystem::resize_file(files[0], 700);
  const auto trace = read_trace(folder / "trace.h5");
  ASSERT_THAT(trace.hubs, SizeIs(1));
  EXPECT_EQ(trace.hubs[0].info.hub, 1u);
  EXPECT_THAT(trace.hubs[0].captures, SizeIs(1));
  ASSERT_THAT(trace.damaged, SizeIs(1));
  EXPECT_NE(trace.damaged[0].find(files[0].filename().string()), std::string::npos);
}

TEST_F(RecorderTest, TheReaderGivesBackWhatWasRecorded) {
  auto run = info();
  write_index(folder, run);
  {
    Recorder recorder(folder, run);
    for (Version v = 1; v <= 300; ++v) recorder.add(report(v), static_cast<Nanoseconds>(v));
    recorder.add(TransferRecord{10, 20, 2, 7, 3, true, false, 4096});
    recorder.add(FlushRecord{22, 28, FileTier::shared, 1, 7, true, 5000, 4000, 3000, 2});
    recorder.add(FlushRecord{23, 24, FileTier::local, 1, 8, false, 0, 0, 0, 0});
    recorder.add(CommitRecord{30, 7, 29});
    recorder.add(FailureRecord{40, 2, -1, "connection reset"});
    RecoveryRecord recovery;
    recovery.begin = 50;
    recovery.end = 60;
    recovery.mode = RecoveryMode::in_place;
    recovery.lost_rank = 2;
    recovery.version = 6;
    recovery.source = "mirror on hub 2";
    recovery.bytes = 99;
    recovery.lost_steps = 4;
    recorder.add(recovery);
  }
  const auto trace = read_trace(folder / "trace.h5");
  EXPECT_EQ(trace.info.run_id, "run-1");
  EXPECT_THAT(trace.missing, SizeIs(3));  // the other hubs have written nothing
  ASSERT_THAT(trace.hubs, SizeIs(1));
  const auto& hub = trace.hubs[0];
  EXPECT_EQ(hub.info.hub, 1u);
  EXPECT_EQ(hub.info.rank, 1);
  EXPECT_EQ(hub.info.options, info().options);
  EXPECT_EQ(hub.info.command_line, info().command_line);
  ASSERT_THAT(hub.captures, SizeIs(300));
  for (Version v = 1; v <= 300; ++v) {
    const auto& row = hub.captures[v - 1];
    const auto expected = report(v);
    ASSERT_EQ(row.time, static_cast<Nanoseconds>(v));
    ASSERT_EQ(row.rank, 1);
    ASSERT_EQ(row.report.version, expected.version);
    ASSERT_EQ(row.report.base, expected.base);
    ASSERT_EQ(row.report.region_bytes, expected.region_bytes);
    ASSERT_EQ(row.report.pages, expected.pages);
    ASSERT_EQ(row.report.dirty_pages, expected.dirty_pages);
    ASSERT_EQ(row.report.staged_bytes, expected.staged_bytes);
    ASSERT_EQ(row.report.tracked_bytes, expected.tracked_bytes);
    ASSERT_EQ(row.report.write_faults, expected.write_faults);
    ASSERT_EQ(row.report.digest_bytes, expected.digest_bytes);
    ASSERT_EQ(row.report.hold_ns, expected.hold_ns);
    ASSERT_EQ(row.report.snapshot_bytes, expected.snapshot_bytes);
    ASSERT_EQ(row.report.pages_by_transform, expected.pages_by_transform);
    ASSERT_EQ(row.report.blocked_ns, expected.blocked_ns);
    ASSERT_EQ(row.report.encode_ns, expected.encode_ns);
  }
  ASSERT_THAT(hub.transfers, SizeIs(1));
  EXPECT_EQ(hub.transfers[0].peer, 3u);
  EXPECT_TRUE(hub.transfers[0].outgoing);
  EXPECT_FALSE(hub.transfers[0].ok);
  ASSERT_THAT(hub.flushes, SizeIs(2));
  EXPECT_EQ(hub.flushes[0].begin, 22);
  EXPECT_EQ(hub.flushes[0].end, 28);
  EXPECT_EQ(hub.flushes[0].tier, FileTier::shared);
  EXPECT_EQ(hub.flushes[0].version, 7u);
  EXPECT_TRUE(hub.flushes[0].ok);
  EXPECT_EQ(hub.flushes[0].bytes, 5000u);
  EXPECT_EQ(hub.flushes[0].unique, 4000u);
  EXPECT_EQ(hub.flushes[0].stored, 3000u);
  EXPECT_EQ(hub.flushes[0].passed_over, 2u);
  EXPECT_EQ(hub.flushes[1].tier, FileTier::local);
  EXPECT_FALSE(hub.flushes[1].ok);
  ASSERT_THAT(hub.commits, SizeIs(1));
  EXPECT_EQ(hub.commits[0].after_capture_ns, 29);
  ASSERT_THAT(hub.failures, SizeIs(1));
  EXPECT_EQ(hub.failures[0].reason, "connection reset");
  EXPECT_EQ(hub.failures[0].rank, -1);
  ASSERT_THAT(hub.recoveries, SizeIs(1));
  EXPECT_EQ(hub.recoveries[0].mode, RecoveryMode::in_place);
  EXPECT_EQ(hub.recoveries[0].source, "mirror on hub 2");
  EXPECT_EQ(hub.recoveries[0].lost_steps, 4u);
}

TEST_F(RecorderTest, TheReaderRefusesWhatIsNoTrace) {
  const auto refuses = [](const fs::path& file, ErrorCategory category) {
    try {
      read_trace(file);
      ADD_FAILURE() << "was read";
    } catch (const Error& error) {
      EXPECT_EQ(error.category(), category) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(file.string()));
    }
  };
  refuses(folder / "absent.h5", ErrorCategory::absent);
  std::ofstream(folder / "text.h5") << "not HDF5";
  refuses(folder / "text.h5", ErrorCategory::format);
  H5Fclose(H5Fcreate((folder / "own.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  refuses(folder / "own.h5", ErrorCategory::format);
  { Recorder recorder(folder, info()); }
  const auto file = folder / "ranks/attempt0.hub1.h5";
  fs::resize_file(file, fs::file_size(file) / 2);
  refuses(file, ErrorCategory::hdf5);
}

// Across chunk borders, both copies, and packing.
TEST_F(RecorderTest, ManyDrainsKeepOrderAndStayPacked) {
  constexpr std::int64_t drains = 400, rows = 3;
  fs::path file;
  std::uintmax_t largest = 0;
  {
    Recorder recorder(folder, info());
    file = recorder.file();
    for (std::int64_t i = 0; i < drains; ++i) {
      for (std::int64_t j = 0; j < rows; ++j)
        recorder.add(report(static_cast<Version>(i * rows + j + 1)), i * rows + j);
      recorder.drain();
      largest = std::max(largest, fs::file_size(file));
      if (i % 50 == 0) {
        ASSERT_THAT(column(file, "captures/time"), SizeIs((i + 1) * rows));
      }
    }
  }
  const auto times = column(file, "captures/time");
  ASSERT_THAT(times, SizeIs(drains * rows));
  for (std::int64_t i = 0; i < drains * rows; ++i) ASSERT_EQ(times[static_cast<std::size_t>(i)], i);
  const auto transforms = column(file, "captures/pages_by_transform");
  for (std::int64_t i = 0; i < drains * rows; ++i)
    ASSERT_EQ(transforms[static_cast<std::size_t>(5 * i + 4)], 5 * (i + 1));
  EXPECT_LT(largest, 3u << 20);
  // Nothing but the one file is left.
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "ranks"), {}), 1);
}

TEST_F(RecorderTest, AddsFromManyThreadsAllArrive) {
  fs::path file;
  {
    Recorder recorder(folder, info());
    file = recorder.file();
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (std::uint64_t i = 0; i < 1000; ++i) recorder.add(CommitRecord{0, t * 1000 + i, 0});
      });
    }
    for (int i = 0; i < 20; ++i) recorder.drain();
    threads.clear();
  }
  auto versions = column(file, "commits/version");
  std::sort(versions.begin(), versions.end());
  ASSERT_THAT(versions, SizeIs(4000));
  for (std::int64_t i = 0; i < 4000; ++i) ASSERT_EQ(versions[static_cast<std::size_t>(i)], i);
}

TEST_F(RecorderTest, TheProgramMayCloseHdf5BetweenDrains) {
  Recorder recorder(folder, info());
  recorder.add(CommitRecord{1, 1, 1});
  recorder.drain();
  ASSERT_GE(H5close(), 0);
  recorder.add(CommitRecord{2, 2, 2});
  recorder.drain();
  ASSERT_GE(H5close(), 0);
  EXPECT_THAT(column(recorder.file(), "commits/version"), ElementsAre(1, 2));
}

herr_t programs_handler(hid_t, void*) { return 0; }

TEST_F(RecorderTest, TheProgramsErrorHandlerAndOpenFilesStay) {
  int mark = 0;
  H5Eset_auto2(H5E_DEFAULT, programs_handler, &mark);
  const hid_t own = H5Fcreate((folder / "own.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  {
    Recorder recorder(folder, info());
    recorder.add(CommitRecord{1, 1, 1});
    recorder.drain();
  }
  H5E_auto2_t handler = nullptr;
  void* data = nullptr;
  H5Eget_auto2(H5E_DEFAULT, &handler, &data);
  EXPECT_EQ(handler, programs_handler);
  EXPECT_EQ(data, &mark);
  EXPECT_GE(H5Fclose(own), 0);
}

TEST_F(RecorderTest, ASpareThatTakesARankOver) {
  auto spare = info();
  spare.rank = -1;
  spare.hub = 3;
  Recorder recorder(folder, spare);
  recorder.set_rank(2);
  recorder.add(report(1), 5);
  recorder.drain();
  EXPECT_THAT(column(recorder.file(), "captures/rank"), ElementsAre(2));
  EXPECT_EQ(number(recorder.file(), "rank"), -1);
}

TEST_F(RecorderTest, DrainsWhenDue) {
  Recorder recorder(folder, info());
  EXPECT_FALSE(recorder.drain_if_due(0));  // nothing waits
  recorder.add(CommitRecord{1, 1, 1});
  EXPECT_TRUE(recorder.drain_if_due(0));
  recorder.add(CommitRecord{2, 2, 1});
  EXPECT_FALSE(recorder.drain_if_due(3600'000'000'000));
  recorder.add(FailureRecord{3, 1, 1, "gone"});
  EXPECT_TRUE(recorder.drain_if_due(3600'000'000'000));
  EXPECT_THAT(column(recorder.file(), "commits/version"), ElementsAre(1, 2));
}

TEST_F(RecorderTest, AHiddenCopyThatIsGoneIsMadeAgain) {
  Recorder recorder(folder, info());
  for (Version v = 1; v <= 4; ++v) {
    recorder.add(CommitRecord{1, v, 1});
    recorder.drain();
    for (const auto& entry : fs::directory_iterator(folder / "ranks")) {
      if (entry.path() != recorder.file()) fs::remove(entry.path());
    }
  }
  EXPECT_THAT(column(recorder.file(), "commits/version"), ElementsAre(1, 2, 3, 4));
}

TEST_F(RecorderTest, ADamagedHiddenCopyIsMadeAgain) {
  Recorder recorder(folder, info());
  recorder.add(CommitRecord{1, 1, 1});
  recorder.drain();
  recorder.add(CommitRecord{2, 2, 1});
  recorder.drain();
  for (const auto& entry : fs::directory_iterator(folder / "ranks")) {
    if (entry.path() != recorder.file()) std::ofstream(entry.path(), std::ios::trunc) << "damaged";
  }
  recorder.add(CommitRecord{3, 3, 1});
  EXPECT_THROW(recorder.drain(), Error);
  EXPECT_THAT(column(recorder.file(), "commits/version"), ElementsAre(1, 2));
  recorder.add(CommitRecord{4, 4, 1});
  recorder.drain();
  EXPECT_THAT(column(recorder.file(), "commits/version"), ElementsAre(1, 2, 3, 4));
}

// The file system refuses to let the file grow, as a full disk does, in the middle of what HDF5 writes.
TEST_F(RecorderTest, NothingIsLostWhenTheDiskIsFull) {
  Recorder recorder(folder, info());
  std::int64_t next = 0;
  const auto add_some = [&](int count) {
    for (int i = 0; i < count; ++i) {
      recorder.add(TransferRecord{next * 7919, next * next, 0, static_cast<Version>(next), 1, true, true, 1});
      ++next;
    }
  };
  add_some(100);
  recorder.drain();
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  auto small = before;
  small.rlim_cur = fs::file_size(recorder.file()) + 4096;
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  for (int i = 0; i < 3; ++i) {
    add_some(5000);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    try {
      recorder.drain();
      ADD_FAILURE() << "was written";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("File too large"));
    }
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_THAT(column(recorder.file(), "transfers/version"), SizeIs(100));
  }
  ::signal(SIGXFSZ, handler);
  recorder.drain();
  const auto versions = column(recorder.file(), "transfers/version");
  ASSERT_THAT(versions, SizeIs(15100));
  for (std::int64_t i = 0; i < 15100; ++i) ASSERT_EQ(versions[static_cast<std::size_t>(i)], i);
}

// What is given up while it is made must be closed without an error, or HDF5 crashes when it is itself closed.
TEST_F(RecorderTest, AFileWithoutRoomDoesNoHarm) {
  const auto file = (folder / "some.h5").string();
  EXPECT_EXIT(
      {
        const Hdf5Scope scope;
        int failed = 0;
        for (int i = 0; i < 20; ++i) {
          try {
            WritableFile(file, WritableFile::Mode::create, std::uint64_t{1} << 60);
          } catch (const Error& error) {
            if (error.category() == ErrorCategory::io && !fs::exists(file)) ++failed;
          }
          WritableFile given_up(file, WritableFile::Mode::create, 0);
          given_up.discard();
        }
        std::exit(H5close() >= 0 && failed == 20 ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

// Should a write fail in spite of the reserved room, HDF5 must not crash: not then, not when the process ends.
TEST_F(RecorderTest, AFailedWriteInsideHdf5DoesNoHarm) {
  const auto file = (folder / "some.h5").string();
  Rows rows;
  for (std::int64_t i = 0; i < 5000; ++i) {
    rows.transfers.push_back({i * 7919, i * i, 0, static_cast<Version>(i), 1, true, true, 1});
    rows.failures.push_back({i, 1, 1, std::to_string(i * i)});
  }
  EXPECT_EXIT(
      {
        ::signal(SIGXFSZ, SIG_IGN);
        const Hdf5Scope scope;
        int failed = 0;
        for (std::size_t more = 0; more < 40; ++more) {
          WritableFile made(file, WritableFile::Mode::create, 0);
          create_tables(made);
          made.close();
          struct rlimit limit {};
          ::getrlimit(RLIMIT_FSIZE, &limit);
          const auto before = limit.rlim_cur;
          limit.rlim_cur = fs::file_size(file) + 2000 * more;
          ::setrlimit(RLIMIT_FSIZE, &limit);
          try {
            WritableFile filled(file, WritableFile::Mode::open, 0);
            append_rows(filled, rows);
            filled.close();
          } catch (const Error& error) {
            if (error.category() == ErrorCategory::hdf5) ++failed;
          }
          limit.rlim_cur = before;
          ::setrlimit(RLIMIT_FSIZE, &limit);
        }
        std::exit(failed == 40 ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_F(RecorderTest, ErrorsNameTheFile) {
  std::ofstream(folder / "ranks") << "a file where a folder should be";
  try {
    Recorder recorder(folder, info());
    FAIL() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.category(), ErrorCategory::io);
    EXPECT_THAT(error.what(), HasSubstr((folder / "ranks").string()));
  }
}

class IndexTest : public RecorderTest {};

TEST_F(IndexTest, LinksReachTheFilesOfEveryAttempt) {
  auto run = info();
  write_index(folder, run);  // before the files are there
  for (int attempt = 0; attempt < 2; ++attempt) {
    run.attempt = attempt;
    if (attempt > 0) write_index(folder, run);
    write_index(folder, run);  // again: no harm
    Recorder recorder(folder, run);
    recorder.add(CommitRecord{1, static_cast<Version>(attempt + 10), 1});
  }
  EXPECT_THAT(column(folder / "trace.h5", "/attempts/0/hubs/1/commits/version"), ElementsAre(10));
  EXPECT_THAT(column(folder / "trace.h5", "/attempts/1/hubs/1/commits/version"), ElementsAre(11));
  const hid_t file = H5Fopen((folder / "trace.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  for (const char* hub : {"0", "1", "2", "3"}) {
    EXPECT_GT(H5Lexists(file, (std::string("/attempts/1/hubs/") + hub).c_str(), H5P_DEFAULT), 0) << hub;
  }
  H5Fclose(file);
  // Moved as a whole, it still reads.
  const auto moved = folder.string() + "-moved";
  fs::rename(folder, moved);
  EXPECT_THAT(column(fs::path(moved) / "trace.h5", "/attempts/1/hubs/1/commits/version"), ElementsAre(11));
  fs::rename(moved, folder);
}

TEST_F(IndexTest, AnotherRunReplacesAndAForeignFileStays) {
  auto run = info();
  run.attempt = 5;
  write_index(folder, run);
  run.run_id = "run-2";
  run.attempt = 0;
  write_index(folder, run);
  hid_t file = H5Fopen((folder / "trace.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  EXPECT_GT(H5Lexists(file, "/attempts/0", H5P_DEFAULT), 0);
  EXPECT_EQ(H5Lexists(file, "/attempts/5", H5P_DEFAULT), 0);
  H5Fclose(file);
  H5Fclose(H5Fcreate((folder / "trace.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  try {
    write_index(folder, run);
    FAIL() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.category(), ErrorCategory::format);
    EXPECT_THAT(error.what(), HasSubstr("trace.h5"));
  }
}

}  // namespace
}  // namespace foreweave::trace
