// timeout: 300
// CaptureEngine over host memory, against a model that remembers every version whole.
// threads
#include "foreweave/state/capture.hpp"

#include "model.hpp"

namespace foreweave {
namespace {

using namespace test;
using kernels::page_bytes;
using kernels::sector_bytes;

/// The program's memory and the engine that protects it.
class Program {
 public:
  explicit Program(CaptureOptions options = {}) : engine(std::move(options)) {}

  void protect(ModelRegion region) {
    regions.push_back(std::move(region));
    engine.add(spec(regions.size() - 1));
  }
  RegionSpec spec(std::size_t index) {
    auto& region = regions[index];
    return {.name = region.name,
            .data = region.content.data(),
            .bytes = region.content.size(),
            .type = region.type,
            .extents = region.extents};
  }
  CaptureReport capture(Store& store, Version version) {
    engine.begin(version);
    const ModelRank frozen = regions;
    // After begin() the program computes on.
    for (auto& region : regions) std::fill(region.content.begin(), region.content.end(), std::byte{0xAB});
    const auto report = engine.finish(store);
    for (std::size_t i = 0; i < regions.size(); ++i) {
      std::copy(frozen[i].content.begin(), frozen[i].content.end(), regions[i].content.begin());
    }
    states[version] = frozen;
    return report;
  }
  void expect_stored(const Store& store, Version version, const Key* key = nullptr) {
    SCOPED_TRACE("version " + std::to_string(version));
    expect_state(Chain::open(store, {0, version}, key), states.at(version));
  }

  ModelRank regions;
  CaptureEngine engine;
  std::map<Version, ModelRank> states;
};

/// Fails the n-th call that writes: an append, or the commit.
class FailingStore final : public Store {
 public:
  FailingStore(Store& inner, int good_calls) : inner_(inner), left_(good_calls) {}
  std::string name() const override { return "failing " + inner_.name(); }
  std::unique_ptr<SnapshotWriter> create(SnapshotId id) override {
    return std::make_unique<Writer>(*this, inner_.create(id));
  }
  std::shared_ptr<const SnapshotBytes> open(SnapshotId id) const override { return inner_.open(id); }
  std::vector<StoredSnapshot> list() const override { return inner_.list(); }
  void erase(SnapshotId id) override { inner_.erase(id); }
  std::uint64_t bytes() const override { return inner_.bytes(); }
  void set_committed(Version version) override { inner_.set_committed(version); }
  Version committed() const override { return inner_.committed(); }
  void clear() override { inner_.clear(); }
  bool failed() const { return left_ < 0; }

 private:
  void step() {
    if (left_-- <= 0) throw Error(ErrorCategory::io, "write", "No space left on device", ENOSPC);
  }
  class Writer final : public SnapshotWriter {
   public:
    Writer(FailingStore& owner, std::unique_ptr<SnapshotWriter> inner) : owner_(owner), inner_(std::move(inner)) {}
    void append(ByteView bytes) override {
      owner_.step();
      inner_->append(bytes);
    }
    std::uint64_t written() const override { return inner_->written(); }
    void commit(Version base) override {
      owner_.step();
      inner_->commit(base);
    }

   private:
    FailingStore& owner_;
    std::unique_ptr<SnapshotWriter> inner_;
  };
  Store& inner_;
  int left_;
};

class CaptureTest : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::unique_ptr<Store> store_ = memory_store(folder_);
};

TEST_F(CaptureTest, EverySizeAndAlignment) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, sector_bytes - 1, sector_bytes, sector_bytes + 1, page_bytes - 1, page_bytes,
        page_bytes + 1, segment_bytes - 1, segment_bytes, segment_bytes + 1, 3 * segment_bytes + 12345}) {
    for (const std::size_t shift : {0, 3}) {
      SCOPED_TRACE(std::to_string(size) + " bytes, shifted by " + std::to_string(shift));
      Bytes memory = random_bytes(size + shift, size);
      CaptureEngine engine({});
      engine.add({.name = "a", .data = memory.data() + shift, .bytes = size});
      const auto content = [&] { return Bytes(memory.begin() + static_cast<std::ptrdiff_t>(shift), memory.end()); };
      engine.begin(1);
      EXPECT_EQ(engine.finish(*store_).base, 0u);
      EXPECT_TRUE(read_region(Chain::open(*store_, {0, 1}, nullptr), 0) == content());
      if (size != 0) memory[shift + size - 1] ^= std::byte{1}, memory[shift + size / 2] ^= std::byte{2};
      engine.begin(2);
      const auto report = engine.finish(*store_);
      EXPECT_EQ(report.base, 1u);
      EXPECT_LE(report.dirty_pages, 2u);
      EXPECT_TRUE(read_region(Chain::open(*store_, {0, 2}, nullptr), 0) == content());
      engine.begin(3);
      const auto clean = engine.finish(*store_);
      EXPECT_EQ(clean.dirty_pages, 0u);
      EXPECT_EQ(clean.staged_bytes, 0u);
      const auto now = content();
      std::fill(memory.begin(), memory.end(), std::byte{7});
      engine.restore(Chain::open(*store_, {0, 3}, nullptr));
      EXPECT_TRUE(content() == now);
    }
  }
}

