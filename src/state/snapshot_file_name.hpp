#pragma once
// Names of the files of a store in a folder. Everything list() tells stands in the name, so that listing opens no file:
//
//   r000002-v000000000007-b000000000006-s0001.fwsnap    rank 2, version 7, a delta against 6, written as number 1
//   r000002-v000000000007-b000000000006-s0001-<identity, 32 hex digits>.fwpack    the same as a pack
//   objects-<identity>.fwpack                           of a snapshot that was erased: others need some of its objects
//
// Of several files of one rank and version the highest number counts: that makes replacing a snapshot one rename,
// even when the replacement has another base, and a kill between the rename and the removal of the old file harmless.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "foreweave/core/digest.hpp"
#include "foreweave/state/types.hpp"

namespace foreweave::state_detail {

inline constexpr std::string_view temporary_prefix = ".tmp-";
inline constexpr std::string_view committed_file = "committed";
inline constexpr std::string_view lock_file = ".lock";

struct SnapshotFileName {
  SnapshotId id;
  Version base = 0;
  std::uint64_t sequence = 0;
  std::optional<Digest128> pack;  ///< identity, of a pack
};

std::string format(const SnapshotFileName& name);
/// Nothing for a file that no store wrote.
std::optional<SnapshotFileName> parse_snapshot_file_name(std::string_view text);

/// The file that keeps objects of an erased pack.
std::string format_objects_name(const Digest128& pack);
std::optional<Digest128> parse_objects_name(std::string_view text);

}  // namespace foreweave::state_detail
