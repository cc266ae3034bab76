// A region in device memory. Its base is on the device too. It is encoded together with the other regions of the device
// (DeviceCapture); decoded by itself, window by window, from pinned memory.

#include <algorithm>
#include <array>
#include <vector>

#include "foreweave/core/error.hpp"
#include "foreweave/device/device.hpp"
#include "foreweave/device/memory.hpp"
#include "foreweave/device/stream.hpp"
#include "state/device_capture.hpp"
#include "state/region_capture.hpp"

namespace foreweave::state_detail {
namespace {

using kernels::DecodeResult;
using kernels::PageEntry;

/// Entries that belong to one window, and the bodies after them.
std::uint64_t entries_room(std::uint64_t bytes) {
  return (kernels::page_count(bytes) * sizeof(PageEntry) + 15) / 16 * 16;
}

class DeviceRegion final : public RegionCapture {
 public:
  DeviceRegion(const RegionSpec& spec, DeviceCaptures& together) : RegionCapture(spec), device_(device_of(spec.data)) {
    if (spec.bytes == 0) return;
    if (device_ < 0) {
      throw Error(ErrorCategory::argument, "protect region '" + spec.name + "'",
                  "it is said to be in device memory, but no device knows its address");
    }
    base_ = DeviceBuffer(spec.bytes, device_);
    program_ = Event::create(device_);
    capture_ = together[device_].lock();
    if (capture_ == nullptr) together[device_] = capture_ = std::make_shared<DeviceCapture>(device_);
    results_ = PinnedBuffer(2 * sizeof(DecodeResult));
    number_ = capture_->join(member());
  }

  ~DeviceRegion() override {
    if (capture_ != nullptr) capture_->leave(number_);
  }

  void repoint(const RegionSpec& spec) override {
    if (spec.bytes != 0 && device_of(spec.data) != device_) {
      throw Error(ErrorCategory::argument, "protect region '" + spec.name + "'",
                  "it is protected on device " + std::to_string(device_) +
                      " and the new memory is not there; remove it first");
    }
    const bool same = spec.data == this->spec().data && spec.stream == this->spec().stream &&
                      spec.extents == this->spec().extents && spec.type == this->spec().type;
    RegionCapture::repoint(spec);
    if (capture_ != nullptr && !same) capture_->change(number_, member());
  }

  /// The first region of a device that is asked takes them all.
  void stage(CaptureMoment& moment, Staging&, CaptureReport& report) override {
    if (capture_ == nullptr) return;
    const auto what = moment.full() ? DeviceCapture::Take::all : DeviceCapture::Take::changes;
    if (capture_->taken() != what) capture_->take(what);
    report.staged_bytes += capture_->body_bytes(number_);
  }

  bool base_moved() const override { return capture_ != nullptr && capture_->bases_moved(); }

  void encode(SnapshotBuilder& builder, std::size_t index, SegmentTeam&) override {
    if (capture_ == nullptr) return;
    const auto all = capture_->entries(number_);
    std::uint64_t offset = 0;
    Bytes scratch;
    for (std::uint64_t page = 0; page < all.size(); page += pages_per_segment) {
      const auto entries = all.subspan(page, std::min<std::uint64_t>(pages_per_segment, all.size() - page));
      std::uint64_t size = 0;
      for (const auto entry : entries) size += kernels::entry_size(entry);
      builder.add_segment(index, page / pages_per_segment, entries, capture_->bodies(number_, offset, size, scratch));
      offset += size;
    }
  }

  void encode_whole(SnapshotBuilder& builder, std::size_t index, SegmentTeam& team) override {
    if (capture_ == nullptr) return;
    // stage() made the bases what is to be written.
    if (capture_->taken() != DeviceCapture::Take::bases) capture_->take(DeviceCapture::Take::bases);
    encode(builder, index, team);
  }

  void discard() override {
    if (capture_ != nullptr) capture_->discard();
  }

  void load_base(const Chain& chain, std::size_t index) override {
    if (capture_ == nullptr) return;
    const DeviceGuard guard(device_);
    capture_->discard();  // its pinned memory is used
    capture_->guarded([&] { decode_windows(chain, index); });
    capture_->pool().clear();
  }

  void restore(const Chain&, std::size_t) override {
    if (spec().bytes == 0) return;
    const DeviceGuard guard(device_);
    program_.record(spec().stream);
    program_.wait_in(capture_->compute());
    copy_async(spec().data, base_.data(), spec().bytes, capture_->compute());
    synchronize(capture_->compute());
  }