TEST_F(CaptureTest, ReportsWhatItDid) {
  Program program({.rank = 0, .ranks = 4, .job = "job"});
  program.protect(random_region("u", 10 * page_bytes, 1, ElementType::f64));
  program.protect(random_region("v", 100, 2));
  const auto full = program.capture(*store_, 5);
  EXPECT_EQ(full.version, 5u);
  EXPECT_EQ(full.base, 0u);
  EXPECT_EQ(full.region_bytes, 10 * page_bytes + 100);
  EXPECT_EQ(full.pages, 11u);
  EXPECT_EQ(full.dirty_pages, 11u);
  EXPECT_EQ(full.staged_bytes, 10 * page_bytes + 100);
  EXPECT_EQ(full.snapshot_bytes, store_->bytes());
  program.regions[0].content[3 * page_bytes] ^= std::byte{1};
  const auto delta = program.capture(*store_, 6);
  EXPECT_EQ(delta.base, 5u);
  EXPECT_EQ(delta.dirty_pages, 1u);
  EXPECT_EQ(delta.staged_bytes, page_bytes);
  std::uint64_t by_transform = 0;
  for (const auto pages : delta.pages_by_transform) by_transform += pages;
  EXPECT_EQ(by_transform, 1u);
  const auto chain = Chain::open(*store_, {0, 6}, nullptr);
  EXPECT_EQ(chain.manifest().ranks, 4);
  EXPECT_EQ(chain.manifest().job, "job");
  EXPECT_NE(chain.manifest().wall_time_ns, 0);
}

TEST_F(CaptureTest, RefusesRegionsThatCannotBe) {
  CaptureEngine engine({});
  Bytes memory(800);
  const auto refused = [&](const std::string& word, RegionSpec spec) {
    expect_error(ErrorCategory::argument, {word}, [&] { engine.add(spec); });
    EXPECT_EQ(engine.regions().size(), 0u);
  };
  refused("needs a name", {.name = "", .data = memory.data(), .bytes = 8});
  refused("255", {.name = std::string(256, 'x'), .data = memory.data(), .bytes = 8});
  refused("'u'", {.name = "u", .data = nullptr, .bytes = 8});
  refused("null", {.name = "u", .data = nullptr, .bytes = 8});
  refused("whole number of f64", {.name = "u", .data = memory.data(), .bytes = 12, .type = ElementType::f64});
  refused("multiply to 6 elements, but it has 100",
          {.name = "u", .data = memory.data(), .bytes = 800, .type = ElementType::f64, .extents = {2, 3}});
  refused("overflow", {.name = "u", .data = memory.data(), .bytes = 800, .extents = {~0ull, ~0ull}});
  refused("unknown", {.name = "u", .data = memory.data(), .bytes = 800, .type = ElementType{99}});
  expect_error(ErrorCategory::argument, {"rank 4 of 4"}, [] { CaptureEngine({.rank = 4, .ranks = 4}); });
}

