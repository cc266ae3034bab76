#include "foreweave/context/options.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <optional>
#include <utility>

#include "foreweave/core/error.hpp"

extern char** environ;

namespace foreweave {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const auto first = text.find_first_not_of(space);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

// A row of the table. `parse` returns false for a value that is not accepted and changes nothing then.
struct Row {
  std::string name;
  std::string type;
  std::string accepted;
  std::string help;
  std::function<bool(Options&, std::string_view)> parse;
  std::function<std::string(const Options&)> print;
  bool is_bool = false;
  bool secret = false;  // never printed, environment only
  bool internal = false;
};

// ---- kinds of values
// ------------------------------------------------------------------------------------------------

std::optional<bool> parse_bool(std::string_view text) {
  for (auto word : {"true", "on", "yes", "1"}) {
    if (text == word) return true;
  }
  for (auto word : {"false", "off", "no", "0"}) {
    if (text == word) return false;
  }
  return std::nullopt;
}

template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// 4096, 64K, 64KiB, 2M, 1G, 1T: powers of 1024.
std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{}) return std::nullopt;
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  int shift = 0;
  if (!unit.empty() && unit != "B") {
    const auto which =
        std::string_view("KMGT").find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit[0]))));
    if (which == std::string_view::npos) return std::nullopt;
    unit.remove_prefix(1);
    if (!unit.empty() && unit != "B" && unit != "iB") return std::nullopt;
    shift = 10 * (static_cast<int>(which) + 1);
  }
  if (value > (std::numeric_limits<std::uint64_t>::max() >> shift)) return std::nullopt;
  return value << shift;
}

std::string print_bytes(std::uint64_t value) {
  constexpr std::string_view units = "KMGT";
  for (int unit = 4; unit > 0; --unit) {
    if (value != 0 && value % (std::uint64_t{1} << (10 * unit)) == 0) {
      return std::to_string(value >> (10 * unit)) + units[static_cast<std::size_t>(unit - 1)];
    }
  }
  return std::to_string(value);
}

// 3, 0.1, 3s, 100ms.
std::optional<double> parse_seconds(std::string_view text) {
  double scale = 1;
  if (text.ends_with("ms")) {
    scale = 1e-3;
    text.remove_suffix(2);
  } else if (text.ends_with("s")) {
    text.remove_suffix(1);
  }
  const auto value = parse_number<double>(text);
  if (!value || !std::isfinite(*value)) return std::nullopt;
  return *value * scale;
}

std::string print_real(double value) {
  std::array<char, 64> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return std::string(text.data(), end);
}

