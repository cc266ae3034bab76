#include "state/write_watch.hpp"

#include <algorithm>

#include "foreweave/core/log.hpp"
#include "foreweave/device/memory.hpp"

namespace foreweave::state_detail {

using kernels::page_bytes;

namespace {
/// A measurement of the read price on a busy machine is only ever too long (a compare that was interrupted can take a
/// hundred times its time): so the price falls at once, and rises by this factor at most from one to the next.
constexpr double most_rise = 1 + 1.0 / 16;
/// First writes at most for one page that differs.
std::uint64_t faults_of_page() { return std::max<std::uint64_t>(1, page_bytes / WriteTracker::page()); }
}  // namespace

std::uint64_t WriteWatch::block_begin(std::size_t block) const {
  const std::uint64_t begin = block * block_bytes;
  return std::max(begin < skew_ ? 0 : begin - skew_, tracker_->begin());
}

std::uint64_t WriteWatch::block_end(std::size_t block) const {
  return std::min((block + 1) * block_bytes - skew_, tracker_->end());
}

/// Another place or size: everything is new.
void WriteWatch::measure(const RegionSpec& spec) {
  if (spec.data == data_ && spec.bytes == bytes_) return;
  drop();
  data_ = spec.data;
  bytes_ = spec.bytes;
  name_ = spec.name;
  skew_ = reinterpret_cast<std::uintptr_t>(data_) % block_bytes;
  pages_.assign(segment_count(bytes_), 0);
  blocks_.assign(static_cast<std::size_t>((bytes_ + skew_ + block_bytes - 1) / block_bytes), {});
  impossible_ = false;
}

bool WriteWatch::may_track(const RegionSpec& spec, CaptureMoment& moment) {
  if (choice_ == Tracking::never || impossible_ || bytes_ < least_bytes) return false;
  // Devices write past the page tables: what is pinned is not tracked. A program may pin its memory at any time.
  const auto* const begin = static_cast<const std::byte*>(spec.data);
  if (spec.space != MemorySpace::host || memory_space_of(begin) != MemorySpace::host ||
      memory_space_of(begin + bytes_ - 1) != MemorySpace::host) {
    return false;
  }
  return choice_ == Tracking::always || !moment.pinned_memory();
}

void WriteWatch::begin(const RegionSpec& spec, CaptureMoment& moment) {
  measure(spec);
  tracked_bytes_ = faults_ = 0;
  const bool known = settled_ && !moment.full();
  settled_ = false;
  for (Block& block : blocks_) block.written = block.differing = 0;
  const bool wanted = tracker_ || choice_ == Tracking::always ||
                      std::any_of(blocks_.begin(), blocks_.end(), [](const Block& block) { return block.wanted; });
  std::fill(pages_.begin(), pages_.end(), 0);
  if (!wanted || !may_track(spec, moment)) {
    if (tracker_) lose("memory of this process is pinned");
  } else if (!tracker_) {
    std::string why;
    tracker_ = WriteTracker::watch(data_, bytes_, why);
    if (!tracker_) {
      impossible_ = true;
      log::debug("region '" + name_ + "' is compared, not tracked: " + why);
    }
  }
  if (tracker_ && !collect()) lose("the memory was mapped anew, or this is another process");
  if (!tracker_ || !known) {
    std::fill(pages_.begin(), pages_.end(), ~std::uint64_t{0});
    tracked_bytes_ = faults_ = 0;
  }
}

/// Asks for and protects what is tracked, run by run, and marks what has to be looked at.
bool WriteWatch::collect() {
  const auto written = [this](std::uint64_t from, std::uint64_t to) {
    for (std::size_t block = block_of(from); from < to; ++block) {
      const std::uint64_t end = std::min(to, block_end(block));
      blocks_[block].written += static_cast<std::uint32_t>((end - from) / WriteTracker::page());
      if (blocks_[block].rule.tracked()) mark(from, end);
      from = end;
    }
  };
  std::uint64_t past = 0;   // end of what is accounted for
  const auto in_run = [this](std::size_t block) {
    return (blocks_[block].rule.tracked() || blocks_[block].wanted || choice_ == Tracking::always) &&
           block_begin(block) < block_end(block);
  };
  for (std::size_t block = 0; block < blocks_.size();) {
    if (!in_run(block)) {
      ++block;
      continue;
    }
    std::size_t last = block;
    while (last + 1 < blocks_.size() && in_run(last + 1)) ++last;
    mark(past, block_begin(block));
    past = block_end(last);
    if (!tracker_->collect(block_begin(block), past, written)) return false;
    for (; block <= last; ++block) {
      Block& one = blocks_[block];
      const std::uint64_t from = block_begin(block), to = block_end(block);
      if (one.rule.tracked()) {
        tracked_bytes_ += to - from;
        faults_ += one.written;
      } else {
        mark(from, to);   // from now on
        one.rule.begin();
        one.written = 0;
      }
      one.wanted = false;
    }
  }
  mark(past, bytes_);
  return true;
}

void WriteWatch::mark(std::uint64_t from, std::uint64_t to) {
  if (from >= to) return;
  for (std::uint64_t page = from / page_bytes; page <= (to - 1) / page_bytes; ++page) {
    pages_[page / pages_per_segment] |= std::uint64_t{1} << page % pages_per_segment;
  }
}

void WriteWatch::differed(std::uint64_t segment, std::uint64_t bitmap) {
  for (std::uint64_t page = segment * pages_per_segment; bitmap != 0; ++page, bitmap >>= 1) {
    if ((bitmap & 1) != 0) ++blocks_[block_of(page * page_bytes)].differing;
  }
}

void WriteWatch::compared(std::uint64_t bytes, Nanoseconds time) {
  const double price = static_cast<double>(time) / static_cast<double>(bytes);
  prices_.read_of_byte = prices_.read_of_byte == 0 ? price : std::min(price, prices_.read_of_byte * most_rise);
}

void WriteWatch::decide() {
  if (choice_ != Tracking::automatic || impossible_ || bytes_ < least_bytes) return;
  if (prices_.fault == 0) prices_.fault = fault_nanoseconds();
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    Block& block = blocks_[i];
    const std::uint64_t begin = i * block_bytes, end = begin + block_bytes;
    const std::uint64_t bytes = std::min(end, bytes_ + skew_) - std::max(begin, skew_);
    if (block.rule.tracked()) {
      // A block that has just begun has seen nothing yet, which does it no harm.
      if (block.rule.saw_faults(block.written, bytes, prices_)) continue;
      if (!tracker_->release(block_begin(i), block_end(i))) return lose("the memory was mapped anew");
    } else {
      block.wanted = block.rule.saw_differences(block.differing * faults_of_page(), bytes, prices_);
    }
  }
}

void WriteWatch::lose(const std::string& why) {
  log::debug("region '" + name_ + "' is no longer tracked: " + why);
  drop();
}

void WriteWatch::drop() {
  tracker_.reset();
  settled_ = false;
  for (Block& block : blocks_) {
    block.rule.end();
    block.wanted = false;
  }
}

}  // namespace foreweave::state_detail