TEST_F(CaptureTest, ARegionThatChangedSizeIsNamedWithBothSizes) {
  Program program;
  program.protect(random_region("u", 800, 1, ElementType::f64));
  Bytes other(1600);
  RegionSpec spec = program.spec(0);
  spec.data = other.data();
  spec.bytes = 1600;
  expect_error(ErrorCategory::argument, {"'u'", "800", "1600"}, [&] { program.engine.add(spec); });
  spec.bytes = 800;
  spec.type = ElementType::f32;
  expect_error(ErrorCategory::argument, {"'u'", "f64", "f32"}, [&] { program.engine.add(spec); });
  spec.type = ElementType::f64;
  spec.space = MemorySpace::pinned;
  expect_error(ErrorCategory::argument, {"'u'", "host", "pinned"}, [&] { program.engine.add(spec); });
  program.capture(*store_, 1);
  EXPECT_EQ(program.engine.regions().size(), 1u);
}

TEST_F(CaptureTest, ARegionThatMovedStaysADelta) {
  Program program;
  program.protect(random_region("u", 20 * page_bytes, 1));
  program.capture(*store_, 1);
  ModelRank copy = program.regions;
  copy[0].content[5] ^= std::byte{1};
  std::swap(program.regions, copy);  // the program built its arrays anew
  program.engine.add(program.spec(0));
  copy[0].content.assign(copy[0].content.size(), std::byte{0xCD});
  const auto report = program.capture(*store_, 2);
  EXPECT_EQ(report.base, 1u);
  EXPECT_EQ(report.dirty_pages, 1u);
  program.expect_stored(*store_, 2);
}

TEST_F(CaptureTest, AnotherSetOfRegionsIsCapturedFull) {
  Program program;
  program.protect(random_region("u", 3 * page_bytes, 1));
  program.capture(*store_, 1);
  program.protect(random_region("v", 2 * page_bytes, 2));
  EXPECT_EQ(program.capture(*store_, 2).base, 0u);
  EXPECT_EQ(program.capture(*store_, 3).base, 2u);
  program.engine.remove("u");
  program.regions.erase(program.regions.begin());
  EXPECT_EQ(program.capture(*store_, 4).base, 0u);
  for (Version version = 1; version <= 4; ++version) program.expect_stored(*store_, version);
  expect_error(ErrorCategory::absent, {"'u'"}, [&] { program.engine.remove("u"); });
  // Other extents over the same bytes too: the codec works along them.
  auto spec = program.spec(0);
  spec.extents = {2, page_bytes};
  program.engine.add(spec);
  program.regions[0].content[9] ^= std::byte{1};
  EXPECT_EQ(program.capture(*store_, 5).base, 0u);
  program.expect_stored(*store_, 5);
}

TEST_F(CaptureTest, CallsInTheWrongOrderAreRefused) {
  Program program;
  program.protect(random_region("u", 3 * page_bytes, 1));
  auto& engine = program.engine;
  expect_error(ErrorCategory::state, {"none was begun"}, [&] { engine.finish(*store_); });
  expect_error(ErrorCategory::argument, {"version 0"}, [&] { engine.begin(0); });
  engine.begin(3);
  expect_error(ErrorCategory::state, {"version 3", "not finished"}, [&] { engine.begin(4); });
  expect_error(ErrorCategory::state, {"not finished"}, [&] { engine.remove("u"); });
  expect_error(ErrorCategory::state, {"not finished"}, [&] { engine.add(program.spec(0)); });
  engine.finish(*store_);
  expect_error(ErrorCategory::argument, {"version 3"}, [&] { engine.begin(3); });
  engine.begin(4);
  expect_error(ErrorCategory::state, {"not finished"}, [&] {
    engine.restore(Chain::open(*store_, {0, 3}, nullptr));
  });
  engine.abandon();
  engine.abandon();
  engine.restore(Chain::open(*store_, {0, 3}, nullptr));
}

TEST_F(CaptureTest, AnAbandonedCaptureChangesNothing) {
  Program program;
  program.protect(random_region("u", 50 * page_bytes, 1));
  program.capture(*store_, 1);
  std::mt19937_64 random(1);
  scribble(program.regions, random);
  program.engine.begin(2);
  program.engine.abandon();
  scribble(program.regions, random);
  EXPECT_EQ(program.capture(*store_, 3).base, 1u);
  program.expect_stored(*store_, 3);
}

