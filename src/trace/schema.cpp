#include "trace/schema.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include "foreweave/core/version.hpp"
#include "trace/hdf5.hpp"

namespace foreweave::trace {
namespace {

// Rows a chunk. Small, because the last chunk is written anew at every drain; large enough for deflate to find
// something.
constexpr hsize_t chunk_rows = 256;

enum class Kind { i64, u64, i32, u32, boolean, direction, mode, tier, text };

struct Column {
  const char* name;
  Kind kind;
  const char* units;  // "1": a plain number
  const char* description;
  hsize_t width = 1;  // values a row
};

struct Table {
  const char* name;
  const char* description;
  std::vector<Column> columns;
};

const Table captures{"captures",
                     "versions this hub took of its regions",
                     {{"time", Kind::i64, "ns", "when the capture began, CLOCK_MONOTONIC"},
                      {"rank", Kind::i32, "1", "rank of the program"},
                      {"version", Kind::u64, "1", "version number"},
                      {"base", Kind::u64, "1", "version the delta is against; 0: full"},
                      {"region_bytes", Kind::u64, "B", "bytes of all regions"},
                      {"pages", Kind::u64, "1", "pages of all regions"},
                      {"dirty_pages", Kind::u64, "1", "pages that had changed"},
                      {"staged_bytes", Kind::u64, "B", "bytes copied to staging while the program was blocked"},
                      {"tracked_bytes", Kind::u64, "B", "bytes of the regions where the kernel told what was written"},
                      {"write_faults", Kind::u64, "1", "first writes to system pages that it saw there"},
                      {"digest_bytes", Kind::u64, "B", "bytes of the regions whose changes page digests told"},
                      {"snapshot_bytes", Kind::u64, "B", "bytes of the snapshot as stored"},
                      {"pages_by_transform", Kind::u64, "1", "changed pages by the transform the codec chose",
                       kernels::transform_count},
                      {"blocked", Kind::i64, "ns", "time the program was blocked"},
                      {"hold", Kind::i64, "ns", "of it, finding and copying what changed; the rest was waiting"},
                      {"encode", Kind::i64, "ns", "time of encoding and storing in the background"}}};
const Table transfers{"transfers",
                      "snapshots sent to and received from other hubs",
                      {{"begin", Kind::i64, "ns", "CLOCK_MONOTONIC"},
                       {"end", Kind::i64, "ns", "CLOCK_MONOTONIC"},
                       {"rank", Kind::i32, "1", "rank whose snapshot it is"},
                       {"version", Kind::u64, "1", "version number"},
                       {"peer", Kind::u32, "1", "the other hub"},
                       {"direction", Kind::direction, "1", "seen from this hub"},
                       {"ok", Kind::boolean, "1", "arrived and verified"},
                       {"bytes", Kind::u64, "B", "bytes moved"}}};
const Table flushes{"flushes",
                    "versions that were brought to files",
                    {{"begin", Kind::i64, "ns", "CLOCK_MONOTONIC"},
                     {"end", Kind::i64, "ns", "CLOCK_MONOTONIC"},
                     {"tier", Kind::tier, "1", "which tier of files"},
                     {"rank", Kind::i32, "1", "rank whose snapshot it is"},
                     {"version", Kind::u64, "1", "version number"},
                     {"ok", Kind::boolean, "1", "it stands there"},
                     {"bytes", Kind::u64, "B", "bytes of the snapshots that the tier lacked"},
                     {"unique", Kind::u64, "B", "of them, bytes that its folder did not have"},
                     {"stored", Kind::u64, "B", "bytes written: these, archived where that is so"},
                     {"passed_over", Kind::u64, "1", "versions that were due before this one and did not go"}}};
const Table commits{"commits",
                    "versions that became committed",
                    {{"time", Kind::i64, "ns", "CLOCK_MONOTONIC"},
                     {"version", Kind::u64, "1", "version number"},
                     {"after_capture", Kind::i64, "ns", "time since its capture on this hub"}}};
const Table failures{"failures",
                     "hubs that were found dead",
                     {{"time", Kind::i64, "ns", "when this hub knew, CLOCK_MONOTONIC"},
                      {"hub", Kind::u32, "1", "the dead hub"},
                      {"rank", Kind::i32, "1", "the rank it was; -1: none"},
                      {"reason", Kind::text, "1", "how it was found"}}};
const Table recoveries{"recoveries",
                       "recoveries this hub went through",
                       {{"begin", Kind::i64, "ns", "when the death was known, CLOCK_MONOTONIC"},
                        {"end", Kind::i64, "ns", "when the program resumed, CLOCK_MONOTONIC"},
                        {"mode", Kind::mode, "1", "way of recovery"},
                        {"lost_rank", Kind::i32, "1", "the rank that was lost; -1: not known"},
                        {"version", Kind::u64, "1", "version that was restored"},
                        {"source", Kind::text, "1", "where the state came from"},
                        {"bytes", Kind::u64, "B", "bytes restored"},
                        {"lost_steps", Kind::u64, "1", "steps that had to be computed again"}}};

template <std::size_t N>
Handle enum_type(const std::array<const char*, N>& names) {
  Handle type(H5Tenum_create(H5T_STD_I8LE), "HDF5 enum type");
  for (std::size_t i = 0; i < N; ++i) {
    const auto value = static_cast<std::int8_t>(i);
    check_hdf5(H5Tenum_insert(type, names[i], &value), "HDF5 enum type");
  }
  return type;
}

Handle type_of(Kind kind) {
  switch (kind) {
    case Kind::i64:
      return Handle(H5Tcopy(H5T_STD_I64LE));
    case Kind::u64:
      return Handle(H5Tcopy(H5T_STD_U64LE));
    case Kind::i32:
      return Handle(H5Tcopy(H5T_STD_I32LE));
    case Kind::u32:
      return Handle(H5Tcopy(H5T_STD_U32LE));
    case Kind::boolean:
      return enum_type(std::array{"FALSE", "TRUE"});  // what h5py reads as bool
    case Kind::direction:
      return enum_type(std::array{"incoming", "outgoing"});
    case Kind::mode:
      return enum_type(std::array{"none", "in_place", "relaunch"});
    case Kind::tier:
      return enum_type(std::array{"file", "shared"});
    case Kind::text:
      return utf8_string_type();
  }
  return {};
}

void create_table(hid_t file, const Table& table) {
  const std::string what = std::string("create trace table ") + table.name;
  const Handle group(H5Gcreate2(file, table.name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), what);
  put_attribute(group, "description", std::string(table.description));
  for (const auto& column : table.columns) {
    const int dimensions = column.width == 1 ? 1 : 2;
    const std::array<hsize_t, 2> now{0, column.width}, most{H5S_UNLIMITED, column.width},
        chunk{chunk_rows, column.width};
    const Handle space(H5Screate_simple(dimensions, now.data(), most.data()), what);
    const Handle properties(H5Pcreate(H5P_DATASET_CREATE), what);
    check_hdf5(H5Pset_chunk(properties, dimensions, chunk.data()), what);
    check_hdf5(H5Pset_shuffle(properties), what);
    check_hdf5(H5Pset_deflate(properties, 4), what);
    const Handle type = type_of(column.kind);
    const Handle set(H5Dcreate2(group, column.name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT), what);
    put_attribute(set, "units", std::string(column.units));
    put_attribute(set, "description", std::string(column.description));
    if (std::strcmp(column.name, "pages_by_transform") == 0) {
      put_attribute(set, "columns", std::vector<std::string>{"raw", "xor", "subtract", "subtract_1d", "subtract_3d"});
    }
  }
}

// Appends the rows of one column after another; all columns of a table grow alike.
class Appender {
 public:
  Appender(WritableFile& file, const Table& table, std::size_t rows)
      : file_(file),
        group_(H5Gopen2(file, table.name, H5P_DEFAULT), std::string("open trace table ") + table.name),
        table_(table),
        rows_(rows) {}

