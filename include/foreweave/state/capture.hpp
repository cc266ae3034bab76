#pragma once
// CaptureEngine: takes versions of all regions of a rank, asynchronously, against a resident base.
//
//   begin()  program thread: after it returns the program may change its regions again. Host regions: pages that differ
//            from the base (first-difference compare; where the kernel tracks writes, of the written pages only) are
//            copied to staging; device regions: encode kernels run and the stream is waited for.
//   finish() any one thread, and as many helpers as asked for: encodes the staged pages, updates the base, writes the
//            snapshot to the store.
//
// Every begin() is followed by one finish() (or abandon()) before the next begin(). Memory held: one base a region (or
// page digests, a thousandth of it) and staging bounded by `staging_bytes` (when a capture has more dirty bytes than staging, begin() encodes the surplus
// itself and holds it encoded until finish()). Not thread safe: calls one at a time, from any thread.

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "foreweave/state/chain.hpp"
#include "foreweave/state/region.hpp"
#include "foreweave/state/snapshot.hpp"

namespace foreweave {

/// How pages of host regions that did not change are found.
enum class Tracking : std::uint8_t {
  automatic,   ///< "auto": by the kernel in the parts of a region where that costs less than reading them, else compared
  never,       ///< always compared
  always,      ///< by the kernel wherever it can, whatever the program's writes cost, and though the process has memory
               ///< pinned for devices (which must not write into the regions)
};

struct CaptureOptions {
  Rank rank = 0;
  Rank ranks = 1;
  std::string job = {};
  std::shared_ptr<const Key> key = nullptr;  ///< null: snapshots are not sealed
  std::uint64_t staging_bytes = 0;           ///< 0: as much as the regions (never above 1.0 × their bytes)
  std::size_t max_chain = 0;                 ///< links after which a costly chain ends (see begin()); 0: never
  Tracking tracking = Tracking::automatic;
  int threads = 1;                           ///< of finish(), the calling one included; the snapshot is the same
  std::uint64_t base_bytes = 0;              ///< limit of the bases of host regions; 0: none. Regions that are added when
                                             ///< it is reached have no base (see RegionSpec::base)
};

/// What one capture did; all of it goes to the trace.
struct CaptureReport {
  Version version = 0;
  Version base = 0;                           ///< 0: full
  std::uint64_t region_bytes = 0, dirty_pages = 0, pages = 0, staged_bytes = 0, snapshot_bytes = 0;
  std::uint64_t tracked_bytes = 0;            ///< of the regions, where the kernel told the pages that were written
  std::uint64_t write_faults = 0;             ///< first writes that it saw there since the capture before
  std::uint64_t digest_bytes = 0;             ///< of regions without a base: changes were found by page digests
  std::array<std::uint64_t, kernels::transform_count> pages_by_transform{};
  std::int64_t hold_ns = 0;                   ///< begin(): of blocked_ns, what the capture itself took
  std::int64_t blocked_ns = 0;                ///< begin()
  std::int64_t encode_ns = 0;                 ///< finish()
};

class CaptureEngine {
 public:
  explicit CaptureEngine(CaptureOptions options);
  ~CaptureEngine();

  /// Adds a region; Error(argument) for a null pointer, an empty or repeated name, extents that do not multiply to
  /// bytes / width. A name that is already there with the same size, type and space is re-pointed to the new memory
  /// (a program that builds its arrays anew after a repair); with another size: Error(argument) naming both sizes.
  void add(const RegionSpec& spec);
  void remove(const std::string& name);
  const std::vector<RegionSpec>& regions() const;

  /// A delta against the version before; full where there is none to be had (no base, changed set of regions, after a
  /// failed finish), and where the chain has `max_chain` links whose deltas hold as much as its full snapshot: a new one
  /// then costs less than folding all of them, here and on every mirror.
  void begin(Version version);
  /// Whatever it throws (disk full, over budget), what the store held before stays, and the next capture is full. A
  /// store that does not hold the version that begin() took a delta against gets a full snapshot; Error(absent) where a
  /// region has no base to make it from.
  CaptureReport finish(Store& store);
  /// Forget what begin() staged.
  void abandon();
  /// Forget the past: as if nothing had been captured or restored. The regions stay, the next capture is full, and any
  /// version number may come next.
  void forget();

  /// Writes the state at the end of `chain` into the regions and makes it the base, so that the next capture is a delta
  /// against it (with regions that have no base: full). The region names, sizes and types must match: Error(argument) names the first difference, before
  /// anything is written; damage found in the chain (Error(format/security)) leaves the regions untouched too.
  void restore(const Chain& chain);

  std::uint64_t held_bytes() const;           ///< bases + staging + scratch, now
  std::uint64_t peak_held_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace foreweave
