#include <algorithm>
#include <bit>
#include <numeric>

#include "foreweave/state/snapshot.hpp"
#include "state/snapshot_format.hpp"

namespace foreweave {

using namespace state_detail;

namespace {
/// Small segments are gathered up to this much before the store is called.
constexpr std::size_t append_bytes = std::size_t{1} << 20;
}  // namespace

struct SnapshotBuilder::State {
  Manifest manifest;
  std::string operation;
  std::shared_ptr<const Key> key;
  std::array<std::byte, header_bytes> header{};
  std::unique_ptr<Sealer> sealer;
  std::unique_ptr<SnapshotWriter> writer;
  StreamDigest content;
  Bytes buffer;              ///< not yet appended
  Bytes plain;               ///< a segment before it is sealed
  std::uint64_t offset = 0;  ///< of the end of `buffer` in the snapshot
  std::uint64_t piece = 0;
  std::size_t region = 0;  ///< of the newest segment
  std::uint64_t next_segment = 0;
  bool finished = false;
  Result result;

  void flush() {
    content.update(buffer);
    writer->append(buffer);
    buffer.clear();
  }
  void write(ByteView bytes) {
    buffer.insert(buffer.end(), bytes.begin(), bytes.end());
    offset += bytes.size();
    if (buffer.size() >= append_bytes) flush();
  }
};

SnapshotBuilder::SnapshotBuilder(Store& store, Manifest header, std::shared_ptr<const Key> key)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.manifest = std::move(header);
  s.key = std::move(key);
  const SnapshotId id{s.manifest.rank, s.manifest.version};
  s.operation = "write " + to_string(id) + " to " + store.name();
  for (auto& region : s.manifest.regions) region.segments.clear();
  check_manifest_header(s.manifest);
  Header fixed;
  fixed.rank = id.rank;
  fixed.version = id.version;
  fixed.base = s.manifest.base;
  if (s.key) {
    fixed.flags = flag_sealed;
    fixed.salt = Sealer::random_salt();
    s.sealer = std::make_unique<Sealer>(*s.key, fixed.salt);
  }
  s.header = write_header(fixed);
  s.writer = store.create(id);
  s.buffer.reserve(append_bytes + max_segment_plain_bytes + seal_tag_bytes);
  s.write(s.header);
}

SnapshotBuilder::~SnapshotBuilder() = default;
SnapshotBuilder::SnapshotBuilder(SnapshotBuilder&&) noexcept = default;

void SnapshotBuilder::add_segment(std::size_t region, std::uint64_t segment,
                                  std::span<const kernels::PageEntry> entries, ByteView bodies) {
  State& s = *state_;
  const auto refuse = [&](ErrorCategory category, const std::string& why) {
    throw Error(category, s.operation,
                "segment " + std::to_string(segment) + " of region " + std::to_string(region) + ": " + why);
  };
  if (s.finished) refuse(ErrorCategory::state, "the snapshot is already finished");
  if (region >= s.manifest.regions.size() || segment >= segment_count(s.manifest.regions[region].bytes)) {
    refuse(ErrorCategory::argument, "the snapshot has no such segment");
  }
  if (region < s.region || (region == s.region && segment < s.next_segment)) {
    refuse(ErrorCategory::argument, "segments come in ascending order");
  }
  auto& record = s.manifest.regions[region];
  if (entries.size() != pages_in_segment(record.bytes, segment)) {
    refuse(ErrorCategory::argument, std::to_string(entries.size()) + " entries for " +
                                        std::to_string(pages_in_segment(record.bytes, segment)) + " pages");
  }
  std::uint64_t bitmap = 0, size = 0;
  for (std::size_t page = 0; page < entries.size(); ++page) {
    if (entries[page] == 0) continue;
    bitmap |= std::uint64_t{1} << page;
    size += kernels::entry_size(entries[page]);
    const auto transform = kernels::entry_transform(entries[page]);
    if (transform >= kernels::transform_count) refuse(ErrorCategory::argument, "an entry names an unknown transform");
    ++s.result.pages_by_transform[transform];
  }
  if (size != bodies.size()) {
    refuse(ErrorCategory::argument,
           std::to_string(bodies.size()) + " bytes of pages, but entries for " + std::to_string(size));
  }
  s.region = region;
  s.next_segment = segment + 1;
  if (bitmap == 0) return;
  s.result.dirty_pages += static_cast<std::uint64_t>(std::popcount(bitmap));

  const std::size_t begin = s.buffer.size();
  Bytes& plain = s.sealer ? s.plain : s.buffer;
  if (s.sealer) plain.clear();
  const auto put = [&](const auto& value) {
    const auto raw = std::as_bytes(std::span(&value, 1));
    plain.insert(plain.end(), raw.begin(), raw.end());
  };
  put(bitmap);
  for (const auto entry : entries) {
    if (entry != 0) put(entry);
  }
  if (std::popcount(bitmap) % 2 != 0) put(kernels::PageEntry{0});
  plain.insert(plain.end(), bodies.begin(), bodies.end());
  if (s.sealer) s.sealer->seal(s.piece, s.plain, s.header, s.buffer);
  ++s.piece;
  const ByteView stored = ByteView(s.buffer).subspan(begin);
  record.segments.push_back({segment, s.offset, stored.size(), digest64(stored)});
  s.offset += stored.size();
  if (s.buffer.size() >= append_bytes) s.flush();
}

SnapshotBuilder::Result SnapshotBuilder::finish() {
  State& s = *state_;
  if (s.finished) throw Error(ErrorCategory::state, s.operation, "the snapshot is already finished");
  s.finished = true;
  if (s.manifest.state == Digest128{}) s.manifest.state = state_digest(s.manifest);
  if ((s.manifest.base == 0) != (s.manifest.base_state == Digest128{})) {
    throw Error(ErrorCategory::argument, s.operation,
                "a delta names the identity of its base's state, a full snapshot does not");
  }
  Footer footer;
  footer.manifest_offset = s.offset;
  Bytes manifest = write_manifest(s.manifest);
  if (s.sealer) {
    Bytes sealed;
    s.sealer->seal(manifest_piece, manifest, s.header, sealed);
    manifest = std::move(sealed);
  }
  footer.manifest_bytes = manifest.size();
  footer.manifest_digest = digest128(manifest);
  s.write(manifest);
  s.write(write_footer(footer));
  s.flush();
  s.writer->commit(s.manifest.base);
  s.result.bytes = s.offset;
  s.result.state = s.manifest.state;
  s.result.content = s.content.value();
  return s.result;
}

}  // namespace foreweave
