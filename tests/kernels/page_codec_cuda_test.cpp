// timeout: 600
// The page codec in CUDA: the common suite, on the emulator in every run and on a GPU where there is one.

#include <algorithm>

#include "kernels/device_page_codec.hpp"

#ifdef FOREWEAVE_EMULATED_CUDA
#include "emulator/control.hpp"
#endif

namespace foreweave::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Cuda, PageCodec, testing::Values(BackendParam{"Cuda", std::make_shared<DevicePageCodec>()}),
                         backend_name);

/// Regions of a program on the device, and a batch of them.
class Batch {
 public:
  struct Region {
    PagePair pair;
    PageShape shape;
    std::unique_ptr<DeviceTwin> current, base;
    std::uint64_t first_page = 0;
  };

  /// `slack` shifts the alignment of current and base.
  void add(Pattern pattern, std::size_t bytes, PageShape shape, std::uint64_t seed, std::size_t slack = 0) {
    const int width = shape.width == 4 || shape.width == 8 ? shape.width : 1;
    add({make_pages(pattern, bytes, width, shape.row, shape.plane, seed), shape, nullptr, nullptr, pages_}, slack);
  }
  void add(Region region, std::size_t slack = 0) {
    region.first_page = pages_;
    pages_ += kernels::page_count(region.pair.current.size());
    alignas(64) static const std::uint8_t nowhere[128] = {};
    const auto twin = [&](const Raw& content, std::size_t shift) {
      auto made = std::make_unique<DeviceTwin>(nowhere + shift % 64, 0, stream_.handle(), 1, content.size());
      copy_and_wait(made->data(), content.data(), content.size(), stream_.handle());
      return made;
    };
    region.current = twin(region.pair.current, slack);
    region.base = twin(region.pair.base, slack * 3);
    regions_.push_back(std::move(region));
  }

  StreamHandle stream() const { return stream_.handle(); }
  std::uint64_t pages() const { return pages_; }
  std::vector<Region>& regions() { return regions_; }

  /// Queues the upload of the table, after which launch() may be called.
  void prepare() {
    std::vector<EncodeRegion> table;
    for (Region& r : regions_)
      table.push_back({r.current->data(), r.base->data(), r.pair.current.size(), r.first_page, r.shape});
    table_ = DeviceBuffer(table.size() * sizeof(EncodeRegion));
    copy_and_wait(table_.data(), table.data(), table_.size(), stream());
    entries_ = DeviceBuffer(pages_ * sizeof(PageEntry));
    progress_ = DeviceBuffer(2 * sizeof(EncodeProgress));
    scratch_ = DeviceBuffer(kernels::cuda::encode_scratch_bytes(pages_));
  }
  /// The `turn`-th launch of the batch, into `out`.
  void launch(int turn, DeviceBuffer& out, bool compare, bool update) {
    auto* const progress = progress_.as<EncodeProgress>();
    kernels::cuda::encode_regions({.regions = table_.as<EncodeRegion>(),
                                   .count = static_cast<std::uint32_t>(regions_.size()),
                                   .pages = pages_,
                                   .compare = compare,
                                   .update_base = update,
                                   .out = out.data(),
                                   .out_bytes = out.size(),
                                   .entries = entries_.as<PageEntry>(),
                                   .after = turn == 0 ? nullptr : progress + (turn - 1) % 2,
                                   .progress = progress + turn % 2},
                                  scratch_.data(), stream());
  }
  EncodeProgress* progress(int turn) { return progress_.as<EncodeProgress>() + turn % 2; }
  EncodeProgress done(int turn) {
    EncodeProgress done;
    copy_and_wait(&done, progress(turn), sizeof done, stream());
    return done;
  }
  std::vector<PageEntry> entries() {
    std::vector<PageEntry> entries(pages_);
    copy_and_wait(entries.data(), entries_.data(), entries_.size(), stream());
    return entries;
  }
  /// What the oracle makes of all regions, one after another.
  oracle::Encoded expected(bool compare) const {
    oracle::Encoded all;
    for (const Region& r : regions_) {
      const auto one = oracle::encode(r.pair.current, compare ? r.pair.base : Raw(), oracle_shape(r.shape));
      all.entries.insert(all.entries.end(), one.entries.begin(), one.entries.end());
      all.bytes.insert(all.bytes.end(), one.bytes.begin(), one.bytes.end());
    }
    return all;
  }
  void expect_bases(bool updated) {
    for (Region& r : regions_) {
      Raw base(r.pair.base.size());
      r.base->copy_back(base.data(), base.size(), stream());
      EXPECT_TRUE(base == (updated ? r.pair.current : r.pair.base)) << "region that begins at page " << r.first_page;
    }
  }

