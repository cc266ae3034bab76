// CaptureEngine over device memory: the same snapshots as from host memory, byte for byte, and the same promises.
// timeout: 300
#include <cmath>

#include "foreweave/device/device.hpp"
#include "foreweave/device/memory.hpp"
#include "foreweave/device/stream.hpp"
#include "foreweave/state/capture.hpp"
#include "model.hpp"

#ifdef FOREWEAVE_EMULATED_CUDA
#include "emulator/control.hpp"
#endif

namespace foreweave {
namespace {

using namespace test;
using kernels::page_bytes;
using kernels::sector_bytes;

/// Memory of a program on a device, and what it should hold.
struct DeviceRegionOfProgram {
  explicit DeviceRegionOfProgram(ModelRegion region)
      : model(std::move(region)), memory(std::max<std::size_t>(model.content.size(), 1)) {
    upload();
  }
  RegionSpec spec(StreamHandle stream = nullptr) {
    return {.name = model.name,
            .data = memory.data(),
            .bytes = model.content.size(),
            .type = model.type,
            .extents = model.extents,
            .space = MemorySpace::device,
            .stream = stream};
  }
  void upload() { copy_and_wait(memory.data(), model.content.data(), model.content.size()); }
  Bytes download() const {
    Bytes bytes(model.content.size());
    copy_and_wait(bytes.data(), memory.data(), bytes.size());
    return bytes;
  }
  ModelRegion model;
  DeviceBuffer memory;
};

/// Digests of all stored segments: equal exactly when the stored pages are.
std::vector<std::uint64_t> segment_digests(const Store& store, SnapshotId id) {
  std::vector<std::uint64_t> digests;
  const auto snapshot = Snapshot::parse(store.open(id), nullptr, "the snapshot");
  for (const auto& region : snapshot->manifest().regions) {
    for (const auto& segment : region.segments) {
      digests.push_back(segment.index);
      digests.push_back(segment.digest);
    }
  }
  return digests;
}

class CaptureCudaTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_GT(device_count(), 0) << "no device, and no emulated one"; }
  TemporaryFolder folder_;
  std::unique_ptr<Store> store_ = memory_store(folder_);
};

TEST_F(CaptureCudaTest, EverySizeGivesTheBytesThatHostMemoryGives) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, sector_bytes - 1, sector_bytes + 1, page_bytes - 1, page_bytes,
        page_bytes + 1, segment_bytes - 1, segment_bytes, segment_bytes + 8, 3 * segment_bytes + 12345}) {
    SCOPED_TRACE(std::to_string(size) + " bytes");
    DeviceRegionOfProgram region(random_region("u", size, size));
    CaptureEngine engine({});
    engine.add(region.spec());
    const TemporaryFolder host_folder;
    const auto host_store = memory_store(host_folder);
    Bytes host_memory = region.model.content;
    CaptureEngine host({});
    host.add({.name = "u", .data = host_memory.data(), .bytes = size});
    for (Version version = 1; version <= 3; ++version) {
      engine.begin(version);
      fill_async(region.memory.data(), 0xAB, size, nullptr);  // the program computes on
      const auto report = engine.finish(*store_);
      host.begin(version);
      const auto expected = host.finish(*host_store);
      EXPECT_EQ(report.base, version - 1);
      EXPECT_EQ(report.dirty_pages, expected.dirty_pages);
      EXPECT_EQ(report.pages_by_transform, expected.pages_by_transform);
      EXPECT_EQ(segment_digests(*store_, {0, version}), segment_digests(*host_store, {0, version}));
      EXPECT_TRUE(read_region(Chain::open(*store_, {0, version}, nullptr), 0) == region.model.content);
      if (size != 0) {
        region.model.content[size - 1] ^= std::byte{1};
        region.model.content[size / 2] ^= std::byte{2};
      }
      region.upload();
      std::copy(region.model.content.begin(), region.model.content.end(), host_memory.begin());
    }
    // Back to the second version, on the device.
    const auto chain = Chain::open(*store_, {0, 2}, nullptr);
    const Bytes second = size == 0 ? Bytes{} : read_region(chain, 0);
    engine.restore(chain);
    EXPECT_TRUE(region.download() == second);
  }
}

