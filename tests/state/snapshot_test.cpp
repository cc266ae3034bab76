// Snapshots: every byte is vouched for, every refusal names the thing, sealed ones open with their key alone.
#include "foreweave/state/snapshot.hpp"

#include <numeric>

#include "model.hpp"
#include "state/snapshot_format.hpp"

namespace foreweave {
namespace {

using namespace test;
using kernels::page_bytes;
using kernels::sector_bytes;

class SnapshotTest : public testing::TestWithParam<bool> {
 protected:
  std::shared_ptr<const Key> key() const { return GetParam() ? key_ : nullptr; }
  const Key* raw_key() const { return key().get(); }
  std::shared_ptr<const Snapshot> parse(Bytes bytes) const {
    return Snapshot::parse(std::make_shared<BytesInMemory>(std::move(bytes)), raw_key(), "the thing");
  }
  /// Full snapshot of these regions, as bytes.
  Bytes full(const ModelRank& regions) {
    write_snapshot(*store_, manifest_of(regions, {2, 7}), regions, nullptr, key());
    return stored_bytes(*store_, {2, 7});
  }
  TemporaryFolder folder_;
  std::unique_ptr<Store> store_ = memory_store(folder_);
  std::shared_ptr<const Key> key_ = Key::random();
};

INSTANTIATE_TEST_SUITE_P(Sealing, SnapshotTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "sealed" : "plain"; });

TEST_P(SnapshotTest, KeepsTheManifest) {
  ModelRank regions{random_region("u", 3 * page_bytes, 1, ElementType::f64), random_region("empty", 0, 2),
                    random_region("flags", 7, 3)};
  regions[0].extents = {6, 32, 32};
  const auto snapshot = parse(full(regions));
  const Manifest& manifest = snapshot->manifest();
  EXPECT_EQ(manifest.rank, 2);
  EXPECT_EQ(manifest.ranks, 16);
  EXPECT_EQ(manifest.version, 7u);
  EXPECT_EQ(manifest.base, 0u);
  EXPECT_EQ(manifest.wall_time_ns, 1007);
  EXPECT_EQ(manifest.job, "model");
  EXPECT_NE(manifest.state, Digest128{});
  ASSERT_EQ(manifest.regions.size(), 3u);
  EXPECT_EQ(manifest.regions[0].extents, (std::vector<std::uint64_t>{6, 32, 32}));
  EXPECT_EQ(manifest.regions[0].type, ElementType::f64);
  EXPECT_EQ(manifest.regions[2].bytes, 7u);
  EXPECT_EQ(manifest.regions[1].segments.size(), 0u);
  snapshot->verify();
}

TEST_P(SnapshotTest, RoundTripsEverySize) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, sector_bytes - 1, sector_bytes, sector_bytes + 1, page_bytes - 1, page_bytes,
        page_bytes + 1, 2 * page_bytes, segment_bytes - 1, segment_bytes, segment_bytes + 1, 3 * segment_bytes - 5}) {
    const ModelRank regions{random_region("a", size, size)};
    full(regions);
    const Chain chain = Chain::open(*store_, {2, 7}, raw_key());
    EXPECT_EQ(chain.length(), 1u);
    expect_state(chain, regions);
  }
}

TEST_P(SnapshotTest, ZerosTakeNoSegments) {
  const ModelRank regions{{"zeros", ElementType::f64, {}, Bytes(3 * segment_bytes)}};
  const auto bytes = full(regions);
  EXPECT_LT(bytes.size(), 512u);
  expect_state(Chain::open(*store_, {2, 7}, raw_key()), regions);
}

TEST_P(SnapshotTest, ReportsWhatItWrote) {
  ModelRank before{random_region("a", 5 * page_bytes, 1), random_region("b", 2 * segment_bytes, 2)};
  const auto first = write_snapshot(*store_, manifest_of(before, {0, 1}), before, nullptr, key());
  EXPECT_EQ(first.dirty_pages, 5u + 128u);
  EXPECT_EQ(first.bytes, store_->list()[0].bytes);
  EXPECT_EQ(std::accumulate(first.pages_by_transform.begin(), first.pages_by_transform.end(), 0ull), 133u);
  ModelRank after = before;
  after[1].content[segment_bytes + 3 * page_bytes] ^= std::byte{1};
  const auto second = write_snapshot(*store_, manifest_of(after, {0, 2}, 1, first.state), after, &before, key());
  EXPECT_EQ(second.dirty_pages, 1u);
  EXPECT_LT(second.bytes, 2 * page_bytes);
  EXPECT_NE(second.state, first.state);
  EXPECT_EQ(store_->list()[1].base, 1u);
}

