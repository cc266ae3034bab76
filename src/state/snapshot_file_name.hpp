#pragma once
// Names of the files of a DirectoryStore. Everything list() tells stands in the name, so that listing opens no file:
//
//   r000002-v000000000007-b000000000006-s0001.fwsnap    rank 2, version 7, a delta against 6, written as number 1
//
// Of several files of one rank and version the highest number counts: that makes replacing a snapshot one rename,
// even when the replacement has another base, and a kill between the rename and the removal of the old file harmless.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "foreweave/state/types.hpp"

namespace foreweave::state_detail {

inline constexpr std::string_view temporary_prefix = ".tmp-";
inline constexpr std::string_view committed_file = "committed";
inline constexpr std::string_view lock_file = ".lock";

struct SnapshotFileName {
  SnapshotId id;
  Version base = 0;
  std::uint64_t sequence = 0;
};

std::string format(const SnapshotFileName& name);
/// Nothing for a file that no store wrote.
std::optional<SnapshotFileName> parse_snapshot_file_name(std::string_view text);

}  // namespace foreweave::state_detail