bool is_plain_name(std::string_view text) {
  if (text.empty() || text.size() > 128 || text[0] == '.' || text[0] == '-') return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

// ---- row makers
// -----------------------------------------------------------------------------------------------------

Row bool_row(std::string name, bool Options::*field, std::string help) {
  return {std::move(name),
          "bool",
          "true, on, yes, 1, false, off, no or 0",
          std::move(help),
          [field](Options& o, std::string_view text) {
            const auto value = parse_bool(text);
            if (value) o.*field = *value;
            return value.has_value();
          },
          [field](const Options& o) { return std::string(o.*field ? "true" : "false"); },
          true};
}

template <class T>
Row count_row(std::string name, T Options::*field, T least, T most, std::string help) {
  const bool bounded = most != std::numeric_limits<T>::max();
  return {std::move(name),
          "number",
          bounded ? "a whole number from " + std::to_string(least) + " to " + std::to_string(most)
                  : "a whole number, " + std::to_string(least) + " or more",
          std::move(help),
          [=](Options& o, std::string_view text) {
            const auto value = parse_number<T>(text);
            if (!value || *value < least || *value > most) return false;
            o.*field = *value;
            return true;
          },
          [field](const Options& o) { return std::to_string(o.*field); }};
}

Row bytes_row(std::string name, std::uint64_t Options::*field, std::string help) {
  return {std::move(name),
          "bytes",
          "a number of bytes, with K, M, G or T (powers of 1024) if wanted, as in 512M",
          std::move(help),
          [field](Options& o, std::string_view text) {
            const auto value = parse_bytes(text);
            if (value) o.*field = *value;
            return value.has_value();
          },
          [field](const Options& o) { return print_bytes(o.*field); }};
}

Row seconds_row(std::string name, double Options::*field, double least, double most, std::string help) {
  return {std::move(name),
          "seconds",
          "seconds from " + print_real(least) + " to " + print_real(most) + ", as in 0.5, 3s or 100ms",
          std::move(help),
          [=](Options& o, std::string_view text) {
            const auto value = parse_seconds(text);
            if (!value || *value < least || *value > most) return false;
            o.*field = *value;
            return true;
          },
          [field](const Options& o) { return print_real(o.*field); }};
}

template <class Accept>
Row text_row(std::string name, std::string type, std::string Options::*field, std::string accepted, std::string help,
             Accept accept) {
  return {std::move(name),
          std::move(type),
          std::move(accepted),
          std::move(help),
          [=](Options& o, std::string_view text) {
            if (!accept(text)) return false;
            o.*field = text;
            return true;
          },
          [field](const Options& o) { return o.*field; }};
}

template <class T, std::size_t N>
Row choice_row(std::string name, T Options::*field, std::array<std::pair<const char*, T>, N> choices,
               std::string help) {
  std::string accepted;
  for (std::size_t i = 0; i < N; ++i)
    accepted += (i == 0 ? "" : i + 1 == N ? " or " : ", ") + std::string(choices[i].first);
  return {std::move(name),
          "choice",
          std::move(accepted),
          std::move(help),
          [=](Options& o, std::string_view text) {
            for (const auto& [word, value] : choices) {
              if (text == word) {
                o.*field = value;
                return true;
              }
            }
            return false;
          },
          [=](const Options& o) {
            for (const auto& [word, value] : choices) {
              if (o.*field == value) return std::string(word);
            }
            return std::string("?");
          }};
}

bool any_line(std::string_view text) { return text.find('\n') == std::string_view::npos; }
bool non_empty_line(std::string_view text) { return !text.empty() && any_line(text); }

std::vector<Row> make_table() {
  constexpr auto u32_max = std::numeric_limits<std::uint32_t>::max();
  constexpr auto u64_max = std::numeric_limits<std::uint64_t>::max();
  std::vector<Row> t;
  t.push_back(
      bool_row("enabled", &Options::enabled, "false: every call of Foreweave returns at once and does nothing"));
  t.push_back(text_row("job", "name", &Options::job, "letters, digits and . _ - (not first), at most 128",
                       "name of the job; runs of the same name find each other's versions", is_plain_name));
  t.push_back(text_row("store", "folder", &Options::store, "a folder in shared memory",
                       "folder of the host tier; it outlives the job", non_empty_line));
  t.push_back(text_row("file_store", "folder", &Options::file_store, "a folder, or empty for no such tier",
                       "folder of the node-local file tier", any_line));
  t.push_back(text_row("shared_store", "folder", &Options::shared_store, "a folder, or empty for no such tier",
                       "folder of the file tier that all nodes see, on a parallel file system", any_line));
  t.push_back(count_row<std::uint64_t>("every", &Options::every, 0, u64_max,
                                       "steps between two checkpoints of Context::step(); 0: only explicit ones"));
  t.push_back(count_row<std::uint64_t>("file_every", &Options::file_every, 1, u64_max,
                                       "every n-th committed version goes to the node-local file tier"));
  t.push_back(count_row<std::uint64_t>("shared_every", &Options::shared_every, 1, u64_max,
                                       "every n-th committed version goes to the shared file tier"));
  t.push_back(count_row<std::uint64_t>("flush_bandwidth", &Options::flush_bandwidth, 0, 1'000'000,
                                       "most that one process writes to files, in MB/s; 0: no cap"));
  t.push_back(choice_row<ArchiveChoice, 3>(
      "archive", &Options::archive,
      {{{"auto", ArchiveChoice::automatic}, {"off", ArchiveChoice::off}, {"on", ArchiveChoice::on}}},
      "whether snapshots are made smaller once more in files; auto: in the shared tier"));
  t.push_back(bytes_row("host_budget", &Options::host_budget, "limit of the host tier of one process; 0: none"));
  t.push_back(text_row("redundancy", "kind", &Options::redundancy,
                       "copies, or rs:K+M with K from 1 to 128 and M from 1 to 16, as in rs:4+2",
                       "whole copies on partners (how many: copies), or M parity blocks for each group of K ranks",
                       [](std::string_view text) {
                         try {
                           (void)parse_redundancy(text);
                           return true;
                         } catch (const Error&) {
                           return false;
                         }
                       }));
  t.push_back(count_row<std::uint32_t>("copies", &Options::copies, 0, 8,
                                       "copies of each snapshot on partner hubs, with redundancy=copies"));
  t.push_back(count_row<std::uint32_t>("max_chain", &Options::max_chain, 1, 1024,
                                       "links of a delta chain before it is folded, or a full snapshot taken instead"));
  t.push_back(count_row<std::uint32_t>("keep", &Options::keep, 1, 1u << 20,
                                       "newest versions kept besides the committed one"));
  t.push_back(count_row<std::uint64_t>("keep_every", &Options::keep_every, 0, u64_max,
                                       "of each so many versions the first stays in files; 0: none"));
  t.push_back(bool_row("restore_older", &Options::restore_older,
                       "go on from an older version when the committed one is lost, instead of refusing"));
  t.push_back(bytes_row("base_budget", &Options::base_budget,
                        "limit of base copies of host regions; those protected past it have page digests; 0: none"));
  t.push_back(choice_row<Tracking, 3>(
      "track", &Options::track,
      {{{"auto", Tracking::automatic}, {"never", Tracking::never}, {"always", Tracking::always}}},
      "whether the kernel tells which pages of host regions were written; auto: where that pays and nothing is pinned"));
  t.push_back(count_row<std::uint32_t>("capture_threads", &Options::capture_threads, 0, 256,
                                       "threads that encode a capture; 0: one, or more where cores are to spare"));
  t.push_back(bytes_row("staging", &Options::staging, "staging memory of captures; 0: as much as the regions"));
  t.push_back(choice_row<TransportChoice, 2>("transport", &Options::transport,
                                             {{{"ucx", TransportChoice::ucx}, {"mpi", TransportChoice::mpi}}},
                                             "how hubs talk to each other"));
  t.push_back(text_row("ucx_tls", "list", &Options::ucx_tls, "UCX transports separated by commas, as in tcp,self",
                       "UCX_TLS of Foreweave's own UCX context", non_empty_line));
  t.push_back(text_row("ucx_net_devices", "list", &Options::ucx_net_devices,
                       "UCX devices separated by commas, or empty: UCX chooses",
                       "UCX_NET_DEVICES of Foreweave's own UCX context", any_line));
  t.push_back(seconds_row("heartbeat", &Options::heartbeat, 0.001, 3600, "time between two heartbeats"));
  t.push_back(seconds_row("suspect_after", &Options::suspect_after, 0.01, 86400,
                          "silence after which a hub is taken for dead"));
  t.push_back(seconds_row("commit_wait", &Options::commit_wait, 0, 86400,
                          "longest time that one call waits for versions in flight"));
  t.push_back(count_row<std::uint32_t>("in_flight", &Options::in_flight, 1, 1024,
                                       "versions not yet committed before checkpoint waits"));
  t.push_back(text_row("key_file", "file", &Options::key_file, "a file of 64 hex digits readable by its owner alone",
                       "the job's key: snapshots are sealed with it, in memory, on the way and in files", any_line));
  t.push_back(text_row("key", "secret", &Options::key, "64 hex digits", "the job's key itself; environment only",
                       [](std::string_view text) {
                         return text.empty() ||
                                (text.size() == 64 && text.find_first_not_of("0123456789abcdefABCDEF") == text.npos);
                       }));
  t.back().secret = true;
  t.push_back(text_row("trace", "folder", &Options::trace, "a folder, or empty for no trace",
                       "folder of the HDF5 trace of the run", any_line));
  t.push_back(choice_row<log::Level, 6>("log", &Options::log,
                                        {{{"trace", log::Level::trace},
                                          {"debug", log::Level::debug},
                                          {"info", log::Level::info},
                                          {"warning", log::Level::warning},
                                          {"error", log::Level::error},
                                          {"off", log::Level::off}}},
                                        "least severity that is logged on stderr"));
  t.push_back(count_row<std::uint32_t>("spares", &Options::spares, 0, 65536,
                                       "processes of the launch that stand by to become a lost rank"));
  t.push_back(choice_row<RecoverChoice, 4>(
      "recover", &Options::recover,
      {{{"auto", RecoverChoice::automatic},
        {"in_place", RecoverChoice::in_place},
        {"relaunch", RecoverChoice::relaunch},
        {"none", RecoverChoice::none}}},
      "what follows the loss of a rank; auto: in place where MPI can, else by relaunch"));
  t.push_back(bool_row("progress", &Options::progress, "a progress line on rank 0, when stderr is a terminal"));
  t.push_back(text_row("fault", "plan", &Options::fault,
                       "kill:rank=R,step=N[,after=MS][,memory=lost|kept][,attempt=A] (or version=V for step=N), "
                       "several separated by ';', or empty",
                       "faults to inject, for tests and demonstrations", [](std::string_view text) {
                         try {
                           (void)parse_faults(text);
                           return true;
                         } catch (const Error&) {
                           return false;
                         }
                       }));
  t.push_back(count_row<std::uint32_t>("attempt", &Options::attempt, 0, u32_max - 1,
                                       "number of this start of the job; set by foreweave-run"));
  t.back().internal = true;
  t.push_back(count_row<std::uint64_t>("died_at", &Options::died_at, 0, u64_max,
                                       "when the death was seen, wall clock in ns; set by foreweave-run"));
  t.back().internal = true;
  t.push_back(text_row("run_id", "name", &Options::run_id, "letters, digits and . _ - (not first), at most 128",
                       "name of this run, the same over its attempts; set by foreweave-run",
                       [](std::string_view text) { return text.empty() || is_plain_name(text); }));
  t.back().internal = true;
  t.push_back(text_row("options_file", "file", &Options::options_file, "a file of `name = value` lines, or empty",
                       "file to read options from; command line or environment only", any_line));
  return t;
}

const std::vector<Row>& table() {
  static const std::vector<Row> rows = make_table();
  return rows;
}

const Row* find(std::string_view name) {
  for (const auto& row : table()) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

// ---- unknown names
// --------------------------------------------------------------------------------------------------

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), now(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) before[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({before[j] + 1, now[j - 1] + 1, before[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
    }
    std::swap(before, now);
  }
  return before[b.size()];
}

[[noreturn]] void refuse_unknown(std::string_view name, std::string_view source) {
  const Row* nearest = nullptr;
  long least = static_cast<long>(name.size()) + 1;
  std::string names;
  for (const auto& row : table()) {
    names += (names.empty() ? "" : ", ") + row.name;
    // A common beginning counts for a name, so that "copy" finds "copies" and not "job".
    const auto prefix =
        std::mismatch(name.begin(), name.end(), row.name.begin(), row.name.end()).first - name.begin();
    if (const auto score = 2 * static_cast<long>(edit_distance(name, row.name)) - prefix; score < least) {
      least = score;
      nearest = &row;
    }
  }
  throw Error(ErrorCategory::argument, "option '" + std::string(name) + "'",
              "from " + std::string(source) + ", is not known" +
                  (nearest != nullptr ? "; did you mean '" + nearest->name + "'?" : ".") +
                  " Known options: " + names);
}

std::string variable_of(std::string_view name) {
  std::string text = "FOREWEAVE_";
  for (unsigned char c : name) text += static_cast<char>(std::toupper(c));
  return text;
}

void read_file(Options& options, const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    throw Error(ErrorCategory::io, "options file '" + path + "'",
                "cannot be read: " + std::string(std::strerror(errno)), errno);
  }
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::string where = "file " + path + ":" + std::to_string(number);
    const auto text = trimmed(std::string_view(line).substr(0, line.find('#')));
    if (text.empty()) continue;
    const auto equal = text.find('=');
    if (equal == std::string_view::npos) {
      throw Error(ErrorCategory::argument, "options " + where, "'" + std::string(text) + "' is not `name = value`");
    }
    const auto name = trimmed(text.substr(0, equal));
    if (name == "options_file" || name == "key") {
      throw Error(ErrorCategory::argument, "option '" + std::string(name) + "'",
                  "cannot be given in the options " + where +
                      (name == "key" ? "; put it into a file of its own and name that in key_file" : ""));
    }
    options.set(name, trimmed(text.substr(equal + 1)), where);
  }
  if (file.bad() || std::filesystem::is_directory(path)) {
    throw Error(ErrorCategory::io, "options file '" + path + "'", "cannot be read");
  }
}

