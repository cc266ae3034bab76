#include "tools/delta_codec.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "foreweave/core/error.hpp"
#include "foreweave/state/snapshot.hpp"
#include "state/segment_head.hpp"

namespace foreweave::tools {
namespace {

using state_detail::max_segment_head_bytes;

/// One segment's room: the head ends where the bodies begin.
constexpr std::uint64_t slot_bytes = (max_segment_head_bytes + kernels::encode_bound(segment_bytes) + 63) / 64 * 64;

}  // namespace

DeltaCodec::DeltaCodec(kernels::PageShape shape, std::uint64_t capacity, Parallel& team)
    : shape_(shape),
      team_(team),
      slots_(segment_count(capacity) * slot_bytes),
      segments_(segment_count(capacity)),
      members_(static_cast<std::size_t>(team.threads())) {}

void DeltaCodec::encode(const std::byte* current, const std::byte* base, std::uint64_t bytes) {
  if (segment_count(bytes) > segments_.size()) {
    throw Error(ErrorCategory::argument, "encode a delta", "there are more bytes than it has room for");
  }
  bytes_ = bytes;
  team_.for_each(segment_count(bytes), [&](std::uint64_t index, int) {
    Segment& segment = segments_[index];
    std::byte* const bodies = slots_.data() + index * slot_bytes + max_segment_head_bytes;
    const std::uint64_t length = segment_length(bytes, index);
    segment.pages = kernels::page_count(length);
    const std::uint64_t size =
        kernels::host::encode_pages({.current = current + index * segment_bytes,
                                     // Read only: the base is updated when a job asks for it.
                                     .base = const_cast<std::byte*>(base + index * segment_bytes),
                                     .bytes = length,
                                     .shape = shape_,
                                     .update_base = false,
                                     .out = bodies,
                                     .entries = segment.entries.data()});
    std::array<std::byte, max_segment_head_bytes> head;
    const std::size_t head_size =
        state_detail::write_segment_head(std::span(segment.entries).first(segment.pages), head.data());
    std::memcpy(bodies - head_size, head.data(), head_size);
    segment.bytes = {bodies - head_size, head_size + size};
    segment.bodies = {bodies, size};
  });
}

void DeltaCodec::decode(std::byte* data) {
  team_.for_each(segment_count(bytes_), [&](std::uint64_t index, int) {
    const Segment& segment = segments_[index];
    const auto result = kernels::host::decode_pages({.in = segment.bodies.data(),
                                                     .in_bytes = segment.bodies.size(),
                                                     .entries = segment.entries.data(),
                                                     .data = data + index * segment_bytes,
                                                     .bytes = segment_length(bytes_, index),
                                                     .shape = shape_});
    if (result.status != kernels::DecodeStatus::ok) {
      throw Error(ErrorCategory::format, "decode a delta",
                  "page " + std::to_string(index * pages_per_segment + result.page) + " is refused");
    }
  });
}

void DeltaCodec::archive() {
  team_.for_each(segment_count(bytes_), [&](std::uint64_t index, int member) {
    Segment& segment = segments_[index];
    segment.archived.clear();
    if (segment.bytes.empty()) return;
    members_[static_cast<std::size_t>(member)].archiver.archive(segment.bytes, segment.archived);
  });
}

void DeltaCodec::unarchive(bool check) {
  team_.for_each(segment_count(bytes_), [&](std::uint64_t index, int number) {
    const Segment& segment = segments_[index];
    if (segment.bytes.empty()) return;
    Member& member = members_[static_cast<std::size_t>(number)];
    const std::string what = "unarchive segment " + std::to_string(index) + " of a delta";
    member.scratch.clear();
    member.archiver.unarchive(segment.archived, member.scratch, what);
    if (check &&
        !std::equal(segment.bytes.begin(), segment.bytes.end(), member.scratch.begin(), member.scratch.end())) {
      throw Error(ErrorCategory::format, what, "it is not what was archived");
    }
  });
}

std::uint64_t DeltaCodec::encoded_bytes() const {
  std::uint64_t total = 0;
  for (std::uint64_t i = 0; i < segment_count(bytes_); ++i) total += segments_[i].bytes.size();
  return total;
}

std::uint64_t DeltaCodec::archived_bytes() const {
  std::uint64_t total = 0;
  for (std::uint64_t i = 0; i < segment_count(bytes_); ++i) total += segments_[i].archived.size();
  return total;
}

DeltaCodec::Pages DeltaCodec::pages() const {
  Pages pages;
  for (std::uint64_t i = 0; i < segment_count(bytes_); ++i) {
    for (std::uint64_t page = 0; page < segments_[i].pages; ++page) {
      const kernels::PageEntry entry = segments_[i].entries[page];
      ++(entry == 0 ? pages.clean : pages.by_transform[kernels::entry_transform(entry)]);
    }
  }
  return pages;
}

}  // namespace foreweave::tools
