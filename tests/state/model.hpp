#pragma once
// A naive model of a rank: regions as plain bytes, and their snapshots written page by page.

#include <map>
#include <set>

#include "foreweave/state/chain.hpp"
#include "foreweave/state/snapshot.hpp"
#include "support.hpp"

namespace foreweave::test {

struct ModelRegion {
  std::string name;
  ElementType type = ElementType::bytes;
  std::vector<std::uint64_t> extents;
  Bytes content;
  std::optional<GlobalPart> part = {};
};

using ModelRank = std::vector<ModelRegion>;

inline Manifest manifest_of(const ModelRank& regions, SnapshotId id, Version base = 0, Digest128 base_state = {}) {
  Manifest manifest;
  manifest.rank = id.rank;
  manifest.ranks = 16;
  manifest.version = id.version;
  manifest.base = base;
  manifest.base_state = base_state;
  manifest.wall_time_ns = static_cast<std::int64_t>(1000 + id.version);
  manifest.job = "model";
  for (const auto& region : regions) {
    manifest.regions.push_back({region.name, region.type, region.content.size(), region.extents, region.part, {}});
  }
  return manifest;
}

/// Writes `now` as a delta against `before` (or full, when that is null), encoding one page at a time.
inline SnapshotBuilder::Result write_snapshot(Store& store, const Manifest& manifest, const ModelRank& now,
                                              const ModelRank* before, std::shared_ptr<const Key> key = nullptr) {
  SnapshotBuilder builder(store, manifest, key);
  for (std::size_t r = 0; r < now.size(); ++r) {
    const Bytes& content = now[r].content;
    Bytes base = before != nullptr ? (*before)[r].content : Bytes(content.size());
    for (std::uint64_t segment = 0; segment < segment_count(content.size()); ++segment) {
      const std::uint64_t begin = segment * segment_bytes, length = segment_length(content.size(), segment);
      std::vector<kernels::PageEntry> entries(kernels::page_count(length));
      Bytes bodies;
      for (std::uint64_t page = 0; page < entries.size(); ++page) {
        const std::uint64_t at = begin + page * kernels::page_bytes;
        const std::uint64_t bytes = std::min<std::uint64_t>(kernels::page_bytes, begin + length - at);
        Bytes out(kernels::encode_bound(bytes));
        const auto size = kernels::host::encode_pages({.current = content.data() + at,
                                                       .base = base.data() + at,
                                                       .bytes = bytes,
                                                       .shape = page_shape(now[r].type, now[r].extents),
                                                       .update_base = false,
                                                       .out = out.data(),
                                                       .entries = &entries[page]});
        bodies.insert(bodies.end(), out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size));
      }
      builder.add_segment(r, segment, entries, bodies);
    }
  }
  return builder.finish();
}

inline Bytes read_region(const Chain& chain, std::size_t region) {
  Bytes content(chain.manifest().regions[region].bytes, std::byte{0xEE});
  for (std::uint64_t segment = 0; segment < segment_count(content.size()); ++segment) {
    chain.read_segment(region, segment, content.data() + segment * segment_bytes,
                       segment_length(content.size(), segment));
  }
  return content;
}

inline void expect_state(const Chain& chain, const ModelRank& expected) {
  ASSERT_EQ(chain.manifest().regions.size(), expected.size());
  for (std::size_t r = 0; r < expected.size(); ++r) {
    EXPECT_EQ(chain.manifest().regions[r].name, expected[r].name);
    EXPECT_TRUE(read_region(chain, r) == expected[r].content) << "region " << expected[r].name;
  }
}

/// Changes a few runs of bytes, anywhere.
inline void scribble(ModelRank& regions, std::mt19937_64& random, int runs = 4) {
  for (auto& region : regions) {
    if (region.content.empty()) continue;
    for (int run = 0; run < runs; ++run) {
      const std::size_t at = random() % region.content.size();
      const std::size_t length = std::min<std::size_t>(region.content.size() - at, 1 + random() % 20000);
      const int kind = static_cast<int>(random() % 3);
      for (std::size_t i = at; i < at + length; ++i) {
        region.content[i] = kind == 0   ? std::byte{0}
                            : kind == 1 ? static_cast<std::byte>(random())
                                        : region.content[i] ^ std::byte{1};
      }
    }
  }
}

inline ModelRegion random_region(std::string name, std::size_t bytes, std::uint64_t seed,
                                 ElementType type = ElementType::bytes) {
  return {std::move(name), type, {}, random_bytes(bytes, seed)};
}

/// Bytes of a snapshot that is in no store.
class BytesInMemory final : public SnapshotBytes {
 public:
  explicit BytesInMemory(Bytes bytes) : bytes_(std::move(bytes)) {}
  ByteView view() const override { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace foreweave::test
