#pragma once
// MirrorProtocol: keeps each rank's snapshots on its partners and commits versions. A state machine without threads,
// sockets or clocks: frames, commands and ticks go in; messages and notices come out through Outbox. What it stores
// goes through the Store it is given. The simulated transport runs this very code through seeded fault schedules.
//
//   capture done ─► publish(version) ─► begin/chunk/end to each partner ─► partner verifies, stores, answers "stored"
//   own store + k partners have it ─► "version_stored" to the coordinator ─► all ranks: "version_committed" to all
//
// With parity groups instead of partners (docs/decisions/0012): publish(version) ─► an offer to each hub that holds
// parity of the rank's group ─► when all members have offered, the holder reads their snapshots and sums them into its
// block ─► "parity_stored" to all members, and on as above. A lost snapshot is computed anew with rebuild().
//
// A partner that lacks the base of a delta refuses it and is sent the whole chain. The coordinator is the hub of the
// lowest rank. A committed version never goes back: not in memory, not in the store's marker.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "foreweave/comm/frame.hpp"
#include "foreweave/core/clock.hpp"
#include "foreweave/state/store.hpp"

namespace foreweave::mirror {

using comm::Epoch;
using comm::HubId;

/// Ranks whose snapshots of a version are the data blocks of one Reed–Solomon code, and the ranks whose hubs hold its
/// parity blocks: holders[i] the i-th. No rank is both, so a hub holds one block of a group at most.
struct ParityGroup {
  std::vector<Rank> members, holders;
};

/// Who does what in an epoch. Alike on every hub.
struct View {
  Epoch epoch = 0;
  std::vector<HubId> hub_of_rank;                      ///< index: rank
  std::vector<std::vector<Rank>> mirrored_by;          ///< index: rank; the ranks whose hubs hold its mirrors, or parity
  std::vector<ParityGroup> groups;                     ///< empty: mirrors are whole copies
  Version committed = 0;                               ///< what the epoch starts from; newer versions are void
};

/// The ring: rank r is mirrored by the next `copies` ranks that live on another node where there is one. `node_of_rank`
/// may be empty (all on one node).
std::vector<std::vector<Rank>> choose_partners(Rank ranks, int copies, const std::vector<std::uint32_t>& node_of_rank);

/// Groups of `data` ranks (fewer where ranks are few) with `parity` holders each, on as many nodes as there are: ranks on
/// different nodes are grouped, and parity is held where no member of the group lives, if there is such a node. With r
/// ranks a group has min(parity, r - 1) holders and min(data, r - holders) members at most. `node_of_rank` as above.
std::vector<ParityGroup> choose_groups(Rank ranks, int data, int parity, const std::vector<std::uint32_t>& node_of_rank);
/// Sets groups and mirrored_by; hub_of_rank must be there.
void use_groups(View& view, std::vector<ParityGroup> groups);

/// How a lost snapshot is computed: which blocks of its group's code it is made of, where they are, and what comes out.
struct RebuildPlan {
  SnapshotId id;
  Version base = 0;
  std::uint64_t bytes = 0;
  Digest128 content;
  int data = 0, parity = 0;        ///< the code
  int block = 0;                   ///< number of the lost one
  struct Source {
    HubId hub = 0;
    int block = 0;
    bool parity = false;           ///< `id` is then that of a parity block
    SnapshotId id;
    std::uint64_t bytes = 0;
    Digest128 content;
  };
  std::vector<Source> sources;     ///< as many as `data`
};

struct MirrorEvent {
  enum class Kind : std::uint8_t {
    sent,        ///< a snapshot (or its chain) of this rank, or one that was fetched from here, stands at `peer`
    received,    ///< a snapshot from `peer` stands in the own store
    refused,     ///< by `peer` or by this hub, as the note says; it is tried again unless it was given up
    stored,      ///< a version of this rank stands in enough places; begin: when it was published
    committed,   ///< the version is committed; begin: when it was published here
    fetched,     ///< a fetch is complete
    failed,      ///< a fetch from `peer` failed; or, with this hub as `peer`, the own store
    rebuilt,     ///< a snapshot was computed from blocks of other hubs and stands in the own store
    rebuild_failed,  ///< `peer` is to blame: the hub of a block that is not there or not right, or this one
  } kind{};
  SnapshotId id;
  HubId peer = 0;
  std::uint64_t bytes = 0;
  Nanoseconds begin = 0, end = 0;
  std::string note;
};

/// What the protocol wants done. Called from inside the protocol's methods; must not call back into it.
class Outbox {
 public:
  virtual ~Outbox() = default;
  /// A frame of the present epoch; a dropped one is sent again where it matters. The payload goes from where it lies;
  /// `owner` keeps it alive.
  virtual void send(HubId to, comm::FrameType type, Bytes body, ByteView payload, std::shared_ptr<const void> owner) = 0;
  virtual std::uint64_t pending_bytes(HubId to) const = 0;   ///< the protocol stays below its window
  virtual void notice(const MirrorEvent& event) = 0;
};

struct MirrorOptions {
  HubId self = 0;
  std::optional<Rank> rank;                    ///< the rank this hub is; none for a spare
  std::uint64_t chunk_bytes = 1 << 20;
  std::uint64_t window_bytes = 8 << 20;        ///< unsent bytes a peer may have queued
  Nanoseconds retry_after = 2'000'000'000;     ///< an unanswered transfer is started again
};

class MirrorProtocol {
 public:
  /// @param parity where parity blocks stand, apart from snapshots; needed when a view has groups
  MirrorProtocol(MirrorOptions options, Store& store, Outbox& outbox, Store* parity = nullptr);
  ~MirrorProtocol();

