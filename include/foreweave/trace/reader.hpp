#pragma once
// Reads traces: what Recorder and write_index() wrote. Schema: docs/trace.md.

#include <filesystem>
#include <string>
#include <vector>

#include "foreweave/trace/recorder.hpp"

namespace foreweave::trace {

struct CaptureRow {
  Nanoseconds time = 0;
  Rank rank = 0;
  CaptureReport report;
};

/// What one hub recorded in one attempt. Times are CLOCK_MONOTONIC of its machine; wall = t − clock_monotonic + clock_wall.
struct HubTrace {
  RunInfo info;
  std::string software_version, host;
  Nanoseconds clock_monotonic = 0, clock_wall = 0;
  std::uint64_t dropped_records = 0;
  std::vector<CaptureRow> captures;
  std::vector<TransferRecord> transfers;
  std::vector<FlushRecord> flushes;      ///< none in traces of an earlier Foreweave
  std::vector<CommitRecord> commits;
  std::vector<FailureRecord> failures;
  std::vector<RecoveryRecord> recoveries;
};

struct RunTrace {
  RunInfo info;                          ///< of the index, or of the one hub's file
  std::vector<HubTrace> hubs;            ///< ascending by attempt, then hub
  std::vector<std::string> missing;      ///< files that the index names and that are not there
  std::vector<std::string> damaged;      ///< and those that cannot be read, each with why
};

/// Reads an index (with every hub's file it links to that is there and whole) or a single hub's file. Throws
/// Error(absent) when `file` is not there, Error(format) when it is no trace or of a version this library does not know,
/// Error(hdf5) when it is damaged.
/// Not thread safe (HDF5).
RunTrace read_trace(const std::filesystem::path& file);

}  // namespace foreweave::trace
