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

TEST(CudaPageCodec, TwoStreamsAtOnce) {
  // Jobs queued in two streams and not waited for in between; each has scratch of its own.
  const std::size_t bytes = 5 * 16384 + 100;
  const PageShape shape{8, 16, 256};
  struct Work {
    PagePair pair;
    Stream stream = Stream::create();
    DeviceBuffer current, base, out, entries, total, scratch;
  };
  std::vector<Work> works(2);
  for (std::size_t i = 0; i < works.size(); ++i) {
    Work& w = works[i];
    w.pair = make_pages(Pattern::field, bytes, 8, 16, 256, 40 + i);
    w.current = DeviceBuffer(bytes);
    w.base = DeviceBuffer(bytes);
    w.out = DeviceBuffer(kernels::encode_bound(bytes));
    w.entries = DeviceBuffer(6 * sizeof(PageEntry));
    w.total = DeviceBuffer(8);
    w.scratch = DeviceBuffer(kernels::cuda::encode_scratch_bytes(bytes));
    copy_async(w.current.data(), w.pair.current.data(), bytes, w.stream.handle());
    copy_async(w.base.data(), w.pair.base.data(), bytes, w.stream.handle());
    const EncodeJob job{w.current.data(), w.base.data(), bytes, shape, true, w.out.data(), w.entries.as<PageEntry>()};
    kernels::cuda::encode_pages(job, w.scratch.data(), w.total.as<std::uint64_t>(), w.stream.handle());
    // Encoded again against the base that the first has updated: nothing is left to say.
    kernels::cuda::encode_pages(
        {w.current.data(), w.base.data(), bytes, shape, false, w.out.data(), w.entries.as<PageEntry>()},
        w.scratch.data(), w.total.as<std::uint64_t>(), w.stream.handle());
  }
  for (Work& w : works) {
    std::uint64_t total = 1;
    copy_and_wait(&total, w.total.data(), 8, w.stream.handle());
    EXPECT_EQ(total, 0u);
  }
}

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