TEST_P(SnapshotTest, EveryFlippedBitOfEveryByteIsFound) {
  const ModelRank regions{random_region("first", 700, 1), random_region("second", page_bytes + 9, 2)};
  const auto good = full(regions);
  parse(good)->verify();
  for (std::size_t at = 0; at < good.size(); ++at) {
    auto bytes = good;
    bytes[at] ^= std::byte(1 << at % 8);
    try {
      parse(bytes)->verify();
      ADD_FAILURE() << "byte " << at << " of " << good.size() << " was changed and nobody saw it";
    } catch (const Error& error) {
      EXPECT_EQ(error.category(), ErrorCategory::format) << error.what();
      EXPECT_NE(std::string(error.what()).find("the thing"), std::string::npos) << error.what();
    }
  }
}

TEST_P(SnapshotTest, EveryTruncationIsFound) {
  const auto good = full({random_region("first", 700, 1), random_region("second", 300, 2)});
  for (std::size_t length = 0; length < good.size(); ++length) {
    expect_error(ErrorCategory::format, {"the thing"},
                 [&] { parse(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)))->verify(); });
  }
  auto longer = good;
  longer.push_back(std::byte{0});
  expect_error(ErrorCategory::format, {"the thing"}, [&] { parse(longer); });
}

TEST_P(SnapshotTest, ForeignBytesAreNotASnapshot) {
  for (const std::size_t size : {8, 63, 64, 127, 128, 5000}) {
    expect_error(ErrorCategory::format, {"the thing", "not a Foreweave snapshot"},
                 [&] { parse(random_bytes(size, size)); });
  }
  expect_error(ErrorCategory::format, {"the thing", "not a Foreweave snapshot"}, [&] { parse(Bytes(5000)); });
  expect_error(ErrorCategory::format, {"the thing", "truncated"}, [&] { parse({}); });
}

TEST_P(SnapshotTest, DamageInASegmentNamesRegionAndSegment) {
  ModelRank regions{random_region("pressure", 2 * segment_bytes, 1)};
  auto bytes = full(regions);
  const auto record = parse(bytes)->manifest().regions[0].segments[1];
  bytes[record.offset + 1000] ^= std::byte{4};
  const auto snapshot = parse(bytes);
  Bytes data(segment_bytes);
  snapshot->apply(0, 0, data.data(), data.size());
  expect_error(ErrorCategory::format, {"the thing", "segment 1", "'pressure'", "damaged"},
               [&] { snapshot->apply(0, 1, data.data(), data.size()); });
  expect_error(ErrorCategory::argument, {"segment 0", "100"}, [&] { snapshot->apply(0, 0, data.data(), 100); });
}

TEST_P(SnapshotTest, BuilderRefusesWhatDoesNotFit) {
  const ModelRank regions{random_region("a", 3 * segment_bytes, 1), random_region("b", 10, 1)};
  const auto manifest = manifest_of(regions, {0, 1});
  std::vector<kernels::PageEntry> clean(pages_per_segment);
  {
    SnapshotBuilder builder(*store_, manifest, key());
    builder.add_segment(0, 1, clean, {});
    expect_error(ErrorCategory::argument, {"ascending"}, [&] { builder.add_segment(0, 1, clean, {}); });
    expect_error(ErrorCategory::argument, {"ascending"}, [&] { builder.add_segment(0, 0, clean, {}); });
    expect_error(ErrorCategory::argument, {"no such segment"}, [&] { builder.add_segment(0, 3, clean, {}); });
    expect_error(ErrorCategory::argument, {"no such segment"}, [&] { builder.add_segment(2, 0, clean, {}); });
    expect_error(ErrorCategory::argument, {"64 entries for 1"}, [&] { builder.add_segment(1, 0, clean, {}); });
    auto entries = clean;
    entries[3] = kernels::make_entry(24, kernels::Transform::raw);
    expect_error(ErrorCategory::argument, {"entries for 24"}, [&] { builder.add_segment(0, 2, entries, {}); });
    entries[3] = 24 | 77u << 24;
    expect_error(ErrorCategory::argument, {"unknown transform"},
                 [&] { builder.add_segment(0, 2, entries, Bytes(24)); });
    builder.finish();
    expect_error(ErrorCategory::state, {"finished"}, [&] { builder.finish(); });
    expect_error(ErrorCategory::state, {"finished"}, [&] { builder.add_segment(1, 0, clean, {}); });
  }
  const auto refused = [&](const std::string& word, auto change) {
    auto bad = manifest;
    change(bad);
    expect_error(ErrorCategory::argument, {word}, [&] { SnapshotBuilder(*store_, bad, key()).finish(); });
  };
  refused("rank 16 of 16", [](Manifest& m) { m.rank = 16; });
  refused("version 0", [](Manifest& m) { m.version = 0; });
  refused("delta against version 1", [](Manifest& m) { m.base = 1; });
  refused("twice", [](Manifest& m) { m.regions[1].name = "a"; });
  refused("without a name", [](Manifest& m) { m.regions[1].name = ""; });
  refused("255", [](Manifest& m) { m.regions[1].name = std::string(256, 'x'); });
  refused("extents multiply to 6", [](Manifest& m) { m.regions[1].extents = {2, 3}; });
  refused("whole number of elements", [](Manifest& m) { m.regions[1].type = ElementType::f64; });
  refused("unknown element type", [](Manifest& m) { m.regions[1].type = ElementType{9}; });
  refused("impossible extents", [](Manifest& m) { m.regions[1].extents = {1ull << 40, 1ull << 40}; });
  refused("identity", [](Manifest& m) { m.version = 2, m.base = 1; });
}

