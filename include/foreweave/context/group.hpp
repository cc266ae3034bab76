#pragma once
// Group: the processes of a job, as the Context needs them: gather, agree, repair. MPI implements it (interop/mpi.hpp);
// one process alone needs nothing (make_solo_group).

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "foreweave/comm/transport.hpp"
#include "foreweave/context/options.hpp"
#include "foreweave/state/types.hpp"

namespace foreweave {

/// Used from the program's thread alone. What is called collective is called by every living process of `all` (ranks
/// and spares) or of `members` (ranks only). Every collective throws RankLost when a process of it died.
class Group {
 public:
  virtual ~Group() = default;

  virtual comm::HubId hub() const = 0;                       ///< this process; never changes
  virtual std::vector<comm::HubId> living() const = 0;       ///< all that have not been found dead, ascending
  virtual std::uint32_t node() const = 0;                    ///< a number that processes of one machine share

  /// Collective over all living: everyone's bytes, by hub.
  virtual std::vector<std::pair<comm::HubId, Bytes>> gather_all(ByteView mine) = 0;
  /// Collective over the members: everyone's bytes, by rank.
  virtual std::vector<Bytes> gather_members(ByteView mine) = 0;
  /// Collective over all living / the members: whether all said true.
  virtual bool agree_all(bool mine) = 0;
  virtual bool agree_members(bool mine) = 0;

  /// Collective over all living: from now on hub_of_rank[r] is rank r, and the members are exactly these hubs.
  virtual void assign(const std::vector<comm::HubId>& hub_of_rank) = 0;

  /// Whether the group can go on without a process that died.
  virtual bool can_repair() const = 0;
  /// Collective over all living after RankLost: interrupts everyone else, drops the dead. No members until assign().
  virtual void repair() = 0;
  /// Throws RankLost when a member is known to be dead or someone began a repair. The death of a hub without a rank ends
  /// nothing: such hubs are returned, each once. Every living process decides alike, since what counts is who died and
  /// not who noticed. Cheap, not collective, never blocks.
  virtual std::vector<comm::HubId> check() = 0;

  enum class SpareCall { repair, finished };
  /// A spare sleeps in here until a repair needs it or the members are done. Another spare's death does not wake it.
  virtual SpareCall wait_as_spare() = 0;
  /// The members are done: lets the spares go. Called by every member.
  virtual void release_spares() = 0;

  /// The transport that this group's processes can be reached by, as the options ask (transport, ucx_tls, …).
  virtual std::unique_ptr<comm::Transport> make_transport(const Options& options) = 0;
  /// Ends all processes of the job at once.
  [[noreturn]] virtual void abort(int status) = 0;
};

/// The group of one process.
std::unique_ptr<Group> make_solo_group();

}  // namespace foreweave
