#pragma once
// What a hub holds, and the choice of a version that every rank can restore. Pure functions, no I/O.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "foreweave/comm/transport.hpp"
#include "foreweave/state/parity.hpp"
#include "foreweave/state/types.hpp"

namespace foreweave::context {

/// What one hub tells the others when the group forms or restores.
struct Inventory {
  comm::HubId hub = 0;
  std::uint32_t node = 0;
  Rank rank = -1;                                      ///< -1: a spare
  std::uint32_t epoch = 0;                             ///< the last that this hub was in
  std::uint32_t joined = 0, active = 0;                ///< StatusPage: over all starts of the job
  Version committed = 0;
  std::uint64_t step = 0;                              ///< steps the program had counted here, before it was ended
  Version newest = 0;                                  ///< of all snapshots visible here, restorable or not
  std::map<Version, Rank> ranks_of;                    ///< how many ranks the job had that wrote a version held here
  Bytes address;                                       ///< of the hub's transport
  std::map<Rank, std::vector<Version>> host;           ///< complete versions by rank, ascending
  std::map<Rank, std::vector<Version>> file;           ///< those in files, complete together with the own host memory
  std::map<Version, Version> loose;                    ///< of the own rank: other links that are visible here, and what
                                                       ///< they are deltas against
  std::vector<ParityRecord> parity;                    ///< parity blocks in the host tier
  std::vector<Version> failed;                         ///< of the own rank: could not be restored from anywhere

  Bytes encode() const;
  static Inventory decode(ByteView bytes);
};

/// How many ranks the job had that wrote `version`; 0: nobody knows, or the hubs do not agree.
Rank ranks_of(const std::vector<Inventory>& inventories, Version version);

/// The versions that stand complete somewhere, or can be computed, for every rank of the job that wrote them, and did not
/// fail; ascending. A rank's loose links count where another hub's memory has what they stand on.
std::vector<Version> common_versions(const std::vector<Inventory>& inventories);

/// The newest version that every rank has in files (or in files together with the memory of who sees them). It was
/// committed, else nobody would have brought it there, and may be newer than what the markers say. 0: none.
Version newest_in_files(std::vector<Inventory> inventories);

}  // namespace foreweave::context
