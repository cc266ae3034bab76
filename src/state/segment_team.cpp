#include "state/segment_team.hpp"

#include <span>

namespace foreweave::state_detail {

namespace {
constexpr std::size_t head_room = SnapshotBuilder::segment_head_room;
constexpr std::size_t room_bytes = head_room + kernels::encode_bound(segment_bytes);
}

SegmentTeam::SegmentTeam(int threads) : parallel_(threads) {
  if (threads > 1) slots_.resize(2 * static_cast<std::size_t>(threads));
  for (Slot& slot : slots_) slot.room.reset(new std::byte[room_bytes]);
}

std::uint64_t SegmentTeam::held_bytes() const { return slots_.size() * room_bytes; }

void SegmentTeam::encode(SnapshotBuilder& builder, std::size_t region, std::uint64_t count, const Encode& encode) {
  if (slots_.empty() || count < 2) {
    Entries entries{};
    for (std::uint64_t index = 0; index < count; ++index) {
      entries.fill(0);
      const Piece piece = encode(index, builder.segment_room(), entries);
      add(builder, region, piece, entries);
    }
    return;
  }
  next_ = 0;
  adding_ = failed_ = false;
  for (Slot& slot : slots_) slot.ready = false;
  parallel_.for_each(count, [&](std::uint64_t index, int) {
    try {
      run(builder, region, index, encode);
    } catch (...) {
      {
        const std::lock_guard lock(mutex_);
        failed_ = true;
      }
      moved_.notify_all();
      throw;
    }
  });
}

/// Pieces are handed out in ascending order, so that the one to be added next is always in work: waiting for a slot ends.
void SegmentTeam::run(SnapshotBuilder& builder, std::size_t region, std::uint64_t index, const Encode& encode) {
  Slot& slot = slots_[index % slots_.size()];
  {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return failed_ || index < next_ + slots_.size(); });
    if (failed_) return;
  }
  slot.entries.fill(0);
  std::byte* const room = slot.room.get() + head_room;
  slot.piece = encode(index, room, slot.entries);
  slot.assembled = {};
  if (slot.piece.bodies.data() == room) {
    slot.assembled = SnapshotBuilder::assemble(std::span(slot.entries).first(slot.piece.pages),
                                               {room, slot.piece.bodies.size()});
  }
  std::unique_lock lock(mutex_);
  slot.ready = true;
  if (!adding_) add_ready(builder, region, lock);
}

/// Adds what can be added; the others encode meanwhile, and whoever adds sees what they have made ready.
void SegmentTeam::add_ready(SnapshotBuilder& builder, std::size_t region, std::unique_lock<std::mutex>& lock) {
  adding_ = true;
  while (!failed_ && slots_[next_ % slots_.size()].ready) {
    Slot& slot = slots_[next_ % slots_.size()];
    lock.unlock();
    if (slot.assembled.bytes.empty()) {
      add(builder, region, slot.piece, slot.entries);
    } else {
      builder.add_assembled(region, slot.piece.segment, std::span(slot.entries).first(slot.piece.pages), slot.assembled);
    }
    lock.lock();
    slot.ready = false;
    ++next_;
    moved_.notify_all();
  }
  adding_ = false;
}

void SegmentTeam::add(SnapshotBuilder& builder, std::size_t region, const Piece& piece, const Entries& entries) {
  builder.add_segment(region, piece.segment, std::span(entries).first(piece.pages), piece.bodies);
}

}  // namespace foreweave::state_detail