  template <class T, class F>
  void column(const char* name, hid_t memory_type, F&& value, hsize_t width = 1) {
    std::vector<T> values;
    values.reserve(rows_ * width);
    for (std::size_t row = 0; row < rows_; ++row) {
      for (hsize_t i = 0; i < width; ++i) values.push_back(static_cast<T>(value(row, i)));
    }
    write(name, memory_type, values.data(), width);
  }
  template <class F>
  void i64(const char* name, F&& value) {
    column<std::int64_t>(name, H5T_NATIVE_INT64, [&](auto r, auto) { return value(r); });
  }
  template <class F>
  void u64(const char* name, F&& value) {
    column<std::uint64_t>(name, H5T_NATIVE_UINT64, [&](auto r, auto) { return value(r); });
  }
  template <class F>
  void i32(const char* name, F&& value) {
    column<std::int32_t>(name, H5T_NATIVE_INT32, [&](auto r, auto) { return value(r); });
  }
  template <class F>
  void choice(const char* name, Kind kind, F&& value) {
    column<std::int8_t>(name, type_of(kind), [&](auto r, auto) { return value(r); });
  }
  template <class F>
  void text(const char* name, F&& value) {
    column<const char*>(name, utf8_string_type(), [&](auto r, auto) { return value(r); });
  }

