// What a capture costs: the targets [capture.clean], [capture.tracked], [capture.dense], [capture.blocked],
// [capture.threads2] and [capture.memory].
//
// Data: two moments of a Gray-Scott field pair in double precision, so that nearly every word changes from one
// capture to the next. Every figure is a ratio of two times that were taken one right after the other; the median of
// several, after a warm-up, with the least and the greatest beside it.
//
// quick: --megabytes 8 --repeats 3

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "foreweave/core/clock.hpp"
#include "foreweave/core/error.hpp"
#include "foreweave/state/capture.hpp"
#include "state/huge_memory.hpp"

namespace {

using namespace foreweave;
using state_detail::HugeMemory;

/// Takes everything, keeps nothing: what is left is the time of the encoding.
class NullStore final : public Store {
 public:
  std::string name() const override { return "null"; }
  std::unique_ptr<SnapshotWriter> create(SnapshotId) override { return std::make_unique<Writer>(); }
  std::shared_ptr<const SnapshotBytes> open(SnapshotId) const override { return std::make_shared<Nothing>(); }
  std::vector<StoredSnapshot> list() const override { return {}; }
  void erase(SnapshotId) override {}
  std::uint64_t bytes() const override { return 0; }
  void set_committed(Version) override {}
  Version committed() const override { return 0; }
  void clear() override {}

 private:
  class Writer final : public SnapshotWriter {
   public:
    void append(ByteView bytes) override { written_ += bytes.size(); }
    std::uint64_t written() const override { return written_; }
    void commit(Version) override {}

   private:
    std::uint64_t written_ = 0;
  };
  class Nothing final : public SnapshotBytes {
   public:
    ByteView view() const override { return {}; }
  };
};

struct TemporaryFolder {
  TemporaryFolder() {
    std::string name = "/dev/shm/foreweave-perf-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a folder in /dev/shm");
    path = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path path;
};

struct Result {
  std::string id;
  double value = 0;
  std::string unit;
  double least = 0, greatest = 0;
  std::string what;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Result summary(std::string id, const std::vector<double>& values, std::string unit, std::string what) {
  const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
  return {std::move(id), median(values), std::move(unit), *least, *greatest, std::move(what)};
}

double seconds(const std::function<void()>& work) {
  const auto begin = monotonic_now();
  work();
  return static_cast<double>(monotonic_now() - begin) * 1e-9;
}

/// Reads both once, as fast as one thread can.
std::uint64_t read_both(const std::byte* a, const std::byte* b, std::uint64_t bytes) {
  const auto* x = reinterpret_cast<const std::uint64_t*>(a);
  const auto* y = reinterpret_cast<const std::uint64_t*>(b);
  std::uint64_t sums[16] = {};
  for (std::uint64_t i = 0; i + 8 <= bytes / 8; i += 8) {
    for (int k = 0; k < 8; ++k) {
      sums[k] += x[i + k];
      sums[8 + k] += y[i + k];
    }
  }
  std::uint64_t sum = 0;
  for (const auto part : sums) sum += part;
  return sum;
}

/// Gray-Scott on an n x n x planes box, periodic, from seeds all over it.
class GrayScott {
 public:
  GrayScott(std::size_t n, std::size_t planes)
      : n_(n), planes_(planes), u_(n * n * planes), v_(u_.size()), nu_(u_.size()), nv_(u_.size()) {
    std::mt19937_64 random(7);
    std::uniform_real_distribution<double> noise(-0.01, 0.01);
    for (std::size_t i = 0; i < u_.size(); ++i) u_[i] = 1.0 + noise(random), v_[i] = std::abs(noise(random));
    for (int seed = 0; seed < 400; ++seed) {
      const std::size_t x = random() % n, y = random() % n, z = random() % planes;
      for (std::size_t dz = 0; dz < 8; ++dz) {
        for (std::size_t dy = 0; dy < 8; ++dy) {
          for (std::size_t dx = 0; dx < 8; ++dx) {
            const std::size_t at = ((z + dz) % planes * n + (y + dy) % n) * n + (x + dx) % n;
            u_[at] = 0.5, v_[at] = 0.25;
          }
        }
      }
    }
  }
  void step() {
    for (std::size_t z = 0; z < planes_; ++z) {
      const std::size_t below = (z + planes_ - 1) % planes_, above = (z + 1) % planes_;
      for (std::size_t y = 0; y < n_; ++y) {
        const std::size_t south = (y + n_ - 1) % n_, north = (y + 1) % n_;
        const std::size_t row = (z * n_ + y) * n_;
        for (std::size_t x = 0; x < n_; ++x) {
          const std::size_t west = (x + n_ - 1) % n_, east = (x + 1) % n_, i = row + x;
          const auto laplacian = [&](const std::vector<double>& f) {
            return f[row + west] + f[row + east] + f[(z * n_ + south) * n_ + x] + f[(z * n_ + north) * n_ + x] +
                   f[(below * n_ + y) * n_ + x] + f[(above * n_ + y) * n_ + x] - 6 * f[i];
          };
          const double reaction = u_[i] * v_[i] * v_[i];
          nu_[i] = u_[i] + 0.1 * laplacian(u_) - reaction + 0.03 * (1 - u_[i]);
          nv_[i] = v_[i] + 0.05 * laplacian(v_) + reaction - 0.09 * v_[i];
        }
      }
    }
    u_.swap(nu_);
    v_.swap(nv_);
  }
  std::uint64_t field_bytes() const { return u_.size() * sizeof(double); }
  void copy_to(std::byte* to) const {
    std::memcpy(to, u_.data(), field_bytes());
    std::memcpy(to + field_bytes(), v_.data(), field_bytes());
  }

