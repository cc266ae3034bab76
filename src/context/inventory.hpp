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
  std::map<Version, Rank> ranks_of;                    ///< how many ranks the job had that wrote a version held here
  Bytes address;                                       ///< of the hub's transport
  std::map<Rank, std::vector<Version>> host, file;     ///< complete versions by rank, ascending
  std::vector<ParityRecord> parity;                    ///< parity blocks in the host tier
  std::vector<Version> failed;                         ///< of the own rank: could not be restored from anywhere

  Bytes encode() const;
  static Inventory decode(ByteView bytes);
};

/// How many ranks the job had that wrote `version`; 0: nobody knows, or the hubs do not agree.
Rank ranks_of(const std::vector<Inventory>& inventories, Version version);

/// The versions that stand complete somewhere, or can be computed, for every rank of the job that wrote them, and did not
/// fail; ascending.
std::vector<Version> common_versions(const std::vector<Inventory>& inventories);

}  // namespace foreweave::context
