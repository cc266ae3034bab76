// The page codec on a device: rates of encoding and decoding with the base updated, equality with the host to the byte, and
// the memory traffic counted beside the least there can be. Without a GPU it runs on the CPU emulator: everything but
// the rates, on little data.
//
//   perf_codec_cuda [--mib N] [--repeats R] [--json FILE]
//
// quick: --mib 2 --repeats 1

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "foreweave/core/error.hpp"
#include "foreweave/device/device.hpp"
#include "foreweave/device/memory.hpp"
#include "foreweave/device/stream.hpp"
#include "kernels/decl/page_codec.hpp"

namespace {

using namespace foreweave;
using namespace foreweave::kernels;
using Bytes = std::vector<std::byte>;

/// Two states of a region; the codec walks from one to the other and back.
struct DataSet {
  std::string name;
  PageShape shape;
  std::array<Bytes, 2> states;
};

/// Uniform 64 bits, from the index alone.
std::uint64_t noise(std::uint64_t i) {
  std::uint64_t x = i * 0x9E3779B97F4A7C15u + 0x632BE59BD9B4E019u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// Rows of 256, planes of 256 rows: what a 256³ field gives the codec.
constexpr PageShape cube{8, 256, 65536};

Bytes field(std::uint64_t bytes, double time) {
  Bytes data(bytes);
  auto* const values = reinterpret_cast<double*>(data.data());
  for (std::uint64_t i = 0; i < bytes / 8; ++i) {
    const double x = static_cast<double>(i % 256), y = static_cast<double>(i / 256 % 256);
    const double z = static_cast<double>(i / 65536);
    values[i] = 1 + std::exp(-time) * std::sin(0.021 * x + time) * std::cos(0.013 * y) + 0.3 * std::sin(0.017 * z);
  }
  return data;
}

std::vector<DataSet> data_sets(std::uint64_t bytes) {
  std::vector<DataSet> sets;
  const Bytes first = field(bytes, 0.4), second = field(bytes, 0.401);
  sets.push_back({"clean", cube, {first, first}});
  Bytes sparse = first;
  for (std::uint64_t block = 0; block < bytes / sector_bytes; ++block) {
    if (noise(block) % 20 != 0) continue;
    for (std::uint64_t word = 0; word < sector_bytes / 8; ++word) {
      const std::uint64_t value = noise(block * 64 + word);
      std::memcpy(sparse.data() + block * sector_bytes + word * 8, &value, 8);
    }
  }
  sets.push_back({"sparse", cube, {first, std::move(sparse)}});
  sets.push_back({"dense", cube, {first, second}});
  // Single precision: the same fields, rounded.
  std::array<Bytes, 2> narrow{Bytes(bytes), Bytes(bytes)};
  for (std::size_t s = 0; s < 2; ++s) {
    const auto* const from = reinterpret_cast<const double*>((s == 0 ? first : second).data());
    auto* const to = reinterpret_cast<float*>(narrow[s].data());
    for (std::uint64_t i = 0; i < bytes / 4; ++i) to[i] = static_cast<float>(from[i % (bytes / 8)]);
  }
  sets.push_back({"dense_f32", {4, 256, 65536}, std::move(narrow)});
  return sets;
}

/// Bytes that one pass over a region takes from and gives to device memory.
struct Traffic {
  std::uint64_t read = 0, written = 0;
  std::uint64_t all() const { return read + written; }
};

/// What encode_regions does (kernels/cuda/page_encode.cu), counted for `pages` pages of which `dirty` sectors changed:
/// both copies once, bodies once, an entry, and the scratch words: filled, announced, summed, and looked at.
Traffic encode_traffic(std::uint64_t bytes, std::uint64_t pages, std::uint64_t encoded, std::uint64_t dirty) {
  constexpr std::uint64_t looks = 32 * 4;  // words of one turn of looking back
  return {2 * bytes + pages * looks * 8, encoded + pages * (sizeof(PageEntry) + 3 * 8) + dirty * sector_bytes};
}

/// What decode_pages does (kernels/cuda/page_decode.cu): entries three times, offsets and starts of sectors written and
/// read, bodies twice, what is there once; written is what changes, by sectors.
Traffic decode_traffic(std::uint64_t pages, std::uint64_t dirty_pages, std::uint64_t encoded, std::uint64_t dirty) {
  constexpr std::uint64_t starts = sectors_per_page * 2;
  return {pages * 3 * sizeof(PageEntry) + dirty_pages * (2 * 8 + starts + page_bytes) + 2 * encoded,
          pages * 8 + dirty_pages * starts + dirty * sector_bytes};
}

std::uint64_t dirty_sectors(const DataSet& set) {
  std::uint64_t dirty = 0;
  for (std::uint64_t at = 0; at < set.states[0].size(); at += sector_bytes)
    dirty += std::memcmp(set.states[0].data() + at, set.states[1].data() + at, sector_bytes) != 0;
  return dirty;
}

struct Result {
  std::string id;
  double value;
  std::string unit;
};

/// Seconds of one call of `queue`, which goes by the number of the call: the least of `repeats` rounds of ten.
double seconds(const Stream& stream, int repeats, const std::function<void(int)>& queue) {
  double best = 1e30;
  constexpr int calls = 10;
  for (int repeat = 0; repeat <= repeats; ++repeat) {
    const auto begin = std::chrono::steady_clock::now();
    for (int call = 0; call < calls; ++call) queue(call);
    stream.synchronize();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    if (repeat > 0) best = std::min(best, taken.count() / calls);  // the first warms up
  }
  return best;
}

/// One data set; false when the device's bytes are not the host's.
bool measure(const DataSet& set, bool timed, int repeats, std::vector<Result>& results) {
  const std::uint64_t bytes = set.states[0].size(), pages = page_count(bytes), bound = encode_bound(bytes);
  const Stream stream = Stream::create();
  const StreamHandle s = stream.handle();
  std::array<DeviceBuffer, 2> states{DeviceBuffer(bytes), DeviceBuffer(bytes)};
  std::array<DeviceBuffer, 2> outs{DeviceBuffer(bound), DeviceBuffer(bound)};
  std::array<DeviceBuffer, 2> entries{DeviceBuffer(pages * sizeof(PageEntry)), DeviceBuffer(pages * sizeof(PageEntry))};
  DeviceBuffer base(bytes), table(2 * sizeof(cuda::EncodeRegion)), progress(sizeof(cuda::EncodeProgress));
  DeviceBuffer scratch(std::max(cuda::encode_scratch_bytes(pages), cuda::decode_scratch_bytes(bytes)));
  DeviceBuffer result(sizeof(DecodeResult));
  for (std::size_t i = 0; i < 2; ++i) {
    copy_and_wait(states[i].data(), set.states[i].data(), bytes, s);
    const cuda::EncodeRegion region{states[i].data(), base.data(), bytes, 0, set.shape};
    copy_and_wait(table.as<cuda::EncodeRegion>() + i, &region, sizeof region, s);
  }
  // The base goes from state 0 to state 1 in even calls, back in odd ones.
  const auto encode = [&](int call) {
    const std::size_t to = call % 2 == 0 ? 1 : 0;
    cuda::encode_regions({.regions = table.as<cuda::EncodeRegion>() + to,
                          .count = 1,
                          .pages = pages,
                          .compare = true,
                          .update_base = true,
                          .out = outs[to].data(),
                          .out_bytes = bound,
                          .entries = entries[to].as<PageEntry>(),
                          .progress = progress.as<cuda::EncodeProgress>()},
                         scratch.data(), s);
  };
  copy_async(base.data(), states[0].data(), bytes, s);
  std::array<std::uint64_t, 2> sizes{};
  Bytes got(bound), expected(bound), was = set.states[0];
  std::vector<PageEntry> got_entries(pages), expected_entries(pages);
  for (int call = 0; call < 2; ++call) {
    const std::size_t to = call == 0 ? 1 : 0;
    encode(call);
    cuda::EncodeProgress done;
    copy_and_wait(&done, progress.data(), sizeof done, s);
    sizes[to] = done.bytes;
    copy_and_wait(got.data(), outs[to].data(), done.bytes, s);
    copy_and_wait(got_entries.data(), entries[to].data(), entries[to].size(), s);
    const std::uint64_t size = host::encode_pages({.current = set.states[to].data(),
                                                   .base = was.data(),
                                                   .bytes = bytes,
                                                   .shape = set.shape,
                                                   .update_base = true,
                                                   .out = expected.data(),
                                                   .entries = expected_entries.data()});
    if (size != done.bytes || got_entries != expected_entries || std::memcmp(got.data(), expected.data(), size) != 0) {
      std::fprintf(stderr, "perf_codec_cuda: %s: the device's bytes are not the host's\n", set.name.c_str());
      return false;
    }
  }
  const auto decode = [&](int call) {
    const std::size_t to = call % 2 == 0 ? 1 : 0;
    cuda::decode_pages({.in = outs[to].data(),
                        .in_bytes = sizes[to],
                        .entries = entries[to].as<PageEntry>(),
                        .data = base.data(),
                        .bytes = bytes,
                        .shape = set.shape},
                       scratch.data(), result.as<DecodeResult>(), s);
  };
  Bytes back(bytes);
  for (int call = 0; call < 2; ++call) {
    decode(call);
    DecodeResult found;
    copy_and_wait(&found, result.data(), sizeof found, s);
    copy_and_wait(back.data(), base.data(), bytes, s);
    if (found.status != DecodeStatus::ok || back != set.states[call == 0 ? 1 : 0]) {
      std::fprintf(stderr, "perf_codec_cuda: %s: decoding does not give back what was encoded\n", set.name.c_str());
      return false;
    }
  }

  const std::uint64_t dirty = dirty_sectors(set), encoded = sizes[1];
  const auto dirty_pages = static_cast<std::uint64_t>(
      std::count_if(got_entries.begin(), got_entries.end(), [](PageEntry entry) { return entry != 0; }));
  const Traffic in = encode_traffic(bytes, pages, encoded, dirty);
  const Traffic out = decode_traffic(pages, dirty_pages, encoded, dirty);
  // The least: both copies read, the result and what changed written; decoding: the result read, what changed read and
  // written.
  const std::uint64_t in_floor = 2 * bytes + encoded + dirty * sector_bytes;
  const std::uint64_t out_floor = encoded + 2 * dirty * sector_bytes;
  const auto over = [](std::uint64_t counted, std::uint64_t floor) {
    return floor == 0 ? 0.0 : static_cast<double>(counted) / static_cast<double>(floor);
  };
  const double in_over = over(in.all(), in_floor), out_over = over(out.all(), out_floor);
  const auto mb = [](std::uint64_t n) { return static_cast<double>(n) / 1e6; };
  std::printf("%-10s ratio %7.2f | encode: reads %8.1f writes %8.1f floor %8.1f MB (x %.3f)"
              " | decode: reads %8.1f writes %8.1f floor %8.1f MB (x %.3f)\n",
              set.name.c_str(), encoded == 0 ? 0.0 : static_cast<double>(bytes) / static_cast<double>(encoded),
              mb(in.read), mb(in.written), mb(in_floor), in_over, mb(out.read), mb(out.written), mb(out_floor), out_over);
  const std::string id = "codec.cuda." + set.name;
  results.push_back({id + ".encode_traffic", in_over, "ratio"});
  if (out_floor != 0) results.push_back({id + ".decode_traffic", out_over, "ratio"});
  if (!timed) return true;
  const auto rate = [&](double time) { return static_cast<double>(bytes) / time / 1e12; };
  const double copying = rate(seconds(stream, repeats, [&](int) { copy_async(base.data(), states[0].data(), bytes, s); }));
  const double encoding = rate(seconds(stream, repeats, encode)), decoding = rate(seconds(stream, repeats, decode));
  std::printf("%-10s encode %.3f TB/s (%.2f TB/s of memory)  decode %.3f TB/s (%.2f)  copy on the device %.3f TB/s (%.2f)\n",
              "", encoding, encoding * static_cast<double>(in.all()) / static_cast<double>(bytes), decoding,
              decoding * static_cast<double>(out.all()) / static_cast<double>(bytes), copying, 2 * copying);
  results.push_back({id + ".encode", encoding, "TB/s"});
  results.push_back({id + ".decode", decoding, "TB/s"});
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Rates and memory traffic of the page codec on a device");
  std::uint64_t mib = 1024;
  int repeats = 5;
  std::string json;
  app.add_option("--mib", mib, "size of the region (on the emulator: at most 2)")->check(CLI::Range(1, 16384));
  app.add_option("--repeats", repeats, "timed rounds of ten")->check(CLI::Range(1, 1000));
  app.add_option("--json", json, "write the results into this file");
  CLI11_PARSE(app, argc, argv);
  std::vector<Result> results;
  try {
    const DeviceReport report = device_report();
    if (device_count() == 0) {
      std::printf("no device: %s\n", report.reason.c_str());
    } else {
      const bool timed = report.backend == "cuda";
      if (!timed) mib = std::min<std::uint64_t>(mib, 2);
      std::printf("%s, %s: %llu MiB\n", report.devices[0].name.c_str(),
                  timed ? "timed" : "no rates, since they mean nothing there", static_cast<unsigned long long>(mib));
      for (const DataSet& set : data_sets(mib << 20))
        if (!measure(set, timed, repeats, results)) return 1;
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "perf_codec_cuda: %s\n", error.what());
    return 1;
  }
  if (json.empty()) return 0;
  std::FILE* const out = std::fopen(json.c_str(), "w");
  if (out == nullptr) {
    std::fprintf(stderr, "perf_codec_cuda: cannot write %s\n", json.c_str());
    return 1;
  }
  std::fprintf(out, "[");
  for (std::size_t i = 0; i < results.size(); ++i)
    std::fprintf(out, "%s{\"id\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"spread\": null}", i == 0 ? "" : ", ",
                 results[i].id.c_str(), results[i].value, results[i].unit.c_str());
  std::fprintf(out, "]\n");
  return std::fclose(out) == 0 ? 0 : 1;
}