TEST_F(CaptureTest, AFailureAtAnyWriteLosesNothing) {
  // Fails at every write of a delta in turn; the versions before stay, the ones after are right.
  Program program;
  program.protect(random_region("u", 3 * segment_bytes, 1));
  program.protect(random_region("v", 77, 2));
  std::mt19937_64 random(2);
  Version version = 0;
  program.capture(*store_, ++version);
  bool failed = true;
  for (int good_calls = 0; failed; ++good_calls) {
    for (auto& region : program.regions) region.content = random_bytes(region.content.size(), random());
    // The buffers may have moved.
    for (std::size_t i = 0; i < program.regions.size(); ++i) program.engine.add(program.spec(i));
    FailingStore failing(*store_, good_calls);
    const auto files = folder_.files();
    program.engine.begin(version + 1);
    try {
      program.engine.finish(failing);
      program.states[++version] = program.regions;
    } catch (const Error& error) {
      EXPECT_EQ(error.category(), ErrorCategory::io);
      EXPECT_EQ(folder_.files(), files);
    }
    failed = failing.failed();
    scribble(program.regions, random);
    const auto next = program.capture(*store_, version + 1);
    EXPECT_EQ(next.base, failed ? 0u : version) << "after a failure the base is of no known state";
    ++version;
    scribble(program.regions, random);
    EXPECT_EQ(program.capture(*store_, version + 1).base, version);
    ++version;
    ASSERT_LT(good_calls, 100);
  }
  for (Version v = 1; v <= version; ++v) program.expect_stored(*store_, v);
}

TEST_F(CaptureTest, AStoreWithoutTheBaseGetsTheWholeState) {
  for (const std::uint64_t staging : {std::uint64_t{0}, std::uint64_t{70 * page_bytes}}) {
    const TemporaryFolder other_folder;
    const auto other = memory_store(other_folder);
    Program program({.staging_bytes = staging});
    program.protect(random_region("u", 3 * segment_bytes + 5, 1));
    program.capture(*store_, 1);
    std::mt19937_64 random(3);
    scribble(program.regions, random);
    const auto report = program.capture(*other, 2);
    EXPECT_EQ(report.base, 0u);
    program.expect_stored(*other, 2);
    scribble(program.regions, random);
    EXPECT_EQ(program.capture(*other, 3).base, 2u);
    program.expect_stored(*other, 3);
    store_->erase({0, 1});
  }
}

TEST_F(CaptureTest, RestoreChecksEverythingBeforeItWrites) {
  Program program;
  program.protect(random_region("u", 2 * page_bytes, 1));
  program.protect(random_region("v", 64, 2));
  program.capture(*store_, 1);
  const auto chain = Chain::open(*store_, {0, 1}, nullptr);
  const auto refused = [&](const std::vector<std::string>& words, std::vector<RegionSpec> specs) {
    CaptureEngine engine({});
    for (const auto& spec : specs) engine.add(spec);
    Bytes before(static_cast<std::byte*>(specs[0].data), static_cast<std::byte*>(specs[0].data) + specs[0].bytes);
    expect_error(ErrorCategory::argument, words, [&] { engine.restore(chain); });
    EXPECT_TRUE(std::equal(before.begin(), before.end(), static_cast<std::byte*>(specs[0].data)));
  };
  Bytes u(2 * page_bytes, std::byte{1}), v(64, std::byte{2}), small(100);
  const RegionSpec good_u{.name = "u", .data = u.data(), .bytes = u.size()};
  const RegionSpec good_v{.name = "v", .data = v.data(), .bytes = v.size()};
  refused({"'v'", "not protected"}, {good_u});
  refused({"'w'", "not in the snapshot"}, {good_u, good_v, {.name = "w", .data = small.data(), .bytes = 100}});
  refused({"'u'", "100 bytes", "32768"}, {{.name = "u", .data = small.data(), .bytes = 100}, good_v});
  refused({"'v'", "f64", "bytes"}, {good_u, {.name = "v", .data = v.data(), .bytes = 64, .type = ElementType::f64}});
  // In another order it is the same state, but the next capture is full.
  CaptureEngine engine({});
  engine.add(good_v);
  engine.add(good_u);
  engine.restore(chain);
  EXPECT_TRUE(u == program.regions[0].content && v == program.regions[1].content);
  engine.begin(2);
  EXPECT_EQ(engine.finish(*store_).base, 0u);
}

