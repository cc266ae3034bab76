#include "foreweave/trace/reader.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "foreweave/core/error.hpp"
#include "trace/hdf5.hpp"
#include "trace/schema.hpp"

namespace foreweave::trace {
namespace fs = std::filesystem;
namespace {

// One hub's file while it is read.
class Source {
 public:
  explicit Source(fs::path path) : path_(std::move(path)), file_(open_hdf5_file(path_)) {}

  std::string text(const char* name) const { return get_text_attribute(file_, name); }
  std::int64_t number(const char* name) const {
    const auto what = operation(name);
    const Handle attribute(H5Aopen(file_, name, H5P_DEFAULT), what);
    std::int64_t value = 0;
    check_hdf5(H5Aread(attribute, H5T_NATIVE_INT64, &value), what);
    return value;
  }
  std::vector<std::pair<std::string, std::string>> options() const {
    const auto what = operation("options");
    const Handle attribute(H5Aopen(file_, "options", H5P_DEFAULT), what);
    const Handle space(H5Aget_space(attribute), what);
    const auto count = check_hdf5(H5Sget_simple_extent_npoints(space), what);
    std::vector<std::pair<std::string, std::string>> options;
    for (const auto& line : strings(space, static_cast<std::size_t>(count),
                                    [&](hid_t type, void*texts) { return H5Aread(attribute, type, texts); })) {
      const auto equal = line.find('=');
      options.emplace_back(line.substr(0, equal), equal == line.npos ? "" : line.substr(equal + 1));
    }
    return options;
  }

  bool has(const char* table) const { return check_hdf5(H5Lexists(file_, table, H5P_DEFAULT), operation(table)) > 0; }

  /// All values of a column; `width` per row.
  template <class T>
  std::vector<T> column(const std::string& name, hid_t type, std::size_t width = 1) const {
    const auto what = operation(name);
    const Handle set(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), what);
    const auto count = points(set, what);
    if (count % width != 0) throw Error(ErrorCategory::format, what, "rows of unexpected width");
    std::vector<T> values(count);
    // Enumerations are read as the small integers they are stored as.
    const Handle stored(H5Dget_type(set), what);
    const bool is_enum = H5Tget_class(stored) == H5T_ENUM;
    if (is_enum && (sizeof(T) != 1 || H5Tget_size(stored) != 1)) {
      throw Error(ErrorCategory::format, what, "of unexpected type");
    }
    if (count != 0) {
      check_hdf5(H5Dread(set, is_enum ? hid_t{stored} : type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), what);
    }
    return values;
  }
  std::vector<std::string> texts(const std::string& name) const {
    const auto what = operation(name);
    const Handle set(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), what);
    const Handle space(H5Dget_space(set), what);
    return strings(space, points(set, what),
                   [&](hid_t type, void* texts) { return H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts); });
  }
  std::string operation(const std::string& what) const { return "read " + what + " of trace " + path_.string(); }

 private:
  static std::size_t points(hid_t set, const std::string& what) {
    const Handle space(H5Dget_space(set), what);
    return static_cast<std::size_t>(check_hdf5(H5Sget_simple_extent_npoints(space), what));
  }
  template <class Read>
  std::vector<std::string> strings(hid_t space, std::size_t count, Read&& read) const {
    if (count == 0) return {};
    const auto type = utf8_string_type();
    std::vector<char*> raw(count, nullptr);
    check_hdf5(read(type, raw.data()), operation("text"));
    std::vector<std::string> texts;
    for (const char* text : raw) texts.emplace_back(text != nullptr ? text : "");
    H5Dvlen_reclaim(type, space, H5P_DEFAULT, raw.data());
    return texts;
  }

  fs::path path_;
  Handle file_;
};

void expect_version(const Source& source, const fs::path& file) {
  const auto version = source.number("format_version");
  if (version != format_version) {
    throw Error(ErrorCategory::format, "read trace " + file.string(),
                "is of format version " + std::to_string(version) + "; this Foreweave reads version " +
                    std::to_string(format_version));
  }
}

RunInfo identity(const Source& source) {
  RunInfo info;
  info.run_id = source.text("run_id");
  info.job = source.text("job");
  info.command_line = source.text("command_line");
  info.ranks = static_cast<Rank>(source.number("ranks"));
  info.hubs = static_cast<std::uint32_t>(source.number("hubs"));
  info.options = source.options();
  return info;
}

