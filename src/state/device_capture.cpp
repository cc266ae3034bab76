#include "state/device_capture.hpp"

#include <algorithm>
#include <utility>

#include "foreweave/core/error.hpp"
#include "foreweave/device/device.hpp"
#include "foreweave/state/snapshot.hpp"

namespace foreweave::state_detail {
namespace {

using kernels::PageEntry;
using kernels::cuda::EncodeProgress;
using kernels::cuda::EncodeRegion;

/// Windows are large enough to fill a device, and a sixteenth of all regions at most, since two of them are held. They
/// are whole segments, unless there is less than one.
constexpr std::uint64_t largest_window_pages = 64 * pages_per_segment;
constexpr std::uint64_t windows_of_all = 16;

std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

std::uint64_t choose_window(std::uint64_t pages) {
  const std::uint64_t share = round_up(pages / windows_of_all, pages_per_segment);
  return std::min(pages, std::clamp<std::uint64_t>(share, pages_per_segment, largest_window_pages));
}

/// Makes `buffer` at least that large; what it held is lost.
template <class Buffer, class... Device>
void grow(Buffer& buffer, std::uint64_t bytes, Device... device) {
  if (buffer.size() < bytes) buffer = Buffer(bytes, device...);
}

}  // namespace

DeviceCapture::DeviceCapture(int device)
    : device_(device),
      program_(Event::create(device)),
      compute_(Stream::create(device)),
      copy_(Stream::create(device)) {
  for (auto& slot : slots_) {
    slot.result = DeviceBuffer(sizeof(kernels::DecodeResult), device);
    slot.ready = Event::create(device);
    slot.free = Event::create(device);
  }
  progress_ = DeviceBuffer(2 * sizeof(EncodeProgress), device);
  host_progress_ = PinnedBuffer(2 * sizeof(EncodeProgress));
}

std::size_t DeviceCapture::join(const Member& member) {
  const auto left = [](const Member& other) { return other.bytes == 0; };
  auto place = std::find_if(members_.begin(), members_.end(), left);
  if (place == members_.end()) place = members_.insert(place, Member{});
  *place = member;
  table_stale_ = true;
  try {
    make_room();
  } catch (...) {
    place->bytes = 0;
    throw;
  }
  return static_cast<std::size_t>(place - members_.begin());
}

void DeviceCapture::leave(std::size_t number) noexcept {
  members_[number].bytes = 0;  // what is recorded is not launched again: the table is made anew before
  table_stale_ = true;
}

std::size_t DeviceCapture::first() const {
  const auto here = [](const Member& member) { return member.bytes != 0; };
  return static_cast<std::size_t>(std::find_if(members_.begin(), members_.end(), here) - members_.begin());
}

void DeviceCapture::change(std::size_t number, const Member& member) {
  members_[number] = member;
  table_stale_ = true;
}

/// Room for what the members are now. What was recorded names the old buffers.
void DeviceCapture::make_room() {
  const DeviceGuard guard(device_);
  for (auto& recorded : recorded_) recorded = {};
  std::uint64_t pages = 0;
  for (const Member& member : members_) pages += kernels::page_count(member.bytes);
  const std::uint64_t window = choose_window(pages);
  const std::uint64_t bodies = round_up(window * kernels::max_encoded_page_bytes, 16);
  const std::uint64_t window_entries = round_up(window * sizeof(PageEntry), 16);
  for (auto& slot : slots_) {
    grow(slot.bodies, bodies, device_);
    grow(slot.entries, window_entries, device_);
    grow(slot.scratch, kernels::cuda::decode_scratch_bytes(window * kernels::page_bytes), device_);
  }
  grow(table_, 2 * members_.size() * sizeof(EncodeRegion), device_);
  grow(entries_, pages * sizeof(PageEntry), device_);
  grow(scratch_, kernels::cuda::encode_scratch_bytes(pages), device_);
  grow(host_entries_, pages * sizeof(PageEntry));
  if (pool_.chunk_bytes() < bodies + window_entries) pool_ = PinnedPool(bodies + window_entries);
  pages_ = pages;
  window_pages_ = window;
  out_bytes_ = bodies;
}

void DeviceCapture::upload_table() {
  make_room();
  std::vector<EncodeRegion> table;
  places_.assign(members_.size(), {});
  std::uint64_t page = 0;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const Member& m = members_[i];
    places_[i] = {page, kernels::page_count(m.bytes), 0, 0};
    if (m.bytes == 0) continue;
    table.push_back({m.data, m.base, m.bytes, page, m.shape});
    page += places_[i].pages;
  }
  // The same regions with bases for memory follow them: what Take::bases encodes.
  const std::size_t count = table.size();
  for (std::size_t i = 0; i < count; ++i) {
    table.push_back(table[i]);
    table.back().current = table[i].base;
  }
  copy_and_wait(table_.data(), table.data(), table.size() * sizeof(EncodeRegion), compute());
  table_count_ = static_cast<std::uint32_t>(count);
  table_stale_ = false;
}

