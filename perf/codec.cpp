// The page codec on one thread: ratio and rates on five data sets, beside memcpy and plain reading in the same run.
//
//   perf_codec [--size N] [--steps S] [--repeats R] [--target NAME] [--json FILE]
//
// quick: --size 48 --steps 5 --repeats 2
// Every set is a pair of states of N³ doubles. Encoding updates the base, so that the pair is walked back and forth.

#include <hwy/highway.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "kernels/decl/page_codec.hpp"
#include "kernels/host/simd_targets.hpp"

namespace {

using namespace foreweave::kernels;
using Field = std::vector<double>;

struct DataSet {
  std::string name;
  Field before, after;
  PageShape shape;
};

/// Uniform in [0, 1), from the index alone.
double noise(std::uint64_t i) {
  std::uint64_t x = i * 0x9E3779B97F4A7C15u + 0x632BE59BD9B4E019u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

/// 7-point Laplacian on a periodic cube of n³.
struct Cube {
  std::size_t n;
  std::size_t at(std::size_t x, std::size_t y, std::size_t z) const { return (z * n + y) * n + x; }
  template <class F>
  void each(F f) const {
    for (std::size_t z = 0; z < n; ++z) {
      const std::size_t below = (z + n - 1) % n, above = (z + 1) % n;
      for (std::size_t y = 0; y < n; ++y) {
        const std::size_t south = (y + n - 1) % n, north = (y + 1) % n;
        for (std::size_t x = 0; x < n; ++x) {
          const std::size_t west = x == 0 ? n - 1 : x - 1, east = x + 1 == n ? 0 : x + 1;
          f(at(x, y, z), std::array<std::size_t, 6>{at(west, y, z), at(east, y, z), at(x, south, z), at(x, north, z),
                                                    at(x, y, below), at(x, y, above)});
        }
      }
    }
  }
};

double laplacian(const Field& f, std::size_t i, const std::array<std::size_t, 6>& around) {
  double sum = -6.0 * f[i];
  for (std::size_t k : around) sum += f[k];
  return sum;
}

/// The reactant u of a Gray-Scott reaction after `steps` and `steps` + 1 steps.
DataSet gray_scott(std::size_t n, int steps) {
  const Cube cube{n};
  Field u(n * n * n), v(u.size()), next_u(u.size()), next_v(u.size());
  for (std::size_t i = 0; i < u.size(); ++i) {
    const std::size_t x = i % n, y = i / n % n, z = i / n / n;
    const auto inside = [n](std::size_t c) { return c > 3 * n / 8 && c < 5 * n / 8; };
    const bool seed = inside(x) && inside(y) && inside(z);
    u[i] = (seed ? 0.25 : 1.0) - 0.01 * noise(2 * i);
    v[i] = (seed ? 0.33 : 0.0) + 0.01 * noise(2 * i + 1);
  }
  constexpr double du = 0.16, dv = 0.08, feed = 0.035, kill = 0.06;
  for (int step = 0; step <= steps; ++step) {
    cube.each([&](std::size_t i, const std::array<std::size_t, 6>& around) {
      const double reaction = u[i] * v[i] * v[i];
      next_u[i] = u[i] + du * laplacian(u, i, around) - reaction + feed * (1.0 - u[i]);
      next_v[i] = v[i] + dv * laplacian(v, i, around) + reaction - (feed + kill) * v[i];
    });
    u.swap(next_u);
    v.swap(next_v);
  }
  return {"gray_scott", std::move(next_u), std::move(u), {8, n, n * n}};
}

/// A field of a few warm spots that diffuses.
DataSet heat(std::size_t n, int steps) {
  const Cube cube{n};
  Field t(n * n * n), next(t.size());
  for (std::size_t i = 0; i < t.size(); ++i) {
    const double x = static_cast<double>(i % n) / static_cast<double>(n);
    const double y = static_cast<double>(i / n % n) / static_cast<double>(n);
    const double z = static_cast<double>(i / n / n) / static_cast<double>(n);
    t[i] = 300.0 + 40.0 * std::sin(12.6 * x) * std::sin(18.8 * y + 1.0) * std::cos(6.3 * z) +
           5.0 * std::sin(44.0 * x * y);
  }
  for (int step = 0; step <= steps; ++step) {
    cube.each([&](std::size_t i, const std::array<std::size_t, 6>& around) {
      next[i] = t[i] + 0.1 * laplacian(t, i, around);
    });
    t.swap(next);
  }
  return {"heat", std::move(next), std::move(t), {8, n, n * n}};
}

Field random_field(std::size_t count, std::uint64_t seed) {
  Field field(count);
  for (std::size_t i = 0; i < count; ++i) field[i] = noise(seed * count + i);
  return field;
}

/// Random data; one of twenty blocks of 512 bytes is rewritten.
DataSet sparse(std::size_t n) {
  Field before = random_field(n * n * n, 1), after = before;
  for (std::size_t block = 0; block < after.size() / 64; ++block) {
    if (noise(block ^ 0x5555) >= 0.05) continue;
    for (std::size_t i = block * 64; i < block * 64 + 64; ++i) after[i] = noise(i + 77);
  }
  return {"sparse", std::move(before), std::move(after), {8, n, n * n}};
}

DataSet clean(std::size_t n) {
  Field field = random_field(n * n * n, 1);
  return {"clean", field, field, {8, n, n * n}};
}

DataSet random_pair(std::size_t n) {
  return {"random", random_field(n * n * n, 1), random_field(n * n * n, 2), {8, n, n * n}};
}

struct Spread {
  double median = 0, low = 0, high = 0;
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

/// CPU time of this thread: on a busy machine, what others take does not count (what they do to caches does).
double seconds_of(const std::function<void()>& work) {
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  work();
  return now() - start;
}

/// Reads both ranges once: what comparing them costs at least.
std::uint64_t read_both(const std::byte* a, const std::byte* b, std::size_t bytes) {
  typedef std::uint64_t Lanes __attribute__((vector_size(32), aligned(8), may_alias));
  Lanes all[4] = {};
  for (std::size_t i = 0; i + 64 <= bytes; i += 64) {
    all[0] |= *reinterpret_cast<const Lanes*>(a + i);
    all[1] |= *reinterpret_cast<const Lanes*>(a + i + 32);
    all[2] |= *reinterpret_cast<const Lanes*>(b + i);
    all[3] |= *reinterpret_cast<const Lanes*>(b + i + 32);
  }
  const Lanes folded = all[0] | all[1] | all[2] | all[3];
  return folded[0] | folded[1] | folded[2] | folded[3];
}

struct Result {
  std::string name;
  double ratio = 0;
  Spread encode, encode_only, decode, copy, read;  // GB/s of region bytes
  Spread encode_share, decode_share;               // of memcpy's rate, taken repeat by repeat
  Spread read_share;                               // time of encoding over the time of reading both
  std::array<std::uint64_t, transform_count> pages{};
  std::uint64_t clean_pages = 0;
};

Result measure(const DataSet& set, int repeats) {
  const std::size_t bytes = set.before.size() * sizeof(double);
  const auto* before = reinterpret_cast<const std::byte*>(set.before.data());
  const auto* after = reinterpret_cast<const std::byte*>(set.after.data());
  std::vector<std::byte> base(before, before + bytes), data(base), copy(bytes);
  std::vector<std::byte> out[2] = {std::vector<std::byte>(encode_bound(bytes)),
                                   std::vector<std::byte>(encode_bound(bytes))};
  std::vector<PageEntry> entries[2] = {std::vector<PageEntry>(page_count(bytes)),
                                       std::vector<PageEntry>(page_count(bytes))};
  std::vector<double> encode, encode_only, decode, memory, read, encode_share, decode_share, read_share;
  std::uint64_t size[2] = {};
  const double gigabytes = static_cast<double>(bytes) * 1e-9;
  for (int repeat = -2; repeat < 2 * repeats; ++repeat) {  // the first pair warms up
    const int way = repeat & 1;
    EncodeJob job;
    job.current = way == 0 ? after : before;
    job.base = base.data();
    job.bytes = bytes;
    job.shape = set.shape;
    job.out = out[way].data();
    job.entries = entries[way].data();
    const double encode_only_seconds = seconds_of([&] { size[way] = host::encode_pages(job); });
    job.update_base = true;
    const double copy_seconds = seconds_of([&] { std::memcpy(copy.data(), job.current, bytes); });
    const double encode_seconds = seconds_of([&] { size[way] = host::encode_pages(job); });
    std::uint64_t seen = 0;
    const double read_seconds = seconds_of([&] { seen = read_both(job.current, base.data(), bytes); });
    DecodeJob back;
    back.in = out[way].data();
    back.in_bytes = size[way];
    back.entries = entries[way].data();
    back.data = data.data();
    back.bytes = bytes;
    back.shape = set.shape;
    DecodeResult result;
    const double decode_seconds = seconds_of([&] { result = host::decode_pages(back); });
    if (result.status != DecodeStatus::ok || std::memcmp(data.data(), job.current, bytes) != 0 ||
        std::memcmp(base.data(), job.current, bytes) != 0 || seen == 1) {
      std::fprintf(stderr, "%s: decoding does not give the data back\n", set.name.c_str());
      std::exit(1);
    }
    if (repeat < 0) continue;
    encode.push_back(gigabytes / encode_seconds);
    encode_only.push_back(gigabytes / encode_only_seconds);
    decode.push_back(gigabytes / decode_seconds);
    memory.push_back(gigabytes / copy_seconds);
    read.push_back(gigabytes / read_seconds);
    encode_share.push_back(copy_seconds / encode_seconds);
    decode_share.push_back(copy_seconds / decode_seconds);
    read_share.push_back(encode_seconds / read_seconds);
  }
  Result result{set.name,
                static_cast<double>(bytes) / static_cast<double>(std::max<std::uint64_t>(size[0], 1)),
                spread_of(encode),
                spread_of(encode_only),
                spread_of(decode),
                spread_of(memory),
                spread_of(read),
                spread_of(encode_share),
                spread_of(decode_share),
                spread_of(read_share),
                {},
                0};
  for (PageEntry entry : entries[0]) {
    if (entry == 0) {
      ++result.clean_pages;
    } else {
      ++result.pages[entry_transform(entry)];
    }
  }
  return result;
}

void print_table(const std::vector<Result>& results) {
  std::printf("one thread, %s; GB/s of region bytes and CPU time, median (lowest–highest)\n\n", host::simd_target());
  std::printf("%-11s %8s  %-19s %-19s %-19s %-19s %-19s %7s %7s %7s  %s\n", "data", "ratio", "encode+update",
              "encode", "decode", "memcpy", "read both", "enc/cpy", "dec/cpy", "enc/rd",
              "pages: clean raw xor sub 1d 3d");
  for (const Result& r : results) {
    std::printf("%-11s %8.2f ", r.name.c_str(), r.clean_pages == 0 || r.ratio < 1e6 ? r.ratio : 0.0);
    for (const Spread& s : {r.encode, r.encode_only, r.decode, r.copy, r.read}) {
      std::printf(" %5.2f (%5.2f–%5.2f)", s.median, s.low, s.high);
    }
    std::printf(" %7.2f %7.2f %7.2f  %llu", r.encode_share.median, r.decode_share.median, r.read_share.median,
                static_cast<unsigned long long>(r.clean_pages));
    for (std::uint64_t pages : r.pages) std::printf(" %llu", static_cast<unsigned long long>(pages));
    std::printf("\n");
  }
}

/// For perf/run: encode and decode over memcpy's rate; of data that is to be encoded as quickly as it can be read, over
/// the rate of reading both copies. The rates themselves beside them.
void write_json(std::FILE* out, const std::vector<Result>& results) {
  const char* separator = "[\n";
  const auto entry = [&](const std::string& id, const Spread& s, const char* unit) {
    std::fprintf(out, "%s  {\"id\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", \"spread\": [%.4g, %.4g], \"simd\": \"%s\"}",
                 separator, id.c_str(), s.median, unit, s.low, s.high, host::simd_target());
    separator = ",\n";
  };
  for (const Result& r : results) {
    const std::string id = "codec." + r.name + ".";
    const bool reading = r.name == "clean" || r.name == "sparse";
    const Spread over_reading{1 / r.read_share.median, 1 / r.read_share.high, 1 / r.read_share.low};
    if (r.name != "clean") entry(id + "ratio", {r.ratio, r.ratio, r.ratio}, "ratio");
    entry(id + "encode", reading ? over_reading : r.encode_share, "ratio");
    entry(id + "decode", r.decode_share, "ratio");
    entry(id + "encode_rate", r.encode, "GB/s");
    entry(id + "encode_rate_without_update", r.encode_only, "GB/s");
    entry(id + "decode_rate", r.decode, "GB/s");
    entry(id + "memcpy_rate", r.copy, "GB/s");
    entry(id + "read_both_rate", r.read, "GB/s");
  }
  std::fprintf(out, "\n]\n");
}

/// The SIMD target with this name, among those this CPU can run; 0 when there is none.
std::int64_t target_named(const std::string& name) {
  for (std::int64_t left = host::simd_targets_available(); left != 0; left &= left - 1) {
    if (name == hwy::TargetName(left & -left)) return left & -left;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t size = 256;
  int steps = 40, repeats = 5;
  std::string target, json;
  std::vector<std::string> names = {"gray_scott", "heat", "sparse", "clean", "random"};
  CLI::App app{"Page codec on one thread: ratio and rates beside memcpy"};
  app.add_option("--size", size, "edge of the cube, in doubles")->check(CLI::Range(16, 1024))->capture_default_str();
  app.add_option("--steps", steps, "steps of the simulations before the pair is taken")->check(CLI::Range(0, 100000));
  app.add_option("--repeats", repeats, "pairs of timed repeats")->check(CLI::Range(1, 1000));
  app.add_option("--target", target, "SIMD target to run, instead of the best");
  app.add_option("--data", names, "data sets")->check(CLI::IsMember(names));
  app.add_option("--json", json, "write the results into this file");
  CLI11_PARSE(app, argc, argv);
  if (!target.empty()) {
    const std::int64_t bit = target_named(target);
    if (bit == 0) {
      std::fprintf(stderr, "--target %s: this CPU has no such target compiled in\n", target.c_str());
      return 2;
    }
    hwy::SetSupportedTargetsForTest(bit);
  }
  std::vector<Result> results;
  for (const std::string& name : names) {
    const DataSet set = name == "gray_scott" ? gray_scott(size, steps)
                        : name == "heat"     ? heat(size, steps)
                        : name == "sparse"   ? sparse(size)
                        : name == "clean"    ? clean(size)
                                             : random_pair(size);
    results.push_back(measure(set, repeats));
  }
  print_table(results);
  if (!json.empty()) {
    std::FILE* const out = std::fopen(json.c_str(), "w");
    if (out != nullptr) write_json(out, results);
    if (out == nullptr || std::fclose(out) != 0) {
      std::fprintf(stderr, "perf_codec: cannot write %s\n", json.c_str());
      return 1;
    }
  }
  return 0;
}
