#include <bit>
#include <cstring>
#include <optional>

#include "foreweave/state/snapshot.hpp"
#include "state/segment_head.hpp"
#include "state/snapshot_format.hpp"

namespace foreweave {

using namespace state_detail;

namespace {
/// Small segments are gathered up to this much before the store is called; no more, so that it is still in the cache.
constexpr std::size_t append_bytes = std::size_t{256} << 10;

/// Memory without initialization: every byte is written before it is read.
class RawBuffer {
 public:
  explicit RawBuffer(std::size_t capacity) : data_(new std::byte[capacity]) {}
  std::byte* end() { return data_.get() + size_; }
  std::size_t size() const { return size_; }
  ByteView view() const { return {data_.get(), size_}; }
  void append(ByteView bytes) {
    std::memcpy(end(), bytes.data(), bytes.size());
    size_ += bytes.size();
  }
  void grow(std::size_t bytes) { size_ += bytes; }
  void clear() { size_ = 0; }

 private:
  std::unique_ptr<std::byte[]> data_;
  std::size_t size_ = 0;
};
}  // namespace

struct SnapshotBuilder::State {
  Manifest manifest;
  std::string operation;
  std::shared_ptr<const Key> key;
  std::array<std::byte, header_bytes> header{};
  std::unique_ptr<Sealer> sealer;
  std::unique_ptr<SnapshotWriter> writer;
  RawBuffer buffer{append_bytes + max_segment_plain_bytes + seal_tag_bytes};  ///< not yet appended
  std::optional<RawBuffer> plain;                                             ///< a segment before it is sealed
  std::uint64_t offset = 0;  ///< of the end of `buffer` in the snapshot
  std::uint64_t piece = 0;
  std::size_t region = 0;  ///< of the newest segment
  std::uint64_t next_segment = 0;
  bool finished = false;
  Result result;

  void flush() {
    writer->append(buffer.view());
    buffer.clear();
  }
  /// What comes after the segments, of any size.
  void write(ByteView bytes) {
    flush();
    writer->append(bytes);
    offset += bytes.size();
  }
  /// Checks a segment and counts it in. Returns its dirty pages.
  std::uint64_t admit(std::size_t to, std::uint64_t segment, std::span<const kernels::PageEntry> entries,
                      std::uint64_t bytes);
  /// It stands in the buffer, or was appended.
  void record(std::uint64_t segment, std::uint64_t bytes, std::uint64_t digest);
  /// Seals into the buffer.
  ByteView seal(ByteView plain_bytes);
  RawBuffer& assembled() { return plain ? *plain : buffer; }
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
    s.plain.emplace(max_segment_plain_bytes);
  }
  s.header = write_header(fixed);
  s.writer = store.create(id);
  s.buffer.append(s.header);
  s.offset = s.buffer.size();
}

SnapshotBuilder::~SnapshotBuilder() = default;
SnapshotBuilder::SnapshotBuilder(SnapshotBuilder&&) noexcept = default;

std::byte* SnapshotBuilder::segment_room() {
  if (state_->plain) state_->plain->clear();
  return state_->assembled().end() + max_segment_head_bytes;
}

