#pragma once
// BlockServer: gives others stretches of what the own stores hold. Keeps no account of who asked for what: whoever asks
// asks again when an answer is lost.

#include <memory>
#include <optional>

#include "foreweave/mirror/mirror_protocol.hpp"
#include "mirror/bodies.hpp"

namespace foreweave::mirror {

class BlockServer {
 public:
  /// @param parity may be null
  BlockServer(const MirrorOptions& options, Store& store, Store* parity, Outbox& outbox)
      : options_(options), store_(store), parity_(parity), outbox_(outbox) {}

  /// Forgets what is held open.
  void clear() { opened_.reset(); }
  void on_fetch(HubId from, const BlockFetch& fetch);
  /// A stretch and what keeps it valid; none when there is no such block of that size.
  struct Stretch {
    ByteView bytes;
    std::shared_ptr<const SnapshotBytes> owner;
  };
  std::optional<Stretch> read(const BlockFetch& fetch);

 private:
  struct Opened {
    bool parity = false;
    SnapshotId id;
    std::uint64_t bytes = 0;   // of the block, without what a parity block's file has behind it
    std::shared_ptr<const SnapshotBytes> file;
  };
  const MirrorOptions& options_;
  Store& store_;
  Store* parity_;
  Outbox& outbox_;
  std::optional<Opened> opened_;   // the last one: it is asked for piece by piece
};

}  // namespace foreweave::mirror