TEST_F(CaptureCudaTest, FieldsWithExtents) {
  ModelRegion model{"u", ElementType::f64, {40, 64, 64}, Bytes(40 * 64 * 64 * 8)};
  auto* const values = reinterpret_cast<double*>(model.content.data());
  const auto fill = [&](double time) {
    for (int i = 0; i < 40 * 64 * 64; ++i) values[i] = std::sin(0.01 * (i % 64) + 0.02 * (i / 64 % 64) + time);
  };
  fill(0);
  DeviceRegionOfProgram region(model);
  CaptureEngine engine({});
  const auto stream = Stream::create();
  engine.add(region.spec(stream.handle()));
  for (Version version = 1; version <= 3; ++version) {
    reinterpret_cast<double*>(region.model.content.data())[version * 100] += 1;
    copy_async(region.memory.data(), region.model.content.data(), region.model.content.size(), stream.handle());
    engine.begin(version);
    engine.finish(*store_);
    EXPECT_TRUE(read_region(Chain::open(*store_, {0, version}, nullptr), 0) == region.model.content);
  }
  fill(0.001);
  DeviceRegionOfProgram fresh(model);
  CaptureEngine other({});
  other.add(fresh.spec());
  other.restore(Chain::open(*store_, {0, 3}, nullptr));
  EXPECT_TRUE(fresh.download() == region.model.content);
  // The restored state is the base of the next delta.
  reinterpret_cast<double*>(fresh.model.content.data())[7] = 0;
  fresh.upload();
  other.begin(4);
  EXPECT_EQ(other.finish(*store_).base, 3u);
  EXPECT_TRUE(read_region(Chain::open(*store_, {0, 4}, nullptr), 0) == fresh.model.content);
}

TEST_F(CaptureCudaTest, HostAndDeviceRegionsTogether) {
  const auto key = Key::random();
  DeviceRegionOfProgram device(random_region("device", 2 * segment_bytes + 100, 1));
  Bytes host = random_bytes(segment_bytes + 1, 2);
  CaptureEngine engine({.key = key});
  engine.add({.name = "host", .data = host.data(), .bytes = host.size()});
  engine.add(device.spec());
  std::mt19937_64 random(3);
  ModelRank regions{ModelRegion{"host", ElementType::bytes, {}, host}, device.model};
  std::map<Version, ModelRank> states;
  for (Version version = 1; version <= 5; ++version) {
    scribble(regions, random, 3);
    std::copy(regions[0].content.begin(), regions[0].content.end(), host.begin());
    device.model = regions[1];
    device.upload();
    engine.begin(version);
    engine.finish(*store_);
    states[version] = regions;
  }
  for (const auto& [version, state] : states) expect_state(Chain::open(*store_, {0, version}, key.get()), state);
  fold(*store_, {0, 3}, key);
  for (const Version version : {2, 5, 3}) {
    engine.restore(Chain::open(*store_, {0, version}, key.get()));
    EXPECT_TRUE(host == states.at(version)[0].content);
    EXPECT_TRUE(device.download() == states.at(version)[1].content);
  }
}