struct Setting {
  const Row* row;
  std::string value, source;
};

std::vector<Setting> from_variables() {
  std::vector<Setting> settings;
  constexpr std::string_view prefix = "FOREWEAVE_";
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    const auto equal = text.find('=');
    if (equal == std::string_view::npos || !text.starts_with(prefix)) continue;
    const auto whole = text.substr(0, equal);
    const auto& internal = internal_variables();
    if (std::find(internal.begin(), internal.end(), whole) != internal.end()) continue;
    const Row* found = nullptr;
    for (const auto& row : table()) {
      if (variable_of(row.name) == whole) found = &row;
    }
    const auto source = "environment variable " + std::string(whole);
    if (found == nullptr) {
      std::string name(whole.substr(prefix.size()));
      for (auto& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      refuse_unknown(name, source);
    }
    settings.push_back({found, std::string(text.substr(equal + 1)), source});
  }
  return settings;
}

std::vector<Setting> from_arguments(int& argc, char**& argv) {
  std::vector<Setting> settings;
  constexpr std::string_view prefix = "--foreweave-";
  std::vector<char*> kept(argv, argv + std::min(argc, 1));   // argv is changed when nothing was refused, not before
  int i = static_cast<int>(kept.size());
  for (; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    if (argument == "--") break;
    if (!argument.starts_with(prefix)) {
      kept.push_back(argv[i]);
      continue;
    }
    const auto equal = argument.find('=');
    std::string name(argument.substr(prefix.size(), equal == argument.npos ? equal : equal - prefix.size()));
    std::replace(name.begin(), name.end(), '-', '_');
    const Row* row = find(name);
    if (row == nullptr) refuse_unknown(name, "the command line");
    if (row->secret) {
      throw Error(ErrorCategory::argument, "option '" + name + "'",
                  "cannot be given on the command line, where every user of the machine can read it: use " +
                      variable_of(name) + " or --foreweave-key-file");
    }
    std::string value;
    if (equal != std::string_view::npos) {
      value = argument.substr(equal + 1);
    } else if (row->is_bool) {
      value = "true";
      // Digits would be too easily an argument of the program itself.
      if (i + 1 < argc && std::strlen(argv[i + 1]) > 1 && parse_bool(argv[i + 1])) value = argv[++i];
    } else if (i + 1 < argc) {
      value = argv[++i];
    } else {
      throw Error(ErrorCategory::argument, "option '" + name + "'",
                  "from the command line, has no value; accepted: " + row->accepted);
    }
    settings.push_back({row, std::move(value), "command line"});
  }
  kept.insert(kept.end(), argv + i, argv + argc);
  if (kept.size() < static_cast<std::size_t>(argc)) {
    std::copy(kept.begin(), kept.end(), argv);
    argc = static_cast<int>(kept.size());
    argv[argc] = nullptr;
  }
  return settings;
}