std::uint64_t SnapshotBuilder::State::admit(std::size_t to, std::uint64_t segment,
                                            std::span<const kernels::PageEntry> entries, std::uint64_t bytes) {
  const auto refuse = [&](ErrorCategory category, const std::string& why) {
    throw Error(category, operation,
                "segment " + std::to_string(segment) + " of region " + std::to_string(to) + ": " + why);
  };
  if (finished) refuse(ErrorCategory::state, "the snapshot is already finished");
  if (to >= manifest.regions.size() || segment >= segment_count(manifest.regions[to].bytes)) {
    refuse(ErrorCategory::argument, "the snapshot has no such segment");
  }
  if (to < region || (to == region && segment < next_segment)) {
    refuse(ErrorCategory::argument, "segments come in ascending order");
  }
  const std::uint64_t pages = pages_in_segment(manifest.regions[to].bytes, segment);
  if (entries.size() != pages) {
    refuse(ErrorCategory::argument,
           std::to_string(entries.size()) + " entries for " + std::to_string(pages) + " pages");
  }
  std::uint64_t dirty = 0, size = 0;
  for (const auto entry : entries) {
    if (entry == 0) continue;
    ++dirty;
    size += kernels::entry_size(entry);
    const auto transform = kernels::entry_transform(entry);
    if (transform >= kernels::transform_count) refuse(ErrorCategory::argument, "an entry names an unknown transform");
    ++result.pages_by_transform[transform];
  }
  if (size > pages_per_segment * kernels::max_encoded_page_bytes) {
    refuse(ErrorCategory::argument, std::to_string(size) + " bytes are more than its pages can be");
  }
  if (size != bytes) {
    refuse(ErrorCategory::argument,
           std::to_string(bytes) + " bytes of pages, but entries for " + std::to_string(size));
  }
  region = to;
  next_segment = segment + 1;
  result.dirty_pages += dirty;
  return dirty;
}

void SnapshotBuilder::State::record(std::uint64_t segment, std::uint64_t bytes, std::uint64_t digest) {
  ++piece;
  manifest.regions[region].segments.push_back({segment, offset, bytes, digest});
  offset += bytes;
  if (buffer.size() >= append_bytes) flush();
}

ByteView SnapshotBuilder::State::seal(ByteView plain_bytes) {
  std::byte* const to = buffer.end();
  sealer->seal_to(piece, plain_bytes, header, to);
  buffer.grow(plain_bytes.size() + seal_tag_bytes);
  return {to, plain_bytes.size() + seal_tag_bytes};
}

void SnapshotBuilder::add_segment(std::size_t region, std::uint64_t segment,
                                  std::span<const kernels::PageEntry> entries, ByteView bodies) {
  State& s = *state_;
  const std::uint64_t dirty = s.admit(region, segment, entries, bodies.size());
  if (dirty == 0) return;
  if (s.plain) s.plain->clear();
  RawBuffer& target = s.assembled();
  const std::size_t begin = target.size();
  // The bodies may stand in segment_room(): to their place before the head is written where they are now.
  const std::size_t head = 8 + (dirty + dirty % 2) * sizeof(kernels::PageEntry);
  if (bodies.data() != target.end() + head) std::memmove(target.end() + head, bodies.data(), bodies.size());
  target.grow(write_segment_head(entries, target.end()));
  target.grow(bodies.size());
  ByteView stored = target.view().subspan(begin);
  if (s.sealer) stored = s.seal(stored);
  s.record(segment, stored.size(), digest64(stored));
}

SnapshotBuilder::Assembled SnapshotBuilder::assemble(std::span<const kernels::PageEntry> entries,
                                                     std::span<std::byte> bodies) {
  std::array<std::byte, segment_head_room> head;
  const std::size_t bytes = write_segment_head(entries, head.data());
  std::byte* const begin = bodies.data() - bytes;
  std::memcpy(begin, head.data(), bytes);
  const ByteView all(begin, bytes + bodies.size());
  return {all, bodies.size(), digest64(all)};
}

void SnapshotBuilder::add_assembled(std::size_t region, std::uint64_t segment,
                                    std::span<const kernels::PageEntry> entries, const Assembled& assembled) {
  State& s = *state_;
  if (s.admit(region, segment, entries, assembled.bodies) == 0) return;
  if (s.sealer) {
    const ByteView sealed = s.seal(assembled.bytes);
    s.record(segment, sealed.size(), digest64(sealed));
    return;
  }
  if (assembled.bytes.size() < append_bytes) {
    s.buffer.append(assembled.bytes);
  } else {
    s.flush();
    s.writer->append(assembled.bytes);
  }
  s.record(segment, assembled.bytes.size(), assembled.digest);
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
  s.writer->commit(s.manifest.base);
  s.result.bytes = s.offset;
  s.result.state = s.manifest.state;
  return s.result;
}

}  // namespace foreweave