 private:
  void write(const char* name, hid_t memory_type, const void* values, hsize_t width) {
    const std::string what = std::string("append to trace column ") + table_.name + "/" + name;
    const Handle set(H5Dopen2(group_, name, H5P_DEFAULT), what);
    std::array<hsize_t, 2> extent{};
    int dimensions = 0;
    {
      const Handle space(H5Dget_space(set), what);
      dimensions = check_hdf5(H5Sget_simple_extent_ndims(space), what);
      check_hdf5(H5Sget_simple_extent_dims(space, extent.data(), nullptr), what);
    }
    const std::array<hsize_t, 2> start{extent[0], 0}, count{rows_, width};
    extent[0] += rows_;
    check_hdf5(H5Dset_extent(set, extent.data()), what);
    const Handle space(H5Dget_space(set), what);
    check_hdf5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr), what);
    const Handle memory(H5Screate_simple(dimensions, count.data(), nullptr), what);
    // Chunks are written out while a failure can still be met: closing the data set must not fail.
    if (H5Dwrite(set, memory_type, memory, space, H5P_DEFAULT, values) < 0 || H5Dflush(set) < 0) {
      file_.discard();
      throw_hdf5(what);
    }
  }

  WritableFile& file_;
  Handle group_;
  const Table& table_;
  hsize_t rows_;
};

template <class T>
void join(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

template <class T>
std::size_t trim_one(std::vector<T>& rows, std::size_t limit) {
  const std::size_t surplus = rows.size() > limit ? rows.size() - limit : 0;
  rows.erase(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(surplus));
  return surplus;
}

}  // namespace

std::size_t Rows::size() const {
  return captures.size() + transfers.size() + flushes.size() + commits.size() + failures.size() + recoveries.size();
}

void Rows::append(const Rows& other) {
  join(captures, other.captures);
  join(transfers, other.transfers);
  join(flushes, other.flushes);
  join(commits, other.commits);
  join(failures, other.failures);
  join(recoveries, other.recoveries);
}

std::size_t Rows::trim(std::size_t limit) {
  return trim_one(captures, limit) + trim_one(transfers, limit) + trim_one(flushes, limit) + trim_one(commits, limit) +
         trim_one(failures, limit) + trim_one(recoveries, limit);
}

std::filesystem::path hub_file(int attempt, std::uint32_t hub) {
  return std::filesystem::path("ranks") /
         ("attempt" + std::to_string(attempt) + ".hub" + std::to_string(hub) + ".h5");
}

void put_identity(hid_t file, const char* format, const RunInfo& info) {
  put_attribute(file, "format", std::string(format));
  put_attribute(file, "format_version", format_version);
  put_attribute(file, "software", std::string("foreweave"));
  put_attribute(file, "software_version", build_info().version);
  put_attribute(file, "run_id", info.run_id);
  put_attribute(file, "job", info.job);
  put_attribute(file, "command_line", info.command_line);
  put_attribute(file, "ranks", std::int64_t{info.ranks});
  put_attribute(file, "hubs", info.hubs != 0 ? std::int64_t{info.hubs} : std::int64_t{info.ranks});
  std::vector<std::string> options;
  for (const auto& [name, value] : info.options) options.push_back(name + "=" + value);
  put_attribute(file, "options", options);
}

void create_tables(hid_t file) {
  for (const auto* table : {&captures, &transfers, &flushes, &commits, &failures, &recoveries}) create_table(file, *table);
}