// Columns of one table, by name; each is checked to have the table's length.
class TableReader {
 public:
  TableReader(const Source& source, std::string table) : source_(source), table_(std::move(table)) {}
  auto i64(const char* name) { return get<std::int64_t>(name, H5T_NATIVE_INT64); }
  auto u64(const char* name) { return get<std::uint64_t>(name, H5T_NATIVE_UINT64); }
  auto i32(const char* name) { return get<std::int32_t>(name, H5T_NATIVE_INT32); }
  auto u32(const char* name) { return get<std::uint32_t>(name, H5T_NATIVE_UINT32); }
  /// A column that traces of an earlier Foreweave lack: zeros then. Only after another column.
  auto u64_if_there(const char* name) { return has(name) ? u64(name) : std::vector<std::uint64_t>(rows_); }
  auto i64_if_there(const char* name) { return has(name) ? i64(name) : std::vector<std::int64_t>(rows_); }
  auto choice(const char* name) { return get<std::int8_t>(name, H5T_NATIVE_INT8); }
  auto wide(const char* name, std::size_t width) {
    auto values = source_.column<std::uint64_t>(table_ + "/" + name, H5T_NATIVE_UINT64, width);
    agree(values.size() / width);
    return values;
  }
  auto texts(const char* name) {
    auto values = source_.texts(table_ + "/" + name);
    agree(values.size());
    return values;
  }

 private:
  bool has(const char* name) const { return source_.has((table_ + "/" + name).c_str()); }
  template <class T>
  std::vector<T> get(const char* name, hid_t type) {
    auto values = source_.column<T>(table_ + "/" + name, type);
    agree(values.size());
    return values;
  }
  void agree(std::size_t rows) {
    if (rows_ != npos && rows != rows_) {
      throw Error(ErrorCategory::format, source_.operation(table_), "columns differ in length");
    }
    rows_ = rows;
  }
  static constexpr std::size_t npos = ~std::size_t{0};
  const Source& source_;
  std::string table_;
  std::size_t rows_ = npos;
};

void read_captures(const Source& source, HubTrace& hub) {
  TableReader t(source, "captures");
  const auto time = t.i64("time"), blocked = t.i64("blocked"), encode = t.i64("encode");
  const auto rank = t.i32("rank");
  const auto version = t.u64("version"), base = t.u64("base"), region = t.u64("region_bytes"), pages = t.u64("pages"),
             dirty = t.u64("dirty_pages"), staged = t.u64("staged_bytes"), snapshot = t.u64("snapshot_bytes");
  const auto tracked = t.u64_if_there("tracked_bytes"), faults = t.u64_if_there("write_faults"),
             digests = t.u64_if_there("digest_bytes");
  const auto hold = t.i64_if_there("hold");
  const auto transforms = t.wide("pages_by_transform", kernels::transform_count);
  for (std::size_t i = 0; i < time.size(); ++i) {
    CaptureRow row;
    row.time = time[i];
    row.rank = rank[i];
    auto& r = row.report;
    r.version = version[i];
    r.base = base[i];
    r.region_bytes = region[i];
    r.pages = pages[i];
    r.dirty_pages = dirty[i];
    r.staged_bytes = staged[i];
    r.tracked_bytes = tracked[i];
    r.write_faults = faults[i];
    r.digest_bytes = digests[i];
    r.hold_ns = hold[i];
    r.snapshot_bytes = snapshot[i];
    std::copy_n(transforms.begin() + static_cast<std::ptrdiff_t>(i * kernels::transform_count),
                kernels::transform_count, r.pages_by_transform.begin());
    r.blocked_ns = blocked[i];
    r.encode_ns = encode[i];
    hub.captures.push_back(row);
  }
}

void read_transfers(const Source& source, HubTrace& hub) {
  TableReader t(source, "transfers");
  const auto begin = t.i64("begin"), end = t.i64("end");
  const auto rank = t.i32("rank");
  const auto version = t.u64("version"), bytes = t.u64("bytes");
  const auto peer = t.u32("peer");
  const auto direction = t.choice("direction"), ok = t.choice("ok");
  for (std::size_t i = 0; i < begin.size(); ++i) {
    hub.transfers.push_back(
        {begin[i], end[i], rank[i], version[i], peer[i], direction[i] != 0, ok[i] != 0, bytes[i]});
  }
}

void read_flushes(const Source& source, HubTrace& hub) {
  if (!source.has("flushes")) return;
  TableReader t(source, "flushes");
  const auto begin = t.i64("begin"), end = t.i64("end");
  const auto tier = t.choice("tier"), ok = t.choice("ok");
  const auto rank = t.i32("rank");
  const auto version = t.u64("version"), bytes = t.u64("bytes"), unique = t.u64("unique"), stored = t.u64("stored"),
             passed_over = t.u64("passed_over");
  for (std::size_t i = 0; i < begin.size(); ++i) {
    hub.flushes.push_back({begin[i], end[i], static_cast<FileTier>(tier[i]), rank[i], version[i], ok[i] != 0, bytes[i],
                           unique[i], stored[i], passed_over[i]});
  }
}

void read_commits(const Source& source, HubTrace& hub) {
  TableReader t(source, "commits");
  const auto time = t.i64("time"), after = t.i64("after_capture");
  const auto version = t.u64("version");
  for (std::size_t i = 0; i < time.size(); ++i) hub.commits.push_back({time[i], version[i], after[i]});
}