Options assemble(const std::vector<Setting>& arguments) {
  Options options;
  const auto variables = from_variables();
  std::string path;
  for (const auto* settings : {&variables, &arguments}) {
    for (const auto& setting : *settings) {
      if (setting.row->name == "options_file") path = setting.value;
    }
  }
  if (!path.empty()) read_file(options, path);
  for (const auto* settings : {&variables, &arguments}) {
    for (const auto& setting : *settings) options.set(setting.row->name, setting.value, setting.source);
  }
  options.check();
  return options;
}

}  // namespace

const std::vector<std::string_view>& internal_variables() {
  static const std::vector<std::string_view> names{
      "FOREWEAVE_NODE",           // stands for the host name, so that tests can have several nodes on one machine
      "FOREWEAVE_WRITE_GOLDEN",   // tests: write golden files anew
      "FOREWEAVE_SIM_SEEDS",      // tests: how many seeds the simulated transport runs
      "FOREWEAVE_TEST_SEEDS",     // tests: the same for other seeded tests
      "FOREWEAVE_PYTHON",         // foreweave report: the interpreter to use
      "FOREWEAVE_REPORT_SCRIPT",  // foreweave report: the script to use
  };
  return names;
}

Options::Options() : store("/dev/shm/foreweave-" + std::to_string(::getuid())) {}