// All regions of a device are one batch, in one launch where it fits, else in several; segments lie across windows.
TEST_F(CaptureCudaTest, ManyDeviceRegionsAreTheBytesThatHostMemoryGives) {
  std::mt19937_64 random(7);
  std::vector<DeviceRegionOfProgram> regions;
  ModelRank models;
  const auto add = [&](std::size_t bytes) {
    models.push_back(random_region("r" + std::to_string(models.size()), bytes, bytes));
    regions.emplace_back(models.back());
  };
  for (int i = 0; i < 40; ++i) add(1 + random() % 3000);
  for (const std::size_t bytes : {3 * page_bytes, segment_bytes + 1, 2 * segment_bytes + 9999}) add(bytes);
  CaptureEngine engine({}), host({});
  const auto stream = Stream::create();
  const TemporaryFolder host_folder;
  const auto host_store = memory_store(host_folder);
  std::vector<Bytes> memory;
  for (auto& model : models) memory.push_back(model.content);
  for (std::size_t i = 0; i < regions.size(); ++i) {
    engine.add(regions[i].spec(i % 2 == 0 ? stream.handle() : nullptr));
    host.add({.name = models[i].name, .data = memory[i].data(), .bytes = memory[i].size()});
  }
  for (Version version = 1; version <= 5; ++version) {
    engine.begin(version);
    const auto report = engine.finish(*store_);
    host.begin(version);
    const auto expected = host.finish(*host_store);
    EXPECT_EQ(report.dirty_pages, expected.dirty_pages);
    EXPECT_EQ(segment_digests(*store_, {0, version}), segment_digests(*host_store, {0, version}));
    expect_state(Chain::open(*store_, {0, version}, nullptr), models);
    scribble(models, random, version == 4 ? 300 : 3);
    for (std::size_t i = 0; i < models.size(); ++i) {
      regions[i].model = models[i];
      regions[i].upload();
      memory[i].assign(models[i].content.begin(), models[i].content.end());
    }
    if (version == 3) {  // a region goes, another stays with other memory
      engine.remove(models[5].name);
      host.remove(models[5].name);
      regions[7] = DeviceRegionOfProgram(models[7]);
      engine.add(regions[7].spec());
      regions.erase(regions.begin() + 5);
      models.erase(models.begin() + 5);
      memory.erase(memory.begin() + 5);
    }
  }
  engine.restore(Chain::open(*store_, {0, 5}, nullptr));
  const auto restored = Chain::open(*store_, {0, 5}, nullptr);
  for (std::size_t i = 0; i < regions.size(); ++i) EXPECT_TRUE(regions[i].download() == read_region(restored, i)) << i;
}

TEST_F(CaptureCudaTest, AnAbandonedOrFailedCaptureIsFollowedByAFullOne) {
  DeviceRegionOfProgram region(random_region("u", 2 * segment_bytes, 1));
  CaptureEngine engine({});
  engine.add(region.spec());
  engine.begin(1);
  engine.finish(*store_);
  region.model.content[0] ^= std::byte{1};
  region.upload();
  engine.begin(2);
  engine.abandon();
  region.model.content[1] ^= std::byte{1};
  region.upload();
  engine.begin(2);
  EXPECT_EQ(engine.finish(*store_).base, 0u) << "the device's base had moved";
  EXPECT_TRUE(read_region(Chain::open(*store_, {0, 2}, nullptr), 0) == region.model.content);
  // Over budget.
  region.model.content = random_bytes(2 * segment_bytes, 9);
  region.upload();
  const TemporaryFolder small_folder;
  const auto small = memory_store(small_folder, 1000);
  engine.begin(3);
  expect_error(ErrorCategory::resource, {"budget of 1000"}, [&] { engine.finish(*small); });
  EXPECT_TRUE(small->list().empty());
  engine.begin(3);
  EXPECT_EQ(engine.finish(*store_).base, 0u);
  EXPECT_TRUE(read_region(Chain::open(*store_, {0, 3}, nullptr), 0) == region.model.content);
}

TEST_F(CaptureCudaTest, AStoreWithoutTheBaseGetsTheWholeState) {
  DeviceRegionOfProgram region(random_region("u", 2 * segment_bytes + 77, 1));
  CaptureEngine engine({});
  engine.add(region.spec());
  engine.begin(1);
  engine.finish(*store_);
  region.model.content[5] ^= std::byte{1};
  region.upload();
  const TemporaryFolder other_folder;
  const auto other = memory_store(other_folder);
  engine.begin(2);
  EXPECT_EQ(engine.finish(*other).base, 0u);
  EXPECT_TRUE(read_region(Chain::open(*other, {0, 2}, nullptr), 0) == region.model.content);
  region.model.content[6] ^= std::byte{1};
  region.upload();
  engine.begin(3);
  EXPECT_EQ(engine.finish(*other).base, 2u);
  EXPECT_TRUE(read_region(Chain::open(*other, {0, 3}, nullptr), 0) == region.model.content);
}

