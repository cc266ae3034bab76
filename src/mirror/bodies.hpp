#pragma once
// Bodies of the mirror protocol's frames. docs/format.md, "Frames". Reading throws Error(format) for what is not one.

#include <cstdint>
#include <string>
#include <vector>

#include "foreweave/core/bytes.hpp"
#include "foreweave/core/digest.hpp"
#include "foreweave/state/types.hpp"

namespace foreweave::mirror {

/// Names one attempt to send one snapshot; grows with every attempt of a hub, over all peers and epochs.
using TransferId = std::uint64_t;

struct SnapshotBegin {
  TransferId transfer = 0;
  SnapshotId id;
  Version base = 0;
  std::uint64_t bytes = 0;
  bool offer = false;  ///< no chunks follow: say "stored" when you have it, "refused, absent" when not
  Bytes encode() const;
  static SnapshotBegin decode(ByteView body);
};

struct SnapshotChunk {
  TransferId transfer = 0;
  Rank rank = 0;
  std::uint64_t offset = 0;
  Bytes encode() const;
  static SnapshotChunk decode(ByteView body);
};

struct SnapshotEnd {
  TransferId transfer = 0;
  SnapshotId id;
  std::uint64_t bytes = 0;
  Digest128 content;  ///< XXH3-128 of all bytes
  Bytes encode() const;
  static SnapshotEnd decode(ByteView body);
};

struct SnapshotStored {
  TransferId transfer = 0;
  SnapshotId id;
  Bytes encode() const;
  static SnapshotStored decode(ByteView body);
};

enum class Refusal : std::uint8_t {
  absent = 1,        ///< the offered snapshot is not here: send it
  base_missing = 2,  ///< the delta's base is not here: send the whole chain
  broken = 3,        ///< bytes are missing, too many, or not what the digest says: send it again
  store = 4,         ///< the store failed (full, over its budget): later, perhaps
  unwanted = 5,      ///< this hub does not mirror that rank and did not ask for it
};

struct SnapshotRefused {
  TransferId transfer = 0;
  SnapshotId id;
  Refusal reason{};
  std::string text;  ///< for people; at most 1000 bytes
  Bytes encode() const;
  static SnapshotRefused decode(ByteView body);
};

/// All versions of a rank, newer than the committed one, that stand in enough places; told anew until they are
/// committed.
struct VersionStored {
  static constexpr std::size_t max_versions = 256;
  Rank rank = 0;
  std::vector<Version> versions;
  Bytes encode() const;
  static VersionStored decode(ByteView body);
};

struct VersionCommitted {
  Version version = 0;
  Bytes encode() const;
  static VersionCommitted decode(ByteView body);
};

/// Body of "fetch" and of "fetch_absent".
struct Fetch {
  std::uint64_t number = 0;
  SnapshotId id;
  Bytes encode() const;
  static Fetch decode(ByteView body);
};

struct ParityOffer {
  SnapshotId id;
  Version base = 0;
  std::uint64_t bytes = 0;
  Bytes encode() const;
  static ParityOffer decode(ByteView body);
};

struct ParityStored {
  SnapshotId id;  ///< the member's snapshot
  Bytes encode() const;
  static ParityStored decode(ByteView body);
};

struct BlockFetch {
  std::uint64_t number = 0;  ///< of the sum at the asking hub that it is for
  std::uint32_t source = 0;  ///< which of its blocks
  bool parity = false;       ///< out of the parity blocks, under their id; else a rank's snapshot
  SnapshotId id;
  std::uint64_t whole = 0;   ///< bytes that the whole block must have; another one is none
  std::uint64_t offset = 0;
  std::uint32_t bytes = 0;
  Bytes encode() const;
  static BlockFetch decode(ByteView body);
};

/// Body of "block" and of "block_absent".
struct BlockPiece {
  std::uint64_t number = 0;
  std::uint32_t source = 0;
  std::uint64_t offset = 0;
  Bytes encode() const;
  static BlockPiece decode(ByteView body);
};

}  // namespace foreweave::mirror
