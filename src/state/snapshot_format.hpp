#pragma once
// The fixed parts of a snapshot's bytes, shared by builder and reader. docs/format.md, "Snapshots".

#include <array>
#include <cstdint>
#include <limits>

#include "foreweave/core/bytes.hpp"
#include "foreweave/core/digest.hpp"
#include "foreweave/core/seal.hpp"
#include "foreweave/state/snapshot.hpp"

namespace foreweave::state_detail {

inline constexpr std::uint16_t snapshot_format_version = 2;  ///< written; 1, whose regions have no parts, is read
inline constexpr std::uint16_t flag_sealed = 1;
inline constexpr std::uint16_t pack_format_version = 1;

/// What begins and ends with a header and a footer of the same shape: snapshots, and packs of them.
struct FileKind {
  const char* name;
  std::array<char, 8> header_magic, footer_magic;
  std::uint16_t newest_format, flags;  ///< that are known
};
inline constexpr FileKind snapshot_kind{"snapshot",
                                        {'F', 'W', 'S', 'N', 'A', 'P', '\r', '\n'},
                                        {'F', 'W', 'S', 'N', 'E', 'N', 'D', '\n'},
                                        snapshot_format_version,
                                        flag_sealed};
inline constexpr FileKind pack_kind{"pack of a snapshot",
                                    {'F', 'W', 'P', 'A', 'C', 'K', '\r', '\n'},
                                    {'F', 'W', 'P', 'K', 'E', 'N', 'D', '\n'},
                                    pack_format_version,
                                    0};
inline constexpr std::uint32_t page_codec_id = 1;
inline constexpr std::size_t header_bytes = 64;
inline constexpr std::size_t footer_bytes = 64;
/// The piece number the manifest is sealed under; segments count from 0 in the order they are stored.
inline constexpr std::uint64_t manifest_piece = std::numeric_limits<std::uint64_t>::max();

// So that a damaged number cannot ask for the impossible.
inline constexpr std::size_t max_name_bytes = 255;
inline constexpr std::size_t max_job_bytes = 4096;
inline constexpr std::size_t max_extents = 16;
inline constexpr std::size_t max_regions = 1 << 20;
inline constexpr std::uint64_t max_region_bytes = std::uint64_t{1} << 56;
inline constexpr std::uint64_t max_segment_plain_bytes =
    8 + 4 * pages_per_segment + pages_per_segment * kernels::max_encoded_page_bytes;

struct Header {
  std::uint16_t format = snapshot_format_version;
  std::uint16_t flags = 0;
  Rank rank = 0;
  Version version = 0;
  Version base = 0;
  SealSalt salt{};
};
std::array<std::byte, header_bytes> write_header(const Header& header, const FileKind& kind = snapshot_kind);
/// Of a file of `total` bytes that begins with `begin`, header_bytes of them where there are so many. Checks magic,
/// format and digest; `what` names the file.
Header read_header(ByteView begin, std::uint64_t total, const std::string& what, const FileKind& kind = snapshot_kind);

/// Of a pack the index stands for the manifest.
struct Footer {
  std::uint64_t manifest_offset = 0;
  std::uint64_t manifest_bytes = 0;  ///< stored; sealed: with the tag
  Digest128 manifest_digest;         ///< of the stored bytes
};
Bytes write_footer(const Footer& footer, const FileKind& kind = snapshot_kind);
/// Of a file of `total` bytes that ends with these footer_bytes.
Footer read_footer(ByteView end, std::uint64_t total, const std::string& what, const FileKind& kind = snapshot_kind);

void put_digest(ByteWriter& writer, const Digest128& digest);
Digest128 get_digest(ByteReader& reader);

Bytes write_manifest(const Manifest& manifest);
/// Checks every number on its own and against the others. `manifest_offset` is where the segments must end, `format` the
/// header's.
Manifest read_manifest(ByteView bytes, std::uint64_t manifest_offset, std::uint16_t format, const std::string& what);
/// What a header of a new snapshot may say: Error(argument) names what cannot be.
void check_manifest_header(const Manifest& manifest);

/// Identity of a state that is captured, from its manifest (Manifest::state).
Digest128 state_digest(const Manifest& manifest);

inline std::uint64_t pages_in_segment(std::uint64_t region_bytes, std::uint64_t index) {
  return kernels::page_count(segment_length(region_bytes, index));
}

}  // namespace foreweave::state_detail
