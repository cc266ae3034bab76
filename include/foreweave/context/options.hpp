#pragma once
// Options: every knob of Foreweave, in one table (src/context/options.cpp) from which the command line, the
// environment, the options file and `foreweave info` follow.
//
// Precedence: command line (--foreweave-NAME=VALUE, --foreweave-NAME VALUE) over environment (FOREWEAVE_NAME, in
// capitals) over the options file (--foreweave-options-file or FOREWEAVE_OPTIONS_FILE; lines `name = value`, '#' begins
// a comment) over the default. Whatever is unknown or out of range is refused, wherever it comes from.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "foreweave/core/log.hpp"
#include "foreweave/state/capture.hpp"

namespace foreweave {

enum class TransportChoice : std::uint8_t { ucx, mpi };
enum class RecoverChoice : std::uint8_t {
  automatic,   ///< "auto": in place where MPI can, else by relaunch
  in_place,
  relaunch,
  none,        ///< a lost rank ends the job
};

/// Whether segments are archived (made smaller once more) in files.
enum class ArchiveChoice : std::uint8_t {
  automatic,   ///< "auto": in the shared tier
  off,
  on,          ///< in both
};

/// One planned fault, for tests and demonstrations: the process that began as `rank` kills itself in step `step`, or
/// when its capture of `version` begins; `after_ms` later, so that any moment of a capture or commit can be hit.
struct FaultPlan {
  int rank = 0;
  std::uint64_t step = 0;      ///< 0: by version
  std::uint64_t version = 0;   ///< 0: by step
  double after_ms = 0;
  bool memory_lost = false;    ///< its host tier is erased first, as if the node had gone
  int attempt = 0;             ///< only in this attempt of the job, so that a relaunch does not die again
};
/// "kill:rank=1,step=60[,after=MS][,memory=lost|kept][,attempt=0]" or with version=V for step=N; several separated by
/// ';'. Empty: none.
/// Throws Error(argument) naming the part that is wrong.
std::vector<FaultPlan> parse_faults(std::string_view text);

/// What of a snapshot stands on other hubs: whole copies, or parity of groups of `data` ranks in `parity` blocks.
struct Redundancy {
  bool groups = false;
  int data = 0, parity = 0;
};
/// "copies" or "rs:K+M". Throws Error(argument) for what is neither.
Redundancy parse_redundancy(std::string_view text);

/// The effective options of a process. A value type; not thread safe while it is changed. Fields may be read and
/// written directly; call check() after writing.
struct Options {
  bool enabled = true;
  std::string job = "default";
  std::string store;                      ///< host tier folder; set by the constructor to /dev/shm/foreweave-<uid>
  std::string file_store;                 ///< node-local file tier; empty: none
  std::string shared_store;               ///< file tier on a parallel file system; empty: none
  std::uint64_t every = 10;               ///< steps between two checkpoints of Context::step(), 0: only explicit ones
  std::uint64_t file_every = 1;           ///< every n-th committed version goes to the node-local file tier
  std::uint64_t shared_every = 10;        ///< and to the shared one
  std::uint64_t flush_bandwidth = 0;      ///< MB/s that one process writes to files, 0: no cap
  ArchiveChoice archive = ArchiveChoice::automatic;
  std::uint64_t host_budget = 0;          ///< bytes, 0: none
  std::string redundancy = "copies";      ///< see parse_redundancy()
  std::uint32_t copies = 1;               ///< partner copies of each snapshot, with redundancy=copies
  std::uint32_t max_chain = 8;            ///< links of a delta chain, the full one included
  std::uint32_t keep = 1;                 ///< newest versions kept besides the committed one
  std::uint64_t keep_every = 0;           ///< of each so many versions the first stays in files, 0: none
  bool restore_older = false;             ///< restore() may go below the committed version, where that is lost
  std::uint64_t staging = 0;              ///< bytes, 0: as much as the regions
  std::uint64_t base_budget = 0;          ///< bytes of the bases of host regions, 0: none
  Tracking track = Tracking::automatic;
  std::uint32_t capture_threads = 0;      ///< that encode a capture; 0: more than one only where cores are to spare
  TransportChoice transport = TransportChoice::ucx;
  std::string ucx_tls = "tcp,self";
  std::string ucx_net_devices;            ///< empty: UCX chooses
  double heartbeat = 0.1;                 ///< seconds between two heartbeats
  double suspect_after = 10;              ///< seconds of silence after which a hub is taken for dead
  double commit_wait = 60;                ///< seconds one call may wait for versions in flight
  std::uint32_t in_flight = 2;            ///< versions not yet committed before checkpoint waits
  std::string key_file;
  std::string key;                        ///< 64 hex digits; a secret: never printed, never on a command line
  std::string trace;                      ///< folder of the trace files, empty: no trace
  log::Level log = log::Level::warning;
  std::uint32_t spares = 0;               ///< hubs of the launch that are no rank at first
  RecoverChoice recover = RecoverChoice::automatic;
  bool progress = false;
  std::string fault;                      ///< see parse_faults()
  std::uint32_t attempt = 0;              ///< given by foreweave-run
  std::uint64_t died_at = 0;              ///< given by foreweave-run: when it saw the death, wall clock in ns
  std::string run_id;                     ///< given by foreweave-run; empty: started without it
  std::string options_file;

  /// The defaults.
  Options();

  /// Reads everything; what is an option is removed from argc/argv (which stays null-terminated). Arguments after
  /// "--" are left alone. A bool may stand without value (true) and takes the next argument only if it is one of
  /// true, false, on, off, yes, no. In NAME '-' and '_' are the same on the command line.
  /// Throws Error(argument) naming the option, its value, where it came from, and what is accepted; Error(io) when
  /// the options file cannot be read.
  static Options from(int& argc, char**& argv);
  static Options from_environment();

  /// Sets one option by name, with the same checks. `source` says where it came from.
  void set(std::string_view name, std::string_view value, std::string_view source = "program");
  /// Checks every field, and what single values cannot tell (key and key_file both given, …). from() has done it; call
  /// it after changes.
  void check() const;

  struct Entry {
    std::string name, value, source;      ///< value is "(set)" or "" for secrets
    std::string default_value, type, help, accepted;
    bool internal = false;                ///< set by the launcher, not by people
  };
  /// In the table's order.
  std::vector<Entry> list() const;
  /// The effective value as text; Error(argument) for unknown names. Secrets read "(set)".
  std::string get(std::string_view name) const;

 private:
  std::string list_source(std::string_view name) const;
  std::map<std::string, std::string, std::less<>> sources_;
};

/// FOREWEAVE_* variables that are not options: no error when they are in the environment.
const std::vector<std::string_view>& internal_variables();

}  // namespace foreweave
