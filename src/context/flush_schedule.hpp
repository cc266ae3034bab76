#pragma once
// FlushSchedule: which version goes to the file tiers next. The coordinator (the hub of rank 0) orders one version of a
// tier at a time from all ranks, and the next when all are done with it: so every rank has the same versions in its files,
// and the slowest says how many are passed over. A pure state machine.

#include <array>
#include <cstdint>
#include <set>
#include <vector>

#include "foreweave/core/bytes.hpp"
#include "foreweave/state/types.hpp"
#include "foreweave/trace/recorder.hpp"

namespace foreweave::context {

using trace::FileTier;
inline constexpr std::size_t file_tiers = 2;

/// From the coordinator to all ranks. docs/format.md, "Bodies".
struct FlushOrder {
  FileTier tier{};
  Version version = 0;   ///< to bring to the tier; 0: none now
  Version complete = 0;  ///< the newest that every rank has there; 0: not known
  std::uint64_t passed_over = 0;  ///< versions that were due since the order before, and do not go
  auto operator<=>(const FlushOrder&) const = default;
  Bytes encode() const;
  static FlushOrder decode(ByteView bytes);
};

/// From a rank to the coordinator: the ordered version stands in the tier, or could not be brought there.
struct FlushDone {
  FileTier tier{};
  Version version = 0;
  bool ok = false;
  Bytes encode() const;
  static FlushDone decode(ByteView bytes);
};

class FlushSchedule {
 public:
  /// @param every of each tier: every n-th committed version goes there; 0: there is no such tier.
  explicit FlushSchedule(std::array<std::uint64_t, file_tiers> every) : every_(every) {}

  /// A new epoch: nothing is under way, and nothing known of what stands where.
  void begin(Rank ranks);
  /// What to tell all ranks then. Versions ascend.
  std::vector<FlushOrder> committed(Version version);
  std::vector<FlushOrder> done(Rank rank, const FlushDone& done);

 private:
  struct Tier {
    Version ordered = 0, complete = 0;
    bool under_way = false, failed = false;
    std::set<Rank> done;
  };
  bool due(std::size_t tier) const;
  FlushOrder order(std::size_t tier);

  std::array<std::uint64_t, file_tiers> every_;
  std::array<Tier, file_tiers> tiers_;
  Rank ranks_ = 0;
  Version committed_ = 0;
};

}  // namespace foreweave::context