void append_rows(WritableFile& file, const Rows& rows) {
  if (const auto& r = rows.captures; !r.empty()) {
    Appender to(file, captures, r.size());
    to.i64("time", [&](auto i) { return r[i].time; });
    to.i32("rank", [&](auto i) { return r[i].rank; });
    to.u64("version", [&](auto i) { return r[i].report.version; });
    to.u64("base", [&](auto i) { return r[i].report.base; });
    to.u64("region_bytes", [&](auto i) { return r[i].report.region_bytes; });
    to.u64("pages", [&](auto i) { return r[i].report.pages; });
    to.u64("dirty_pages", [&](auto i) { return r[i].report.dirty_pages; });
    to.u64("staged_bytes", [&](auto i) { return r[i].report.staged_bytes; });
    to.u64("tracked_bytes", [&](auto i) { return r[i].report.tracked_bytes; });
    to.u64("write_faults", [&](auto i) { return r[i].report.write_faults; });
    to.u64("digest_bytes", [&](auto i) { return r[i].report.digest_bytes; });
    to.u64("snapshot_bytes", [&](auto i) { return r[i].report.snapshot_bytes; });
    to.column<std::uint64_t>(
        "pages_by_transform", H5T_NATIVE_UINT64, [&](auto i, auto j) { return r[i].report.pages_by_transform[j]; },
        kernels::transform_count);
    to.i64("hold", [&](auto i) { return r[i].report.hold_ns; });
    to.i64("blocked", [&](auto i) { return r[i].report.blocked_ns; });
    to.i64("encode", [&](auto i) { return r[i].report.encode_ns; });
  }
  if (const auto& r = rows.transfers; !r.empty()) {
    Appender to(file, transfers, r.size());
    to.i64("begin", [&](auto i) { return r[i].begin; });
    to.i64("end", [&](auto i) { return r[i].end; });
    to.i32("rank", [&](auto i) { return r[i].rank; });
    to.u64("version", [&](auto i) { return r[i].version; });
    to.u64("peer", [&](auto i) { return r[i].peer; });
    to.choice("direction", Kind::direction, [&](auto i) { return r[i].outgoing; });
    to.choice("ok", Kind::boolean, [&](auto i) { return r[i].ok; });
    to.u64("bytes", [&](auto i) { return r[i].bytes; });
  }
  if (const auto& r = rows.flushes; !r.empty()) {
    Appender to(file, flushes, r.size());
    to.i64("begin", [&](auto i) { return r[i].begin; });
    to.i64("end", [&](auto i) { return r[i].end; });
    to.choice("tier", Kind::tier, [&](auto i) { return static_cast<int>(r[i].tier); });
    to.i32("rank", [&](auto i) { return r[i].rank; });
    to.u64("version", [&](auto i) { return r[i].version; });
    to.choice("ok", Kind::boolean, [&](auto i) { return r[i].ok; });
    to.u64("bytes", [&](auto i) { return r[i].bytes; });
    to.u64("unique", [&](auto i) { return r[i].unique; });
    to.u64("stored", [&](auto i) { return r[i].stored; });
    to.u64("passed_over", [&](auto i) { return r[i].passed_over; });
  }
  if (const auto& r = rows.commits; !r.empty()) {
    Appender to(file, commits, r.size());
    to.i64("time", [&](auto i) { return r[i].time; });
    to.u64("version", [&](auto i) { return r[i].version; });
    to.i64("after_capture", [&](auto i) { return r[i].after_capture_ns; });
  }
  if (const auto& r = rows.failures; !r.empty()) {
    Appender to(file, failures, r.size());
    to.i64("time", [&](auto i) { return r[i].time; });
    to.u64("hub", [&](auto i) { return r[i].hub; });
    to.i32("rank", [&](auto i) { return r[i].rank; });
    to.text("reason", [&](auto i) { return r[i].reason.c_str(); });
  }
  if (const auto& r = rows.recoveries; !r.empty()) {
    Appender to(file, recoveries, r.size());
    to.i64("begin", [&](auto i) { return r[i].begin; });
    to.i64("end", [&](auto i) { return r[i].end; });
    to.choice("mode", Kind::mode, [&](auto i) { return static_cast<int>(r[i].mode); });
    to.i32("lost_rank", [&](auto i) { return r[i].lost_rank; });
    to.u64("version", [&](auto i) { return r[i].version; });
    to.text("source", [&](auto i) { return r[i].source.c_str(); });
    to.u64("bytes", [&](auto i) { return r[i].bytes; });
    to.u64("lost_steps", [&](auto i) { return r[i].lost_steps; });
  }
}

}  // namespace foreweave::trace