TEST_F(CaptureTest, DamageFoundWhileRestoringLeavesTheRegionsAsTheyAre) {
  Program program;
  program.protect(random_region("u", 3 * segment_bytes, 1));
  program.capture(*store_, 1);
  auto bytes = stored_bytes(*store_, {0, 1});
  bytes[bytes.size() / 2] ^= std::byte{1};
  put(*store_, {0, 1}, bytes);
  const auto before = program.regions[0].content;
  program.regions[0].content[0] ^= std::byte{0xFF};
  const auto changed = program.regions[0].content;
  expect_error(ErrorCategory::format, {"rank 0 version 1", "'u'"}, [&] {
    program.engine.restore(Chain::open(*store_, {0, 1}, nullptr));
  });
  EXPECT_TRUE(program.regions[0].content == changed);
  EXPECT_EQ(program.capture(*store_, 2).base, 0u) << "the base was lost on the way";
  program.expect_stored(*store_, 2);
}

TEST_F(CaptureTest, GoingBackAndOnAgain) {
  Program program;
  program.protect(random_region("u", 2 * segment_bytes, 1));
  std::mt19937_64 random(5);
  for (Version version = 1; version <= 4; ++version) {
    scribble(program.regions, random);
    program.capture(*store_, version);
  }
  program.engine.restore(Chain::open(*store_, {0, 2}, nullptr));
  EXPECT_TRUE(program.regions[0].content == program.states.at(2)[0].content);
  store_->erase({0, 3});
  store_->erase({0, 4});
  scribble(program.regions, random);
  EXPECT_EQ(program.capture(*store_, 3).base, 2u);
  program.expect_stored(*store_, 3);
}

TEST_F(CaptureTest, ANewProcessGoesOnWithADelta) {
  const auto key = Key::random();
  Program first({.key = key});
  first.protect(random_region("u", segment_bytes + 5, 1));
  first.capture(*store_, 1);
  Program second({.key = key});
  second.protect({"u", ElementType::bytes, {}, Bytes(segment_bytes + 5)});
  second.engine.restore(Chain::open(*store_, {0, 1}, key.get()));
  EXPECT_TRUE(second.regions[0].content == first.regions[0].content);
  second.regions[0].content[0] ^= std::byte{1};
  const auto report = second.capture(*store_, 2);
  EXPECT_EQ(report.base, 1u);
  EXPECT_EQ(report.dirty_pages, 1u);
  second.expect_stored(*store_, 2, key.get());
}

TEST_F(CaptureTest, MemoryHeldIsBaseAndStagingWhateverTheNumberOfVersions) {
  Program program;
  const std::uint64_t bytes = 32 * segment_bytes;
  program.protect(random_region("u", bytes, 1));
  program.capture(*store_, 1);
  const auto held = program.engine.held_bytes();
  EXPECT_LE(held, 2 * bytes + (4 << 20));
  std::mt19937_64 random(6);
  for (Version version = 2; version <= 12; ++version) {
    for (auto& byte : program.regions[0].content) byte ^= std::byte{0x55};
    program.capture(*store_, version);
    retain(*store_, 0, version, 2, nullptr);
    EXPECT_EQ(program.engine.held_bytes(), held);
    EXPECT_LE(program.engine.peak_held_bytes(), bytes * 22 / 10);
    EXPECT_LE(store_->list().size(), 3u);
  }
  program.expect_stored(*store_, 12);
}

TEST_F(CaptureTest, ACostlyChainEndsInAFullSnapshotAndACheapOneGoesOn) {
  Program program({.max_chain = 3});
  program.protect(random_region("u", 2 * segment_bytes, 1));
  std::vector<Version> bases;
  const auto change = [&](Version version, std::uint64_t bytes) {
    for (std::uint64_t i = 0; i < bytes; ++i) {
      program.regions[0].content[i] ^= static_cast<std::byte>(0x55 + 2 * version);
    }
    bases.push_back(program.capture(*store_, version).base);
    program.expect_stored(*store_, version);
  };
  for (Version version = 1; version <= 8; ++version) change(version, 2 * segment_bytes);
  EXPECT_EQ(bases, (std::vector<Version>{0, 1, 2, 0, 4, 5, 0, 7}));
  bases.clear();
  for (Version version = 9; version <= 20; ++version) change(version, 512);
  EXPECT_EQ(bases, (std::vector<Version>{8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}));

  // A process that restores goes on counting where the chain it came from stands.
  Program next({.max_chain = 3});
  next.protect({"u", ElementType::bytes, {}, Bytes(2 * segment_bytes)});
  next.engine.restore(Chain::open(*store_, {0, 6}, nullptr));
  std::ranges::copy(random_bytes(2 * segment_bytes, 7), next.regions[0].content.begin());  // in place: it is protected
  EXPECT_EQ(next.capture(*store_, 21).base, 0u);
}

