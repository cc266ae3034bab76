// A region in device memory. Its base is on the device too; pages are encoded there, window by window, and only what
// is encoded comes to the host, through pinned memory, while the next window is being encoded.

#include <algorithm>
#include <array>
#include <vector>

#include "foreweave/core/error.hpp"
#include "foreweave/device/device.hpp"
#include "foreweave/device/memory.hpp"
#include "foreweave/device/stream.hpp"
#include "state/pinned_pool.hpp"
#include "state/region_capture.hpp"

namespace foreweave::state_detail {
namespace {

using kernels::DecodeResult;
using kernels::PageEntry;

/// Windows are large enough to fill a device, and a sixteenth of the region at most, since two of them are held.
constexpr std::uint64_t largest_window = 64 * segment_bytes;
constexpr std::uint64_t windows_per_region = 16;

std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

std::uint64_t choose_window(std::uint64_t region_bytes) {
  const std::uint64_t share = round_up(region_bytes / windows_per_region, segment_bytes);
  const std::uint64_t window = std::clamp<std::uint64_t>(share, segment_bytes, largest_window);
  return std::min(window, round_up(region_bytes, kernels::page_bytes));
}

class DeviceRegion final : public RegionCapture {
 public:
  explicit DeviceRegion(const RegionSpec& spec)
      : RegionCapture(spec),
        device_(device_of(spec.data)),
        window_(choose_window(spec.bytes)),
        pool_(entries_room(window_) + kernels::encode_bound(window_)) {
    if (spec.bytes == 0) return;
    if (device_ < 0) {
      throw Error(ErrorCategory::argument, "protect region '" + spec.name + "'",
                  "it is said to be in device memory, but no device knows its address");
    }
    const DeviceGuard guard(device_);
    base_ = DeviceBuffer(spec.bytes, device_);
    compute_ = Stream::create(device_);
    copy_ = Stream::create(device_);
    program_ = Event::create(device_);
    totals_ = PinnedBuffer(windows() * sizeof(std::uint64_t));
    results_ = PinnedBuffer(slots_.size() * sizeof(DecodeResult));
    const std::uint64_t scratch =
        std::max(kernels::cuda::encode_scratch_bytes(window_), kernels::cuda::decode_scratch_bytes(window_));
    for (auto& slot : slots_) {
      slot.bodies = DeviceBuffer(kernels::encode_bound(window_), device_);
      slot.entries = DeviceBuffer(entries_room(window_), device_);
      slot.scratch = DeviceBuffer(std::max<std::uint64_t>(scratch, 1), device_);
      slot.small = DeviceBuffer(sizeof(DecodeResult), device_);
      slot.ready = Event::create(device_);
      slot.free = Event::create(device_);
    }
  }

  void repoint(const RegionSpec& spec) override {
    if (spec.bytes != 0 && device_of(spec.data) != device_) {
      throw Error(ErrorCategory::argument, "protect region '" + spec.name + "'",
                  "it is protected on device " + std::to_string(device_) +
                      " and the new memory is not there; remove it first");
    }
    RegionCapture::repoint(spec);
  }

  std::uint64_t stage(bool full, Staging&) override {
    if (spec().bytes == 0) return 0;
    base_moved_ = true;
    const DeviceGuard guard(device_);
    guarded([&] {
      program_.record(spec().stream);
      program_.wait_in(compute_.handle());
      encode_windows(static_cast<const std::byte*>(spec().data), !full, true);
    });
    std::uint64_t staged = 0;
    for (const Window& window : taken_) staged += window.bytes;
    return staged;
  }

  bool base_moved() const override { return base_moved_; }

  void encode(SnapshotBuilder& builder, std::size_t index) override {
    for (const Window& window : taken_) {
      const std::uint64_t first = window.begin / segment_bytes;
      ByteView bodies(window.bodies, window.bytes);
      for (std::uint64_t page = 0; page < window.pages; page += pages_per_segment) {
        const std::span entries(window.entries + page,
                                std::min<std::uint64_t>(pages_per_segment, window.pages - page));
        std::uint64_t size = 0;
        for (const auto entry : entries) size += kernels::entry_size(entry);
        if (size > bodies.size()) inconsistent();
        builder.add_segment(index, first + page / pages_per_segment, entries, bodies.first(size));
        bodies = bodies.subspan(size);
      }
      if (!bodies.empty()) inconsistent();
    }
    discard();
  }

  void encode_whole(SnapshotBuilder& builder, std::size_t index) override {
    if (spec().bytes == 0) return;
    discard();  // stage() made the base what is to be written
    const DeviceGuard guard(device_);
    guarded([&] { encode_windows(base_.data(), false, false); });
    encode(builder, index);
  }

  void discard() override {
    taken_.clear();
    pool_.clear();
    base_moved_ = false;
  }

