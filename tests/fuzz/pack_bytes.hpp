#pragma once
// Packs (docs/format.md, "Packs") as a fuzzer needs them: good ones made by the library, and damaged ones whose digests
// are put right.

#include <algorithm>
#include <iterator>

#include "foreweave/state/archive.hpp"
#include "foreweave/state/packed_store.hpp"
#include "fuzz/folder.hpp"
#include "fuzz/snapshot_bytes.hpp"
#include "state/pack_format.hpp"

namespace foreweave::fuzz {

/// What the packs are of.
constexpr SnapshotId pack_id{1, 2};

inline void put(Store& store, SnapshotId as, Version base, ByteView bytes) {
  const auto writer = store.create(as);
  writer->append(bytes);
  writer->commit(base);
}

/// Packs of the sample: archived or not, full ones, deltas, and such that share objects with others.
inline std::vector<Bytes> sample_packs() {
  std::vector<Bytes> packs;
  Folder folder;
  for (const bool archives : {false, true}) {
    for (const bool delta : {false, true}) {
      folder.clear();
      const auto store = make_packed_store({folder.path(), Durability::memory, archives, {}});
      if (delta) put(*store, {1, 1}, 0, sample_snapshot(false));  // of another id: kept as it is, or shared
      put(*store, pack_id, delta ? 1 : 0, sample_snapshot(delta));
      put(*store, {1, 3}, 0, sample_snapshot(false));
      std::vector<std::filesystem::path> files;
      for (const auto& entry : std::filesystem::directory_iterator(folder.path())) files.push_back(entry.path());
      std::sort(files.begin(), files.end());
      for (const auto& path : files) {
        if (path.extension() != ".fwpack") continue;
        std::ifstream file(path, std::ios::binary);
        const std::string text((std::istreambuf_iterator<char>(file)), {});
        packs.push_back(copy_of(std::as_bytes(std::span(text))));
      }
    }
  }
  return packs;
}

/// `bytes` as a pack of that snapshot: header, digests of its objects, footer as they must be, and no other number.
inline Bytes repaired_pack(ByteView bytes) {
  using namespace state_detail;
  Bytes all = copy_of(bytes);
  if (all.size() < header_bytes + footer_bytes) return all;
  Header header;
  header.format = 1;
  header.rank = pack_id.rank;
  header.version = pack_id.version;
  const auto head = write_header(header, pack_kind);
  std::copy(head.begin(), head.end(), all.begin());
  const std::size_t end = all.size() - footer_bytes;
  const std::uint64_t index_bytes = std::min<std::uint64_t>(word_at(all, end + 8), end - header_bytes);
  Footer footer;
  footer.manifest_bytes = index_bytes;
  footer.manifest_offset = end - index_bytes;
  Bytes index(all.begin() + static_cast<std::ptrdiff_t>(footer.manifest_offset), all.begin() + static_cast<std::ptrdiff_t>(end));
  Cursor cursor(index);
  cursor.get<std::uint64_t>();
  const std::uint64_t sources = cursor.get<std::uint32_t>(), objects = cursor.get<std::uint32_t>();
  cursor.skip(8 + 16 * sources);
  static Archiver archiver;
  for (std::uint64_t i = 0; i < objects; ++i) {
    std::byte* const record = cursor.skip(40);
    if (record == nullptr) break;
    std::uint64_t offset;
    std::uint32_t stored, form;
    std::memcpy(&offset, record + 16, 8);
    std::memcpy(&stored, record + 24, 4);
    std::memcpy(&form, record + 36, 4);
    if (offset > all.size() || stored > all.size() - offset) continue;
    Bytes segment = copy_of(ByteView(all).subspan(offset, stored));
    if (form == 1) {
      Bytes plain;
      allow({ErrorCategory::format}, [&] { archiver.unarchive(segment, plain, "input"); });
      segment = std::move(plain);
    }
    const Digest128 digest = digest128(segment);
    const auto size = static_cast<std::uint32_t>(segment.size());
    std::memcpy(record, &digest.low, 8);
    std::memcpy(record + 8, &digest.high, 8);
    std::memcpy(record + 28, &size, 4);
  }
  std::copy(index.begin(), index.end(), all.begin() + static_cast<std::ptrdiff_t>(footer.manifest_offset));
  footer.manifest_digest = digest128(index);
  const Bytes foot = write_footer(footer, pack_kind);
  std::copy(foot.begin(), foot.end(), all.begin() + static_cast<std::ptrdiff_t>(end));
  return all;
}

}  // namespace foreweave::fuzz
