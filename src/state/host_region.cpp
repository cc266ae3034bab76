// A region in host memory: pages that differ from the base are copied to staging at once and encoded later.

#include <bit>
#include <cstring>
#include <vector>

#include "state/region_capture.hpp"

namespace foreweave::state_detail {
namespace {

using kernels::page_bytes;
using kernels::PageEntry;

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
  explicit HostRegion(const RegionSpec& spec) : RegionCapture(spec), base_(spec.bytes) {}

  std::uint64_t stage(bool full, Staging& staging) override {
    full_ = full;
    std::uint64_t copied = 0;
    for (std::uint64_t segment = 0; segment < segments(); ++segment) {
      const std::uint64_t begin = segment * segment_bytes, length = segment_length(spec().bytes, segment);
      const std::uint64_t pages = kernels::page_count(length);
      const std::uint64_t all = pages == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << pages) - 1;
      const std::uint64_t dirty = full ? all : differing(begin, length);
      if (dirty == 0) continue;
      std::byte* to = staging.room(pages);
      if (to == nullptr) {
        encode_now(segment, dirty);
        continue;
      }
      taken_.push_back({segment, dirty, to, {}, {}});
      for_each_run(dirty, [&](std::uint64_t first, std::uint64_t run) {
        const std::uint64_t at = first * page_bytes, bytes = std::min(run * page_bytes, length - at);
        std::memcpy(to, memory() + begin + at, bytes);
        to += run * page_bytes;
        copied += bytes;
      });
      staging.take(static_cast<std::uint64_t>(std::popcount(dirty)));
    }
    return copied;
  }

  bool base_moved() const override { return base_moved_; }

  void encode(SnapshotBuilder& builder, std::size_t index) override {
    for (const Taken& taken : taken_) {
      const std::uint64_t pages = kernels::page_count(segment_length(spec().bytes, taken.segment));
      if (taken.staged == nullptr) {
        builder.add_segment(index, taken.segment, std::span(taken.entries).first(pages), taken.bodies);
        continue;
      }
      std::array<PageEntry, pages_per_segment> entries{};
      std::byte* const out = builder.segment_room();
      const std::uint64_t size = encode_pages_of(taken.segment, taken.dirty, taken.staged, out, entries);
      builder.add_segment(index, taken.segment, std::span(entries).first(pages), {out, size});
    }
    discard();
  }

  void encode_whole(SnapshotBuilder& builder, std::size_t index) override {
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
    std::array<PageEntry, pages_per_segment> entries;
    for (std::uint64_t segment = 0; segment < segments(); ++segment) {
      const std::uint64_t length = segment_length(spec().bytes, segment);
      std::byte* const out = builder.segment_room();
      const auto size = kernels::host::encode_pages({.current = base_.data() + segment * segment_bytes,
                                                     .base = nullptr,
                                                     .bytes = length,
                                                     .shape = shape(),
                                                     .update_base = false,
                                                     .out = out,
                                                     .entries = entries.data()});
      builder.add_segment(index, segment, std::span(entries).first(kernels::page_count(length)), {out, size});
    }
    discard();
  }

  void discard() override {
    taken_.clear();
    encoded_bytes_ = 0;
    surplus_ = {};
    base_moved_ = false;
  }

  void load_base(const Chain& chain, std::size_t index) override {
    for (std::uint64_t segment = 0; segment < segments(); ++segment) {
      chain.read_segment(index, segment, base_.data() + segment * segment_bytes,
                         segment_length(spec().bytes, segment));
    }
  }

  void copy_base_to_region() override {
    if (spec().bytes != 0) std::memcpy(spec().data, base_.data(), spec().bytes);
  }

  std::uint64_t held_bytes() const override { return base_.held_bytes() + encoded_bytes_ + surplus_.capacity(); }

 private:
  struct Taken {
    std::uint64_t segment = 0;
    std::uint64_t dirty = 0;            ///< bitmap of pages
    const std::byte* staged = nullptr;  ///< the dirty pages, one after another; null: encoded already
    std::array<PageEntry, pages_per_segment> entries{};
    Bytes bodies;
  };

  const std::byte* memory() const { return static_cast<const std::byte*>(spec().data); }

  std::uint64_t differing(std::uint64_t begin, std::uint64_t length) const {
    std::uint64_t dirty = 0;
    for (std::uint64_t at = 0; at < length; at += page_bytes) {
      const std::uint64_t bytes = std::min<std::uint64_t>(page_bytes, length - at);
      if (!kernels::host::equal(memory() + begin + at, base_.data() + begin + at, bytes)) {
        dirty |= std::uint64_t{1} << at / page_bytes;
      }
    }
    return dirty;
  }

  /// Encodes the dirty pages of a segment out of `pages`, where they stand one after another, and makes them the
  /// base.
  std::uint64_t encode_pages_of(std::uint64_t segment, std::uint64_t dirty, const std::byte* pages, std::byte* out,
                                std::array<PageEntry, pages_per_segment>& entries) {
    const std::uint64_t length = segment_length(spec().bytes, segment);
    std::byte* const base = base_.data() + segment * segment_bytes;
    std::uint64_t size = 0;
    for_each_run(dirty, [&](std::uint64_t first, std::uint64_t run) {
      const std::uint64_t bytes = std::min(run * page_bytes, length - first * page_bytes);
      size += encode_run(pages, base + first * page_bytes, bytes, out + size, &entries[first]);
      pages += run * page_bytes;
    });
    return size;
  }

  std::uint64_t encode_run(const std::byte* from, std::byte* base, std::uint64_t bytes, std::byte* out,
                           PageEntry* entries) {
    const auto size = kernels::host::encode_pages({.current = from,
                                                   .base = full_ ? nullptr : base,
                                                   .bytes = bytes,
                                                   .shape = shape(),
                                                   .update_base = !full_,
                                                   .out = out,
                                                   .entries = entries});
    if (full_) std::memcpy(base, from, bytes);
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
      size += encode_run(memory() + begin + at, base_.data() + begin + at, bytes, surplus_.data() + size,
                         &taken.entries[first]);
    });
    taken.bodies.assign(surplus_.begin(), surplus_.begin() + static_cast<std::ptrdiff_t>(size));
    encoded_bytes_ += size;
    taken_.push_back(std::move(taken));
  }

  HugeMemory base_;
  std::vector<Taken> taken_;
  std::uint64_t encoded_bytes_ = 0;  ///< of `taken_`
  Bytes surplus_;                    ///< where a segment is encoded when staging is full
  bool full_ = false;
  bool base_moved_ = false;
};

}  // namespace

std::unique_ptr<RegionCapture> make_host_region(const RegionSpec& spec) { return std::make_unique<HostRegion>(spec); }

}  // namespace foreweave::state_detail
