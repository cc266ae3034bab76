// A region in host memory: pages that differ from the base are copied to staging at once and encoded later. Without a
// base, digests of the pages tell which differ, and those go whole.

#include <bit>
#include <cstring>
#include <vector>

#include "foreweave/core/clock.hpp"
#include "foreweave/core/error.hpp"
#include "state/region_capture.hpp"
#include "state/streaming_copy.hpp"
#include "state/whole_pages.hpp"
#include "state/write_watch.hpp"

namespace foreweave::state_detail {
namespace {

using kernels::page_bytes;
using kernels::PageEntry;
using Entries = SegmentTeam::Entries;
using Piece = SegmentTeam::Piece;

constexpr std::uint64_t bit(std::uint64_t page) { return std::uint64_t{1} << page; }
constexpr std::uint64_t all_of(std::uint64_t pages) { return pages == 64 ? ~std::uint64_t{0} : bit(pages) - 1; }

/// Calls visit(first page, pages) for each run of set bits.
template <class Visit>
void for_each_run(std::uint64_t bitmap, Visit visit) {
  int at = 0;
  while (bitmap != 0) {
    const int skip = std::countr_zero(bitmap);
    const int run = std::countr_one(bitmap >> skip);
    visit(static_cast<std::uint64_t>(at + skip), static_cast<std::uint64_t>(run));
    if (skip + run == 64) return;
    bitmap >>= skip + run;
    at += skip + run;
  }
}

class HostRegion final : public RegionCapture {
 public:
  HostRegion(const RegionSpec& spec, bool with_base, Tracking tracking)
      : RegionCapture(spec), with_base_(with_base), base_(with_base ? spec.bytes : 0), watch_(tracking) {
    if (!with_base) digests_.resize(kernels::page_count(spec.bytes));
  }

  void stage(CaptureMoment& moment, Staging& staging, CaptureReport& report) override {
    full_ = moment.full();
    watch_.begin(spec(), moment);
    if (!with_base_) next_digests_.resize(digests_.size());
    for (std::uint64_t segment = 0; segment < segments(); ++segment) {
      const std::uint64_t begin = segment * segment_bytes, length = segment_length(spec().bytes, segment);
      const std::uint64_t dirty = changed(segment, length);
      if (dirty == 0) continue;
      const auto pages = static_cast<std::uint64_t>(std::popcount(dirty));
      std::byte* to = staging.room(pages);
      if (to == nullptr) {
        encode_now(segment, dirty);
        continue;
      }
      taken_.push_back({segment, dirty, to, {}, {}});
      for_each_run(dirty, [&](std::uint64_t first, std::uint64_t run) {
        const std::uint64_t at = first * page_bytes, bytes = std::min(run * page_bytes, length - at);
        copy_streaming(to, memory() + begin + at, bytes);
        to += run * page_bytes;
        report.staged_bytes += bytes;
      });
      staging.take(pages);
    }
    if (!full_) watch_.decide();
    report.tracked_bytes += watch_.tracked_bytes();
    report.write_faults += watch_.faults();
    if (!with_base_) report.digest_bytes += spec().bytes;
  }

  bool base_moved() const override { return base_moved_; }
  bool has_base() const override { return with_base_; }

  void encode(SnapshotBuilder& builder, std::size_t index, SegmentTeam& team) override {
    team.encode(builder, index, taken_.size(), [this](std::uint64_t i, std::byte* room, Entries& entries) {
      const Taken& taken = taken_[i];
      Piece piece{taken.segment, kernels::page_count(segment_length(spec().bytes, taken.segment)), {}};
      if (taken.staged == nullptr) {
        entries = taken.entries;
        piece.bodies = taken.bodies;
      } else {
        piece.bodies = {room, encode_pages_of(taken, room, entries)};
      }
      return piece;
    });
    settle();
  }