TEST_F(CaptureTest, StagingIsBoundedWhenAskedFor) {
  const std::uint64_t bytes = 16 * segment_bytes, limit = 3 * segment_bytes;
  Program program({.staging_bytes = limit});
  program.protect({"u", ElementType::f64, {}, Bytes(bytes)});
  program.protect({"v", ElementType::f64, {}, Bytes(bytes)});
  std::mt19937_64 random(7);
  for (Version version = 1; version <= 4; ++version) {
    for (auto& region : program.regions) {
      for (std::size_t i = 0; i < region.content.size(); i += 64)
        region.content[i] = static_cast<std::byte>(random());
    }
    const auto report = program.capture(*store_, version);
    EXPECT_LE(report.staged_bytes, limit);
    EXPECT_EQ(report.dirty_pages, 2 * bytes / page_bytes);
    program.expect_stored(*store_, version);
    EXPECT_LE(program.engine.held_bytes(), 2 * bytes + limit + (4 << 20));
  }
  // Surplus was encoded while the program waited: giving up then costs the base.
  for (auto& region : program.regions) region.content[0] ^= std::byte{1}, region.content[bytes - 1] ^= std::byte{1};
  program.engine.begin(5);
  program.engine.abandon();
  program.capture(*store_, 6);
  program.expect_stored(*store_, 6);
}

// ---- regions without a base ------------------------------------------------------------------------------------------

TEST_F(CaptureTest, WithoutABaseChangedPagesGoWholeAndRestoreTheSame) {
  for (const std::uint64_t staging : {std::uint64_t{0}, 40 * page_bytes}) {
    for (const std::size_t size : {std::size_t{1}, page_bytes - 3, 2 * segment_bytes + 12345}) {
      SCOPED_TRACE(std::to_string(size) + " bytes, staging " + std::to_string(staging));
      const TemporaryFolder folder;
      const auto store = memory_store(folder);
      Bytes memory(size, std::byte{5});
      // Among them pages of zeros, and pages that become zeros: a delta against nothing could not tell them.
      CaptureEngine engine({.staging_bytes = staging});
      engine.add({.name = "u", .data = memory.data(), .bytes = size, .base = false});
      std::map<Version, Bytes> states;
      std::mt19937_64 random(size);
      for (Version version = 1; version <= 8; ++version) {
        engine.begin(version);
        states[version] = memory;
        std::fill(memory.begin(), memory.end(), std::byte{0xAB});
        const auto report = engine.finish(*store);
        memory = states[version];
        EXPECT_EQ(report.base, version - 1);
        EXPECT_EQ(report.digest_bytes, size);
        const std::size_t at = random() % size, length = std::min<std::size_t>(size - at, 1 + random() % 50000);
        std::fill_n(memory.begin() + static_cast<std::ptrdiff_t>(at), length,
                    version % 2 == 0 ? std::byte{0} : static_cast<std::byte>(random()));
      }
      for (const auto& [version, state] : states) {
        EXPECT_TRUE(read_region(Chain::open(*store, {0, version}, nullptr), 0) == state) << "version " << version;
      }
      EXPECT_LT(engine.held_bytes(), 4 * page_bytes + size + size / 500 + (staging == 0 ? size : 6 * segment_bytes));
      engine.restore(Chain::open(*store, {0, 5}, nullptr));
      EXPECT_TRUE(memory == states[5]);
      for (Version version = 6; version <= 8; ++version) store->erase({0, version});
      memory[size / 2] ^= std::byte{1};
      engine.begin(6);
      EXPECT_EQ(engine.finish(*store).base, 0u) << "full after a restore";
      EXPECT_TRUE(read_region(Chain::open(*store, {0, 6}, nullptr), 0) == memory);
    }
  }
}

