#pragma once
// Snapshot: one rank's state at a version, as bytes: header, segments, manifest, footer. docs/format.md, "Snapshots".

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "foreweave/core/bytes.hpp"
#include "foreweave/core/digest.hpp"
#include "foreweave/core/seal.hpp"
#include "foreweave/state/region.hpp"
#include "foreweave/state/store.hpp"
#include "foreweave/state/types.hpp"
#include "kernels/decl/page_codec.hpp"

namespace foreweave {

/// 64 pages of one region: the unit that is encoded, digested and sealed at once. Only segments with dirty pages are
/// stored. As bytes: u64 bitmap of dirty pages; one u32 page entry each, padded to 8; the page bodies.
inline constexpr std::size_t pages_per_segment = 64;
inline constexpr std::size_t segment_bytes = pages_per_segment * kernels::page_bytes;  ///< 1 MiB of a region

constexpr std::uint64_t segment_count(std::uint64_t region_bytes) {
  return (region_bytes + segment_bytes - 1) / segment_bytes;
}
/// Bytes of the region that segment `index` covers: segment_bytes, or less for the last.
constexpr std::uint64_t segment_length(std::uint64_t region_bytes, std::uint64_t index) {
  const std::uint64_t left = region_bytes - index * segment_bytes;
  return left < segment_bytes ? left : segment_bytes;
}

struct SegmentRecord {
  std::uint64_t index = 0;   ///< which MiB of the region
  std::uint64_t offset = 0;  ///< in the snapshot
  std::uint64_t bytes = 0;   ///< stored (sealed: with the tag)
  std::uint64_t digest = 0;  ///< XXH3-64 of the stored bytes
};

struct RegionRecord {
  std::string name;
  ElementType type = ElementType::bytes;
  std::uint64_t bytes = 0;
  std::vector<std::uint64_t> extents;
  std::optional<GlobalPart> part;
  std::vector<SegmentRecord> segments;  ///< ascending by index
};

struct Manifest {
  Rank rank = 0;
  Rank ranks = 0;  ///< of the program
  Version version = 0;
  Version base = 0;  ///< 0: full
  /// Identity of this state: digest of base_state, rank, version and the segments' digests as first captured. Folding
  /// keeps it, so a delta fits a folded base as well.
  Digest128 state;
  Digest128 base_state;  ///< `state` of the base; zero for a full snapshot. A delta fits one base only.
  std::int64_t wall_time_ns = 0;
  std::string job;
  std::vector<RegionRecord> regions;
};

/// What the codec is told of a region: width, row and plane follow from its type and extents.
kernels::PageShape page_shape(ElementType type, const std::vector<std::uint64_t>& extents);

/// One segment as it is stored, checked and unsealed.
struct SegmentPages {
  std::array<kernels::PageEntry, pages_per_segment> entries{};  ///< of its pages; 0 where clean or past the region
  std::uint64_t pages = 0;                                      ///< that the segment has
  ByteView bodies;                                              ///< of the dirty ones, in order
};

/// A snapshot opened for reading: the structure was checked when it was made, each segment is checked when it is
/// read.
class Snapshot {
 public:
  /// Throws Error(format) for damaged, truncated or foreign bytes, Error(security) for a sealed snapshot without the
  /// right key. `what` names it in errors ("rank 2 version 7 in host store").
  static std::shared_ptr<const Snapshot> parse(std::shared_ptr<const SnapshotBytes> bytes, const Key* key,
                                               std::string what);
  virtual ~Snapshot() = default;
  virtual const Manifest& manifest() const = 0;
  virtual std::uint64_t bytes() const = 0;
  /// Decodes segment `segment` (an index into manifest().regions[region].segments) onto `data`, which holds the
  /// base's content of that MiB. Thread safe.
  virtual void apply(std::size_t region, std::size_t segment, std::byte* data, std::uint64_t bytes) const = 0;
  /// The encoded pages of that segment, for who decodes elsewhere (on a device). The bodies lie in the snapshot, or
  /// in `scratch` when it is sealed: valid while both are. Thread safe with a scratch of one's own.
  virtual SegmentPages read(std::size_t region, std::size_t segment, Bytes& scratch) const = 0;
  /// Reads and checks every segment without applying any.
  virtual void verify() const = 0;
};

/// Writes a snapshot into a store, segment by segment, in order.
class SnapshotBuilder {
 public:
  /// `header` has everything but the segments; its regions are records without segments. Its `state` is computed by
  /// finish() when it is zero, and kept when it is given (folding).
  SnapshotBuilder(Store& store, Manifest header, std::shared_ptr<const Key> key);
  ~SnapshotBuilder();
  SnapshotBuilder(SnapshotBuilder&&) noexcept;
  /// One segment: entries of its pages (clean ones 0) and the bodies of the dirty ones in page order. A segment with
  /// no dirty page writes nothing. Regions and segments come in ascending order.
  void add_segment(std::size_t region, std::uint64_t segment, std::span<const kernels::PageEntry> entries,
                   ByteView bodies);
  /// Where the bodies of the next segment may be put (kernels::encode_bound(segment_bytes) bytes), so that
  /// add_segment need not copy them. Valid until the next call.
  std::byte* segment_room();
  /// A segment as it is stored unsealed, put together elsewhere.
  struct Assembled {
    ByteView bytes;              ///< head and bodies
    std::uint64_t bodies = 0;    ///< bytes of these
    std::uint64_t digest = 0;
  };
  static constexpr std::size_t segment_head_room = 8 + sizeof(kernels::PageEntry) * pages_per_segment;
  /// Puts the head of a segment right before its bodies, which have segment_head_room bytes in front of them for that,
  /// and digests both. Thread safe: what of add_segment() need not wait for the segments before.
  static Assembled assemble(std::span<const kernels::PageEntry> entries, std::span<std::byte> bodies);
  /// add_segment() for what assemble() made of the same entries.
  void add_assembled(std::size_t region, std::uint64_t segment, std::span<const kernels::PageEntry> entries,
                     const Assembled& assembled);
  struct Result {
    std::uint64_t bytes = 0;  ///< of the whole snapshot
    std::uint64_t dirty_pages = 0;
    Digest128 state;  ///< as in the manifest
    std::array<std::uint64_t, kernels::transform_count> pages_by_transform{};
  };
  /// Writes manifest and footer and commits to the store.
  Result finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace foreweave
