#pragma once
// Fetches: chains that this hub has asked others for.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "foreweave/mirror/mirror_protocol.hpp"
#include "mirror/bodies.hpp"

namespace foreweave::mirror {

class Fetches {
 public:
  /// A fetch fails when nothing at all comes for so many times retry_after: the other hub may hang, and nobody else
  /// may be watching it.
  static constexpr int silent_retries = 5;

  Fetches(const MirrorOptions& options, Outbox& outbox) : options_(options), outbox_(outbox) {}

  /// Everything asked for is void (a new epoch); no notice.
  void clear() { fetches_.clear(); }
  /// Asks. A fetch of the same rank from the same hub that is under way is replaced.
  void start(HubId from, SnapshotId id, Nanoseconds now);
  bool wants(HubId from, Rank rank) const { return fetches_.contains({from, rank}); }
  bool wants(Rank rank) const;
  /// Whether this link of a wanted chain has come since it was asked for. (An older copy in the store may be the
  /// damaged one that the fetch is to replace.)
  bool has(HubId from, SnapshotId id) const;
  void heard(HubId from, Rank rank, std::uint64_t bytes, Nanoseconds now);
  /// True when this completes a fetch.
  bool arrived(HubId from, SnapshotId id, Nanoseconds now);
  void on_absent(HubId from, const Fetch& fetch, Nanoseconds now);
  void peer_lost(HubId peer, Nanoseconds now);
  void tick(Nanoseconds now);

 private:
  struct Asked {
    Fetch request;
    std::set<Version> links;
    std::uint64_t bytes = 0;
    Nanoseconds began = 0, heard = 0, waiting_since = 0, patience = 0;
  };
  using Key = std::pair<HubId, Rank>;
  void notice(MirrorEvent::Kind kind, HubId from, const Asked& asked, Nanoseconds now, std::string note);

  const MirrorOptions& options_;
  Outbox& outbox_;
  std::map<Key, Asked> fetches_;
  std::uint64_t last_number_ = 0;
};

}  // namespace foreweave::mirror
