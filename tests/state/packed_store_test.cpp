// Packs: the bytes that were put in come out, each content is there once, goes when nobody needs it, and damage costs no
// more than what is damaged. FOREWEAVE_WRITE_GOLDEN=1 writes the kept files anew: only when the format's number changes.
#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <thread>

#include "foreweave/state/packed_store.hpp"
#include "model.hpp"
#include "state/pack_reader.hpp"

namespace foreweave {
namespace {

using namespace test;
using state_detail::parse_objects_name;
using state_detail::parse_snapshot_file_name;

/// Segments that are noise, so that their size is known, and alike where their seeds are.
ModelRegion region_of(const std::string& name, const std::vector<std::uint64_t>& seeds, std::size_t last = segment_bytes) {
  ModelRegion region{name, ElementType::bytes, {}, {}};
  for (std::size_t i = 0; i < seeds.size(); ++i) {
    const auto segment = random_bytes(i + 1 == seeds.size() ? last : segment_bytes, seeds[i]);
    region.content.insert(region.content.end(), segment.begin(), segment.end());
  }
  return region;
}

/// As the bytes of a full snapshot.
Bytes snapshot_of(const ModelRank& regions, SnapshotId id, std::shared_ptr<const Key> key = nullptr) {
  const TemporaryFolder folder;
  const auto store = memory_store(folder);
  write_snapshot(*store, manifest_of(regions, id), regions, nullptr, std::move(key));
  return stored_bytes(*store, id);
}

std::unique_ptr<PackedStore> packed(const TemporaryFolder& folder, bool archive = false,
                                    std::function<void(std::uint64_t)> pace = {}) {
  return make_packed_store({.folder = folder.path(), .archive = archive, .pace = std::move(pace)});
}

PackedSize put_packed(PackedStore& store, SnapshotId id, const Bytes& bytes, Version base = 0) {
  return store.put(id, base, BytesInMemory(bytes));
}

int count_files(const TemporaryFolder& folder, bool kept) {
  int count = 0;
  for (const auto& file : folder.files()) {
    if (kept ? parse_objects_name(file).has_value() : parse_snapshot_file_name(file).has_value()) ++count;
  }
  return count;
}

TEST(PackedStore, EqualSegmentsAreThereOnceAcrossVersionsRanksAndRegions) {
  const TemporaryFolder folder("/tmp");
  const auto store = packed(folder);
  const auto first = snapshot_of({region_of("a", {1, 2, 2}), region_of("b", {2, 3}, 777)}, {0, 1});
  const auto size = put_packed(*store, {0, 1}, first);
  EXPECT_EQ(size.snapshot, first.size());
  // 1, 2 and 3, where 3 is short.
  EXPECT_NEAR(static_cast<double>(size.unique), 2.0 * segment_bytes + 777, 10000);
  EXPECT_NEAR(static_cast<double>(size.stored), static_cast<double>(size.unique), 1000);
  const auto second = snapshot_of({region_of("a", {1, 2, 4})}, {7, 2});
  EXPECT_NEAR(static_cast<double>(put_packed(*store, {7, 2}, second).unique), segment_bytes, 10000);
  const auto third = snapshot_of({region_of("c", {4, 1, 3}, 777)}, {0, 3});
  EXPECT_LT(put_packed(*store, {0, 3}, third).unique, 10000u);
  EXPECT_EQ(stored_bytes(*store, {0, 1}), first);
  EXPECT_EQ(stored_bytes(*store, {7, 2}), second);
  EXPECT_EQ(stored_bytes(*store, {0, 3}), third);
  EXPECT_LT(store->bytes(), 3 * segment_bytes + 40000);
  const auto told = store->packed_size({7, 2});
  ASSERT_TRUE(told);
  EXPECT_EQ(told->snapshot, second.size());
  EXPECT_EQ(told->stored, std::filesystem::file_size(folder.path() / folder.files().back()));
}

TEST(PackedStore, WhatIsNeededStaysAndTheRestOfItsRoomIsGivenBack) {
  const TemporaryFolder folder;   // tmpfs punches holes
  const auto store = packed(folder);
  const auto first = snapshot_of({region_of("a", {1, 2, 3, 4})}, {0, 1});
  const auto second = snapshot_of({region_of("a", {9, 2, 8, 9})}, {0, 2});
  put_packed(*store, {0, 1}, first);
  put_packed(*store, {0, 2}, second);
  const auto reader = store->open({0, 1});
  store->erase({0, 1});
  EXPECT_EQ(store->open({0, 1}), nullptr);
  EXPECT_EQ(store->list().size(), 1u);
  EXPECT_EQ(count_files(folder, true), 1);
  EXPECT_EQ(stored_bytes(*store, {0, 2}), second);
  EXPECT_TRUE(std::ranges::equal(reader->view(), first)) << "who reads it keeps it whole";
  const auto third = snapshot_of({region_of("a", {3, 2})}, {0, 3});
  EXPECT_NEAR(static_cast<double>(put_packed(*store, {0, 3}, third).unique), segment_bytes, 10000)
      << "3 is nobody's any more, though it may still be there";
  store->erase({0, 2});
  EXPECT_EQ(stored_bytes(*store, {0, 3}), third);
  EXPECT_EQ(count_files(folder, true), 1);
  store->erase({0, 3});
  EXPECT_EQ(count_files(folder, true), 0);
  EXPECT_EQ(store->bytes(), 0u);
}

TEST(PackedStore, HolesArePunchedWhenNobodyReads) {
  const TemporaryFolder folder;
  const auto store = packed(folder);
  put_packed(*store, {0, 1}, snapshot_of({region_of("a", {1, 2, 3, 4, 5, 6, 7, 8})}, {0, 1}));
  const auto second = snapshot_of({region_of("a", {2})}, {0, 2});
  put_packed(*store, {0, 2}, second);
  EXPECT_GT(store->bytes(), 8 * segment_bytes);
  store->erase({0, 1});
  EXPECT_LT(store->bytes(), 2 * segment_bytes);
  EXPECT_EQ(stored_bytes(*store, {0, 2}), second);
}

TEST(PackedStore, SealedSnapshotsAndOtherBytesAreKeptAsTheyAre) {
  const TemporaryFolder folder("/tmp");
  const auto store = packed(folder, true);
  const auto key = Key::random();
  const auto sealed = snapshot_of({region_of("a", {1, 1})}, {0, 1}, key);
  EXPECT_EQ(put_packed(*store, {0, 1}, sealed).stored, sealed.size());
  const auto other = snapshot_of({region_of("a", {1, 1})}, {0, 1});
  put(*store, {0, 2}, other);   // not what its id says
  EXPECT_EQ(stored_bytes(*store, {0, 1}), sealed);
  EXPECT_EQ(stored_bytes(*store, {0, 2}), other);
  EXPECT_FALSE(store->packed_size({0, 1}));
  // What an earlier Foreweave left in the folder.
  const auto plain = make_directory_store({folder.path(), Durability::disk, 0});
  put(*plain, {0, 3}, random_bytes(5000, 3), 1);
  EXPECT_EQ(stored_bytes(*store, {0, 3}), random_bytes(5000, 3));
  EXPECT_EQ(store->list().size(), 3u);
  EXPECT_EQ(store->list()[2].base, 1u);
}

TEST(PackedStore, DamagedSnapshotsAreNotTakenForGoodOnes) {
  const TemporaryFolder folder("/tmp");
  const auto store = packed(folder);
  auto bytes = snapshot_of({region_of("field", {1, 2, 3})}, {0, 1});
  bytes[segment_bytes + 5000] ^= std::byte{1};
  expect_error(ErrorCategory::format, {"rank 0 version 1", "segment 1", "field"},
               [&] { put_packed(*store, {0, 1}, bytes); });
  bytes.resize(bytes.size() - 10);
  expect_error(ErrorCategory::format, {"rank 0 version 1"}, [&] { put_packed(*store, {0, 1}, bytes); });
  EXPECT_TRUE(store->list().empty());
}

/// A rank of a few regions that changes a little between versions, and falls back to what it was.
class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed) {}

