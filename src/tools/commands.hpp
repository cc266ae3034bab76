#pragma once
// The commands of `foreweave`, one file each. Each returns the exit status; errors are thrown.

#include <cstdint>
#include <filesystem>
#include <string>

#include "foreweave/context/options.hpp"

namespace foreweave::tools {

/// Exit statuses, also in `foreweave --help`.
inline constexpr int status_ok = 0;
inline constexpr int status_bad = 1;     ///< what was looked at is damaged or incomplete
inline constexpr int status_usage = 2;   ///< wrong arguments or options
inline constexpr int status_absent = 3;  ///< what was asked for is not there
inline constexpr int status_failed = 4;  ///< anything else: the system refused

/// What this build is, what the machine has, and every option with where it came from. `problem` is why the options
/// could not be read, empty when they could.
int info(const Options& options, const std::string& problem, bool json);
/// What is in a store folder (any folder with stores at most three levels below), or in a trace.
int list(const std::filesystem::path& what, bool json);
/// Reads and checks every snapshot below `what` (or the one that `what` names) and every chain.
int verify(const std::filesystem::path& what, const Options& options, bool json);
struct DeltaRequest {
  std::filesystem::path old_file, new_file;
  std::string type;     ///< f64, f32, i64, i32, u64, u32 or u8
  std::string extents;  ///< "256x256x256", slowest first; empty: one-dimensional
  bool archive = false;
  int threads = 1;
  int repeats = 5;
  bool json = false;
};
/// Encodes one raw file against another, checks that it comes back, and prints ratio and rates.
int delta(const DeltaRequest& request);
/// Draws a trace: runs the report script with a Python that has h5py and matplotlib.
int report(const std::filesystem::path& trace, const std::filesystem::path& output);

/// "12.3 MiB".
std::string human_bytes(std::uint64_t bytes);
/// Text padded to `width` columns, on the right or (negative) on the left.
std::string pad(const std::string& text, int width);

}  // namespace foreweave::tools
