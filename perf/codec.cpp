// The page codec and the archive stage on the data sets of perf/codec/data_sets.hpp, beside memcpy, plain reading and
// the codecs of perf/codec/peers.hpp in the same run.
//
//   perf_codec [--data NAME…] [--size N] [--steps S] [--repeats R] [--target NAME] [--no-peers] [--json FILE]
//
// quick: --size 48 --steps 5 --repeats 2

#include <hwy/highway.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/decl/page_codec.hpp"
#include "kernels/host/simd_targets.hpp"
#include "perf/codec/measure.hpp"

namespace {

using namespace foreweave;
using namespace foreweave::perf;
using kernels::host::simd_target;

struct Result {
  std::string name;
  OwnResult own;
  ArchiveResult archive;
  std::vector<PeerResult> peers;
};

double load_average() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : -1;
}

std::string text_of(const Spread& s) {
  char text[64];
  std::snprintf(text, sizeof text, "%6.2f (%.2f–%.2f)", s.median, s.low, s.high);
  return text;
}

/// Pads to `columns` characters as they are seen: the dash of a spread is one, in three bytes.
std::string column(const std::string& text, std::size_t columns) {
  std::size_t seen = 0;
  for (const char c : text) seen += (static_cast<unsigned char>(c) & 0xC0u) != 0x80u;
  return text + std::string(seen < columns ? columns - seen : 0, ' ');
}

void print(const Result& r) {
  const double gigabytes = 1e-9 * static_cast<double>(r.own.bytes);
  std::printf("\n== %s, %.0f MB; load of the machine %.1f\n", r.name.c_str(), 1e3 * gigabytes, load_average());
  std::printf("   pages: %llu clean", static_cast<unsigned long long>(r.own.clean_pages));
  static constexpr const char* names[kernels::transform_count] = {"raw", "xor", "sub", "sub-1d", "sub-3d"};
  for (std::size_t t = 0; t < r.own.pages.size(); ++t) {
    std::printf(", %llu %s", static_cast<unsigned long long>(r.own.pages[t]), names[t]);
  }
  std::printf("\n   %s%s%s%s%s\n", column("foreweave", 28).c_str(), column("ratio", 10).c_str(),
              column("GB/s", 22).c_str(), column("over memcpy", 22).c_str(), "over reading both");
  const auto row = [&](const char* name, double ratio, const Samples& times) {
    char number[32];
    if (r.own.encoded == 0) ratio = 0;
    std::snprintf(number, sizeof number, ratio > 0 ? "%.3f" : "–", ratio);
    std::printf("   %s%s%s%s%s\n", column(name, 28).c_str(), column(number, 10).c_str(),
                column(text_of(times.rate(gigabytes)), 22).c_str(),
                column(text_of(times.share(r.own.copy)), 22).c_str(), text_of(times.share(r.own.read)).c_str());
  };
  row("encode, base updated", r.own.ratio(), r.own.encode);
  row("encode", r.own.ratio(), r.own.encode_only);
  row("decode", 0, r.own.decode);
  row("memcpy", 0, r.own.copy);
  row("reading both copies", 0, r.own.read);
  std::printf("   archive stage: ratio %.3f in all; archive %s GB/s, unarchive %s GB/s\n",
              r.archive.archived == 0 ? 0.0 : r.archive.ratio(), text_of(r.archive.archive.rate(gigabytes)).c_str(),
              text_of(r.archive.unarchive.rate(gigabytes)).c_str());
  if (r.peers.empty()) return;
  std::printf("   %s%s%s%s%s\n", column("peer", 28).c_str(), column("given", 8).c_str(), column("ratio", 10).c_str(),
              column("GB/s", 22).c_str(), "our encode over it");
  const PeerResult* const rival = to_beat(r.peers, r.own.ratio());
  for (const PeerResult& peer : r.peers) {
    const Spread over = peer.speed_over();
    char number[32];
    std::snprintf(number, sizeof number, "%.3f", peer.ratio);
    const bool ahead = over.median < 1 && peer.ratio > r.own.ratio();
    std::printf("   %s%s%s%s%s%s%s\n", column(peer.name, 28).c_str(), column(to_string(peer.given), 8).c_str(),
                column(number, 10).c_str(), column(text_of(peer.compress.rate(gigabytes)), 22).c_str(),
                text_of(over).c_str(), &peer == rival ? "  <- to beat" : "",
                ahead ? "  QUICKER AND SMALLER THAN OURS" : "");
  }
}

class JsonResults {
 public:
  explicit JsonResults(std::FILE* out) : out_(out) {}
  void add(const std::string& id, const Spread& s, const char* unit, const std::string& more = "") {
    std::fprintf(
        out_, "%s  {\"id\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", \"spread\": [%.4g, %.4g], \"simd\": \"%s\"%s}",
        separator_, id.c_str(), s.median, unit, s.low, s.high, simd_target(), more.c_str());
    separator_ = ",\n";
  }
  void add_null(const std::string& id, const char* unit) {
    std::fprintf(out_, "%s  {\"id\": \"%s\", \"value\": null, \"unit\": \"%s\"}", separator_, id.c_str(), unit);
    separator_ = ",\n";
  }
  void end() { std::fprintf(out_, "\n]\n"); }