TEST_P(SnapshotTest, DestroyingABuilderLeavesNothing) {
  const ModelRank regions{random_region("a", 4 * segment_bytes, 1)};
  const auto before = folder_.files();
  {
    SnapshotBuilder builder(*store_, manifest_of(regions, {0, 1}), key());
    Bytes out(kernels::encode_bound(segment_bytes));
    std::vector<kernels::PageEntry> entries(pages_per_segment);
    for (std::uint64_t segment = 0; segment < 3; ++segment) {
      const auto size = kernels::host::encode_pages({.current = regions[0].content.data() + segment * segment_bytes,
                                                     .bytes = segment_bytes,
                                                     .shape = {.width = 1},
                                                     .out = out.data(),
                                                     .entries = entries.data()});
      builder.add_segment(0, segment, entries, ByteView(out).first(size));
    }
  }
  EXPECT_EQ(folder_.files(), before);
}

TEST_P(SnapshotTest, RegionsBeyondFourGibibytes) {
  // Two segments past 4 GiB, the last one short; no memory for the rest is needed.
  const std::uint64_t size = (std::uint64_t{5} << 30) + 3 * page_bytes + 3;
  Manifest manifest = manifest_of({}, {0, 1});
  manifest.regions.push_back({"large", ElementType::bytes, size, {}, {}, {}});
  const std::uint64_t middle = 4500, last = segment_count(size) - 1;
  std::map<std::uint64_t, Bytes> content;
  {
    SnapshotBuilder builder(*store_, manifest, key());
    for (const auto segment : {middle, last}) {
      const Bytes& bytes = content[segment] = random_bytes(segment_length(size, segment), segment);
      std::vector<kernels::PageEntry> entries(kernels::page_count(bytes.size()));
      std::byte* const room = builder.segment_room();
      const auto encoded = kernels::host::encode_pages({.current = bytes.data(),
                                                        .bytes = bytes.size(),
                                                        .shape = {.width = 1},
                                                        .out = room,
                                                        .entries = entries.data()});
      builder.add_segment(0, segment, entries, {room, encoded});
    }
    builder.finish();
  }
  const Chain chain = Chain::open(*store_, {0, 1}, raw_key());
  EXPECT_EQ(chain.manifest().regions[0].bytes, size);
  for (const auto& [segment, bytes] : content) {
    Bytes data(bytes.size(), std::byte{1});
    chain.read_segment(0, segment, data.data(), data.size());
    EXPECT_TRUE(data == bytes) << "segment " << segment;
  }
  Bytes zeros(segment_bytes, std::byte{1});
  chain.read_segment(0, middle - 4096, zeros.data(), zeros.size());
  EXPECT_TRUE(zeros == Bytes(segment_bytes)) << "4 GiB below";
}