 private:
  Stream stream_ = Stream::create();
  std::vector<Region> regions_;
  std::uint64_t pages_ = 0;
  DeviceBuffer table_, entries_, progress_, scratch_;
};

/// Regions of every width, some clean, some at odd addresses, some smaller than a page.
Batch mixed_batch(std::uint64_t seed, std::size_t count) {
  Batch batch;
  std::mt19937_64 random(seed);
  const Pattern patterns[] = {Pattern::field, Pattern::drift, Pattern::clean, Pattern::random, Pattern::flags};
  const PageShape shapes[] = {{8, 16, 256}, {4, 20, 400}, {1, 0, 0}, {8, 0, 0}, {4, 0, 0}, {2, 0, 0}};
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t bytes = 1 + random() % (random() % 3 == 0 ? 3 * 16384 : 2000);
    batch.add(patterns[random() % 5], bytes, shapes[random() % 6], random(), random() % 4 == 0 ? random() % 64 : 0);
  }
  return batch;
}

void set_schedule([[maybe_unused]] std::uint64_t seed) {
#ifdef FOREWEAVE_EMULATED_CUDA
  emulator::Schedule schedule;
  schedule.seed = seed;
  schedule.resident_blocks = static_cast<unsigned>(1 + seed % 5 * 3);
  emulator::set_schedule(schedule);
#endif
}

TEST(CudaPageCodec, SeveralRegionsInOneLaunch) {
  for (const std::size_t count : {1, 2, 5, 31, 32, 33, 70}) {
    set_schedule(count);
    Batch batch = mixed_batch(count, count);
    batch.prepare();
    DeviceBuffer out(kernels::encode_bound(batch.pages() * 16384));
    batch.launch(0, out, true, true);
    const oracle::Encoded expected = batch.expected(true);
    const EncodeProgress done = batch.done(0);
    ASSERT_EQ(done.next_page, batch.pages()) << count;
    ASSERT_EQ(done.bytes, expected.bytes.size()) << count;
    ASSERT_EQ(batch.entries(), std::vector<PageEntry>(expected.entries.begin(), expected.entries.end())) << count;
    Raw bytes(done.bytes);
    copy_and_wait(bytes.data(), out.data(), bytes.size());
    ASSERT_TRUE(bytes == expected.bytes) << count;
    batch.expect_bases(true);
    // Encoded again against the bases that this has updated: nothing is left to say.
    batch.launch(0, out, true, false);
    EXPECT_EQ(batch.done(0).bytes, 0u);
    EXPECT_EQ(batch.entries(), std::vector<PageEntry>(batch.pages()));
  }
}

