#include "state/snapshot_format.hpp"

#include <cstring>
#include <set>
#include <string>

#include "state/global_part.hpp"

namespace foreweave::state_detail {
namespace {

[[noreturn]] void damaged(const std::string& what, const std::string& why) {
  throw Error(ErrorCategory::format, "read " + what, why);
}

void put_magic(ByteWriter& writer, const std::array<char, 8>& magic) {
  writer.put_bytes(std::as_bytes(std::span(magic)));
}

bool has_magic(ByteView bytes, const std::array<char, 8>& magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

/// Number of dimensions, 0 without a part, and for each the extent of the whole, the offset and the ghost layers.
void put_part(ByteWriter& writer, const std::optional<GlobalPart>& part) {
  const std::size_t dimensions = part ? part->whole.size() : 0;
  writer.put(static_cast<std::uint8_t>(dimensions));
  for (std::size_t d = 0; d < dimensions; ++d) {
    writer.put(part->whole[d]);
    writer.put(part->offset[d]);
    writer.put(part->ghost.empty() ? std::uint64_t{0} : part->ghost[d]);
  }
}

std::optional<GlobalPart> get_part(ByteReader& reader) {
  const auto dimensions = reader.get<std::uint8_t>();
  if (dimensions == 0) return std::nullopt;
  GlobalPart part;
  bool ghosts = false;
  for (int d = 0; d < dimensions; ++d) {
    part.whole.push_back(reader.get<std::uint64_t>());
    part.offset.push_back(reader.get<std::uint64_t>());
    part.ghost.push_back(reader.get<std::uint64_t>());
    ghosts = ghosts || part.ghost.back() != 0;
  }
  if (!ghosts) part.ghost.clear();  // "none" is said in one way
  return part;
}

/// What is wrong with the description of a region; empty when nothing is.
std::string region_problem(const RegionRecord& region) {
  const std::string name = "region '" + region.name + "'";
  if (region.name.empty()) return "a region without a name";
  if (region.name.size() > max_name_bytes) return name + " has a name of more than 255 bytes";
  const std::uint64_t width = element_width(region.type);
  if (width == 0) return name + " has an unknown element type " + std::to_string(int(region.type));
  if (region.bytes > max_region_bytes) return name + " has an impossible size of " + std::to_string(region.bytes);
  if (region.bytes % width != 0) return name + " is not a whole number of elements";
  if (region.extents.size() > max_extents) return name + " has more than 16 extents";
  std::uint64_t product = 1;
  for (const auto extent : region.extents) {
    if (extent != 0 && product > max_region_bytes / extent) return name + " has impossible extents";
    product *= extent;
  }
  if (!region.extents.empty() && product != region.bytes / width) {
    return name + " has " + std::to_string(region.bytes / width) + " elements, but its extents multiply to " +
           std::to_string(product);
  }
  if (!region.part) return {};
  const auto problem = part_problem(*region.part, region.extents, region.bytes / width);
  return problem.empty() ? problem : name + ": " + problem;
}

std::string manifest_problem(const Manifest& manifest) {
  if (manifest.rank < 0 || manifest.rank >= manifest.ranks) {
    return "rank " + std::to_string(manifest.rank) + " of " + std::to_string(manifest.ranks) + " cannot be";
  }
  if (manifest.version == 0) return "version 0 cannot be";
  if (manifest.base >= manifest.version) {
    return "version " + std::to_string(manifest.version) + " cannot be a delta against version " +
           std::to_string(manifest.base);
  }
  if (manifest.job.size() > max_job_bytes) return "the job's name is longer than 4096 bytes";
  if (manifest.regions.size() > max_regions) return "more than 1048576 regions";
  std::set<std::string_view> names;
  for (const auto& region : manifest.regions) {
    if (auto problem = region_problem(region); !problem.empty()) return problem;
    if (!names.insert(region.name).second) return "region '" + region.name + "' is there twice";
  }
  return {};
}

}  // namespace

void put_digest(ByteWriter& writer, const Digest128& digest) {
  writer.put(digest.low);
  writer.put(digest.high);
}

Digest128 get_digest(ByteReader& reader) {
  Digest128 digest;
  digest.low = reader.get<std::uint64_t>();
  digest.high = reader.get<std::uint64_t>();
  return digest;
}

std::array<std::byte, header_bytes> write_header(const Header& header, const FileKind& kind) {
  ByteWriter writer;
  put_magic(writer, kind.header_magic);
  writer.put(header.format);
  writer.put(header.flags);
  writer.put(header.rank);
  writer.put(header.version);
  writer.put(header.base);
  writer.put_bytes(std::as_bytes(std::span(header.salt)));
  writer.put(std::uint64_t{0});
  writer.put(digest64(writer.bytes()));
  std::array<std::byte, header_bytes> bytes;
  static_assert(8 + 2 + 2 + 4 + 8 + 8 + seal_salt_bytes + 8 + 8 == header_bytes);
  std::memcpy(bytes.data(), writer.bytes().data(), bytes.size());
  return bytes;
}

Header read_header(ByteView begin, std::uint64_t total, const std::string& what, const FileKind& kind) {
  if (!has_magic(begin, kind.header_magic)) {
    damaged(what, begin.size() < kind.header_magic.size()
                      ? "truncated: " + std::to_string(total) + " bytes"
                      : "not a Foreweave " + std::string(kind.name) + " (foreign, or damaged)");
  }
  if (total < header_bytes + footer_bytes) {
    damaged(what, "truncated: " + std::to_string(total) + " bytes are less than a header and a footer");
  }
  const ByteView bytes = begin.first(header_bytes);
  ByteReader reader(bytes, "header of " + what);
  reader.get_bytes(kind.header_magic.size());
  Header header;
  header.format = reader.get<std::uint16_t>();
  header.flags = reader.get<std::uint16_t>();
  header.rank = reader.get<Rank>();
  header.version = reader.get<Version>();
  header.base = reader.get<Version>();
  const auto salt = reader.get_bytes(seal_salt_bytes);
  std::memcpy(header.salt.data(), salt.data(), salt.size());
  const auto reserved = reader.get<std::uint64_t>();
  const auto digest = reader.get<std::uint64_t>();
  if (digest != digest64(bytes.first(header_bytes - sizeof digest))) damaged(what, "its header is damaged");
  if (header.format == 0 || header.format > kind.newest_format) {
    damaged(what, "its format is number " + std::to_string(header.format) + "; this program reads numbers up to " +
                      std::to_string(kind.newest_format));
  }
  if ((header.flags & ~kind.flags) != 0 || reserved != 0) damaged(what, "its header asks for things unknown here");
  return header;
}

Bytes write_footer(const Footer& footer, const FileKind& kind) {
  ByteWriter writer;
  writer.put(footer.manifest_offset);
  writer.put(footer.manifest_bytes);
  put_digest(writer, footer.manifest_digest);
  writer.put(footer.manifest_offset + footer.manifest_bytes + footer_bytes);
  writer.put(std::uint64_t{0});
  writer.put(digest64(writer.bytes()));
  put_magic(writer, kind.footer_magic);
  return writer.take();
}

Footer read_footer(ByteView bytes, std::uint64_t size, const std::string& what, const FileKind& kind) {
  if (!has_magic(bytes.last(kind.footer_magic.size()), kind.footer_magic)) damaged(what, "truncated: it has no footer");
  ByteReader reader(bytes, "footer of " + what);
  Footer footer;
  footer.manifest_offset = reader.get<std::uint64_t>();
  footer.manifest_bytes = reader.get<std::uint64_t>();
  footer.manifest_digest = get_digest(reader);
  const auto total = reader.get<std::uint64_t>();
  const auto reserved = reader.get<std::uint64_t>();
  const auto digested = reader.position();
  if (reader.get<std::uint64_t>() != digest64(bytes.first(digested)) || reserved != 0) {
    damaged(what, "its footer is damaged");
  }
  if (total != size) {
    damaged(what, "it has " + std::to_string(size) + " bytes, but was written with " + std::to_string(total));
  }
  const std::uint64_t end = size - footer_bytes;
  if (footer.manifest_offset < header_bytes || footer.manifest_offset > end ||
      footer.manifest_bytes != end - footer.manifest_offset) {
    damaged(what, "its footer is damaged: the manifest is said to stand where it cannot");
  }
  return footer;
}

Bytes write_manifest(const Manifest& manifest) {
  ByteWriter writer;
  writer.put(static_cast<std::uint32_t>(kernels::page_bytes));
  writer.put(static_cast<std::uint32_t>(pages_per_segment));
  writer.put(page_codec_id);
  writer.put(manifest.rank);
  writer.put(manifest.ranks);
  writer.put(static_cast<std::uint32_t>(manifest.regions.size()));
  writer.put(manifest.version);
  writer.put(manifest.base);
  put_digest(writer, manifest.state);
  put_digest(writer, manifest.base_state);
  writer.put(manifest.wall_time_ns);
  writer.put_string(manifest.job);
  for (const auto& region : manifest.regions) {
    writer.put_string(region.name);
    writer.put(region.type);
    writer.put(static_cast<std::uint8_t>(region.extents.size()));
    writer.put(region.bytes);
    for (const auto extent : region.extents) writer.put(extent);
    put_part(writer, region.part);
    writer.put(static_cast<std::uint64_t>(region.segments.size()));
    for (const auto& segment : region.segments) {
      writer.put(segment.index);
      writer.put(segment.offset);
      writer.put(segment.bytes);
      writer.put(segment.digest);
    }
  }
  return writer.take();
}

Manifest read_manifest(ByteView bytes, std::uint64_t manifest_offset, std::uint16_t format, const std::string& what) {
  const std::string whose = "manifest of " + what;
  ByteReader reader(bytes, whose);
  if (reader.get<std::uint32_t>() != kernels::page_bytes || reader.get<std::uint32_t>() != pages_per_segment ||
      reader.get<std::uint32_t>() != page_codec_id) {
    damaged(whose, "written with other pages, segments or another codec than this program reads");
  }
  Manifest manifest;
  manifest.rank = reader.get<Rank>();
  manifest.ranks = reader.get<Rank>();
  const auto regions = reader.get<std::uint32_t>();
  manifest.version = reader.get<Version>();
  manifest.base = reader.get<Version>();
  manifest.state = get_digest(reader);
  manifest.base_state = get_digest(reader);
  manifest.wall_time_ns = reader.get<std::int64_t>();
  manifest.job = reader.get_string(max_job_bytes);
  std::uint64_t at = header_bytes;  // where the next segment must stand
  for (std::uint32_t r = 0; r < regions; ++r) {
    auto& region = manifest.regions.emplace_back();
    region.name = reader.get_string(max_name_bytes);
    region.type = reader.get<ElementType>();
    const auto extents = reader.get<std::uint8_t>();
    region.bytes = reader.get<std::uint64_t>();
    for (int i = 0; i < extents; ++i) region.extents.push_back(reader.get<std::uint64_t>());
    if (format >= 2) region.part = get_part(reader);
    const auto segments = reader.get<std::uint64_t>();
    constexpr std::size_t record_bytes = 4 * sizeof(std::uint64_t);
    if (region.bytes > max_region_bytes || segments > segment_count(region.bytes) ||
        segments > reader.remaining() / record_bytes) {
      damaged(whose, "region '" + region.name + "' is said to have " + std::to_string(segments) +
                         " segments, which it cannot");
    }
    region.segments.reserve(segments);
    for (std::uint64_t s = 0; s < segments; ++s) {
      SegmentRecord record;
      record.index = reader.get<std::uint64_t>();
      record.offset = reader.get<std::uint64_t>();
      record.bytes = reader.get<std::uint64_t>();
      record.digest = reader.get<std::uint64_t>();
      const bool ascends = s == 0 || record.index > region.segments.back().index;
      if (!ascends || record.index >= segment_count(region.bytes) || record.offset != at || record.bytes == 0 ||
          record.bytes > max_segment_plain_bytes + seal_tag_bytes || record.bytes > manifest_offset - at) {
        damaged(whose, "the record of segment " + std::to_string(record.index) + " of region '" + region.name +
                           "' does not fit the others");
      }
      at += record.bytes;
      region.segments.push_back(record);
    }
  }
  reader.expect_end();
  if (at != manifest_offset) damaged(whose, "the segments do not end where the manifest begins");
  if (const auto problem = manifest_problem(manifest); !problem.empty()) damaged(whose, problem);
  if ((manifest.base == 0) != (manifest.base_state == Digest128{}) || manifest.state == Digest128{}) {
    damaged(whose, "the identities of its state and of its base do not fit its versions");
  }
  return manifest;
}

void check_manifest_header(const Manifest& manifest) {
  if (const auto problem = manifest_problem(manifest); !problem.empty()) {
    throw Error(ErrorCategory::argument, "write " + to_string(SnapshotId{manifest.rank, manifest.version}), problem);
  }
}

Digest128 state_digest(const Manifest& manifest) {
  ByteWriter writer;
  put_digest(writer, manifest.base_state);
  writer.put(manifest.rank);
  writer.put(manifest.version);
  for (const auto& region : manifest.regions) {
    writer.put_string(region.name);
    writer.put(region.bytes);
    for (const auto& segment : region.segments) {
      writer.put(segment.index);
      writer.put(segment.digest);
    }
  }
  auto digest = digest128(writer.bytes());
  if (digest == Digest128{}) digest.low = 1;  // all zeros means "none"
  return digest;
}

}  // namespace foreweave::state_detail

namespace foreweave {

kernels::PageShape page_shape(ElementType type, const std::vector<std::uint64_t>& extents) {
  kernels::PageShape shape;
  shape.width = element_width(type);
  const std::size_t dimensions = extents.size();
  if (dimensions >= 2) shape.row = extents[dimensions - 1];
  if (dimensions >= 3) shape.plane = extents[dimensions - 1] * extents[dimensions - 2];
  return shape;
}

}  // namespace foreweave
