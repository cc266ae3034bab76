#pragma once
// The tables of a trace file: docs/trace.md in code.

#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "foreweave/trace/reader.hpp"
#include "foreweave/trace/recorder.hpp"
#include "trace/hdf5.hpp"

namespace foreweave::trace {

inline constexpr const char* format_name = "foreweave-trace";
inline constexpr const char* index_format_name = "foreweave-trace-index";
inline constexpr std::int64_t format_version = 1;

/// Rows of every table, in the order they were recorded.
struct Rows {
  std::vector<CaptureRow> captures;
  std::vector<TransferRecord> transfers;
  std::vector<FlushRecord> flushes;
  std::vector<CommitRecord> commits;
  std::vector<FailureRecord> failures;
  std::vector<RecoveryRecord> recoveries;

  std::size_t size() const;
  void append(const Rows& other);
  /// Drops the oldest of each table beyond `limit`; returns how many.
  std::size_t trim(std::size_t limit);
};

/// Name of a hub's file, relative to the trace's folder.
std::filesystem::path hub_file(int attempt, std::uint32_t hub);

void put_identity(hid_t file, const char* format, const RunInfo& info);
void create_tables(hid_t file);
/// Throws with `file` discarded when a write fails.
void append_rows(WritableFile& file, const Rows& rows);

}  // namespace foreweave::trace
