#pragma once
// All regions of one device as one batch: captured together, by one launch where their changes fit into the room on
// the device, and by a few otherwise. A capture that repeats the one before is one CUDA graph.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "foreweave/device/graph.hpp"
#include "foreweave/device/memory.hpp"
#include "foreweave/device/stream.hpp"
#include "foreweave/state/region.hpp"
#include "foreweave/state/store.hpp"
#include "foreweave/state/types.hpp"
#include "kernels/decl/page_codec.hpp"
#include "state/pinned_pool.hpp"

namespace foreweave::state_detail {

class DeviceCapture {
 public:
  /// A region as it is captured.
  struct Member {
    const std::byte* data = nullptr;
    std::byte* base = nullptr;
    std::uint64_t bytes = 0;  ///< at least 1
    kernels::PageShape shape;
    StreamHandle stream = nullptr;  ///< of the program
  };
  /// What is encoded, against what.
  enum class Take : std::uint8_t {
    nothing,
    changes,  ///< the program's memory against the bases, which follow
    all,      ///< the program's memory against zeros; the bases follow
    bases,    ///< the bases against zeros
  };
  /// Device memory for one window of pages; two of them, so that one is copied while the other is worked on.
  struct Slot {
    DeviceBuffer bodies;
    DeviceBuffer entries, scratch, result;  ///< for decoding
    Event ready;                            ///< its data may be taken
    Event free;                             ///< its data was taken
  };

  explicit DeviceCapture(int device);
  DeviceCapture(const DeviceCapture&) = delete;
  DeviceCapture& operator=(const DeviceCapture&) = delete;

  /// Adds a region, with room for it; returns its number, which stays. Nothing is added when it throws.
  std::size_t join(const Member& member);
  void leave(std::size_t number) noexcept;
  /// The number of the first that has not left.
  std::size_t first() const;
  void change(std::size_t number, const Member& member);  ///< other memory of the same size

  /// Encodes all members, and brings the result to the host. Waits for what their streams hold now.
  void take(Take what);
  Take taken() const { return taken_; }
  bool bases_moved() const { return moved_; }
  /// Forgets what was taken.
  void discard();

  // Of what was taken:
  std::span<const kernels::PageEntry> entries(std::size_t number) const;
  std::uint64_t body_bytes(std::size_t number) const;
  /// `bytes` of the member's bodies from `offset` on; put together in `scratch` where they lie apart.
  ByteView bodies(std::size_t number, std::uint64_t offset, std::uint64_t bytes, Bytes& scratch) const;

  // For decoding, which uses the same room:
  Slot& slot(std::size_t turn) { return slots_[turn % 2]; }
  StreamHandle compute() const { return compute_.handle(); }
  StreamHandle copying() const { return copy_.handle(); }
  PinnedPool& pool() { return pool_; }
  std::uint64_t window_bytes() const { return window_pages_ * kernels::page_bytes; }

  /// Runs `work`; when it throws, waits for what it queued, since that still uses the program's memory and ours.
  template <class Work>
  void guarded(Work work) {
    try {
      work();
    } catch (...) {
      wait_quietly();
      throw;
    }
  }

  /// Device and pinned memory, without the bases.
  std::uint64_t held_bytes() const;

 private:
  struct Place {
    std::uint64_t first_page = 0, pages = 0;
    std::uint64_t begin = 0, bytes = 0;  ///< of its bodies, among all
  };
  struct Window {
    const std::byte* bodies = nullptr;
    std::uint64_t begin = 0, bytes = 0;
  };
  struct Recorded {
    Graph graph;
    bool seen = false;  ///< taken before: it pays to record it
  };

  void make_room();
  void upload_table();
  void wait_quietly() noexcept;
  void encode_window(std::uint64_t turn, Take what);
  void take_first(Take what);
  void take_rest(Take what);
  void keep_window(const std::byte* bodies, const kernels::cuda::EncodeProgress& progress);
  void locate();
  [[noreturn]] void inconsistent() const;

  int device_;
  std::vector<Member> members_;  ///< bytes 0: left, and free for the next
  std::vector<Place> places_;
  std::uint64_t pages_ = 0;         ///< of all
  std::uint64_t window_pages_ = 0;  ///< that surely fit into a slot
  std::uint64_t out_bytes_ = 0;     ///< of a slot
  bool table_stale_ = true;
  std::uint32_t table_count_ = 0;
  DeviceBuffer table_, entries_, progress_, scratch_;
  PinnedBuffer host_entries_, host_progress_;
  std::array<Slot, 2> slots_;
  PinnedPool pool_{0};
  Event program_;
  Stream compute_, copy_;
  std::array<Recorded, 4> recorded_;  ///< by Take

  Take taken_ = Take::nothing;
  bool moved_ = false;
  std::vector<Window> windows_;
  std::uint64_t next_page_ = 0;
};

}  // namespace foreweave::state_detail