void DeviceCapture::take(Take what) {
  const DeviceGuard guard(device_);
  discard();
  moved_ = what != Take::bases;
  guarded([&] {
    if (table_stale_) upload_table();
    if (what != Take::bases) {
      for (const Member& member : members_) {
        if (member.bytes == 0) continue;
        program_.record(member.stream);
        program_.wait_in(compute());
      }
    }
    Recorded& recorded = recorded_[static_cast<std::size_t>(what)];
    // The host's room for the first window is always the first of the pool, so that a graph can name it.
    std::byte* const room = pool_.allocate(out_bytes_);
    if (!recorded.graph && recorded.seen) {
      recorded.graph = Graph::record(compute(), [&] { take_first(what); });
    }
    if (recorded.graph) {
      recorded.graph.launch(compute());
    } else {
      take_first(what);
    }
    recorded.seen = true;
    compute_.synchronize();
    keep_window(room, host_progress_.as<EncodeProgress>()[0]);
    if (next_page_ < pages_) take_rest(what);
    locate();
  });
  taken_ = what;
}

void DeviceCapture::encode_window(std::uint64_t turn, Take what) {
  auto* const progress = progress_.as<EncodeProgress>();
  kernels::cuda::encode_regions({.regions = table_.as<EncodeRegion>() + (what == Take::bases ? table_count_ : 0),
                                 .count = table_count_,
                                 .pages = pages_,
                                 .compare = what == Take::changes,
                                 .update_base = what != Take::bases,
                                 .out = slot(turn).bodies.data(),
                                 .out_bytes = out_bytes_,
                                 .entries = entries_.as<PageEntry>(),
                                 .after = turn == 0 ? nullptr : progress + (turn - 1) % 2,
                                 .progress = progress + turn % 2},
                                scratch_.data(), compute());
  copy_async(host_progress_.as<EncodeProgress>() + turn % 2, progress + turn % 2, sizeof(EncodeProgress), compute());
}

/// The first window, entries and bodies and all, without a question in between: this is what is recorded.
void DeviceCapture::take_first(Take what) {
  encode_window(0, what);
  copy_async(host_entries_.data(), entries_.data(), pages_ * sizeof(PageEntry), compute());
  kernels::cuda::copy_encoded(slot(0).bodies.data(), progress_.as<EncodeProgress>(), pool_.first(), out_bytes_,
                              compute());
}

