#pragma once
// Encodes segments on several threads and puts them into a snapshot in their order, so that the snapshot is the same
// to the byte whatever the number of threads.

#include <array>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/parallel.hpp"
#include "foreweave/state/snapshot.hpp"

namespace foreweave::state_detail {

class SegmentTeam {
 public:
  /// One thread encodes straight into the snapshot's own room. More have two segments of room each.
  explicit SegmentTeam(int threads);

  using Entries = std::array<kernels::PageEntry, pages_per_segment>;
  struct Piece {
    std::uint64_t segment = 0;   ///< of the region
    std::uint64_t pages = 0;     ///< that it has: so many entries count
    ByteView bodies;             ///< in the room that was given, or elsewhere
  };
  /// Makes piece `index`: fills the entries, and puts the bodies into `room` (kernels::encode_bound(segment_bytes))
  /// or has them already. Called on any thread of the team.
  using Encode = std::function<Piece(std::uint64_t index, std::byte* room, Entries& entries)>;

  /// Encodes the pieces of region `region`, which are in ascending order of their segments, and adds them to `builder`
  /// in that order. What a call throws is thrown again here.
  void encode(SnapshotBuilder& builder, std::size_t region, std::uint64_t count, const Encode& encode);

  std::uint64_t held_bytes() const;

 private:
  /// One piece between encoding and adding.
  struct Slot {
    std::unique_ptr<std::byte[]> room;
    Entries entries{};
    Piece piece;
    SnapshotBuilder::Assembled assembled;
    bool ready = false;
  };

  void run(SnapshotBuilder& builder, std::size_t region, std::uint64_t index, const Encode& encode);
  void add_ready(SnapshotBuilder& builder, std::size_t region, std::unique_lock<std::mutex>& lock);
  static void add(SnapshotBuilder& builder, std::size_t region, const Piece& piece, const Entries& entries);

  Parallel parallel_;
  std::vector<Slot> slots_;   ///< piece i in slot i mod their number
  std::mutex mutex_;          ///< of what follows, and of Slot::ready
  std::condition_variable moved_;
  std::uint64_t next_ = 0;    ///< to be added
  bool adding_ = false;
  bool failed_ = false;
};

}  // namespace foreweave::state_detail