void read_failures(const Source& source, HubTrace& hub) {
  TableReader t(source, "failures");
  const auto time = t.i64("time");
  const auto dead = t.u32("hub");
  const auto rank = t.i32("rank");
  const auto reason = t.texts("reason");
  for (std::size_t i = 0; i < time.size(); ++i) hub.failures.push_back({time[i], dead[i], rank[i], reason[i]});
}

void read_recoveries(const Source& source, HubTrace& hub) {
  TableReader t(source, "recoveries");
  const auto begin = t.i64("begin"), end = t.i64("end");
  const auto mode = t.choice("mode");
  const auto lost = t.i32("lost_rank");
  const auto version = t.u64("version"), bytes = t.u64("bytes"), steps = t.u64("lost_steps");
  const auto from = t.texts("source");
  for (std::size_t i = 0; i < begin.size(); ++i) {
    RecoveryRecord r;
    r.begin = begin[i];
    r.end = end[i];
    r.mode = static_cast<RecoveryMode>(mode[i]);
    r.lost_rank = lost[i];
    r.version = version[i];
    r.source = from[i];
    r.bytes = bytes[i];
    r.lost_steps = steps[i];
    hub.recoveries.push_back(std::move(r));
  }
}

HubTrace read_hub(const Source& source, const fs::path& file) {
  expect_version(source, file);
  HubTrace hub;
  hub.info = identity(source);
  hub.info.rank = static_cast<Rank>(source.number("rank"));
  hub.info.hub = static_cast<std::uint32_t>(source.number("hub"));
  hub.info.attempt = static_cast<int>(source.number("attempt"));
  hub.software_version = source.text("software_version");
  hub.host = source.text("host");
  hub.clock_monotonic = source.number("clock_monotonic_ns");
  hub.clock_wall = source.number("clock_wall_ns");
  hub.dropped_records = static_cast<std::uint64_t>(source.number("dropped_records"));
  read_captures(source, hub);
  read_transfers(source, hub);
  read_flushes(source, hub);
  read_commits(source, hub);
  read_failures(source, hub);
  read_recoveries(source, hub);
  return hub;
}

struct Link {
  int attempt = 0;
  int hub = 0;
  std::string file;
};

// The names below `group`, which are all numbers.
std::vector<int> numbered_links(hid_t group, const std::string& what) {
  H5G_info_t info{};
  check_hdf5(H5Gget_info(group, &info), what);
  std::vector<int> numbers;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    std::array<char, 32> name{};
    check_hdf5(H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size(), H5P_DEFAULT),
               what);
    numbers.push_back(std::atoi(name.data()));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::vector<Link> links_of(const fs::path& index) {
  const auto what = "read trace index " + index.string();
  const auto file = open_hdf5_file(index);
  std::vector<Link> links;
  if (check_hdf5(H5Lexists(file, "attempts", H5P_DEFAULT), what) == 0) return links;
  const Handle attempts(H5Gopen2(file, "attempts", H5P_DEFAULT), what);
  for (const int attempt : numbered_links(attempts, what)) {
    const Handle hubs(H5Gopen2(attempts, (std::to_string(attempt) + "/hubs").c_str(), H5P_DEFAULT), what);
    for (const int hub : numbered_links(hubs, what)) {
      const auto name = std::to_string(hub);
      H5L_info_t info{};
      check_hdf5(H5Lget_info(hubs, name.c_str(), &info, H5P_DEFAULT), what);
      std::vector<char> value(info.u.val_size);
      const char* target = nullptr;
      check_hdf5(H5Lget_val(hubs, name.c_str(), value.data(), value.size(), H5P_DEFAULT), what);
      check_hdf5(H5Lunpack_elink_val(value.data(), value.size(), nullptr, &target, nullptr), what);
      links.push_back({attempt, hub, target});
    }
  }
  return links;
}

}  // namespace

RunTrace read_trace(const fs::path& file) {
  if (!fs::exists(file)) throw Error(ErrorCategory::absent, "read trace " + file.string(), "there is no such file");
  const Hdf5Scope scope;
  if (fs::is_directory(file) || H5Fis_hdf5(file.c_str()) <= 0) {
    throw Error(ErrorCategory::format, "read trace " + file.string(), "is not an HDF5 file");
  }
  const Source source(file);
  const auto format = source.text("format");
  RunTrace run;
  if (format == format_name) {
    run.hubs.push_back(read_hub(source, file));
    run.info = run.hubs.front().info;
    return run;
  }
  if (format != index_format_name) {
    throw Error(ErrorCategory::format, "read trace " + file.string(), "is an HDF5 file, but no Foreweave trace");
  }
  expect_version(source, file);
  run.info = identity(source);
  for (const auto& link : links_of(file)) {
    const auto path = file.parent_path() / link.file;
    if (!fs::exists(path)) {
      run.missing.push_back(path);
      continue;
    }
    try {
      run.hubs.push_back(read_hub(Source(path), path));
    } catch (const Error& error) {  // the others still tell what they know
      run.damaged.push_back(path.string() + ": " + error.what());
    }
  }
  return run;
}

}  // namespace foreweave::trace