// What does not fit is left for the next launch, base and all, whatever room there is.
TEST(CudaPageCodec, ABatchGoesOnWhereTheRoomEnded) {
  int launches = 0;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    set_schedule(seed);
    const bool compare = seed % 2 == 0;
    Batch batch = mixed_batch(100 + seed, 20);
    batch.prepare();
    const oracle::Encoded expected = batch.expected(compare);
    const std::size_t room = kernels::max_encoded_page_bytes + 8 + seed * 3000 / 16 * 16;
    DeviceBuffer out(room);
    PinnedBuffer pinned(room);
    Raw bytes;
    int turn = 0;
    std::uint64_t next = 0;
    do {
      batch.launch(turn, out, compare, true);
      std::memset(pinned.data(), 0xEE, pinned.size());
      kernels::cuda::copy_encoded(out.data(), batch.progress(turn), pinned.data(), pinned.size(), batch.stream());
      const EncodeProgress done = batch.done(turn);
      ASSERT_LE(done.bytes, room);
      ASSERT_GT(done.next_page, next) << "a launch must get on";
      const auto* const from = reinterpret_cast<const std::uint8_t*>(pinned.data());
      bytes.insert(bytes.end(), from, from + done.bytes);
      EXPECT_TRUE(std::all_of(from + done.bytes, from + room, [](auto byte) { return byte == 0xEE; }));
      next = done.next_page;
      ++turn;
    } while (next < batch.pages());
    launches += turn;
    ASSERT_EQ(batch.entries(), std::vector<PageEntry>(expected.entries.begin(), expected.entries.end()));
    ASSERT_TRUE(bytes == expected.bytes) << "seed " << seed;
    batch.expect_bases(true);
    // One more, as a capture queues it before it knows: nothing is done.
    batch.launch(turn, out, compare, true);
    EXPECT_EQ(batch.done(turn).bytes, 0u);
    EXPECT_EQ(batch.done(turn).next_page, batch.pages());
  }
  EXPECT_GT(launches, 15) << "the cases show nothing";
  set_schedule(1);
}

TEST(CudaPageCodec, TwoStreamsAtOnce) {
  // Batches queued in two streams and not waited for in between; each has scratch of its own.
  std::vector<Batch> works(2);
  std::vector<DeviceBuffer> outs;
  for (std::size_t i = 0; i < works.size(); ++i) {
    works[i].add(Pattern::field, 5 * 16384 + 100, {8, 16, 256}, 40 + i);
    works[i].prepare();
    outs.emplace_back(kernels::encode_bound(6 * 16384));
    works[i].launch(0, outs[i], true, true);
    works[i].launch(1, outs[i], true, false);  // goes on after the last page: nothing
  }
  for (Batch& work : works) {
    EXPECT_EQ(work.done(1).bytes, 0u);
    EXPECT_EQ(work.done(0).bytes, work.expected(true).bytes.size());
    work.expect_bases(true);
  }
}

// Sizes beyond 4 GiB, where the machine has room for them (a GPU; not the emulator, which would take minutes).
#ifndef FOREWEAVE_EMULATED_CUDA
TEST(CudaPageCodec, Huge4GiBRegion) {
  const std::uint64_t bytes = (std::uint64_t{4} << 30) + 3 * 16384 + 5, pages = kernels::page_count(bytes);
  const Stream stream = Stream::create();
  DeviceBuffer current(bytes), base(bytes), table(sizeof(EncodeRegion)), entries(pages * sizeof(PageEntry));
  DeviceBuffer out(1 << 20), progress(sizeof(EncodeProgress)), scratch(kernels::cuda::encode_scratch_bytes(pages));
  fill_async(current.data(), 0x11, bytes, stream.handle());
  fill_async(base.data(), 0x11, bytes, stream.handle());
  fill_async(current.data() + bytes - 1, 0x77, 1, stream.handle());
  const EncodeRegion region{current.data(), base.data(), bytes, 0, {8, 0, 0}};
  copy_async(table.data(), &region, sizeof region, stream.handle());
  kernels::cuda::encode_regions({.regions = table.as<EncodeRegion>(),
                                 .count = 1,
                                 .pages = pages,
                                 .compare = true,
                                 .update_base = true,
                                 .out = out.data(),
                                 .out_bytes = out.size(),
                                 .entries = entries.as<PageEntry>(),
                                 .progress = progress.as<EncodeProgress>()},
                                scratch.data(), stream.handle());
  EncodeProgress done;
  PageEntry last = 0;
  std::byte changed{};
  copy_and_wait(&done, progress.data(), sizeof done, stream.handle());
  copy_and_wait(&last, entries.as<PageEntry>() + pages - 1, sizeof last, stream.handle());
  copy_and_wait(&changed, base.data() + bytes - 1, 1, stream.handle());
  EXPECT_EQ(done.next_page, pages);
  EXPECT_EQ(done.bytes, kernels::entry_size(last));
  EXPECT_EQ(changed, std::byte{0x77});
}
#endif