 private:
  std::FILE* out_;
  const char* separator_ = "[\n";
};

/// For perf/run: encode and decode over memcpy's rate; of data that is to be encoded as quickly as it can be read,
/// over the rate of reading both copies. The rates themselves beside them.
void write_json(JsonResults& json, const Result& r) {
  const std::string id = "codec." + r.name + ".";
  const double gigabytes = 1e-9 * static_cast<double>(r.own.bytes);
  const bool reading = r.name == "clean" || r.name == "sparse";
  const auto exact = [](double value) { return Spread{value, value, value}; };
  if (r.own.encoded != 0) {
    json.add(id + "ratio", exact(r.own.ratio()), "ratio");
    json.add(id + "archive_ratio", exact(r.archive.ratio()), "ratio");
    json.add(id + "archive_rate", r.archive.archive.rate(gigabytes), "GB/s");
    json.add(id + "unarchive_rate", r.archive.unarchive.rate(gigabytes), "GB/s");
  }
  json.add(id + "encode", r.own.encode.share(reading ? r.own.read : r.own.copy), "ratio");
  json.add(id + "decode", r.own.decode.share(r.own.copy), "ratio");
  json.add(id + "encode_rate", r.own.encode.rate(gigabytes), "GB/s");
  json.add(id + "encode_rate_without_update", r.own.encode_only.rate(gigabytes), "GB/s");
  json.add(id + "decode_rate", r.own.decode.rate(gigabytes), "GB/s");
  json.add(id + "memcpy_rate", r.own.copy.rate(gigabytes), "GB/s");
  json.add(id + "read_both_rate", r.own.read.rate(gigabytes), "GB/s");
  const PeerResult* const rival = r.own.encoded == 0 ? nullptr : to_beat(r.peers, r.own.ratio());
  if (rival == nullptr || !all_peers_present()) {
    json.add_null(id + "speed_over_peer", "ratio");
  } else {
    char more[256];
    std::snprintf(more, sizeof more, ", \"peer\": \"%s, given %s\", \"peer_ratio\": %.4g", rival->name.c_str(),
                  rival->given == Given::state ? "the state" : to_string(rival->given).c_str(), rival->ratio);
    json.add(id + "speed_over_peer", rival->speed_over(), "ratio", more);
  }
}

/// The SIMD target with this name, among those this CPU can run; 0 when there is none.
std::int64_t target_named(const std::string& name) {
  for (std::int64_t left = kernels::host::simd_targets_available(); left != 0; left &= left - 1) {
    if (name == hwy::TargetName(left & -left)) return left & -left;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  DataOptions options;
  options.cache = FOREWEAVE_PERF_DATA;
  int repeats = 3;
  bool no_peers = false;
  std::string target, json;
  std::vector<std::string> names = data_set_names();
  CLI::App app{"Page codec and archive stage: ratio and rates beside memcpy and other codecs"};
  app.add_option("--size", options.edge, "edge of the cubes, in doubles")
      ->check(CLI::Range(16, 1024))
      ->capture_default_str();
  app.add_option("--steps", options.steps, "steps of the simulations before the pair is taken")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  app.add_option("--repeats", repeats, "timed repeats")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--target", target, "SIMD target to run, instead of the best");
  app.add_option("--data", names, "data sets")->check(CLI::IsMember(data_set_names()));
  app.add_option("--cache", options.cache, "where simulated pairs are kept (empty: nowhere)")->capture_default_str();
  app.add_flag("--no-peers", no_peers, "measure no other codecs");
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
  std::FILE* const out = json.empty() ? nullptr : std::fopen(json.c_str(), "w");
  if (!json.empty() && out == nullptr) {
    std::fprintf(stderr, "perf_codec: cannot write %s\n", json.c_str());
    return 1;
  }
  JsonResults results(out);
  std::printf("%s; CPU time of one thread, GB/s of the data's bytes, median (lowest–highest)\n", simd_target());
  for (const std::string& name : names) {
    const DataSet set = make_data_set(name, options);
    Result result{name, measure_own(set, repeats), measure_archive(set, repeats), {}};
    if (!no_peers) result.peers = measure_peers(set, result.own.ratio(), repeats);
    print(result);
    if (out != nullptr) write_json(results, result);
    if (name == "gray_scott") {
      const ThreadsResult threads = measure_threads(set, 2 * repeats + 1);
      std::printf("   two threads: %s times the rate of one (wall time)\n",
                  text_of(threads.two.share(threads.one)).c_str());
      if (out != nullptr) results.add("codec.threads2", threads.two.share(threads.one), "ratio");
    }
    std::fflush(stdout);
  }
  if (out != nullptr) {
    results.end();
    if (std::fclose(out) != 0) {
      std::fprintf(stderr, "perf_codec: cannot write %s\n", json.c_str());
      return 1;
    }
  }
  return 0;
}