TEST_F(CaptureCudaTest, DamageFoundOnTheDeviceNamesThePageAndLeavesTheRegionAsItIs) {
  // A page whose segment's digest is right, but whose check word is not.
  const std::size_t size = 2 * segment_bytes;
  DeviceRegionOfProgram region(random_region("u", size, 1));
  Manifest manifest = manifest_of({region.model}, {0, 1});
  manifest.ranks = 1;
  {
    SnapshotBuilder builder(*store_, manifest, nullptr);
    Bytes out(kernels::encode_bound(segment_bytes));
    std::vector<kernels::PageEntry> entries(pages_per_segment);
    for (std::uint64_t segment = 0; segment < 2; ++segment) {
      const auto bytes =
          kernels::host::encode_pages({.current = region.model.content.data() + segment * segment_bytes,
                                       .bytes = segment_bytes,
                                       .shape = {.width = 1},
                                       .out = out.data(),
                                       .entries = entries.data()});
      if (segment == 1) out[5 * kernels::entry_size(entries[0]) + 1000] ^= std::byte{1};
      builder.add_segment(0, segment, entries, ByteView(out).first(bytes));
    }
    builder.finish();
  }
  CaptureEngine engine({});
  engine.add(region.spec());
  expect_error(ErrorCategory::format, {"'u'", "page 69", "version 1", "damaged"}, [&] {
    engine.restore(Chain::open(*store_, {0, 1}, nullptr));
  });
  EXPECT_TRUE(region.download() == region.model.content);
  engine.begin(2);
  EXPECT_EQ(engine.finish(*store_).base, 0u);
  EXPECT_TRUE(read_region(Chain::open(*store_, {0, 2}, nullptr), 0) == region.model.content);
}

TEST_F(CaptureCudaTest, MemoryIsBounded) {
  // A full capture of what does not compress takes the most.
  const std::size_t size = 16 * segment_bytes;
  DeviceRegionOfProgram region(random_region("u", size, 1));
  CaptureEngine engine({});
  engine.add(region.spec());
  engine.begin(1);
  engine.finish(*store_);
  EXPECT_LE(engine.peak_held_bytes(), size * 22 / 10 + (std::uint64_t{4} << 20));
  const auto held = engine.held_bytes();
  engine.begin(2);
  engine.finish(*store_);
  EXPECT_EQ(engine.held_bytes(), held);
  EXPECT_TRUE(read_region(Chain::open(*store_, {0, 2}, nullptr), 0) == region.model.content);
}

TEST_F(CaptureCudaTest, PinnedMemoryIsNeverTracked) {
  // A device writes to it past the page tables, and nobody would be told.
  PinnedBuffer memory(2 * segment_bytes);
  std::fill_n(memory.data(), memory.size(), std::byte{1});
  CaptureOptions options;
  options.tracking = Tracking::always;
  for (const auto said : {MemorySpace::pinned, MemorySpace::host}) {
    const TemporaryFolder folder;
    const auto store = memory_store(folder);
    CaptureEngine engine(options);
    engine.add({.name = "u", .data = memory.data(), .bytes = memory.size(), .space = said});
    for (Version version = 1; version <= 4; ++version) {
      engine.begin(version);
      EXPECT_EQ(engine.finish(*store).tracked_bytes, 0u);
      memory.data()[version * 5000] ^= std::byte{1};
    }
  }
}

TEST_F(CaptureCudaTest, RefusesHostMemoryThatIsSaidToBeADevices) {
  Bytes memory(100);
  CaptureEngine engine({});
  expect_error(ErrorCategory::argument, {"'u'", "device memory"},
               [&] { engine.add({.name = "u", .data = memory.data(), .bytes = 100, .space = MemorySpace::device}); });
  EXPECT_TRUE(engine.regions().empty());
}

