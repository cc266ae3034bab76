#pragma once
// Which pages of a region in host memory have to be looked at in a capture: all of them, or, in the parts that the
// kernel tracks, those that were written. Decides block by block which parts are tracked (tracking_rule.hpp).

#include <cstdint>
#include <memory>
#include <vector>

#include "foreweave/core/clock.hpp"
#include "foreweave/state/capture.hpp"
#include "state/capture_moment.hpp"
#include "state/tracking_rule.hpp"
#include "state/write_tracker.hpp"

namespace foreweave::state_detail {

class WriteWatch {
 public:
  explicit WriteWatch(Tracking choice) : choice_(choice) {}

  /// The moment of a capture: the program waits. Afterwards pages() tells what may differ from the base.
  void begin(const RegionSpec& spec, CaptureMoment& moment);
  /// Bitmap of the pages of a segment that may differ from what settle() vouched for.
  std::uint64_t pages(std::uint64_t segment) const { return pages_[segment]; }
  /// What came of it, for the rule: pages that did differ, and time that went into comparing such as did not.
  void differed(std::uint64_t segment, std::uint64_t bitmap);
  void compared(std::uint64_t bytes, Nanoseconds time);
  /// All pages were looked at: decides what is tracked from now on. Not after full captures, which look at nothing.
  void decide();

  /// The base is what the region was at begin(). Until this is said, all pages have to be looked at again.
  void settle() { settled_ = true; }
  /// The base or the memory is about to change in another way; nothing is tracked until it has been earned again.
  void drop();

  std::uint64_t tracked_bytes() const { return tracked_bytes_; }   ///< in the last begin(): what the kernel vouched for
  std::uint64_t faults() const { return faults_; }                 ///< first writes it saw there

 private:
  /// Blocks are huge pages, so that no huge page is split for the sake of a neighbour.
  static constexpr std::uint64_t block_bytes = std::uint64_t{2} << 20;
  /// Reading less than this takes about as long as asking the kernel.
  static constexpr std::uint64_t least_bytes = std::uint64_t{512} << 10;

  struct Block {
    TrackingRule rule;
    bool wanted = false;          ///< to be tracked from the next begin() on
    std::uint32_t written = 0;    ///< system pages, while tracked
    std::uint32_t differing = 0;  ///< pages
  };

  void measure(const RegionSpec& spec);
  bool may_track(const RegionSpec& spec, CaptureMoment& moment);
  bool collect();
  void mark(std::uint64_t from, std::uint64_t to);
  void lose(const std::string& why);
  std::uint64_t block_begin(std::size_t block) const;
  std::uint64_t block_end(std::size_t block) const;
  std::size_t block_of(std::uint64_t offset) const { return static_cast<std::size_t>((offset + skew_) / block_bytes); }

  Tracking choice_;
  std::string name_;
  std::uint64_t bytes_ = 0;
  std::uint64_t skew_ = 0;   ///< of the region's first byte in its block
  const void* data_ = nullptr;
  std::vector<Block> blocks_;
  std::vector<std::uint64_t> pages_;   ///< by segment
  std::unique_ptr<WriteTracker> tracker_;
  TrackingPrices prices_;
  bool impossible_ = false;
  bool settled_ = false;
  std::uint64_t tracked_bytes_ = 0, faults_ = 0;
};

}  // namespace foreweave::state_detail