TEST(SealedSnapshot, NeedsItsKey) {
  const TemporaryFolder folder;
  const auto store = memory_store(folder);
  const auto key = Key::random();
  const ModelRank regions{random_region("secret-name", 5000, 1)};
  write_snapshot(*store, manifest_of(regions, {0, 1}), regions, nullptr, key);
  write_snapshot(*store, manifest_of(regions, {0, 2}), regions, nullptr, nullptr);
  const auto parse = [&](Version version, const Key* with) {
    return Snapshot::parse(store->open({0, version}), with, "the thing");
  };
  parse(1, key.get())->verify();
  expect_error(ErrorCategory::security, {"the thing", "no key"}, [&] { parse(1, nullptr); });
  expect_error(ErrorCategory::security, {"the thing", "wrong key"}, [&] { parse(1, Key::random().get()); });
  expect_error(ErrorCategory::security, {"the thing", "not sealed"}, [&] { parse(2, key.get()); });
  // Nothing readable is left in it.
  const auto bytes = stored_bytes(*store, {0, 1});
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  EXPECT_EQ(text.find("secret-name"), std::string::npos);
  EXPECT_EQ(text.find("model"), std::string::npos);
  // The same state twice does not give the same bytes.
  write_snapshot(*store, manifest_of(regions, {0, 1}), regions, nullptr, key);
  EXPECT_NE(bytes, stored_bytes(*store, {0, 1}));
}

TEST(SealedSnapshot, AChangeWithMatchingDigestsIsStillFound) {
  // Whoever has no key can mend every digest after a change, but not the seal.
  const TemporaryFolder folder;
  const auto store = memory_store(folder);
  const auto key = Key::random();
  const ModelRank regions{random_region("a", 5000, 1)};
  write_snapshot(*store, manifest_of(regions, {0, 1}), regions, nullptr, key);
  auto bytes = stored_bytes(*store, {0, 1});
  using namespace state_detail;
  auto footer = read_footer(ByteView(bytes).last(footer_bytes), bytes.size(), "x");
  bytes[footer.manifest_offset + 20] ^= std::byte{1};
  footer.manifest_digest = digest128(ByteView(bytes).subspan(footer.manifest_offset, footer.manifest_bytes));
  const auto mended = write_footer(footer);
  std::copy(mended.begin(), mended.end(), bytes.end() - footer_bytes);
  expect_error(ErrorCategory::security, {"the thing", "does not verify"},
               [&] { Snapshot::parse(std::make_shared<BytesInMemory>(bytes), key.get(), "the thing"); });
  // Another version in the header, digest mended: the header is part of every seal.
  bytes = stored_bytes(*store, {0, 1});
  auto header = read_header(ByteView(bytes).first(header_bytes), bytes.size(), "x");
  header.version = 9;
  const auto other = write_header(header);
  std::copy(other.begin(), other.end(), bytes.begin());
  expect_error(ErrorCategory::security, {"the thing"},
               [&] { Snapshot::parse(std::make_shared<BytesInMemory>(bytes), key.get(), "the thing"); });
}

TEST(Snapshot, ManifestsThatLieAreRefused) {
  // Digests are right, the numbers are not: what a broken or hostile writer could send.
  const TemporaryFolder folder;
  const auto store = memory_store(folder);
  const ModelRank regions{random_region("a", 2 * segment_bytes + 100, 1)};
  write_snapshot(*store, manifest_of(regions, {0, 1}), regions, nullptr);
  const auto good = stored_bytes(*store, {0, 1});
  using namespace state_detail;
  const auto footer = read_footer(ByteView(good).last(footer_bytes), good.size(), "x");
  const Manifest honest = read_manifest(ByteView(good).subspan(footer.manifest_offset, footer.manifest_bytes),
                                        footer.manifest_offset, snapshot_format_version, "x");
  const auto refused = [&](auto change) {
    Manifest lie = honest;
    change(lie);
    const auto manifest = write_manifest(lie);
    Bytes bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(footer.manifest_offset));
    bytes.insert(bytes.end(), manifest.begin(), manifest.end());
    const auto end = write_footer({footer.manifest_offset, manifest.size(), digest128(manifest)});
    bytes.insert(bytes.end(), end.begin(), end.end());
    expect_error(ErrorCategory::format, {"the thing"},
                 [&] { Snapshot::parse(std::make_shared<BytesInMemory>(bytes), nullptr, "the thing")->verify(); });
  };
  refused([](Manifest& m) { m.rank = 5; });
  refused([](Manifest& m) { m.version = 5; });
  refused([](Manifest& m) { m.base = 1; });
  refused([](Manifest& m) { m.base_state = {1, 1}; });
  refused([](Manifest& m) { m.state = {}; });
  refused([](Manifest& m) { m.regions[0].name = ""; });
  refused([](Manifest& m) { m.regions[0].bytes = ~0ull; });
  refused([](Manifest& m) { m.regions[0].bytes = 100; });
  refused([](Manifest& m) { m.regions[0].type = ElementType{77}; });
  refused([](Manifest& m) { m.regions[0].extents = {1, 2, 3}; });
  refused([](Manifest& m) { m.regions[0].extents.assign(17, 1); });
  refused([](Manifest& m) { m.regions[0].part = GlobalPart{{9, 9}, {0, 0}, {}}; });
  refused([](Manifest& m) { m.regions[0].part = GlobalPart{{9}, {0}, {}}; });
  refused([](Manifest& m) { m.regions[0].part = GlobalPart{{~0ull}, {~0ull}, {}}; });
  refused([](Manifest& m) { m.regions[0].part = GlobalPart{{~0ull}, {0}, {~0ull}}; });
  refused([](Manifest& m) { m.regions[0].segments.pop_back(); });
  refused([](Manifest& m) { std::swap(m.regions[0].segments[0], m.regions[0].segments[1]); });
  refused([](Manifest& m) { m.regions[0].segments[0].offset = 0; });
  refused([](Manifest& m) { m.regions[0].segments[0].offset = ~0ull; });
  refused([](Manifest& m) { m.regions[0].segments[0].bytes = ~0ull; });
  refused([](Manifest& m) { m.regions[0].segments[0].bytes = 0; });
  refused([](Manifest& m) { m.regions[0].segments[2].index = 3; });
  refused([](Manifest& m) { m.regions[0].segments[1].index = 0; });
  refused([](Manifest& m) { m.regions[0].segments[1].digest ^= 1; });
  refused([](Manifest& m) { m.regions.push_back(m.regions[0]); });
  // The unchanged one passes the same way.
  Bytes bytes(good);
  Snapshot::parse(std::make_shared<BytesInMemory>(bytes), nullptr, "the thing")->verify();
}

