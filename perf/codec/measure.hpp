#pragma once
// What perf_codec measures of one data set.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/decl/page_codec.hpp"
#include "perf/codec/data_sets.hpp"
#include "perf/codec/peers.hpp"
#include "perf/codec/timing.hpp"

namespace foreweave::perf {

/// The page codec by itself, one thread, beside memcpy and plain reading.
struct OwnResult {
  std::uint64_t bytes = 0, encoded = 0;
  Samples encode, encode_only, decode, copy, read;  ///< seconds; `encode` updates the base
  std::array<std::uint64_t, kernels::transform_count> pages{};
  std::uint64_t clean_pages = 0;
  double ratio() const { return static_cast<double>(bytes) / static_cast<double>(encoded); }
};
/// Exits the program when something does not come back.
OwnResult measure_own(const DataSet& set, int repeats);

/// The archive stage on top, one thread.
struct ArchiveResult {
  std::uint64_t bytes = 0, archived = 0;
  Samples encode, archive, unarchive;  ///< seconds
  double ratio() const { return static_cast<double>(bytes) / static_cast<double>(archived); }
};
ArchiveResult measure_archive(const DataSet& set, int repeats);

/// Wall time of encoding with one thread and with two, in turn.
struct ThreadsResult {
  Samples one, two;
};
ThreadsResult measure_threads(const DataSet& set, int repeats);

/// One peer given the state or a difference; `own` was measured in the same repeats.
struct PeerResult {
  std::string name;
  Given given = Given::state;
  double ratio = 0;
  Samples compress, own;  ///< seconds
  /// Our rate over the peer's.
  Spread speed_over() const { return own.share(compress); }
};
/// Every peer on what gave it the best ratio and on what it was quickest with, among those that come back. Repeats
/// interleave the peers and the page codec (which does not update the base here: no peer does).
std::vector<PeerResult> measure_peers(const DataSet& set, double own_ratio, int repeats);

/// The quickest of those with a ratio that is equal or better; where there is none, the one with the best ratio.
const PeerResult* to_beat(const std::vector<PeerResult>& peers, double own_ratio);

}  // namespace foreweave::perf
