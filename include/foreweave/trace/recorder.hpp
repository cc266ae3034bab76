#pragma once
// Trace: what a run did, as HDF5. One file a hub and attempt, and an index that joins them. Schema: docs/trace.md.

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
/// The tiers of files.
enum class FileTier : std::uint8_t {
  local = 0,    ///< "file": a disk of the node
  shared = 1,   ///< "shared": a parallel file system
};
struct FlushRecord {
  Nanoseconds begin = 0, end = 0;
  FileTier tier{};
  Rank rank = 0;
  Version version = 0;
  bool ok = false;
  std::uint64_t bytes = 0;     ///< of the snapshots that the tier lacked
  std::uint64_t unique = 0;    ///< of them, what its folder did not have
  std::uint64_t stored = 0;    ///< that were written: these, archived where that is so
  std::uint64_t passed_over = 0;  ///< versions that were due before this one and did not go: the tier is too slow
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
  std::uint64_t lost_steps = 0;       ///< steps that have to be computed again
};

/// A run's identity, root attributes of each file.
struct RunInfo {
  std::string run_id, job, command_line;
  Rank rank = 0, ranks = 1;             ///< rank -1: a spare, no rank yet
  std::uint32_t hub = 0, hubs = 0;      ///< hubs 0: as many as ranks
  int attempt = 0;
  std::vector<std::pair<std::string, std::string>> options;   ///< name, effective value
};

/// Records are put into memory (thread safe, any thread, ≤ 1 µs, no I/O) and written by drain(). HDF5 libraries are
/// commonly not thread safe, so only the program's thread may call drain(), in the calls it makes into Foreweave.
///
/// A kill at any moment, in the middle of drain() too, leaves a whole file under file(): there are two copies, drain()
/// writes the hidden one and then puts it in place of the visible one by renaming. No HDF5 handle is kept between
/// calls, so H5close (and MPI_Finalize, which calls it) in the program does no harm. The program's HDF5 error handler
/// stays as it is.
class Recorder {
 public:
  /// Creates `folder`/ranks/attempt<A>.hub<H>.h5. Errors are Error(hdf5 or io).
  Recorder(std::filesystem::path folder, RunInfo info);
  ~Recorder();   ///< drains and closes; logs what fails
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void add(const CaptureReport& report, Nanoseconds time);
  void add(const TransferRecord& record);
  void add(const FlushRecord& record);
  void add(const CommitRecord& record);
  void add(const FailureRecord& record);
  void add(const RecoveryRecord& record);
  /// The rank that captures belong to from now on (a spare that took a rank over). Thread safe.
  void set_rank(Rank rank);
  /// Appends everything recorded so far, so that a run killed afterwards leaves it in a readable file. Throws
  /// Error(hdf5 or io); the records stay in memory then (up to a million a table, the oldest go first and are counted
  /// in the attribute dropped_records) and the next drain() tries again.
  void drain();
  /// drain() when it is due: records are waiting, and the last drain was `interval` ago and 50 times as long as the
  /// processor time it took (so that draining costs no more than 2 %), or a failure or recovery is among them. What
  /// programs should call at every step. Returns whether it drained.
  bool drain_if_due(Nanoseconds interval = 50'000'000);
  std::filesystem::path file() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Makes or extends `folder`/trace.h5: external links /attempts/<A>/hubs/<H> to the files of this attempt, which need not
/// exist yet, and the run's identity as root attributes. Atomic (temporary name, rename). Called on one rank.
void write_index(const std::filesystem::path& folder, const RunInfo& info);

}  // namespace foreweave::trace
