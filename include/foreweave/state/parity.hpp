#pragma once
// Parity blocks: what stands on other hubs in place of whole copies. docs/format.md, "Parity blocks".

#include <cstdint>
#include <vector>

#include "foreweave/core/bytes.hpp"
#include "foreweave/core/digest.hpp"
#include "foreweave/state/types.hpp"

namespace foreweave {

/// What a parity block was computed from and what it is: written behind the block's bytes.
struct ParityRecord {
  /// One rank's snapshot file of the version, byte for byte as it stands in the rank's store.
  struct Member {
    Rank rank = 0;
    Version base = 0;
    std::uint64_t bytes = 0;
    Digest128 content;
    bool operator==(const Member&) const = default;
  };
  Version version = 0;
  int parity = 0;                 ///< parity blocks of the group
  int row = 0;                    ///< which of them this is, from 0; block number members.size() + row of the code
  std::vector<Member> members;    ///< the data blocks, in the code's order
  std::uint64_t bytes = 0;        ///< of this block: as many as the longest member has
  Digest128 content;              ///< of this block

  bool operator==(const ParityRecord&) const = default;
  /// Under which id a store holds it: ranks are as they come, so the group and the row have a number made of them.
  SnapshotId id() const;
  static Rank key(const std::vector<Rank>& members, int parity, int row);
  std::vector<Rank> ranks() const;
  /// What follows the block's bytes.
  Bytes encode() const;
  /// Reads it from the end of a stored parity block, or from encode()'s bytes alone. Checks itself, not the block's
  /// bytes. Error(format) when it is damaged, cut off or something else.
  static ParityRecord decode(ByteView file);
};

}  // namespace foreweave
