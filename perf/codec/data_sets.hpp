#pragma once
// The data sets of perf_codec: pairs of states of arrays as simulations keep them. Deterministic in their arguments.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "foreweave/state/types.hpp"
#include "perf/codec/array.hpp"

namespace foreweave::perf {

struct DataSet {
  std::string name;
  ElementType type = ElementType::f64;
  std::vector<std::uint64_t> extents;  ///< elements, slowest first
  Array before, after;
};

struct DataOptions {
  std::size_t edge = 256;  ///< of the cubes, in elements; the other sets have as many bytes as a cube
  int steps = 400;         ///< of the simulations before the pair is taken
  /// Where pairs that take long to make are kept, as NAME-….old and NAME-….new, raw: `foreweave delta` takes them.
  std::filesystem::path cache;
};

/// gray_scott (both fields), heat, amr, sparse, index, particles, random, clean.
const std::vector<std::string>& data_set_names();
/// `name` is one of data_set_names().
DataSet make_data_set(const std::string& name, const DataOptions& options);

}  // namespace foreweave::perf