  std::uint64_t pick(std::uint64_t below) { return random_() % below; }

  Bytes snapshot(SnapshotId id, std::shared_ptr<const Key> key) {
    ModelRank regions;
    for (const char* name : {"u", "v", "index"}) {
      std::vector<std::uint64_t> seeds;
      for (auto segments = 1 + pick(3); segments > 0; --segments) seeds.push_back(pick(6));
      regions.push_back(region_of(name, seeds, pick(4) == 0 ? 1 + pick(5000) : 100000));
      // Noise does not shrink, this does.
      if (name[0] == 'i') std::fill(regions.back().content.begin(), regions.back().content.end(), std::byte(pick(3)));
    }
    return snapshot_of(regions, id, std::move(key));
  }

 private:
  std::mt19937_64 random_;
};

TEST(PackedStore, AnySeriesOfCallsIsThatOfAMap) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const TemporaryFolder folder;
    Model model(seed);
    std::map<SnapshotId, std::pair<Version, Bytes>> expected;
    auto store = packed(folder, seed % 2 == 0);
    const auto key = Key::random();
    for (int step = 0; step < 40; ++step) {
      const SnapshotId id{static_cast<Rank>(model.pick(3)), 1 + model.pick(6)};
      switch (model.pick(6)) {
        case 0:
          store->erase(id);
          expected.erase(id);
          break;
        case 1:
          store = packed(folder, model.pick(2) == 0);
          break;
        case 2: {
          auto bytes = random_bytes(model.pick(100000), model.pick(1000));
          put(*store, id, bytes, id.version - 1);
          expected[id] = {id.version - 1, std::move(bytes)};
          break;
        }
        default: {
          auto bytes = model.snapshot(id, model.pick(8) == 0 ? key : nullptr);
          if (model.pick(2) == 0) {
            put_packed(*store, id, bytes);
          } else {
            put(*store, id, bytes);
          }
          expected[id] = {0, std::move(bytes)};
        }
      }
      const auto list = store->list();
      ASSERT_EQ(list.size(), expected.size());
      std::size_t i = 0;
      for (const auto& [at, what] : expected) {
        ASSERT_EQ(list[i].id, at);
        ASSERT_EQ(list[i].base, what.first);
        ++i;
        if (model.pick(4) == 0) {
          ASSERT_EQ(stored_bytes(*store, at), what.second) << to_string(at);
        }
      }
    }
    for (const auto& [at, what] : expected) {
      ASSERT_EQ(stored_bytes(*store, at), what.second) << to_string(at);
      // In pieces of any size, too.
      const auto bytes = store->open(at);
      Bytes scratch;
      for (int read = 0; read < 20; ++read) {
        const auto offset = model.pick(what.second.size() + 1), count = model.pick(what.second.size() - offset + 1);
        ASSERT_TRUE(std::ranges::equal(bytes->read(offset, count, scratch), ByteView(what.second).subspan(offset, count)));
      }
    }
    store->clear();
    EXPECT_EQ(count_files(folder, false) + count_files(folder, true), 0);
  }
}

