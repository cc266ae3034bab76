// The erasure code on one thread: encoding and rebuilding, beside ISA-L called as it is and memcpy in the same run.
//
//   perf_erasure [--bytes N] [--repeats R] [--json FILE]
//
// quick: --bytes 4194304 --repeats 3
// GB/s are of data bytes read (data blocks × N). Blocks lie as snapshots do in a store: page-aligned. Rebuilding makes
// `parity` lost data blocks from what is left.

#include <isa-l/erasure_code.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "foreweave/state/erasure.hpp"

namespace {

using namespace foreweave;

struct Free {
  void operator()(std::byte* p) const { std::free(p); }
};
using Block = std::unique_ptr<std::byte, Free>;

Block make_block(std::uint64_t bytes, std::uint64_t seed) {
  Block block(static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)));
  for (std::uint64_t i = 0; i < bytes; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    block.get()[i] = static_cast<std::byte>(seed >> 56);
  }
  return block;
}

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

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Result {
  int data, parity;
  double encode, rebuild, raw, copy;  // GB/s
  double over_raw;                    // encode over raw, repeat by repeat
};

Result measure(int data, int parity, std::uint64_t bytes, int repeats) {
  std::vector<Block> blocks, made;
  for (int i = 0; i < data + parity; ++i) blocks.push_back(make_block(bytes, static_cast<std::uint64_t>(i) + 1));
  for (int i = 0; i < std::max(parity, data); ++i) made.push_back(make_block(bytes, 0));
  const auto views = [&](int first) {
    std::vector<ByteView> all;
    for (int i = first; i < first + data; ++i) all.emplace_back(blocks[static_cast<std::size_t>(i)].get(), bytes);
    return all;
  };
  const auto outputs = [&](std::vector<Block>& of, std::size_t first) {
    std::vector<std::byte*> all;
    for (std::size_t i = first; i < first + static_cast<std::size_t>(parity); ++i) all.push_back(of[i].get());
    return all;
  };
  std::vector<int> data_numbers(static_cast<std::size_t>(data)), parity_numbers(static_cast<std::size_t>(parity)), lost, left;
  std::iota(data_numbers.begin(), data_numbers.end(), 0);
  std::iota(parity_numbers.begin(), parity_numbers.end(), data);
  const int gone = std::min(data, parity);
  for (int b = 0; b < data + gone; ++b) (b < gone ? lost : left).push_back(b);
  const ErasureCode code(data, parity);
  const auto encode = code.sum(parity_numbers, data_numbers), rebuild = code.sum(lost, left);
  const auto parity_blocks = outputs(blocks, static_cast<std::size_t>(data)), again = outputs(made, 0);
  // As ISA-L's own examples do it: one call over the whole blocks.
  std::vector<unsigned char> tables(32 * static_cast<std::size_t>(data) * static_cast<std::size_t>(parity));
  auto coefficients = encode.coefficients();
  ec_init_tables(data, parity, coefficients.data(), tables.data());
  std::vector<unsigned char*> from, to;
  for (int i = 0; i < data; ++i) from.push_back(reinterpret_cast<unsigned char*>(blocks[static_cast<std::size_t>(i)].get()));
  for (auto* p : again) to.push_back(reinterpret_cast<unsigned char*>(p));

  std::vector<double> encode_rates, rebuild_rates, raw_rates, copy_rates, shares;
  const double gigabytes = static_cast<double>(bytes) * data * 1e-9;
  for (int repeat = -1; repeat < repeats; ++repeat) {
    const double encode_seconds = seconds_of([&] { encode.apply(views(0), parity_blocks, bytes); });
    const double raw_seconds =
        seconds_of([&] { ec_encode_data(static_cast<int>(bytes), data, parity, tables.data(), from.data(), to.data()); });
    for (int i = 0; i < parity; ++i) {
      if (std::memcmp(parity_blocks[static_cast<std::size_t>(i)], again[static_cast<std::size_t>(i)], bytes) != 0) {
        std::fprintf(stderr, "%d+%d: not what ISA-L makes\n", data, parity);
        std::exit(1);
      }
    }
    std::vector<std::byte*> back(again.begin(), again.begin() + gone);
    const double rebuild_seconds = seconds_of([&] { rebuild.apply(views(gone), back, bytes); });
    for (int i = 0; i < gone; ++i) {
      if (std::memcmp(back[static_cast<std::size_t>(i)], blocks[static_cast<std::size_t>(i)].get(), bytes) != 0) {
        std::fprintf(stderr, "%d+%d: what was lost is not rebuilt\n", data, parity);
        std::exit(1);
      }
    }
    const double copy_seconds = seconds_of([&] {
      for (int i = 0; i < data; ++i) {
        std::memcpy(made[static_cast<std::size_t>(i)].get(), blocks[static_cast<std::size_t>(i)].get(), bytes);
      }
    });
    if (repeat < 0) continue;
    encode_rates.push_back(gigabytes / encode_seconds);
    rebuild_rates.push_back(gigabytes / rebuild_seconds);
    raw_rates.push_back(gigabytes / raw_seconds);
    copy_rates.push_back(gigabytes / copy_seconds);
    shares.push_back(raw_seconds / encode_seconds);
  }
  return {data, parity, median(encode_rates), median(rebuild_rates), median(raw_rates), median(copy_rates), median(shares)};
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t bytes = std::uint64_t{32} << 20;
  int repeats = 7;
  std::string json;
  CLI::App app{"Erasure code on one thread, beside ISA-L and memcpy"};
  app.add_option("--bytes", bytes, "bytes of a block")->check(CLI::Range(1, 1 << 30))->capture_default_str();
  app.add_option("--repeats", repeats, "timed repeats")->check(CLI::Range(1, 1000));
  app.add_option("--json", json, "write the results into this file");
  CLI11_PARSE(app, argc, argv);
  std::printf("one thread, blocks of %llu bytes; GB/s of data bytes and CPU time, medians of %d\n\n",
              static_cast<unsigned long long>(bytes), repeats);
  std::printf("%-6s %9s %9s %9s %9s %9s\n", "code", "encode", "rebuild", "ISA-L", "memcpy", "enc/ISA-L");
  std::vector<Result> results;
  for (const auto& [data, parity] : {std::pair{2, 1}, {4, 1}, {4, 2}, {8, 2}, {8, 4}}) {
    const auto r = measure(data, parity, bytes, repeats);
    results.push_back(r);
    std::printf("%d+%-4d %9.2f %9.2f %9.2f %9.2f %9.2f\n", data, parity, r.encode, r.rebuild, r.raw, r.copy, r.over_raw);
  }
  if (json.empty()) return 0;
  std::FILE* const out = std::fopen(json.c_str(), "w");
  if (out != nullptr) {
    const char* separator = "[\n";
    for (const auto& r : results) {
      const auto entry = [&](const char* what, double value, const char* unit) {
        std::fprintf(out, "%s  {\"id\": \"erasure.%dp%d.%s\", \"value\": %.4g, \"unit\": \"%s\"}", separator, r.data, r.parity,
                     what, value, unit);
        separator = ",\n";
      };
      entry("encode", r.over_raw, "ratio");
      entry("encode_rate", r.encode, "GB/s");
      entry("rebuild_rate", r.rebuild, "GB/s");
      entry("isal_rate", r.raw, "GB/s");
      entry("memcpy_rate", r.copy, "GB/s");
    }
    std::fprintf(out, "\n]\n");
  }
  if (out == nullptr || std::fclose(out) != 0) {
    std::fprintf(stderr, "perf_erasure: cannot write %s\n", json.c_str());
    return 1;
  }
  return 0;
}
