#pragma once
// Snapshots (docs/format.md, "Snapshots") as a fuzzer needs them: good ones made by the library, and damaged ones whose
// digests, offsets and seals are put right, so that what stands behind those is reached.

#include <memory>
#include <optional>

#include "foreweave/state/snapshot.hpp"
#include "fuzz/page_bodies.hpp"
#include "mirror/memory_store.hpp"
#include "state/snapshot_format.hpp"

namespace foreweave::fuzz {

inline const std::shared_ptr<const Key>& fuzz_key() {
  static const auto key = Key::from_hex("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
  return key;
}

/// A small rank with a region of every kind, in a version; the state is drawn from the version.
inline Manifest sample_manifest(Version version, Version base, Digest128 base_state) {
  Manifest manifest;
  manifest.rank = 1;
  manifest.ranks = 4;
  manifest.version = version;
  manifest.base = base;
  manifest.base_state = base_state;
  manifest.wall_time_ns = 1000;
  manifest.job = "fuzz";
  manifest.regions.push_back({"u", ElementType::f64, 2 * 6 * 10 * 8, {2, 6, 10}, GlobalPart{{8, 6, 20}, {2, 0, 4}, {}}, {}});
  manifest.regions.push_back({"ids", ElementType::i32, 600, {}, {}, {}});
  manifest.regions.push_back({"raw", ElementType::bytes, 77, {}, GlobalPart{{200}, {100}, {3}}, {}});
  manifest.regions.push_back({"none", ElementType::u64, 0, {0, 3}, {}, {}});
  return manifest;
}
inline Bytes sample_content(const RegionRecord& region, Version version) {
  Bytes content(region.bytes);
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i * 3 + (i % 8 == 0 ? version : 0));
  return content;
}

/// Writes that version into `store` and returns its state's identity.
inline Digest128 write_sample(Store& store, Version version, Version base, Digest128 base_state,
                              std::shared_ptr<const Key> key = nullptr) {
  const Manifest manifest = sample_manifest(version, base, base_state);
  SnapshotBuilder builder(store, manifest, std::move(key));
  for (std::size_t r = 0; r < manifest.regions.size(); ++r) {
    const auto& region = manifest.regions[r];
    if (region.bytes == 0) continue;
    const Bytes now = sample_content(region, version);
    Bytes before = base == 0 ? Bytes(now.size()) : sample_content(region, base);
    Bytes out(kernels::encode_bound(now.size()));
    std::vector<PageEntry> entries(kernels::page_count(now.size()));
    out.resize(kernels::host::encode_pages({.current = now.data(),
                                            .base = before.data(),
                                            .bytes = now.size(),
                                            .shape = page_shape(region.type, region.extents),
                                            .update_base = false,
                                            .out = out.data(),
                                            .entries = entries.data()}));
    builder.add_segment(r, 0, entries, out);
  }
  return builder.finish().state;
}
/// The bytes of version 2 of the sample, full or a delta.
inline Bytes sample_snapshot(bool delta, std::shared_ptr<const Key> key = nullptr) {
  test::MemoryStore store;
  Digest128 base;
  if (delta) base = write_sample(store, 1, 0, {}, key);
  write_sample(store, 2, delta ? 1 : 0, base, key);
  return *store.find({1, 2});
}

/// Reads scalars in place, as long as there are any.
class Cursor {
 public:
  explicit Cursor(Bytes& bytes) : bytes_(bytes) {}
  template <Scalar T>
  T get() {
    T value{};
    if (std::byte* const at = skip(sizeof value)) std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::byte* skip(std::uint64_t count) {
    if (failed_ || count > bytes_.size() - at_) {
      failed_ = true;
      return nullptr;
    }
    std::byte* const at = bytes_.data() + at_;
    at_ += count;
    return at;
  }
  bool failed() const { return failed_; }

 private:
  Bytes& bytes_;
  std::size_t at_ = 0;
  bool failed_ = false;
};

/// Visits the segment records of a manifest, in order, until something does not fit. visit(the record's 32 bytes).
template <class Visit>
void for_each_record(Bytes& manifest, std::uint16_t format, Visit visit) {
  Cursor cursor(manifest);
  cursor.skip(5 * 4);
  const auto regions = cursor.get<std::uint32_t>();
  cursor.skip(8 + 8 + 16 + 16 + 8);
  cursor.skip(cursor.get<std::uint32_t>());
  for (std::uint32_t r = 0; r < regions && !cursor.failed(); ++r) {
    cursor.skip(cursor.get<std::uint32_t>());
    cursor.get<std::uint8_t>();
    const auto extents = cursor.get<std::uint8_t>();
    cursor.skip(8 + 8u * extents);
    if (format != 1) cursor.skip(24u * cursor.get<std::uint8_t>());
    for (auto left = cursor.get<std::uint64_t>(); left != 0 && !cursor.failed(); --left) {
      if (std::byte* const record = cursor.skip(32)) visit(record);
    }
  }
}

/// Puts the check words of a segment's pages right.
inline void repair_pages(std::span<std::byte> segment) {
  if (segment.size() < 8) return;
  const std::uint64_t bitmap = word_at(segment, 0);
  const auto pages = static_cast<std::size_t>(std::popcount(bitmap));
  std::size_t at = 8 + (pages + pages % 2) * sizeof(PageEntry);
  for (std::size_t page = 0; page < pages && at <= segment.size(); ++page) {
    PageEntry entry;
    std::memcpy(&entry, segment.data() + 8 + 4 * page, 4);
    const std::size_t size = kernels::entry_size(entry);
    if (size < 16 || size > segment.size() - at) return;
    put_check_word(segment.subspan(at, size), kernels::entry_transform(entry));
    at += size;
  }
}

struct Repair {
  bool pages = false;       ///< check words in the segments
  bool seal = false;        ///< sealed with fuzz_key()
  std::uint16_t format = 2;
};

/// `bytes` as a snapshot: magics, digests, offsets and sizes as they must be, all other numbers as they are.
inline Bytes repaired(ByteView bytes, const Repair& how) {
  using namespace state_detail;
  Bytes all = copy_of(bytes);
  if (all.size() < header_bytes + footer_bytes) return all;
  const std::size_t end = all.size() - footer_bytes;
  std::uint64_t manifest_bytes = word_at(all, end + 8);
  if (manifest_bytes > end - header_bytes) manifest_bytes = end - header_bytes;
  const std::size_t manifest_at = end - manifest_bytes;
  Bytes manifest(all.begin() + static_cast<std::ptrdiff_t>(manifest_at), all.begin() + static_cast<std::ptrdiff_t>(end));

  Header header;
  header.format = how.format;
  header.flags = how.seal ? flag_sealed : 0;
  std::memcpy(&header.rank, all.data() + 12, 4);
  std::memcpy(&header.version, all.data() + 16, 8);
  std::memcpy(&header.base, all.data() + 24, 8);
  const auto head = write_header(header);
  Bytes result(head.begin(), head.end());
  std::optional<Sealer> sealer;
  if (how.seal) sealer.emplace(*fuzz_key(), header.salt);

  std::size_t at = header_bytes;
  std::uint64_t piece = 0;
  for_each_record(manifest, how.format, [&](std::byte* record) {
    std::uint64_t size;
    std::memcpy(&size, record + 16, 8);
    size = std::min<std::uint64_t>(size, manifest_at - at);
    std::span<std::byte> segment(all.data() + at, size);
    if (how.pages) repair_pages(segment);
    at += size;
    const std::uint64_t offset = result.size();
    if (sealer) {
      sealer->seal(piece++, segment, head, result);
    } else {
      result.insert(result.end(), segment.begin(), segment.end());
    }
    size = result.size() - offset;
    const std::uint64_t digest = digest64(ByteView(result).subspan(offset));
    std::memcpy(record + 8, &offset, 8);
    std::memcpy(record + 16, &size, 8);
    std::memcpy(record + 24, &digest, 8);
  });
  Footer footer;
  footer.manifest_offset = result.size();
  if (sealer) {
    sealer->seal(manifest_piece, manifest, head, result);
  } else {
    result.insert(result.end(), manifest.begin(), manifest.end());
  }
  footer.manifest_bytes = result.size() - footer.manifest_offset;
  footer.manifest_digest = digest128(ByteView(result).subspan(footer.manifest_offset));
  const Bytes foot = write_footer(footer);
  result.insert(result.end(), foot.begin(), foot.end());
  return result;
}

}  // namespace foreweave::fuzz