TEST(PackedStore, DamageCostsWhatIsDamagedAndWhoSharesItAndIsNeverReadAsGood) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const TemporaryFolder folder;
    Model model(100 + seed);
    std::map<SnapshotId, Bytes> expected;
    auto store = packed(folder, seed % 2 == 0);
    for (Version version = 1; version <= 8; ++version) {
      expected[{0, version}] = model.snapshot({0, version}, nullptr);
      put_packed(*store, {0, version}, expected[{0, version}]);
    }
    for (const Version version : {1, 2, 5}) {
      store->erase({0, version});
      expected.erase({0, version});
    }
    // Who has something in which file.
    std::map<std::string, std::set<SnapshotId>> users;
    const auto files = folder.files();
    for (const auto& file : files) {
      const auto name = parse_snapshot_file_name(file);
      if (!name) continue;
      const auto pack = state_detail::open_pack(state_detail::StoreFolder(folder.path(), Durability::disk), *name->pack);
      users[file].insert(name->id);
      for (const auto& source : state_detail::read_pack_index(pack->view(), name->id, *name->pack, file).sources) {
        for (const auto& other : files) {
          const auto listed = parse_snapshot_file_name(other);
          if (parse_objects_name(other) == source || (listed && listed->pack == source)) users[other].insert(name->id);
        }
      }
    }
    for (const auto& [file, sharers] : users) {
      const auto path = folder.path() / file;
      std::ifstream in(path, std::ios::binary);
      const std::string good((std::istreambuf_iterator<char>(in)), {});
      for (int damage = 0; damage < 12; ++damage) {
        std::string bad = good;
        if (damage == 0) bad.clear();
        else if (damage < 4) bad.resize(model.pick(good.size()));
        else if (damage == 4) bad = "a foreign file";
        else if (damage < 8) bad[good.size() - 1 - model.pick(std::min<std::size_t>(good.size(), 4000))] ^= 4;
        else bad[model.pick(good.size())] ^= 1;
        std::filesystem::remove(path);   // a new file: the store may have the old one mapped
        if (damage != 11) std::ofstream(path, std::ios::binary) << bad;
        const auto again = packed(folder);
        for (const auto& [id, bytes] : expected) {
          try {
            const auto opened = again->open(id);
            if (!opened) {
              EXPECT_TRUE(sharers.contains(id) && damage == 11) << to_string(id) << " is gone";
              continue;
            }
            Snapshot::parse(opened, nullptr, "x")->verify();
            EXPECT_TRUE(std::ranges::equal(opened->view(), bytes)) << to_string(id) << " is another";
          } catch (const Error& error) {
            EXPECT_EQ(to_string(error.category()), to_string(ErrorCategory::format)) << error.what();
            EXPECT_TRUE(sharers.contains(id)) << to_string(id) << " does not share " << file << ": " << error.what();
          }
        }
        std::filesystem::remove(path);
        std::ofstream(path, std::ios::binary) << good;
      }
    }
    // Nothing that is shared was taken away on the way.
    const auto whole = packed(folder);
    for (const auto& [id, bytes] : expected) EXPECT_EQ(stored_bytes(*whole, id), bytes);
  }
}

