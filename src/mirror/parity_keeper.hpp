#pragma once
// ParityKeeper: makes and holds the parity blocks that this hub is to hold. When every member of a group has offered a
// version, their snapshots are read from them and summed into one block, which becomes visible whole; only then is any
// of them told that parity stands. Of a delta, parity is made only where that of its base stands: whoever holds parity
// of a version holds that of its whole chain.

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "foreweave/mirror/mirror_protocol.hpp"
#include "foreweave/state/parity.hpp"
#include "mirror/block_sums.hpp"
#include "mirror/bodies.hpp"

namespace foreweave::mirror {

class ParityKeeper {
 public:
  /// @param store may be null when no view has groups
  ParityKeeper(Store* store, Outbox& outbox, BlockSums& sums);
  ~ParityKeeper();

  /// Everything under way is void.
  void clear();
  /// Reads what it holds of the groups that `own` (none: a spare) holds parity of. Throws what the store throws.
  void begin(const View& view, std::optional<Rank> own);
  void on_offer(HubId from, const ParityOffer& offer, Nanoseconds now);
  /// This version is committed: what was not made of earlier ones is not needed any more.
  void committed(Version version);
  /// Erases blocks of groups that this hub holds no parity of.
  void drop_strangers();

 private:
  struct Group;
  void consider(Group& group, Nanoseconds now);
  void start(Group& group, Version version, Nanoseconds now);
  void finish(Group& group, const std::vector<Digest128>& contents, Nanoseconds now);
  bool holds(const Group& group, Version version) const;
  void tell(const Group& group, Version version, std::size_t member) const;

  Store* store_;
  Outbox& outbox_;
  BlockSums& sums_;
  std::vector<Group> groups_;
};

}  // namespace foreweave::mirror