  void encode_whole(SnapshotBuilder& builder, std::size_t index, SegmentTeam& team) override {
    if (!with_base_ && spec().bytes != 0) {
      throw Error(ErrorCategory::absent, "store region '" + spec().name + "' whole",
                  "the store lost the version that its changed pages belong to, and it is protected without a base; the "
                  "next capture is full");
    }
    for (const Taken& taken : taken_) {
      if (taken.staged == nullptr) continue;  // in the base already
      const std::uint64_t begin = taken.segment * segment_bytes;
      const std::uint64_t length = segment_length(spec().bytes, taken.segment);
      const std::byte* from = taken.staged;
      for_each_run(taken.dirty, [&](std::uint64_t first, std::uint64_t run) {
        const std::uint64_t at = first * page_bytes;
        std::memcpy(base_.data() + begin + at, from, std::min(run * page_bytes, length - at));
        from += run * page_bytes;
      });
    }
    team.encode(builder, index, segments(), [this](std::uint64_t segment, std::byte* room, Entries& entries) {
      const std::uint64_t length = segment_length(spec().bytes, segment);
      const auto size = kernels::host::encode_pages({.current = base_.data() + segment * segment_bytes,
                                                     .base = nullptr,
                                                     .bytes = length,
                                                     .shape = shape(),
                                                     .update_base = false,
                                                     .out = room,
                                                     .entries = entries.data()});
      return Piece{segment, kernels::page_count(length), {room, size}};
    });
    settle();
  }

  void discard() override {
    taken_.clear();
    changed_digests_.clear();
    encoded_bytes_ = 0;
    surplus_ = {};
    base_moved_ = false;
  }

  void load_base(const Chain& chain, std::size_t index) override {
    watch_.drop();
    Bytes scratch(with_base_ ? 0 : std::min<std::uint64_t>(spec().bytes, segment_bytes));
    for (std::uint64_t segment = 0; segment < segments(); ++segment) {
      const std::uint64_t length = segment_length(spec().bytes, segment);
      std::byte* const to = with_base_ ? base_.data() + segment * segment_bytes : scratch.data();
      chain.read_segment(index, segment, to, length);
    }
  }

  void restore(const Chain& chain, std::size_t index) override {
    if (spec().bytes == 0) return;
    if (with_base_) {
      std::memcpy(spec().data, base_.data(), spec().bytes);
      return;
    }
    for (std::uint64_t segment = 0; segment < segments(); ++segment) {
      chain.read_segment(index, segment, static_cast<std::byte*>(spec().data) + segment * segment_bytes,
                         segment_length(spec().bytes, segment));
    }
  }

  std::uint64_t held_bytes() const override {
    return base_.held_bytes() + encoded_bytes_ + surplus_.capacity() +
           (digests_.capacity() + next_digests_.capacity()) * sizeof(Digest128);
  }

 private:
  struct Taken {
    std::uint64_t segment = 0;
    std::uint64_t dirty = 0;            ///< bitmap of pages
    const std::byte* staged = nullptr;  ///< the dirty pages, one after another; null: encoded already
    Entries entries{};
    Bytes bodies;
  };

  const std::byte* memory() const { return static_cast<const std::byte*>(spec().data); }

  /// The pages of a segment that are to be taken.
  std::uint64_t changed(std::uint64_t segment, std::uint64_t length) {
    const std::uint64_t all = all_of(kernels::page_count(length));
    const std::uint64_t looked_at = watch_.pages(segment) & all;
    if (full_ && with_base_) return all;
    if (looked_at == 0) return 0;
    const auto begin = monotonic_now();
    std::uint64_t dirty = 0;
    for (std::uint64_t left = looked_at; left != 0; left &= left - 1) {
      const auto page = static_cast<std::uint64_t>(std::countr_zero(left));
      const std::uint64_t at = page * page_bytes, bytes = std::min<std::uint64_t>(page_bytes, length - at);
      if (differs(segment * pages_per_segment + page, memory() + segment * segment_bytes + at, bytes)) dirty |= bit(page);
    }
    if (full_) return all;
    // Only what was read to its end tells what reading costs.
    if (dirty == 0 && looked_at == all) watch_.compared(length, monotonic_now() - begin);
    watch_.differed(segment, dirty);
    return dirty;
  }