 private:
  std::size_t n_, planes_;
  std::vector<double> u_, v_, nu_, nv_;
};

class Benchmark {
 public:
  Benchmark(std::size_t planes, int repeats) : repeats_(repeats) {
    GrayScott simulation(side, planes);
    field_bytes_ = simulation.field_bytes();
    bytes_ = 2 * field_bytes_;
    first_ = HugeMemory(bytes_);
    second_ = HugeMemory(bytes_);
    copy_ = HugeMemory(bytes_);
    region_.resize(bytes_);  // as a program would allocate it
    for (int step = 0; step < 10; ++step) simulation.step();
    simulation.copy_to(first_.data());
    for (int step = 0; step < 10; ++step) simulation.step();
    simulation.copy_to(second_.data());
    planes_ = planes;
    set_region(first_);
  }

  std::vector<Result> run() {
    clean("capture.clean", Tracking::never, true, "capture of clean regions / reading region and base");
    clean("capture.clean_tracked", Tracking::always, true, "the same where the kernel tracks them");
    clean("capture.clean_digests", Tracking::never, false, "the same with page digests in place of bases");
    sparse();
    dense();
    threads();
    sealed();
    stored();
    return results_;
  }
  double megabytes() const { return static_cast<double>(bytes_) / 1e6; }

 private:
  static constexpr std::size_t side = 256;

  void set_region(const HugeMemory& from) { std::memcpy(region_.data(), from.data(), bytes_); }
  void add_regions(CaptureEngine& engine, bool base = true) {
    for (int field = 0; field < 2; ++field) {
      engine.add({.name = field == 0 ? "u" : "v",
                  .data = region_.data() + static_cast<std::uint64_t>(field) * field_bytes_,
                  .bytes = field_bytes_,
                  .type = ElementType::f64,
                  .extents = {planes_, side, side},
                  .base = base});
    }
  }
  double copy_seconds() {
    return seconds([&] { std::memcpy(copy_.data(), region_.data(), bytes_); });
  }
  /// The program computes on: the other moment of the field.
  void change() {
    second_is_in_ = !second_is_in_;
    set_region(second_is_in_ ? second_ : first_);
  }
  double rate(double time) const { return static_cast<double>(bytes_) / time * 1e-9; }

  static CaptureOptions with(Tracking tracking, int threads = 1) {
    CaptureOptions options;
    options.tracking = tracking;
    options.threads = threads;
    return options;
  }

  void clean(const std::string& id, Tracking tracking, bool base, const std::string& what) {
    NullStore store;
    CaptureEngine engine(with(tracking));
    add_regions(engine, base);
    Version version = 0;
    for (int i = 0; i < 2; ++i) {
      engine.begin(++version);
      engine.finish(store);
    }
    std::vector<double> ratios;
    std::uint64_t sum = 0;
    copy_seconds();
    for (int i = -1; i < repeats_; ++i) {
      const double read = seconds([&] { sum += read_both(region_.data(), copy_.data(), bytes_); });
      const double capture = seconds([&] {
        engine.begin(++version);
        engine.finish(store);
      });
      if (i >= 0) ratios.push_back(capture / read);
    }
    sink_ = sum;
    results_.push_back(summary(id, ratios, "ratio", what));
  }