TEST(PackedStore, NothingIsCollectedWhileANeedIsUnknown) {
  const TemporaryFolder folder;
  const auto store = packed(folder);
  put_packed(*store, {0, 1}, snapshot_of({region_of("a", {1, 2})}, {0, 1}));
  const auto second = snapshot_of({region_of("a", {1})}, {0, 2});
  put_packed(*store, {0, 2}, second);
  store->erase({0, 1});
  ASSERT_EQ(count_files(folder, true), 1);
  const auto file = folder.path() / folder.files().back();
  ASSERT_TRUE(parse_snapshot_file_name(file.filename().string()));
  std::filesystem::rename(file, folder.path() / "aside");
  std::ofstream(file) << "unreadable";
  {
    const auto again = packed(folder);
    put_packed(*again, {0, 3}, snapshot_of({region_of("a", {5})}, {0, 3}));
    again->erase({0, 3});
    EXPECT_EQ(count_files(folder, true), 2) << "it might be that of the third, too";
  }
  std::filesystem::rename(folder.path() / "aside", file);
  const auto again = packed(folder);
  EXPECT_EQ(stored_bytes(*again, {0, 2}), second);
  put_packed(*again, {0, 4}, second);
  again->erase({0, 4});
  EXPECT_EQ(count_files(folder, true), 1);
}

TEST(PackedStore, AFullDiskIsAnErrorAndLeavesNothing) {
  const TemporaryFolder folder("/tmp");
  const auto store = packed(folder);
  const auto first = snapshot_of({region_of("a", {1}, 1000)}, {0, 1});
  put_packed(*store, {0, 1}, first);
  const auto before = folder.files();
  const auto second = snapshot_of({region_of("a", {2, 3})}, {0, 2});
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {rlim_t{0}, rlim_t{100}, rlim_t{segment_bytes}, rlim_t{second.size()}}) {
    rlimit small = old;
    small.rlim_cur = limit;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    expect_error(ErrorCategory::io, {"rank 0 version 2", folder.path().string()},
                 [&] { put_packed(*store, {0, 2}, second); });
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
    EXPECT_EQ(folder.files(), before);
  }
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(stored_bytes(*store, {0, 1}), first);
  put_packed(*store, {0, 2}, second);
  EXPECT_EQ(stored_bytes(*store, {0, 2}), second);
}

TEST(PackedStore, PaceIsToldEveryByteAndMayEndTheWrite) {
  const TemporaryFolder folder("/tmp");
  std::uint64_t told = 0, limit = ~std::uint64_t{0};
  const auto store = packed(folder, false, [&](std::uint64_t bytes) {
    EXPECT_LE(bytes, std::uint64_t{1} << 20);
    told += bytes;
    if (told > limit) throw Error(ErrorCategory::state, "flush", "enough");
  });
  const auto bytes = snapshot_of({region_of("a", {1, 2, 3})}, {0, 1});
  EXPECT_EQ(put_packed(*store, {0, 1}, bytes).stored, told);
  const auto before = folder.files();
  limit = told + 2 * segment_bytes;
  const auto other = snapshot_of({region_of("a", {4, 5, 6, 7})}, {0, 2});
  expect_error(ErrorCategory::state, {"enough"}, [&] { put_packed(*store, {0, 2}, other); });
  EXPECT_EQ(folder.files(), before);
}