  /// Starts an epoch, also from within another. Error(state) when the epoch does not grow or view.committed is behind
  /// committed(); Error(argument) when the view does not fit together. When the store fails, its error is passed on, and
  /// begin may be called again. Transfers of earlier epochs are void; snapshots of versions above view.committed are erased from
  /// the store (all ranks). A hub that became a rank (a spare that took over) says so with `rank`.
  void begin(const View& view, std::optional<Rank> rank, Nanoseconds now);
  /// Leaves the epoch: everything under way is void, nothing is received or committed any more, publish() has no effect,
  /// until begin(). To be called after a death, before the hubs agree on what the next epoch starts from: else a commit
  /// that is still under way could overtake the version that this hub told the others.
  void suspend();
  /// The own snapshot of this version stands in the own store: mirror it, report it. Error(state) when this hub is no
  /// rank, Error(argument) when a newer version is committed, Error(absent) when it is not in the store.
  void publish(Version version, Nanoseconds now);
  /// Ask `from` for the chain of `rank` that ends in `version`; the snapshots are put into the own store, then `fetched`
  /// is noticed (or `failed`). What the own store has of the chain is replaced: it may be the damaged
  /// one. Fails when the hub is lost, has no complete chain, or says nothing for 5 × retry_after.
  void fetch(HubId from, SnapshotId id, Nanoseconds now);
  /// Compute a snapshot from the blocks that the plan names, check it against its digest and put it into the own store,
  /// in place of what may be there; then `rebuilt` is noticed, or `rebuild_failed`. The links of a chain are to be
  /// rebuilt the full one first. Memory: a few chunks of each block.
  void rebuild(const RebuildPlan& plan, Nanoseconds now);
  void on_frame(const comm::Frame& frame, Nanoseconds now);
  /// The connection to it failed, or it is dead: what was on its way is void, fetches from it fail. Should it be heard
  /// of again in this epoch, mirroring goes on.
  void peer_lost(HubId peer);
  void tick(Nanoseconds now);

  Version committed() const;                   ///< newest committed version that this hub knows of
  /// Nothing published is waiting for a partner or a commit, and the version the epoch started from is mirrored again.
  bool settled() const;
  std::uint64_t bytes_sent() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace foreweave::mirror