TEST_F(CaptureTest, WithoutABaseOnlyWhatChangedIsStored) {
  Bytes memory = random_bytes(100 * page_bytes, 1);
  CaptureEngine engine({});
  engine.add({.name = "u", .data = memory.data(), .bytes = memory.size(), .base = false});
  engine.begin(1);
  engine.finish(*store_);
  EXPECT_LT(engine.held_bytes(), memory.size() * 102 / 100 + segment_bytes) << "staging, and digests";
  memory[3 * page_bytes + 5] ^= std::byte{1};
  engine.begin(2);
  EXPECT_EQ(engine.finish(*store_).dirty_pages, 1u);
  engine.begin(3);
  engine.abandon();
  memory[4 * page_bytes + 5] ^= std::byte{1};
  engine.begin(4);
  engine.abandon();  // nothing is forgotten by it
  engine.begin(5);
  EXPECT_EQ(engine.finish(*store_).dirty_pages, 1u);
  EXPECT_TRUE(read_region(Chain::open(*store_, {0, 5}, nullptr), 0) == memory);
  // A store without the version before cannot be given a whole one: it is an error, and then it is.
  const TemporaryFolder other_folder;
  const auto other = memory_store(other_folder);
  memory[7] ^= std::byte{1};
  engine.begin(6);
  expect_error(ErrorCategory::absent, {"'u'", "without a base"}, [&] { engine.finish(*other); });
  engine.begin(6);
  EXPECT_EQ(engine.finish(*other).base, 0u);
  EXPECT_TRUE(read_region(Chain::open(*other, {0, 6}, nullptr), 0) == memory);
}

TEST_F(CaptureTest, RegionsPastTheBudgetOfBasesHaveDigests) {
  Bytes a(10 * page_bytes, std::byte{1}), b(10 * page_bytes, std::byte{2}), c(5 * page_bytes, std::byte{3});
  CaptureOptions options;
  options.base_bytes = 16 * page_bytes;
  CaptureEngine engine(options);
  engine.add({.name = "a", .data = a.data(), .bytes = a.size()});
  engine.add({.name = "b", .data = b.data(), .bytes = b.size()});
  engine.add({.name = "c", .data = c.data(), .bytes = c.size()});
  for (Version version = 1; version <= 3; ++version) {
    a[version] = b[version] = c[version] = static_cast<std::byte>(17 * version);
    engine.begin(version);
    const auto report = engine.finish(*store_);
    EXPECT_EQ(report.digest_bytes, b.size());
    EXPECT_EQ(report.dirty_pages, version == 1 ? 25u : 3u);
    const auto chain = Chain::open(*store_, {0, version}, nullptr);
    EXPECT_TRUE(read_region(chain, 0) == a && read_region(chain, 1) == b && read_region(chain, 2) == c);
  }
}

// ---- several threads -------------------------------------------------------------------------------------------------

TEST_F(CaptureTest, AnyNumberOfThreadsWritesTheSameBytes) {
  const auto segments_of = [&](int threads, std::uint64_t staging) {
    const TemporaryFolder folder;
    const auto store = memory_store(folder);
    CaptureOptions options;
    options.threads = threads;
    options.staging_bytes = staging;
    Program program(options);
    program.protect(random_region("u", 12 * segment_bytes + 777, 1, ElementType::bytes));
    program.protect({"v", ElementType::f64, {}, Bytes(4 * segment_bytes)});
    program.protect(random_region("w", 100, 3));
    std::mt19937_64 random(8);
    std::vector<std::uint64_t> digests;
    for (Version version = 1; version <= 3; ++version) {
      program.capture(*store, version);
      const auto chain = Chain::open(*store, {0, version}, nullptr);
      for (const auto& region : chain.manifest().regions) {
        for (const auto& segment : region.segments) digests.push_back(segment.digest);
      }
      program.expect_stored(*store, version);
      scribble(program.regions, random, 12);
    }
    return digests;
  };
  for (const std::uint64_t staging : {std::uint64_t{0}, 7 * segment_bytes}) {
    const auto one = segments_of(1, staging);
    EXPECT_GT(one.size(), 20u);
    for (const int threads : {2, 5}) EXPECT_EQ(segments_of(threads, staging), one) << threads << " threads";
  }
  CaptureOptions none;
  none.threads = 0;
  expect_error(ErrorCategory::argument, {"0 threads"}, [&] { CaptureEngine{none}; });
}

