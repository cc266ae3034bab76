#include "perf/codec/measure.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/parallel.hpp"
#include "foreweave/state/snapshot.hpp"
#include "tools/delta_codec.hpp"

namespace foreweave::perf {
namespace {

using namespace kernels;

[[noreturn]] void wrong(const DataSet& set, const std::string& what) {
  std::fprintf(stderr, "%s: %s\n", set.name.c_str(), what.c_str());
  std::exit(1);
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

}  // namespace

OwnResult measure_own(const DataSet& set, int repeats) {
  OwnResult result;
  const std::size_t bytes = set.before.size();
  result.bytes = bytes;
  Array base = set.before, data = base, copy(bytes), out(encode_bound(bytes));
  std::vector<PageEntry> entries(page_count(bytes));
  const PageShape shape = page_shape(set.type, set.extents);
  // Encoding updates the base, so that the pair is walked back and forth. The first pair warms up.
  for (int repeat = -2; repeat < 2 * repeats; ++repeat) {
    EncodeJob job;
    job.current = (repeat & 1) == 0 ? set.after.data() : set.before.data();
    job.base = base.data();
    job.bytes = bytes;
    job.shape = shape;
    job.out = out.data();
    job.entries = entries.data();
    std::uint64_t size = 0, seen = 0;
    const double encode_only = thread_seconds([&] { size = host::encode_pages(job); });
    job.update_base = true;
    const double copied = thread_seconds([&] { std::memcpy(copy.data(), job.current, bytes); });
    const double encode = thread_seconds([&] { size = host::encode_pages(job); });
    const double read = thread_seconds([&] { seen = read_both(job.current, base.data(), bytes); });
    DecodeResult decoded;
    const DecodeJob back{out.data(), size, entries.data(), data.data(), bytes, shape};
    const double decode = thread_seconds([&] { decoded = host::decode_pages(back); });
    if (decoded.status != DecodeStatus::ok || std::memcmp(data.data(), job.current, bytes) != 0 ||
        std::memcmp(base.data(), job.current, bytes) != 0 || seen == 1) {
      wrong(set, "decoding does not give the data back");
    }
    if (repeat == 0) {
      result.encoded = size;
      for (const PageEntry entry : entries)
        ++(entry == 0 ? result.clean_pages : result.pages[entry_transform(entry)]);
    }
    if (repeat < 0) continue;
    result.encode.add(encode);
    result.encode_only.add(encode_only);
    result.decode.add(decode);
    result.copy.add(copied);
    result.read.add(read);
  }
  return result;
}

ArchiveResult measure_archive(const DataSet& set, int repeats) {
  ArchiveResult result;
  result.bytes = set.after.size();
  Parallel alone(1);
  tools::DeltaCodec codec(page_shape(set.type, set.extents), set.after.size(), alone);
  for (int repeat = -1; repeat < repeats; ++repeat) {
    const double encode =
        thread_seconds([&] { codec.encode(set.after.data(), set.before.data(), set.after.size()); });
    const double archive = thread_seconds([&] { codec.archive(); });
    if (repeat < 0) codec.unarchive(true);
    const double unarchive = thread_seconds([&] { codec.unarchive(false); });
    if (repeat < 0) continue;
    result.encode.add(encode);
    result.archive.add(archive);
    result.unarchive.add(unarchive);
  }
  result.archived = codec.archived_bytes();
  return result;
}

ThreadsResult measure_threads(const DataSet& set, int repeats) {
  ThreadsResult result;
  Parallel alone(1), both(2);
  tools::DeltaCodec one(page_shape(set.type, set.extents), set.after.size(), alone);
  tools::DeltaCodec two(page_shape(set.type, set.extents), set.after.size(), both);
  for (int repeat = -1; repeat < repeats; ++repeat) {
    const auto encode = [&](tools::DeltaCodec& codec) {
      return wall_seconds([&] { codec.encode(set.after.data(), set.before.data(), set.after.size()); });
    };
    const double first = encode(one), second = encode(two);
    if (repeat < 0) continue;
    result.one.add(first);
    result.two.add(second);
  }
  if (one.encoded_bytes() != two.encoded_bytes()) wrong(set, "two threads encode other bytes than one");
  return result;
}

std::vector<PeerResult> measure_peers(const DataSet& set, double own_ratio, int repeats) {
  const std::size_t bytes = set.after.size();
  auto peers = make_peers(set);
  const Array own_out(encode_bound(bytes));
  Array out;
  Bytes scratch;
  std::vector<PageEntry> entries(page_count(bytes));
  const auto own = [&] {
    EncodeJob job;
    job.current = set.after.data();
    job.base = const_cast<std::byte*>(set.before.data());  // not updated
    job.bytes = bytes;
    job.shape = page_shape(set.type, set.extents);
    job.out = own_out.data();
    job.entries = entries.data();
    return thread_seconds([&] { host::encode_pages(job); });
  };
  own();
  struct Entry {
    PeerResult result;
    PeerRun run;
  };
  std::vector<Entry> chosen;
  for (const auto& peer : peers) {
    struct Trial {
      Given given;
      double ratio, seconds;
    };
    std::vector<Trial> trials;
    for (const Given given : all_given) {
      PeerRun run(set, *peer, given, out, scratch);
      if (run.compress() == 0 || !run.comes_back()) continue;
      std::size_t size = 0;
      const double seconds = thread_seconds([&] { size = run.compress(); });
      trials.push_back({given, static_cast<double>(bytes) / static_cast<double>(size), seconds});
    }
    if (trials.empty()) continue;
    const auto smallest = std::max_element(trials.begin(), trials.end(),
                                           [](const Trial& a, const Trial& b) { return a.ratio < b.ratio; });
    const auto quickest = std::min_element(trials.begin(), trials.end(),
                                           [](const Trial& a, const Trial& b) { return a.seconds < b.seconds; });
    for (auto trial = trials.begin(); trial != trials.end(); ++trial) {
      // What is neither may still be the quickest with a ratio that counts.
      if (trial != smallest && trial != quickest && trial->ratio < own_ratio) continue;
      PeerResult result;
      result.name = peer->name();
      result.given = trial->given;
      result.ratio = trial->ratio;
      chosen.push_back({std::move(result), PeerRun(set, *peer, trial->given, out, scratch)});
    }
  }
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (Entry& entry : chosen) {
      entry.result.own.add(own());
      entry.result.compress.add(thread_seconds([&] { entry.run.compress(); }));
    }
  }
  std::vector<PeerResult> results;
  for (Entry& entry : chosen) results.push_back(std::move(entry.result));
  return results;
}

const PeerResult* to_beat(const std::vector<PeerResult>& peers, double own_ratio) {
  const PeerResult* found = nullptr;
  for (const PeerResult& peer : peers) {
    if (peer.ratio < own_ratio) continue;
    if (found == nullptr || peer.speed_over().median < found->speed_over().median) found = &peer;
  }
  if (found != nullptr) return found;
  for (const PeerResult& peer : peers) {
    if (found == nullptr || peer.ratio > found->ratio) found = &peer;
  }
  return found;
}

}  // namespace foreweave::perf