Options Options::from(int& argc, char**& argv) { return assemble(from_arguments(argc, argv)); }
Options Options::from_environment() { return assemble({}); }

void Options::set(std::string_view name, std::string_view value, std::string_view source) {
  const Row* row = find(name);
  if (row == nullptr) refuse_unknown(name, source);
  if (!row->parse(*this, value)) {
    throw Error(ErrorCategory::argument, "option '" + row->name + "'",
                "value " + (row->secret ? std::string("(not shown)") : "'" + std::string(value) + "'") + " from " +
                    std::string(source) + " is not accepted; accepted: " + row->accepted);
  }
  sources_[row->name] = source;
}

void Options::check() const {
  // Fields can be written without set(), so every value is checked again.
  for (const auto& row : table()) {
    Options copy;
    if (const auto text = row.print(*this); !row.parse(copy, text)) {
      throw Error(ErrorCategory::argument, "option '" + row.name + "'",
                  "value " + (row.secret ? std::string("(not shown)") : "'" + text + "'") +
                      " from program is not accepted; accepted: " + row.accepted);
    }
  }
  if (!key.empty() && !key_file.empty()) {
    throw Error(ErrorCategory::argument, "options 'key' and 'key_file'", "both are given; give one of them");
  }
  // Two tiers in one folder would erase each other's versions.
  const auto folder = [](const std::string& path) { return std::filesystem::absolute(path).lexically_normal(); };
  for (const auto& [name, path] : {std::pair{"file_store", file_store}, std::pair{"shared_store", shared_store}}) {
    for (const auto& [other, taken] : {std::pair{"store", store}, std::pair{"file_store", file_store}}) {
      if (path.empty() || taken.empty() || std::string_view(name) == other || folder(path) != folder(taken)) continue;
      throw Error(ErrorCategory::argument, "option '" + std::string(name) + "'",
                  "value '" + path + "' from " + list_source(name) + " is the folder of '" + other +
                      "', too; give each tier its own");
    }
  }
  if (suspect_after < 2 * heartbeat) {
    throw Error(ErrorCategory::argument, "option 'suspect_after'",
                "value '" + print_real(suspect_after) + "' from " + list_source("suspect_after") +
                    " is less than two heartbeats (heartbeat is " + print_real(heartbeat) + " s)");
  }
}

