#pragma once
// Orphans: what hubs left in the host tier of this node that this start of the job does not have, because it was
// started with fewer processes. A hub that is here takes it over.

#include <cstdint>
#include <vector>

#include "foreweave/comm/transport.hpp"
#include "foreweave/context/options.hpp"
#include "foreweave/state/store.hpp"

namespace foreweave::context {

struct Orphan {
  comm::HubId hub = 0;
  std::uint32_t joined = 0, active = 0;  ///< StatusPage
};

/// The job's folders on this node that belong to none of `living`. Only to be called before the first epoch of a start.
std::vector<Orphan> find_orphans(const Options& options, const std::vector<comm::HubId>& living);

/// Copies what the orphan holds, and `to` does not, into `to`; the newest committed version is kept in mind too. Then
/// the orphan's folder goes. Killed half way, the next start does it again. Its parity blocks go into `parity`, if any.
void adopt(const Options& options, comm::HubId orphan, Store& to, Store* parity);

/// The folder and all in it.
void remove_orphan(const Options& options, comm::HubId orphan);

/// Whether a hub that joined `joined` last has been left behind by a job that worked in epoch `active` since (the hub
/// died, others went on, and the job was started again later): what it holds is of a past that did not happen, under
/// numbers that were given anew. 0: it never was in any epoch, its memory is empty.
constexpr bool left_behind(std::uint32_t joined, std::uint32_t active) { return joined != 0 && joined < active; }

}  // namespace foreweave::context