/// What did not fit into the first window. One window is encoded while the one before is brought to the host.
void DeviceCapture::take_rest(Take what) {
  encode_window(1, what);
  slot(1).ready.record(compute());
  for (std::uint64_t turn = 1;; ++turn) {
    // Queued before it is known whether it is needed: where all pages are done, it does nothing.
    if (turn >= 2) slot(turn + 1).free.wait_in(compute());
    encode_window(turn + 1, what);
    slot(turn + 1).ready.record(compute());
    slot(turn).ready.synchronize();
    const EncodeProgress progress = host_progress_.as<EncodeProgress>()[turn % 2];
    if (progress.bytes > out_bytes_) inconsistent();
    std::byte* const room = pool_.allocate(progress.bytes);
    copy_async(room, slot(turn).bodies.data(), progress.bytes, copying());
    slot(turn).free.record(copying());
    keep_window(room, progress);
    if (next_page_ == pages_) break;
  }
  copy_async(host_entries_.data(), entries_.data(), pages_ * sizeof(PageEntry), compute());
  compute_.synchronize();
  copy_.synchronize();
}

void DeviceCapture::keep_window(const std::byte* bodies, const EncodeProgress& progress) {
  if (progress.bytes > out_bytes_ || progress.next_page <= next_page_ || progress.next_page > pages_) inconsistent();
  const std::uint64_t begin = windows_.empty() ? 0 : windows_.back().begin + windows_.back().bytes;
  windows_.push_back({bodies, begin, progress.bytes});
  next_page_ = progress.next_page;
}

void DeviceCapture::locate() {
  const auto* const entries = host_entries_.as<PageEntry>();
  std::uint64_t begin = 0;
  for (Place& place : places_) {
    place.begin = begin;
    place.bytes = 0;
    for (std::uint64_t page = 0; page < place.pages; ++page)
      place.bytes += kernels::entry_size(entries[place.first_page + page]);
    begin += place.bytes;
  }
  if (begin != windows_.back().begin + windows_.back().bytes) inconsistent();
}

void DeviceCapture::discard() {
  taken_ = Take::nothing;
  moved_ = false;
  windows_.clear();
  next_page_ = 0;
  pool_.clear();
}

std::span<const PageEntry> DeviceCapture::entries(std::size_t number) const {
  const auto* const all = reinterpret_cast<const PageEntry*>(host_entries_.data());
  return {all + places_[number].first_page, places_[number].pages};
}

std::uint64_t DeviceCapture::body_bytes(std::size_t number) const { return places_[number].bytes; }

ByteView DeviceCapture::bodies(std::size_t number, std::uint64_t offset, std::uint64_t bytes, Bytes& scratch) const {
  const Place& place = places_[number];
  if (bytes > place.bytes || offset > place.bytes - bytes) inconsistent();
  if (bytes == 0) return {};
  offset += place.begin;
  auto window = std::upper_bound(windows_.begin(), windows_.end(), offset,
                                 [](std::uint64_t at, const Window& w) { return at < w.begin + w.bytes; });
  const std::uint64_t inside = offset - window->begin;
  if (inside + bytes <= window->bytes) return {window->bodies + inside, bytes};
  scratch.clear();
  for (std::uint64_t from = inside; scratch.size() < bytes; ++window, from = 0) {
    const std::uint64_t part = std::min(bytes - scratch.size(), window->bytes - from);
    scratch.insert(scratch.end(), window->bodies + from, window->bodies + from + part);
  }
  return scratch;
}

void DeviceCapture::wait_quietly() noexcept {
  for (const auto* stream : {&compute_, &copy_}) {
    try {
      stream->synchronize();
    } catch (const Error&) {
      // The first error is the one to tell.
    }
  }
}

void DeviceCapture::inconsistent() const {
  throw Error(ErrorCategory::cuda, "capture regions on device " + std::to_string(device_),
              "what the device encoded does not add up; the next capture is full");
}

std::uint64_t DeviceCapture::held_bytes() const {
  std::uint64_t sum = pool_.held_bytes() + table_.size() + entries_.size() + progress_.size() + scratch_.size() +
                      host_entries_.size() + host_progress_.size();
  for (const auto& slot : slots_)
    sum += slot.bodies.size() + slot.entries.size() + slot.scratch.size() + slot.result.size();
  return sum;
}

}  // namespace foreweave::state_detail