std::vector<Options::Entry> Options::list() const {
  const Options defaults;
  std::vector<Entry> entries;
  for (const auto& row : table()) {
    const auto shown = [&](const Options& o) {
      const auto text = row.print(o);
      return row.secret && !text.empty() ? std::string("(set)") : text;
    };
    entries.push_back({row.name, shown(*this), list_source(row.name), shown(defaults), row.type, row.help,
                       row.accepted, row.internal});
  }
  return entries;
}

std::string Options::list_source(std::string_view name) const {
  if (const auto at = sources_.find(name); at != sources_.end()) return at->second;
  const Row* row = find(name);
  return row->print(*this) == row->print(Options{}) ? "default" : "program";
}

std::string Options::get(std::string_view name) const {
  for (const auto& entry : list()) {
    if (entry.name == name) return entry.value;
  }
  refuse_unknown(name, "program");
}

Redundancy parse_redundancy(std::string_view text) {
  if (text == "copies") return {};
  const auto plus = text.find('+');
  if (text.starts_with("rs:") && plus != std::string_view::npos) {
    const auto data = parse_number<int>(text.substr(3, plus - 3)), parity = parse_number<int>(text.substr(plus + 1));
    if (data && parity && *data >= 1 && *data <= 128 && *parity >= 1 && *parity <= 16) return {true, *data, *parity};
  }
  throw Error(ErrorCategory::argument, "redundancy '" + std::string(text) + "'",
              "is neither copies nor rs:K+M with K from 1 to 128 and M from 1 to 16");
}