#ifdef FOREWEAVE_EMULATED_CUDA
TEST_F(CaptureCudaTest, AnyCudaCallMayFailAndNothingIsLost) {
  DeviceRegionOfProgram region(random_region("u", segment_bytes + 5, 1));
  CaptureEngine engine({});
  engine.add(region.spec());
  engine.begin(1);
  engine.finish(*store_);
  Version version = 1;
  int failures = 0;
  for (unsigned call = 0; call < 60; ++call) {
    region.model.content[call] ^= std::byte{1};
    region.upload();
    emulator::fail_call(cudaErrorLaunchFailure, call);
    bool failed = false;
    try {
      engine.begin(version + 1);
      engine.finish(*store_);
      ++version;
    } catch (const Error& error) {
      failed = true;
      EXPECT_EQ(error.category(), ErrorCategory::cuda) << error.what();
    }
    emulator::fail_call(cudaSuccess);
    if (failed) {
      ++failures;
      EXPECT_EQ(newest_restorable(*store_, 0, nullptr), version);
      engine.begin(version + 1);
      EXPECT_EQ(engine.finish(*store_).base, 0u);
      ++version;
    }
    ASSERT_TRUE(read_region(Chain::open(*store_, {0, version}, nullptr), 0) == region.model.content);
    if (!failed) break;
  }
  EXPECT_GT(failures, 10);
  emulator::fail_call(cudaSuccess);
}

// Captures that repeat the one before are one graph, made ready once; other memory or other regions make a new one.
TEST_F(CaptureCudaTest, UnchangedRegionsAreCapturedByOneGraph) {
  DeviceRegionOfProgram u(random_region("u", segment_bytes, 1)), v(random_region("v", 3 * page_bytes, 2));
  CaptureEngine engine({});
  engine.add(u.spec());
  engine.add(v.spec());
  Version version = 0;
  const auto capture = [&] {
    u.model.content[100 * (version + 1)] ^= std::byte{1};
    u.upload();
    engine.begin(++version);
    engine.finish(*store_);
    expect_state(Chain::open(*store_, {0, version}, nullptr), {u.model, v.model});
  };
  const auto instantiated = emulator::graphs_instantiated(), launched = emulator::graphs_launched();
  capture();  // full
  capture();  // the first delta
  EXPECT_EQ(emulator::graphs_instantiated(), instantiated);
  for (int i = 0; i < 4; ++i) {
    const auto kernels = emulator::kernels_run();
    capture();
    EXPECT_EQ(emulator::kernels_run() - kernels, 2u) << "one encodes both regions, one brings the bytes to the host";
  }
  EXPECT_EQ(emulator::graphs_instantiated(), instantiated + 1);
  EXPECT_EQ(emulator::graphs_launched(), launched + 4);
  engine.add(u.spec());  // the same again: nothing changes
  capture();
  EXPECT_EQ(emulator::graphs_instantiated(), instantiated + 1);
  EXPECT_EQ(emulator::graphs_launched(), launched + 5);
  DeviceRegionOfProgram moved(v.model);
  engine.add(moved.spec());
  capture();
  EXPECT_EQ(emulator::graphs_launched(), launched + 5) << "the old graph names memory that may be gone";
  capture();
  capture();
  EXPECT_EQ(emulator::graphs_instantiated(), instantiated + 2);
  EXPECT_EQ(emulator::graphs_launched(), launched + 7);
}

TEST_F(CaptureCudaTest, NothingStaysOnTheDevice) {
  const auto before = emulator::device_bytes_in_use();
  {
    DeviceRegionOfProgram region(random_region("u", segment_bytes, 1));
    CaptureEngine engine({});
    engine.add(region.spec());
    engine.begin(1);
    engine.finish(*store_);
    engine.remove("u");
    EXPECT_EQ(emulator::device_bytes_in_use(), before + segment_bytes);
  }
  EXPECT_EQ(emulator::device_bytes_in_use(), before);
}

TEST_F(CaptureCudaTest, ADeviceWithoutRoomForTheBaseIsAnError) {
  DeviceRegionOfProgram region(random_region("u", segment_bytes, 1));
  emulator::set_device_memory(segment_bytes + 1000);
  CaptureEngine engine({});
  expect_error(ErrorCategory::resource, {}, [&] { engine.add(region.spec()); });
  emulator::set_device_memory(0);
  EXPECT_TRUE(engine.regions().empty());
  engine.add(region.spec());
}
#endif

}  // namespace
}  // namespace foreweave
