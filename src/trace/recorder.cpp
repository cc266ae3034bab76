#include "foreweave/trace/recorder.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <mutex>
#include <system_error>
#include <utility>

#include "foreweave/core/error.hpp"
#include "foreweave/core/log.hpp"
#include "trace/hdf5.hpp"
#include "trace/schema.hpp"

namespace foreweave::trace {
namespace fs = std::filesystem;
namespace {

// Rows of one table that wait in memory while the file cannot be written.
constexpr std::size_t waiting_limit = 1'000'000;

// Where a last chunk is written anew at every drain, HDF5 leaves its old place unused. A file is packed when it has
// grown to this much over its packed size.
constexpr std::uintmax_t slack_bytes = 1 << 20;
constexpr std::uintmax_t slack_factor = 2;

// drain_if_due() takes at most one part in so many of the program's time.
constexpr Nanoseconds drain_share = 50;

// What a drain may need on disk: every column's last chunk anew and metadata, and the rows.
constexpr std::uint64_t drain_room = 512 * 1024;
constexpr std::uint64_t row_room = 512;

// Of the calling thread: on a busy machine the time a drain takes by the clock says little of what it costs.
Nanoseconds processor_time() {
  struct timespec now {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

[[noreturn]] void throw_errno(const std::string& operation, int code) {
  throw Error(ErrorCategory::io, operation, std::strerror(code), code);
}

}  // namespace

struct Recorder::State {
  fs::path folder, visible, hidden, aside;
  RunInfo info;
  Nanoseconds clock_monotonic = monotonic_now(), clock_wall = wall_now();

  std::mutex mutex;  // guards what follows, up to the blank line
  Rows pending;
  Rank rank = 0;
  std::size_t dropped = 0;
  bool urgent = false;
  Nanoseconds last_drain = 0, last_cost = 0;

  // The program's thread alone:
  Rows behind;  // what the visible file has and the hidden one has not
  bool hidden_whole = false;
  std::uintmax_t packed_bytes = 0;

  void put_header(hid_t file) const {
    put_identity(file, format_name, info);
    put_attribute(file, "rank", std::int64_t{info.rank});
    put_attribute(file, "hub", std::int64_t{info.hub});
    put_attribute(file, "attempt", std::int64_t{info.attempt});
    put_attribute(file, "host", host_name());
    put_attribute(file, "pid", std::int64_t{::getpid()});
    put_attribute(file, "clock", std::string("CLOCK_MONOTONIC"));
    put_attribute(file, "clock_monotonic_ns", clock_monotonic);
    put_attribute(file, "clock_wall_ns", clock_wall);
    put_attribute(file, "dropped_records", std::int64_t{0});
  }

  void create() {
    WritableFile file(hidden, WritableFile::Mode::create, drain_room);
    put_header(file);
    create_tables(file);
    file.close();
    if (::rename(hidden.c_str(), visible.c_str()) != 0) throw_errno("create trace " + visible.string(), errno);
  }

  // The hidden file anew: everything that the visible one has, packed.
  void pack() {
    hidden_whole = false;
    const auto what = "pack trace " + visible.string();
    const auto from = open_hdf5_file(visible);
    WritableFile to(hidden, WritableFile::Mode::create, drain_room + fs::file_size(visible));
    put_header(to);
    H5G_info_t groups{};
    check_hdf5(H5Gget_info(from, &groups), what);
    for (hsize_t i = 0; i < groups.nlinks; ++i) {
      std::array<char, 256> name{};
      check_hdf5(H5Lget_name_by_idx(from, ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size(), H5P_DEFAULT),
                 what);
      check_hdf5(H5Ocopy(from, name.data(), to, name.data(), H5P_DEFAULT, H5P_DEFAULT), what);
    }
    to.close();
    packed_bytes = fs::file_size(hidden);
    behind = {};
    hidden_whole = true;
  }

  void write(const Rows& rows, std::size_t dropped_now) {
    std::error_code gone;
    const auto size = fs::file_size(hidden, gone);
    if (!hidden_whole || gone || size > slack_factor * packed_bytes + slack_bytes) pack();
    hidden_whole = false;  // until it is written
    WritableFile file(hidden, WritableFile::Mode::open, drain_room + row_room * (rows.size() + behind.size()));
    behind.append(rows);  // one pass over the columns; what goes wrong from here on makes the hidden file anew
    append_rows(file, behind);
    if (dropped_now != 0) put_attribute(file, "dropped_records", static_cast<std::int64_t>(dropped_now));
    file.close();
  }

  // Exchanges the two files' names so that `visible` always names a whole file. After the first rename the rows are
  // published: from there on nothing throws, a missing hidden file is made again at the next drain.
  void publish() {
    ::unlink(aside.c_str());
    const bool linked = ::link(visible.c_str(), aside.c_str()) == 0;
    if (::rename(hidden.c_str(), visible.c_str()) != 0) throw_errno("write trace " + visible.string(), errno);
    hidden_whole = linked && ::rename(aside.c_str(), hidden.c_str()) == 0;
  }

  void note_drain(Nanoseconds begin) {
    const std::lock_guard lock(mutex);
    last_drain = monotonic_now();
    last_cost = processor_time() - begin;
  }

  void drain() {
    const Nanoseconds begin = processor_time();
    Rows batch;
    std::size_t dropped_now = 0;
    {
      const std::lock_guard lock(mutex);
      urgent = false;
      if (pending.size() == 0) return;
      std::swap(batch, pending);
      dropped_now = dropped;
    }
    try {
      const Hdf5Scope scope;
      write(batch, dropped_now);
      publish();
    } catch (...) {
      behind = {};
      hidden_whole = false;
      keep(std::move(batch));
      note_drain(begin);
      throw;
    }
    behind = std::move(batch);
    note_drain(begin);
  }

  void keep(Rows batch) {
    const std::lock_guard lock(mutex);
    batch.append(pending);
    pending = std::move(batch);
    dropped += pending.trim(waiting_limit);
  }

  template <class T>
  void add(std::vector<T> Rows::*table, T row, bool is_urgent) {
    const std::lock_guard lock(mutex);
    (pending.*table).push_back(std::move(row));
    urgent = urgent || is_urgent;
  }
};

Recorder::Recorder(fs::path folder, RunInfo info) : state_(std::make_unique<State>()) {
  auto& s = *state_;
  s.folder = std::move(folder);
  s.info = std::move(info);
  s.rank = s.info.rank;
  s.visible = s.folder / hub_file(s.info.attempt, s.info.hub);
  const auto name = "." + s.visible.filename().string();
  s.hidden = s.visible.parent_path() / (name + ".next");
  s.aside = s.visible.parent_path() / (name + ".aside");
  std::error_code code;
  fs::create_directories(s.visible.parent_path(), code);
  if (code) throw_errno("create trace folder " + s.visible.parent_path().string(), code.value());
  const Hdf5Scope scope;
  s.create();
}

Recorder::~Recorder() {
  auto& s = *state_;
  try {
    s.drain();
    const Hdf5Scope scope;
    s.pack();
    if (::rename(s.hidden.c_str(), s.visible.c_str()) != 0) throw_errno("close trace " + s.visible.string(), errno);
  } catch (const std::exception& error) {
    log::warning(error.what());
  }
  ::unlink(s.hidden.c_str());
  ::unlink(s.aside.c_str());
}

void Recorder::add(const CaptureReport& report, Nanoseconds time) {
  auto& s = *state_;
  const std::lock_guard lock(s.mutex);
  s.pending.captures.push_back({time, s.rank, report});
}

void Recorder::add(const TransferRecord& record) { state_->add(&Rows::transfers, record, false); }
void Recorder::add(const FlushRecord& record) { state_->add(&Rows::flushes, record, false); }
void Recorder::add(const CommitRecord& record) { state_->add(&Rows::commits, record, false); }
void Recorder::add(const FailureRecord& record) { state_->add(&Rows::failures, record, true); }
void Recorder::add(const RecoveryRecord& record) { state_->add(&Rows::recoveries, record, true); }

void Recorder::set_rank(Rank rank) {
  const std::lock_guard lock(state_->mutex);
  state_->rank = rank;
}

void Recorder::drain() { state_->drain(); }

bool Recorder::drain_if_due(Nanoseconds interval) {
  auto& s = *state_;
  {
    const std::lock_guard lock(s.mutex);
    const auto pause = std::max(interval, drain_share * s.last_cost);
    if (s.pending.size() == 0 || (!s.urgent && monotonic_now() - s.last_drain < pause)) return false;
  }
  s.drain();
  return true;
}

fs::path Recorder::file() const { return state_->visible; }

}  // namespace foreweave::trace