TEST_F(CaptureTest, AStoreThatFailsUnderSeveralThreadsIsAnError) {
  for (int good_calls = 0; good_calls < 30; good_calls += 5) {
    CaptureOptions options;
    options.threads = 3;
    Program program(options);
    program.protect(random_region("u", 25 * segment_bytes, 1));
    FailingStore failing(*store_, good_calls);
    program.engine.begin(1);
    const auto before = folder_.files();
    try {
      program.engine.finish(failing);
      EXPECT_FALSE(failing.failed());
    } catch (const Error& error) {
      EXPECT_EQ(error.category(), ErrorCategory::io);
      EXPECT_EQ(folder_.files(), before);
      EXPECT_EQ(program.capture(*store_, 1).base, 0u);
    }
    program.states[1] = program.regions;
    program.expect_stored(*store_, 1);
  }
}

TEST(CaptureProperty, AnySeriesOfCallsKeepsEveryStoredVersionExact) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const TemporaryFolder folder;
    const auto store = memory_store(folder);
    const auto key = seed % 3 == 0 ? Key::random() : nullptr;
    const std::uint64_t staging = seed % 2 == 0 ? 0 : page_bytes * (1 + random() % 200);
    CaptureOptions options{.key = key, .staging_bytes = staging};
    options.threads = 1 + static_cast<int>(seed % 3);
    options.tracking = seed % 4 == 0 ? Tracking::always : Tracking::automatic;
    options.base_bytes = seed % 5 == 0 ? 500000 : 0;
    Program program(options);
    const auto add_region = [&] {
      const std::array types{ElementType::bytes, ElementType::f32, ElementType::f64, ElementType::i64};
      const auto type = types[random() % types.size()];
      const std::size_t elements = random() % 3 == 0 ? random() % 100 : random() % (400000 / element_width(type));
      ModelRegion region{
          "region" + std::to_string(random()), type, {}, random_bytes(elements * element_width(type), random())};
      if (elements % 12 == 0 && elements != 0) region.extents = {elements / 12, 4, 3};
      program.protect(std::move(region));
    };
    for (int i = 0; i < 3; ++i) add_region();
    Version newest = 0, oldest = 1;
    for (int step = 0; step < 40; ++step) {
      scribble(program.regions, random, static_cast<int>(random() % 4));
      switch (random() % 9) {
        case 0:
          if (program.regions.size() < 6) add_region();
          break;
        case 1:
          if (program.regions.size() > 1) {
            const auto index = static_cast<std::ptrdiff_t>(random() % program.regions.size());
            program.engine.remove(program.regions[static_cast<std::size_t>(index)].name);
            program.regions.erase(program.regions.begin() + index);
          }
          break;
        case 2:
          program.engine.begin(newest + 1);
          program.engine.abandon();
          break;
        case 3: {
          FailingStore failing(*store, static_cast<int>(random() % 3));
          program.engine.begin(newest + 1);
          const ModelRank frozen = program.regions;
          try {
            program.engine.finish(failing);
            program.states[++newest] = frozen;
          } catch (const Error&) {
          }
          break;
        }
        case 4:
          if (newest != 0) {
            oldest = std::max(oldest, newest - std::min<Version>(newest - 1, random() % 4));
            retain(*store, 0, oldest, random() % 3, key);
          }
          break;
        case 5:
          if (newest != 0) {  // back to a stored version; what came after is void
            const Version to = oldest + random() % (newest - oldest + 1);
            const auto& state = program.states.at(to);
            bool same = state.size() == program.regions.size();
            for (std::size_t i = 0; same && i < state.size(); ++i) {
              same = state[i].name == program.regions[i].name;
            }
            if (!same) break;
            program.engine.restore(Chain::open(*store, {0, to}, key.get()));
            for (std::size_t i = 0; i < state.size(); ++i) {
              ASSERT_TRUE(program.regions[i].content == state[i].content);
            }
            for (Version version = to + 1; version <= newest; ++version) store->erase({0, version});
            newest = to;
          }
          break;
        default:
          program.capture(*store, ++newest);
          break;
      }
      if (newest != 0) {
        ASSERT_EQ(newest_restorable(*store, 0, key.get()), newest);
        program.expect_stored(*store, newest, key.get());
      }
    }
    for (Version version = oldest; version <= newest; ++version) program.expect_stored(*store, version, key.get());
  }
}

}  // namespace
}  // namespace foreweave