  void load_base(const Chain& chain, std::size_t index) override {
    if (spec().bytes == 0) return;
    const DeviceGuard guard(device_);
    guarded([&] { decode_windows(chain, index); });
    pool_.clear();
  }

  void copy_base_to_region() override {
    if (spec().bytes == 0) return;
    const DeviceGuard guard(device_);
    program_.record(spec().stream);
    program_.wait_in(compute_.handle());
    copy_async(spec().data, base_.data(), spec().bytes, compute_.handle());
    compute_.synchronize();
  }

  std::uint64_t held_bytes() const override {
    std::uint64_t sum = base_.size() + pool_.held_bytes() + totals_.size() + results_.size();
    for (const auto& slot : slots_) {
      sum += slot.bodies.size() + slot.entries.size() + slot.scratch.size() + slot.small.size();
    }
    return sum;
  }

 private:
  /// Device memory for one window; two of them, so that one is copied while the other is worked on.
  struct Slot {
    DeviceBuffer bodies, entries, scratch;
    DeviceBuffer small;  ///< total of an encoding, or result of a decoding
    Event ready;         ///< its data may be taken
    Event free;          ///< its data was taken
  };
  /// One encoded window on the host.
  struct Window {
    std::uint64_t begin = 0, pages = 0;
    const PageEntry* entries = nullptr;
    const std::byte* bodies = nullptr;
    std::uint64_t bytes = 0;  ///< of the bodies
  };
  struct Upload {
    std::byte* room = nullptr;
    std::uint64_t window = 0, version = 0;
    bool used = false;
  };

  static std::uint64_t entries_room(std::uint64_t bytes) {
    return round_up(kernels::page_count(bytes) * sizeof(PageEntry), 16);
  }
  std::uint64_t windows() const { return (spec().bytes + window_ - 1) / window_; }
  std::uint64_t window_length(std::uint64_t window) const {
    return std::min(window_, spec().bytes - window * window_);
  }

  [[noreturn]] void inconsistent() const {
    throw Error(ErrorCategory::cuda, "capture region '" + spec().name + "'",
                "what the device encoded does not add up; the next capture is full");
  }

  /// Runs `work`; when it throws, waits for what it queued, since that still uses the program's memory and ours.
  template <class Work>
  void guarded(Work work) {
    try {
      work();
    } catch (...) {
      for (const auto* stream : {&compute_, &copy_}) {
        try {
          stream->synchronize();
        } catch (const Error&) {
          // The first error is the one to tell.
        }
      }
      throw;
    }
  }

  /// Encodes `from` against the base or against zeros, and brings the result to the host. `move_base`: makes it the
  /// base.
  void encode_windows(const std::byte* from, bool against_base, bool move_base) {
    const StreamHandle compute = compute_.handle();
    for (std::uint64_t w = 0; w < windows(); ++w) {
      Slot& slot = slots_[w % 2];
      if (w >= 2) slot.free.wait_in(compute);
      const std::uint64_t begin = w * window_, length = window_length(w);
      kernels::cuda::encode_pages({.current = from + begin,
                                   .base = against_base ? base_.data() + begin : nullptr,
                                   .bytes = length,
                                   .shape = shape(),
                                   .update_base = against_base && move_base,
                                   .out = slot.bodies.data(),
                                   .entries = slot.entries.as<PageEntry>()},
                                  slot.scratch.data(), slot.small.as<std::uint64_t>(), compute);
      if (move_base && !against_base) copy_async(base_.data() + begin, from + begin, length, compute);
      copy_async(totals_.as<std::uint64_t>() + w, slot.small.data(), sizeof(std::uint64_t), compute);
      slot.ready.record(compute);
      if (w >= 1) collect(w - 1);
    }
    collect(windows() - 1);
    compute_.synchronize();
    copy_.synchronize();
  }

  /// Brings an encoded window to the host, as soon as its size is known.
  void collect(std::uint64_t w) {
    Slot& slot = slots_[w % 2];
    slot.ready.synchronize();
    Window window;
    window.begin = w * window_;
    window.pages = kernels::page_count(window_length(w));
    window.bytes = totals_.as<std::uint64_t>()[w];
    if (window.bytes > kernels::encode_bound(window_length(w))) inconsistent();
    std::byte* const room = pool_.allocate(entries_room(window_length(w)) + window.bytes);
    window.entries = reinterpret_cast<const PageEntry*>(room);
    window.bodies = room + entries_room(window_length(w));
    copy_async(room, slot.entries.data(), window.pages * sizeof(PageEntry), copy_.handle());
    copy_async(room + entries_room(window_length(w)), slot.bodies.data(), window.bytes, copy_.handle());
    slot.free.record(copy_.handle());
    taken_.push_back(window);
  }