TEST(Snapshot, SegmentsThatLieAreRefused) {
  // One segment whose digest is right and whose content is anything: no reading or writing past the end.
  const TemporaryFolder folder;
  const auto store = memory_store(folder);
  const ModelRank regions{random_region("a", 3 * page_bytes + 100, 1)};
  write_snapshot(*store, manifest_of(regions, {0, 1}), regions, nullptr);
  const auto good = stored_bytes(*store, {0, 1});
  using namespace state_detail;
  const auto footer = read_footer(ByteView(good).last(footer_bytes), good.size(), "x");
  const Manifest honest = read_manifest(ByteView(good).subspan(footer.manifest_offset, footer.manifest_bytes),
                                        footer.manifest_offset, snapshot_format_version, "x");
  const auto segment = ByteView(good).subspan(header_bytes, honest.regions[0].segments[0].bytes);
  int applied = 0;
  const auto with_segment = [&](Bytes content) {
    Manifest manifest = honest;
    manifest.regions[0].segments[0].bytes = content.size();
    manifest.regions[0].segments[0].digest = digest64(content);
    const auto tail = write_manifest(manifest);
    Bytes bytes(good.begin(), good.begin() + header_bytes);
    bytes.insert(bytes.end(), content.begin(), content.end());
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    const auto end = write_footer({header_bytes + content.size(), tail.size(), digest128(tail)});
    bytes.insert(bytes.end(), end.begin(), end.end());
    Bytes data(regions[0].content.size());
    try {
      Snapshot::parse(std::make_shared<BytesInMemory>(bytes), nullptr, "the thing")
          ->apply(0, 0, data.data(), data.size());
      ++applied;
    } catch (const Error& error) {
      EXPECT_EQ(error.category(), ErrorCategory::format) << error.what();
    }
  };
  with_segment(Bytes(segment.begin(), segment.end()));
  EXPECT_EQ(applied, 1);
  for (std::size_t length = 1; length < segment.size(); length += length < 300 ? 1 : 997) {
    with_segment(Bytes(segment.begin(), segment.begin() + static_cast<std::ptrdiff_t>(length)));
  }
  EXPECT_EQ(applied, 1) << "a truncated segment was taken";
  // Bitmap and entries: every bit. (A flip there cannot give another valid segment.)
  for (std::size_t bit = 0; bit < 8 * (8 + 4 * 4); ++bit) {
    Bytes damaged(segment.begin(), segment.end());
    damaged[bit / 8] ^= std::byte(1 << bit % 8);
    with_segment(damaged);
  }
  EXPECT_EQ(applied, 1) << "a segment with a lying head was taken";
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    Bytes damaged(segment.begin(), segment.end());
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
      damaged[random() % damaged.size()] ^= static_cast<std::byte>(1 + random() % 255);
    }
    with_segment(damaged);
  }
  EXPECT_LE(applied, 2) << "check words should find nearly all of these";
}

}  // namespace
}  // namespace foreweave