// The byte stream does not depend on how blocks and warps take turns: other schedules, by seed, on the emulator.
TEST(CudaPageCodec, EveryOrderGivesTheSameBytes) {
  // Long runs of clean pages between changed ones, so that looking back crosses both, and more entries than one
  // block's.
  const std::size_t pages = 90, bytes = pages * 16384 - 1000;
  const PageShape shape{8, 0, 0};
  PagePair pair = make_pages(Pattern::drift, bytes, 8, 0, 0, 3);
  for (std::size_t page = 0; page < pages; ++page) {
    if (page % 13 == 0 || page + 1 == pages) continue;
    const auto from = static_cast<std::ptrdiff_t>(page * 16384);
    std::copy_n(pair.base.begin() + from, 16384, pair.current.begin() + from);
  }
  const oracle::Encoded expected = oracle::encode(pair.current, pair.base, oracle_shape(shape));
  DevicePageCodec codec;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
#ifdef FOREWEAVE_EMULATED_CUDA
    emulator::Schedule schedule;
    schedule.seed = seed;
    schedule.resident_blocks = seed == 0 ? 1 : static_cast<unsigned>(1 + seed * 3);
    schedule.in_order = seed % 2 == 0;
    emulator::set_schedule(schedule);
#endif
    std::vector<std::byte> out(kernels::encode_bound(bytes));
    std::vector<PageEntry> entries(pages);
    Raw base = pair.base;
    EncodeJob job;
    job.current = reinterpret_cast<const std::byte*>(pair.current.data());
    job.base = reinterpret_cast<std::byte*>(base.data());
    job.bytes = bytes;
    job.shape = shape;
    job.out = out.data();
    job.entries = entries.data();
    const std::uint64_t written = codec.encode(job);
    ASSERT_EQ(written, expected.bytes.size()) << "seed " << seed;
    ASSERT_EQ(entries, std::vector<PageEntry>(expected.entries.begin(), expected.entries.end())) << "seed " << seed;
    ASSERT_EQ(std::memcmp(out.data(), expected.bytes.data(), written), 0) << "seed " << seed;
    DecodeJob back;
    back.in = out.data();
    back.in_bytes = written;
    back.entries = entries.data();
    back.data = reinterpret_cast<std::byte*>(base.data());
    back.bytes = bytes;
    back.shape = shape;
    ASSERT_EQ(codec.decode(back).status, DecodeStatus::ok) << "seed " << seed;
    ASSERT_TRUE(base == pair.current) << "seed " << seed;
  }
}

TEST(CudaPageCodec, MoreEntriesThanOneBlockChecks) {
  // 700 pages, nearly all clean: three blocks of entries, placed by look-back.
  const std::size_t pages = 700, bytes = pages * 16384;
  Raw base(bytes), current(bytes);
  for (std::size_t page : {0u, 1u, 255u, 256u, 511u, 699u})
    current[page * 16384 + page] = static_cast<std::uint8_t>(page + 1);
  DevicePageCodec codec;
  std::vector<std::byte> out(kernels::encode_bound(bytes));
  std::vector<PageEntry> entries(pages);
  EncodeJob job;
  job.current = reinterpret_cast<const std::byte*>(current.data());
  job.bytes = bytes;
  job.shape = {1, 0, 0};
  job.out = out.data();
  job.entries = entries.data();
  const std::uint64_t written = codec.encode(job);
  const oracle::Encoded expected = oracle::encode(current, {}, oracle_shape(job.shape));
  ASSERT_EQ(written, expected.bytes.size());
  ASSERT_EQ(std::memcmp(out.data(), expected.bytes.data(), written), 0);
  DecodeJob back;
  back.in = out.data();
  back.in_bytes = written;
  back.entries = entries.data();
  back.data = reinterpret_cast<std::byte*>(base.data());
  back.bytes = bytes;
  back.shape = job.shape;
  ASSERT_EQ(codec.decode(back).status, DecodeStatus::ok);
  EXPECT_TRUE(base == current);
  // The lowest of several findings is told, across blocks.
  entries[256] ^= 4;
  entries[511] = make_entry(24, static_cast<Transform>(77));
  const DecodeResult result = codec.decode(back);
  EXPECT_EQ(result.status, DecodeStatus::bad_size);
  EXPECT_EQ(result.page, 256u);
}

}  // namespace
}  // namespace foreweave::test