  /// Makes the base what the chain says, window by window and link by link.
  void decode_windows(const Chain& chain, std::size_t index) {
    const StreamHandle compute = compute_.handle();
    const auto& links = chain.links();
    const RegionRecord& record = chain.manifest().regions[index];
    const auto decoded_shape = page_shape(record.type, record.extents);
    std::array<Upload, 2> uploads{};
    for (auto& upload : uploads) upload.room = pool_.allocate(pool_.chunk_bytes());
    std::vector<std::size_t> next(links.size());  // segment of each link
    std::size_t turn = 0;
    const auto finish_upload = [&](std::size_t t) {
      if (!uploads[t].used) return;
      slots_[t].free.synchronize();
      uploads[t].used = false;
      check_decoded(results_.as<DecodeResult>()[t], uploads[t], record);
    };
    for (std::uint64_t w = 0; w < windows(); ++w) {
      const std::uint64_t begin = w * window_, length = window_length(w);
      fill_async(base_.data() + begin, 0, length, compute);
      for (std::size_t l = 0; l < links.size(); ++l) {
        const auto& segments = links[l]->manifest().regions[index].segments;
        const std::uint64_t end = (begin + length + segment_bytes - 1) / segment_bytes;
        if (next[l] == segments.size() || segments[next[l]].index >= end) continue;
        finish_upload(turn);
        Upload& upload = uploads[turn];
        Slot& slot = slots_[turn];
        upload.window = w;
        upload.version = links[l]->manifest().version;
        const std::uint64_t bytes = gather(*links[l], index, next[l], end, begin, length, upload.room);
        copy_async(slot.entries.data(), upload.room, kernels::page_count(length) * sizeof(PageEntry), copy_.handle());
        copy_async(slot.bodies.data(), upload.room + entries_room(length), bytes, copy_.handle());
        slot.ready.record(copy_.handle());
        slot.ready.wait_in(compute);
        kernels::cuda::decode_pages({.in = slot.bodies.data(),
                                     .in_bytes = bytes,
                                     .entries = slot.entries.as<PageEntry>(),
                                     .data = base_.data() + begin,
                                     .bytes = length,
                                     .shape = decoded_shape},
                                    slot.scratch.data(), slot.small.as<DecodeResult>(), compute);
        copy_async(results_.as<DecodeResult>() + turn, slot.small.data(), sizeof(DecodeResult), compute);
        slot.free.record(compute);
        upload.used = true;
        turn = 1 - turn;
      }
    }
    finish_upload(turn);
    finish_upload(1 - turn);
    compute_.synchronize();
  }

  /// Puts entries and bodies of one link's segments up to `end` into `room`. Returns the bytes of the bodies.
  std::uint64_t gather(const Snapshot& link, std::size_t index, std::size_t& next, std::uint64_t end,
                       std::uint64_t begin, std::uint64_t length, std::byte* room) const {
    auto* const entries = reinterpret_cast<PageEntry*>(room);
    std::byte* const bodies = room + entries_room(length);
    std::fill_n(entries, kernels::page_count(length), PageEntry{0});
    const auto& segments = link.manifest().regions[index].segments;
    std::uint64_t bytes = 0;
    Bytes scratch;
    for (; next < segments.size() && segments[next].index < end; ++next) {
      const SegmentPages pages = link.read(index, next, scratch);
      if (pages.bodies.size() > kernels::encode_bound(length) - bytes) {
        throw Error(ErrorCategory::format, "restore region '" + spec().name + "'",
                    "segment " + std::to_string(segments[next].index) + " of version " +
                        std::to_string(link.manifest().version) + " is larger than pages can be: it is damaged");
      }
      const std::uint64_t page = segments[next].index * pages_per_segment - begin / kernels::page_bytes;
      std::copy_n(pages.entries.begin(), pages.pages, entries + page);
      std::copy(pages.bodies.begin(), pages.bodies.end(), bodies + bytes);
      bytes += pages.bodies.size();
    }
    return bytes;
  }

  void check_decoded(const DecodeResult& result, const Upload& upload, const RegionRecord& record) const {
    if (result.status == kernels::DecodeStatus::ok) return;
    const std::uint64_t page = upload.window * window_ / kernels::page_bytes + result.page;
    throw Error(ErrorCategory::format, "restore region '" + record.name + "'",
                "page " + std::to_string(page) + " of version " + std::to_string(upload.version) +
                    " is damaged (decoding status " + std::to_string(static_cast<int>(result.status)) + ")");
  }

  int device_;
  std::uint64_t window_;
  PinnedPool pool_;
  DeviceBuffer base_;
  std::array<Slot, 2> slots_;
  PinnedBuffer totals_;   ///< encoded bytes of each window
  PinnedBuffer results_;  ///< of decoding, by slot
  Event program_;
  Stream compute_, copy_;
  std::vector<Window> taken_;
  bool base_moved_ = false;
};

}  // namespace

std::unique_ptr<RegionCapture> make_device_region(const RegionSpec& spec) {
  return std::make_unique<DeviceRegion>(spec);
}

}  // namespace foreweave::state_detail
