#pragma once
// The parameters of a run, from a TOML file.

#include <array>
#include <cstdint>
#include <string>

namespace gray_scott {

/// Axes are x, y, z; x is the fastest in memory.
struct Settings {
  // [grid]
  std::array<std::int64_t, 3> size{64, 64, 64};  ///< cells along x, y, z
  double spacing = 1.0;                          ///< distance between grid points
  // [model]
  double feed = 0.037;
  double kill = 0.060;
  double diffusion_u = 0.10;
  double diffusion_v = 0.05;
  double dt = 1.0;
  double noise = 0.01;      ///< amplitude of the initial noise on u and v
  std::uint64_t seed = 20;  ///< of the noise
  // [run]
  std::int64_t steps = 200;
  // [output]
  std::string directory = "out/gray_scott";
  std::int64_t output_every = 0;  ///< 0: the first and the last state only
  bool collective = false;        ///< written by all ranks through MPI-IO; else gathered by rank 0

  /// Throws foreweave::Error(argument) naming the key and what is accepted.
  void validate() const;
};

/// Reads `path`. Every key has a default; an unknown table, an unknown key, a wrong type or a value out of range is
/// refused with Error(argument) that names the accepted ones; a missing file is Error(absent).
Settings load_settings(const std::string& path);

}  // namespace gray_scott