  /// One system page in 64 is written between two captures: what finding them costs, the program's faults included.
  void sparse() {
    std::vector<double> costs[2], faults, finds;
    constexpr std::uint64_t stride = 64 * 4096;
    for (const bool tracked : {false, true}) {
      NullStore store;
      CaptureEngine engine(with(tracked ? Tracking::always : Tracking::never));
      add_regions(engine);
      Version version = 0;
      std::uint64_t at = 0;
      const auto write = [&] {
        at += 4096;
        for (std::uint64_t page = at % stride; page < bytes_; page += stride) region_[page] ^= std::byte{1};
      };
      for (int i = -3; i < repeats_; ++i) {
        const double wrote = seconds(write);
        const double begin = seconds([&] { engine.begin(++version); });
        const auto report = engine.finish(store);
        if (i < 0) continue;
        costs[tracked].push_back((wrote + begin) * 1e3);
        if (report.write_faults != 0) faults.push_back(wrote * 1e6 / static_cast<double>(report.write_faults));
        if (tracked) finds.push_back(begin * 1e3);
      }
    }
    results_.push_back(summary("capture.sparse_compared", costs[0], "ms", "writing 1 page in 64 and begin(), compared"));
    results_.push_back(summary("capture.sparse_tracked", costs[1], "ms", "the same, tracked by the kernel"));
    results_.push_back(summary("capture.sparse_blocked", finds, "ms", "of it, begin()"));
    if (!faults.empty()) results_.push_back(summary("capture.fault", faults, "us", "first write to a tracked page"));
    // The rule, left to itself, on the two extremes.
    for (const bool all : {false, true}) {
      NullStore store;
      CaptureEngine engine(with(Tracking::automatic));
      add_regions(engine);
      std::vector<double> tracked;
      Version version = 0;
      for (int i = 0; i < 8; ++i) {
        if (all) change();
        engine.begin(++version);
        const auto report = engine.finish(store);
        if (i >= 5) tracked.push_back(static_cast<double>(report.tracked_bytes) / static_cast<double>(bytes_));
      }
      results_.push_back(summary(all ? "capture.auto_dense" : "capture.auto_clean", tracked, "ratio",
                                 all ? "share tracked of its own accord, all words changing" : "the same, none changing"));
    }
  }

  /// Encoding with one thread and with two, in turn.
  void threads() {
    NullStore store;
    CaptureEngine one(with(Tracking::never, 1)), two(with(Tracking::never, 2));
    add_regions(one);
    add_regions(two);
    std::vector<double> ratios;
    Version version = 0;
    for (int i = -2; i < repeats_; ++i) {
      change();
      ++version;
      one.begin(version);
      two.begin(version);
      const double alone = seconds([&] { one.finish(store); });
      const double together = seconds([&] { two.finish(store); });
      if (i >= 0) ratios.push_back(alone / together);
    }
    results_.push_back(summary("capture.threads2", ratios, "ratio", "encoding with two threads / with one"));
  }

  void dense() {
    NullStore store;
    CaptureEngine engine(with(Tracking::never));
    add_regions(engine);
    Version version = 0;
    engine.begin(++version);
    engine.finish(store);
    std::vector<double> blocked, encoded, rates, copies, packed;
    for (int i = -1; i < repeats_; ++i) {
      change();
      const double copy = copy_seconds();
      const double begin = seconds([&] { engine.begin(++version); });
      CaptureReport report;
      const double finish = seconds([&] { report = engine.finish(store); });
      if (i < 0) continue;
      blocked.push_back(begin / copy);
      encoded.push_back(copy / finish);
      rates.push_back(rate(finish));
      copies.push_back(rate(copy));
      packed.push_back(static_cast<double>(report.region_bytes) / static_cast<double>(report.snapshot_bytes));
    }
    results_.push_back(summary("capture.dense", encoded, "ratio", "encoding rate of changed regions / memcpy rate"));
    results_.push_back(summary("capture.blocked", blocked, "ratio", "time the program is blocked / one memcpy"));
    results_.push_back(summary("capture.encode_rate", rates, "GB/s", "encoding, one thread"));
    results_.push_back(summary("capture.memcpy_rate", copies, "GB/s", "memcpy, one thread"));
    results_.push_back(summary("capture.packed", packed, "ratio", "region bytes / snapshot bytes"));
  }

  void sealed() {
    NullStore store;
    CaptureEngine engine({.key = Key::random()});
    add_regions(engine);
    Version version = 0;
    engine.begin(++version);
    engine.finish(store);
    std::vector<double> rates;
    for (int i = -1; i < repeats_; ++i) {
      change();
      engine.begin(++version);
      const double finish = seconds([&] { engine.finish(store); });
      if (i >= 0) rates.push_back(rate(finish));
    }
    results_.push_back(summary("capture.sealed_rate", rates, "GB/s", "encoding and sealing, one thread"));
  }