  bool differs(std::uint64_t page, const std::byte* data, std::uint64_t bytes) {
    if (with_base_) return !kernels::host::equal(data, base_.data() + page * page_bytes, bytes);
    next_digests_[page] = digest128({data, bytes});
    if (!full_ && next_digests_[page] == digests_[page]) return false;
    changed_digests_.push_back(page);
    return true;
  }

  /// The snapshot holds what stage() took.
  void settle() {
    for (const auto page : changed_digests_) digests_[page] = next_digests_[page];
    discard();
    watch_.settle();
  }

  /// Encodes the dirty pages of a segment, which stand one after another in staging, and makes them the base.
  std::uint64_t encode_pages_of(const Taken& taken, std::byte* out, Entries& entries) {
    const std::uint64_t length = segment_length(spec().bytes, taken.segment);
    const std::byte* pages = taken.staged;
    std::uint64_t size = 0;
    for_each_run(taken.dirty, [&](std::uint64_t first, std::uint64_t run) {
      const std::uint64_t bytes = std::min(run * page_bytes, length - first * page_bytes);
      size += encode_run(pages, taken.segment * segment_bytes + first * page_bytes, bytes, out + size, &entries[first]);
      pages += run * page_bytes;
    });
    return size;
  }

  /// Encodes pages of the region from offset `at` on, whose content is at `from`.
  std::uint64_t encode_run(const std::byte* from, std::uint64_t at, std::uint64_t bytes, std::byte* out,
                           PageEntry* entries) {
    if (!with_base_ && !full_) return encode_whole_pages(from, bytes, out, entries);
    std::byte* const base = with_base_ ? base_.data() + at : nullptr;
    const auto size = kernels::host::encode_pages({.current = from,
                                                   .base = full_ ? nullptr : base,
                                                   .bytes = bytes,
                                                   .shape = shape(),
                                                   .update_base = !full_,
                                                   .out = out,
                                                   .entries = entries});
    if (full_ && with_base_) std::memcpy(base, from, bytes);
    return size;
  }

  /// Staging is full: encode straight from the program's memory while it waits.
  void encode_now(std::uint64_t segment, std::uint64_t dirty) {
    base_moved_ = true;
    const std::uint64_t begin = segment * segment_bytes, length = segment_length(spec().bytes, segment);
    Taken taken{segment, dirty, nullptr, {}, {}};
    surplus_.resize(kernels::encode_bound(segment_bytes));
    std::uint64_t size = 0;
    for_each_run(dirty, [&](std::uint64_t first, std::uint64_t run) {
      const std::uint64_t at = first * page_bytes, bytes = std::min(run * page_bytes, length - at);
      size += encode_run(memory() + begin + at, begin + at, bytes, surplus_.data() + size, &taken.entries[first]);
    });
    taken.bodies.assign(surplus_.begin(), surplus_.begin() + static_cast<std::ptrdiff_t>(size));
    encoded_bytes_ += size;
    taken_.push_back(std::move(taken));
  }

  bool with_base_;
  HugeMemory base_;
  std::vector<Digest128> digests_;        ///< in place of the base: of the pages it would have
  std::vector<Digest128> next_digests_;   ///< of the pages that were looked at in the pending capture
  std::vector<std::uint64_t> changed_digests_;   ///< pages whose digest is another now
  WriteWatch watch_;
  std::vector<Taken> taken_;
  std::uint64_t encoded_bytes_ = 0;  ///< of `taken_`
  Bytes surplus_;                    ///< where a segment is encoded when staging is full
  bool full_ = false;
  bool base_moved_ = false;
};

}  // namespace

std::unique_ptr<RegionCapture> make_host_region(const RegionSpec& spec, bool with_base, Tracking tracking) {
  return std::make_unique<HostRegion>(spec, with_base, tracking);
}

}  // namespace foreweave::state_detail
