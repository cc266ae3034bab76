#pragma once
// BlockSums: computes blocks (parity, or a lost snapshot) out of blocks of other hubs, stretch by stretch: the same
// stretch of every source is asked for, and when all are there it is summed, handed on and forgotten. Memory is a few
// chunks of each source, whatever the size of the blocks.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "foreweave/mirror/mirror_protocol.hpp"
#include "foreweave/state/erasure.hpp"
#include "mirror/block_server.hpp"
#include "mirror/bodies.hpp"

namespace foreweave::mirror {

struct BlockSumJob {
  struct Source {
    HubId hub = 0;
    bool parity = false;
    SnapshotId id;
    std::uint64_t bytes = 0;
    std::optional<Digest128> content;   ///< what its bytes must have; none: whatever comes
  };
  std::vector<Source> sources;
  BlockSum sum;                         ///< of the sources, one output
  std::uint64_t bytes = 0;              ///< to be made: as many as the longest source has
  /// The next stretch. May throw Error.
  std::function<void(ByteView)> write;
  /// All is written and every source was what it should be: the sources' digests. May throw Error.
  std::function<void(const std::vector<Digest128>&, Nanoseconds)> done;
  /// It cannot be made: which source is to blame, if one is.
  std::function<void(std::optional<std::size_t>, const std::string&, Nanoseconds)> failed;
};

class BlockSums {
 public:
  /// A sum fails when nothing comes for so many times retry_after.
  static constexpr int silent_retries = 5;
  /// Chunks of each source that are asked for ahead, window_bytes permitting.
  static constexpr std::uint64_t most_ahead = 4;

  BlockSums(const MirrorOptions& options, BlockServer& own, Outbox& outbox);
  ~BlockSums();

  /// Everything under way is void; nothing is called.
  void clear();
  /// Returns its number. None of the job's functions is called from within.
  std::uint64_t start(BlockSumJob job, Nanoseconds now);
  void cancel(std::uint64_t number);
  void on_block(HubId from, const BlockPiece& piece, ByteView payload, Nanoseconds now);
  void on_absent(HubId from, const BlockPiece& piece, Nanoseconds now);
  void peer_lost(HubId peer, Nanoseconds now);
  void tick(Nanoseconds now);

 private:
  struct Stretch;
  struct Sum;
  using Entry = std::map<std::uint64_t, Sum>::iterator;

  void advance(Entry entry, Nanoseconds now);
  void ask(std::uint64_t number, const Sum& sum, const Stretch& stretch, std::size_t source) const;
  bool extend(Entry entry);
  void fail(Entry entry, std::optional<std::size_t> source, const std::string& why, Nanoseconds now);

  const MirrorOptions& options_;
  BlockServer& own_;
  Outbox& outbox_;
  std::map<std::uint64_t, Sum> sums_;
  std::uint64_t last_number_ = 0;
};

}  // namespace foreweave::mirror