  void stored() {
    const TemporaryFolder folder;
    const auto store = make_directory_store({folder.path, Durability::memory, 0});
    CaptureEngine engine({});
    add_regions(engine);
    constexpr Version kept = 2;
    constexpr std::size_t max_chain = 4;
    std::vector<double> finishes, store_ratios;
    Version version = 0;
    for (int i = 0; i < 12; ++i) {
      change();
      engine.begin(++version);
      finishes.push_back(rate(seconds([&] { engine.finish(*store); })));
      retain(*store, 0, version > kept ? version - kept : 1, max_chain, nullptr);
      store_ratios.push_back(static_cast<double>(store->bytes()) / static_cast<double>(bytes_));
    }
    results_.push_back({"capture.memory", static_cast<double>(engine.peak_held_bytes()) / static_cast<double>(bytes_),
                        "ratio", static_cast<double>(engine.held_bytes()) / static_cast<double>(bytes_),
                        static_cast<double>(engine.peak_held_bytes()) / static_cast<double>(bytes_),
                        "bytes held at most / region bytes, 12 versions"});
    results_.push_back(summary("capture.store_rate", {finishes.begin() + 1, finishes.end()}, "GB/s",
                               "encoding and writing to shared memory"));
    results_.push_back(summary("capture.store_bytes", {store_ratios.end() - 6, store_ratios.end()}, "ratio",
                               "bytes stored / region bytes, 3 versions kept, chains of up to 4 before"));
    std::vector<double> restores, opens;
    for (int i = -1; i < repeats_; ++i) {
      std::optional<Version> newest;
      const double check = seconds([&] { newest = newest_restorable(*store, 0, nullptr); });
      const double restore = seconds([&] { engine.restore(Chain::open(*store, {0, newest.value()}, nullptr)); });
      const auto& now = second_is_in_ ? second_ : first_;
      if (std::memcmp(region_.data(), now.data(), bytes_) != 0) throw std::runtime_error("restored something else");
      if (i >= 0) restores.push_back(restore), opens.push_back(check);
    }
    const auto length = Chain::open(*store, {0, version}, nullptr).length();
    results_.push_back(summary("capture.restore", restores, "s",
                               "restoring from a chain of " + std::to_string(length) + " links in shared memory"));
    results_.push_back(summary("capture.verify", opens, "s", "choosing the newest good version: all of it is read"));
  }

  int repeats_;
  std::uint64_t bytes_ = 0, field_bytes_ = 0;
  std::uint64_t planes_ = 0;
  HugeMemory first_, second_, copy_;
  std::vector<std::byte> region_;
  bool second_is_in_ = false;
  volatile std::uint64_t sink_ = 0;
  std::vector<Result> results_;
};

void write_json(std::FILE* out, const std::vector<Result>& results) {
  std::fputs("[", out);
  for (std::size_t i = 0; i < results.size(); ++i) {
    std::fprintf(out, "%s\n  {\"id\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"spread\": [%.6g, %.6g]}",
                 i == 0 ? "" : ",", results[i].id.c_str(), results[i].value, results[i].unit.c_str(),
                 results[i].least, results[i].greatest);
  }
  std::fputs("\n]\n", out);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"What captures cost"};
  std::string json;
  int repeats = 7;
  std::size_t megabytes = 256;
  app.add_option("--json", json, "write the results there (- for standard output)");
  app.add_option("--repeats", repeats, "measurements of each figure")->check(CLI::Range(1, 1000));
  app.add_option("--megabytes", megabytes, "MiB of protected regions")->check(CLI::Range(2, 65536));
  CLI11_PARSE(app, argc, argv);
  try {
    Benchmark benchmark(std::max<std::size_t>(megabytes, 1), repeats);  // a plane of both fields is 1 MiB
    const auto results = benchmark.run();
    std::FILE* const table = json == "-" ? stderr : stdout;
    std::fprintf(table, "%.0f MB of regions, median of %d (least, greatest)\n", benchmark.megabytes(), repeats);
    for (const auto& result : results) {
      std::fprintf(table, "%-20s %8.3f %-5s (%.3f, %.3f)  %s\n", result.id.c_str(), result.value, result.unit.c_str(),
                   result.least, result.greatest, result.what.c_str());
    }
    if (!json.empty()) {
      std::FILE* const out = json == "-" ? stdout : std::fopen(json.c_str(), "w");
      if (out == nullptr) throw std::runtime_error("cannot write " + json);
      write_json(out, results);
      if (out != stdout && std::fclose(out) != 0) throw std::runtime_error("cannot write " + json);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "perf_capture: %s\n", error.what());
    return 1;
  }
  return 0;
}
