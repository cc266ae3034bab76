// runs: 60000  max_len: 1200
// A manifest by itself: what is accepted fits together, and is written as it was read.
#include "fuzz/snapshot_bytes.hpp"
#include "state/global_part.hpp"

namespace foreweave::fuzz {
namespace {

constexpr std::uint8_t repair = 1, format_1 = 2;

void check(const Manifest& manifest, std::uint64_t segments_end) {
  std::uint64_t at = state_detail::header_bytes;
  for (const auto& region : manifest.regions) {
    const std::uint64_t width = element_width(region.type);
    require(width != 0 && region.bytes % width == 0, "a region has whole elements");
    for (const auto& segment : region.segments) {
      require(segment.index < segment_count(region.bytes), "a segment is of its region");
      require(segment.offset == at && segment.bytes <= segments_end - at, "segments follow each other");
      at += segment.bytes;
    }
    (void)page_shape(region.type, region.extents);
    if (!region.part) continue;
    const auto dimensions = state_detail::dimensions_of(region.extents, region.bytes / width);
    const auto held = state_detail::held_box(*region.part, dimensions);
    const auto owned = state_detail::owned_box(*region.part, dimensions);
    require(held.has_value() || !owned.has_value(), "what is owned is held");
    for (std::size_t d = 0; owned && d < dimensions.size(); ++d) {
      require(held->begin[d] <= owned->begin[d] && owned->begin[d] < owned->end[d] && owned->end[d] <= held->end[d] &&
                  held->end[d] <= region.part->whole[d] && held->end[d] - held->begin[d] <= dimensions[d],
              "owned within held within the whole");
    }
  }
  require(at == segments_end, "the segments end where the manifest begins");
}

}  // namespace

void run(Input input) {
  const std::uint8_t mode = input.byte();
  const std::uint16_t format = (mode & format_1) != 0 ? 1 : 2;
  std::uint64_t end = input.get<std::uint32_t>();
  Bytes bytes = copy_of(input.rest());
  if ((mode & repair) != 0) {
    end = state_detail::header_bytes;
    for_each_record(bytes, format, [&](std::byte* record) {
      std::memcpy(record + 8, &end, 8);
      std::uint64_t size;
      std::memcpy(&size, record + 16, 8);
      end += size;
    });
  }
  bytes.shrink_to_fit();
  allow({ErrorCategory::format}, [&] {
    const Manifest manifest = state_detail::read_manifest(bytes, end, format, "input");
    check(manifest, end);
    (void)state_detail::state_digest(manifest);
    const Bytes again = state_detail::write_manifest(manifest);
    if (format == 2) require(same(again, bytes), "a manifest is written as it was read");
  });
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> all;
  for (const bool delta : {false, true}) {
    const Bytes snapshot = sample_snapshot(delta);
    const ByteView end = ByteView(snapshot).last(state_detail::footer_bytes);
    const auto footer = state_detail::read_footer(end, snapshot.size(), "seed");
    for (const std::uint8_t mode : {0, 1, 3}) {
      ByteWriter seed;
      seed.put(mode);
      seed.put(static_cast<std::uint32_t>(footer.manifest_offset));
      seed.put_bytes(ByteView(snapshot).subspan(footer.manifest_offset, footer.manifest_bytes));
      all.push_back(seed.take());
    }
  }
  return all;
}

}  // namespace foreweave::fuzz