  std::uint64_t held_bytes() const override {
    if (capture_ == nullptr) return 0;
    // What the regions of a device share counts for the first of them.
    return base_.size() + results_.size() + (capture_->first() == number_ ? capture_->held_bytes() : 0);
  }

 private:
  struct Upload {
    std::byte* room = nullptr;
    std::uint64_t window = 0, version = 0;
    bool used = false;
  };

  DeviceCapture::Member member() {
    return {.data = static_cast<const std::byte*>(spec().data),
            .base = base_.data(),
            .bytes = spec().bytes,
            .shape = shape(),
            .stream = spec().stream};
  }

  /// Makes the base what the chain says, window by window and link by link.
  void decode_windows(const Chain& chain, std::size_t index) {
    const StreamHandle compute = capture_->compute();
    const std::uint64_t window = capture_->window_bytes();
    const std::uint64_t windows = (spec().bytes + window - 1) / window;
    const auto& links = chain.links();
    const RegionRecord& record = chain.manifest().regions[index];
    const auto decoded_shape = page_shape(record.type, record.extents);
    std::array<Upload, 2> uploads{};
    for (auto& upload : uploads) upload.room = capture_->pool().allocate(capture_->pool().chunk_bytes());
    std::vector<std::size_t> next(links.size());  // segment of each link
    std::size_t turn = 0;
    const auto finish_upload = [&](std::size_t t) {
      if (!uploads[t].used) return;
      capture_->slot(t).free.synchronize();
      uploads[t].used = false;
      check_decoded(results_.as<DecodeResult>()[t], uploads[t], window, record);
    };
    for (std::uint64_t w = 0; w < windows; ++w) {
      const std::uint64_t begin = w * window, length = std::min(window, spec().bytes - w * window);
      fill_async(base_.data() + begin, 0, length, compute);
      for (std::size_t l = 0; l < links.size(); ++l) {
        const auto& segments = links[l]->manifest().regions[index].segments;
        const std::uint64_t end = (begin + length + segment_bytes - 1) / segment_bytes;
        if (next[l] == segments.size() || segments[next[l]].index >= end) continue;
        finish_upload(turn);
        Upload& upload = uploads[turn];
        DeviceCapture::Slot& slot = capture_->slot(turn);
        upload.window = w;
        upload.version = links[l]->manifest().version;
        const std::uint64_t bytes = gather(*links[l], index, next[l], end, begin, length, upload.room);
        copy_async(slot.entries.data(), upload.room, kernels::page_count(length) * sizeof(PageEntry), capture_->copying());
        copy_async(slot.bodies.data(), upload.room + entries_room(length), bytes, capture_->copying());
        slot.ready.record(capture_->copying());
        slot.ready.wait_in(compute);
        kernels::cuda::decode_pages({.in = slot.bodies.data(),
                                     .in_bytes = bytes,
                                     .entries = slot.entries.as<PageEntry>(),
                                     .data = base_.data() + begin,
                                     .bytes = length,
                                     .shape = decoded_shape},
                                    slot.scratch.data(), slot.result.as<DecodeResult>(), compute);
        copy_async(results_.as<DecodeResult>() + turn, slot.result.data(), sizeof(DecodeResult), compute);
        slot.free.record(compute);
        upload.used = true;
        turn = 1 - turn;
      }
    }
    finish_upload(turn);
    finish_upload(1 - turn);
    synchronize(compute);
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

  void check_decoded(const DecodeResult& result, const Upload& upload, std::uint64_t window,
                     const RegionRecord& record) const {
    if (result.status == kernels::DecodeStatus::ok) return;
    const std::uint64_t page = upload.window * window / kernels::page_bytes + result.page;
    throw Error(ErrorCategory::format, "restore region '" + record.name + "'",
                "page " + std::to_string(page) + " of version " + std::to_string(upload.version) +
                    " is damaged (decoding status " + std::to_string(static_cast<int>(result.status)) + ")");
  }

  int device_;
  std::shared_ptr<DeviceCapture> capture_;  ///< null for a region without bytes
  std::size_t number_ = 0;                  ///< in it
  DeviceBuffer base_;
  PinnedBuffer results_;  ///< of decoding, by slot
  Event program_;
};

}  // namespace

std::unique_ptr<RegionCapture> make_device_region(const RegionSpec& spec, DeviceCaptures& together) {
  return std::make_unique<DeviceRegion>(spec, together);
}

}  // namespace foreweave::state_detail
