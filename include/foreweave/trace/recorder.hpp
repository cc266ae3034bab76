#pragma once
// Trace: what a run did, as HDF5. One file a rank and attempt, and an index that joins them. Schema: docs/trace.md.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "foreweave/core/clock.hpp"
#include "foreweave/state/capture.hpp"

namespace foreweave::trace {

struct TransferRecord {
  Nanoseconds begin = 0, end = 0;
  Rank rank = 0;               ///< whose snapshot
  Version version = 0;
  std::uint32_t peer = 0;      ///< the other hub
  bool outgoing = true;
  bool ok = true;
  std::uint64_t bytes = 0;
};
struct CommitRecord { Nanoseconds time = 0; Version version = 0; Nanoseconds after_capture_ns = 0; };
struct FailureRecord { Nanoseconds time = 0; std::uint32_t hub = 0; Rank rank = -1; std::string reason; };
enum class RecoveryMode : std::uint8_t { none = 0, in_place = 1, relaunch = 2 };
struct RecoveryRecord {
  Nanoseconds begin = 0, end = 0;     ///< begin: death was known; end: resumed
  RecoveryMode mode{};
  Rank lost_rank = -1;
  Version version = 0;                ///< stepped back to
  std::string source;                 ///< "own memory", "mirror on hub 2", "file"
  std::uint64_t bytes = 0;
};

/// A run's identity, root attributes of each file.
struct RunInfo {
  std::string run_id, job, command_line;
  Rank rank = 0, ranks = 1;
  std::uint32_t hub = 0;
  int attempt = 0;
  std::vector<std::pair<std::string, std::string>> options;   ///< name, effective value
};

/// Records are put into memory (thread safe, any thread, ≤ 1 µs, no I/O) and written by drain(). HDF5 libraries are
/// commonly not thread safe, so only the program's thread may call drain(), in the calls it makes into Foreweave.
class Recorder {
 public:
  /// Creates `folder`/ranks/… and the file. Errors are Error(hdf5 or io).
  Recorder(std::filesystem::path folder, RunInfo info);
  ~Recorder();   ///< drains and closes; logs what fails

  void add(const CaptureReport& report, Nanoseconds time);
  void add(const TransferRecord& record);
  void add(const CommitRecord& record);
  void add(const FailureRecord& record);
  void add(const RecoveryRecord& record);
  /// Appends everything recorded so far and flushes, so that a run killed afterwards leaves a readable file.
  void drain();
  std::filesystem::path file() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Makes or extends `folder`/trace.h5: external links /attempts/A/ranks/R to the rank files of this attempt (which need
/// not exist yet). Called on one rank.
void write_index(const std::filesystem::path& folder, const RunInfo& info);

}  // namespace foreweave::trace