std::vector<FaultPlan> parse_faults(std::string_view text) {
  std::vector<FaultPlan> plans;
  const auto refuse = [&](std::string_view part) {
    throw Error(
        ErrorCategory::argument, "fault plan '" + std::string(text) + "'",
        "'" + std::string(part) + "' is not understood; a plan is kill:rank=R,step=N[,after=MS][,memory=lost|kept][,attempt=A], or "
                                      "with version=V for step=N");
  };
  std::string_view rest = trimmed(text);
  while (!rest.empty()) {
    auto one = trimmed(rest.substr(0, rest.find(';')));
    rest = rest.find(';') == rest.npos ? std::string_view{} : rest.substr(rest.find(';') + 1);
    const auto whole = one;
    if (!one.starts_with("kill:")) refuse(one);
    one.remove_prefix(5);
    FaultPlan plan;
    bool has_rank = false;
    while (!one.empty()) {
      const auto part = trimmed(one.substr(0, one.find(',')));
      one = one.find(',') == one.npos ? std::string_view{} : one.substr(one.find(',') + 1);
      const auto equal = part.find('=');
      if (equal == part.npos) refuse(part);
      const auto name = part.substr(0, equal), value = part.substr(equal + 1);
      if (name == "rank" || name == "attempt") {
        const auto number = parse_number<int>(value);
        if (!number || *number < 0) refuse(part);
        (name == "rank" ? plan.rank : plan.attempt) = *number;
        has_rank = has_rank || name == "rank";
      } else if (name == "step" || name == "version") {
        const auto number = parse_number<std::uint64_t>(value);
        if (!number || *number == 0) refuse(part);
        (name == "step" ? plan.step : plan.version) = *number;
      } else if (name == "after") {
        const auto number = parse_number<double>(value);
        if (!number || !(*number >= 0)) refuse(part);
        plan.after_ms = *number;
      } else if (name == "memory" && (value == "lost" || value == "kept")) {
        plan.memory_lost = value == "lost";
      } else {
        refuse(part);
      }
    }
    if (!has_rank || (plan.step == 0) == (plan.version == 0)) refuse(whole);
    plans.push_back(plan);
  }
  return plans;
}

}  // namespace foreweave