TEST(PackedStore, ManyThreadsAndStoresInOneFolder) {
  const TemporaryFolder folder;
  std::vector<std::thread> threads;
  std::atomic<int> opened{0};
  std::vector<std::vector<Bytes>> contents;
  for (int thread = 0; thread < 4; ++thread) {
    Model model(7 + static_cast<std::uint64_t>(thread));
    contents.emplace_back();
    for (Version version = 1; version <= 12; ++version) contents.back().push_back(model.snapshot({thread, version}, nullptr));
  }
  const auto shared = packed(folder, true);
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      const auto own = packed(folder);
      PackedStore& store = thread < 2 ? *shared : *own;
      std::mt19937_64 random(static_cast<std::uint64_t>(thread));
      for (Version version = 1; version <= 12; ++version) {
        put_packed(store, {thread, version}, contents[static_cast<std::size_t>(thread)][version - 1]);
        if (version > 2) store.erase({thread, version - 2});
        const SnapshotId other{static_cast<Rank>(random() % 4), 1 + random() % 12};
        if (const auto bytes = store.open(other)) {
          ++opened;
          EXPECT_TRUE(std::ranges::equal(bytes->view(), contents[static_cast<std::size_t>(other.rank)][other.version - 1]));
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(shared->list().size(), 8u);
  EXPECT_GT(opened, 0);
  for (const auto& stored : shared->list()) {
    EXPECT_EQ(stored_bytes(*shared, stored.id),
              contents[static_cast<std::size_t>(stored.id.rank)][stored.id.version - 1]);
  }
  shared->clear();
  EXPECT_EQ(count_files(folder, true), 0);
}

// ---- what was written once is read for ever ------------------------------------------------------------------------------

const std::filesystem::path golden = FOREWEAVE_GOLDEN_DIR "/packs";

/// Two versions that share a segment of noise; the other shrinks when it is archived.
Bytes golden_snapshot(Version version) {
  ModelRegion field{"field", ElementType::f64, {}, Bytes(40000)};
  for (std::uint64_t i = 0; i < 5000; ++i) {
    const double value = 1.0 + 1e-9 * static_cast<double>(i * i % 9973 + version);
    std::memcpy(field.content.data() + 8 * i, &value, 8);
  }
  return snapshot_of({field, random_region("noise", 700, 1)}, {3, version});
}

TEST(PackedStore, KeptFilesAreStillRead) {
  if (std::getenv("FOREWEAVE_WRITE_GOLDEN") != nullptr) {
    std::filesystem::remove_all(golden);
    const auto store = make_packed_store({.folder = golden, .archive = true});
    for (const Version version : {1, 2}) store->put({3, version}, 0, BytesInMemory(golden_snapshot(version)));
    store->erase({3, 1});
    store->put({3, 4}, 0, BytesInMemory(golden_snapshot(4)));
    std::filesystem::remove(golden / ".lock");
  }
  const TemporaryFolder folder("/tmp");
  std::filesystem::copy(golden, folder.path(), std::filesystem::copy_options::recursive);
  EXPECT_EQ(count_files(folder, true), 1);
  const auto store = packed(folder);
  ASSERT_EQ(store->list().size(), 2u);
  for (const Version version : {2, 4}) {
    EXPECT_EQ(stored_bytes(*store, {3, version}), golden_snapshot(version));
    EXPECT_LT(store->packed_size({3, version})->stored, store->packed_size({3, version})->unique);
  }
}

TEST(PackedStore, OpenedToBeReadItChangesNothing) {
  const TemporaryFolder folder("/tmp");
  std::filesystem::copy(golden, folder.path(), std::filesystem::copy_options::recursive);
  std::ofstream(folder.path() / (std::string(state_detail::temporary_prefix) + "1-0")) << "unfinished, and nobody holds it";
  const auto before = folder.files();
  const auto store = make_packed_store({.folder = folder.path(), .read_only = true});
  for (const Version version : {2, 4}) EXPECT_EQ(stored_bytes(*store, {3, version}), golden_snapshot(version));
  const auto refused = [](auto&& change) {
    try {
      change();
    } catch (const Error& error) {
      return error.category() == ErrorCategory::state;
    }
    return false;
  };
  EXPECT_TRUE(refused([&] { put_packed(*store, {3, 5}, golden_snapshot(5)); }));
  EXPECT_TRUE(refused([&] { store->create({3, 5}); }));
  EXPECT_TRUE(refused([&] { store->erase({3, 4}); }));
  EXPECT_TRUE(refused([&] { store->set_committed(4); }));
  EXPECT_TRUE(refused([&] { store->clear(); }));
  EXPECT_EQ(folder.files(), before);
}

TEST(PackedStore, WrittenAlike) {
  // Not archived: how small zstd makes things is its own business.
  const TemporaryFolder folder("/tmp");
  const auto store = packed(folder);
  put_packed(*store, {3, 1}, golden_snapshot(1));
  EXPECT_EQ(folder.files().back(), "r000003-v000000000001-b000000000000-s0000-c0db135bf40c2a34f0258b18e31ffa23.fwpack");
}

}  // namespace
}  // namespace foreweave
