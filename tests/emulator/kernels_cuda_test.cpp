// The emulator itself: what correct kernels compute on it, and that each thing it reports is reported, naming the
// kernel, the block, the thread and the line.
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <stdexcept>
#include <vector>

#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/shared.hpp"

namespace foreweave {
namespace {

using emulator::Report;
using kernels::launch;
using testing::HasSubstr;

class Kernels : public testing::Test {
 protected:
  void SetUp() override {
    emulator::print_reports(false);
    emulator::take_report();
    emulator::set_schedule({});
    ASSERT_EQ(cudaMallocManaged(reinterpret_cast<void**>(&out_), 4096 * sizeof(std::uint64_t)), cudaSuccess);
    std::fill_n(out_, 4096, 0);
  }
  void TearDown() override {
    EXPECT_EQ(cudaFree(out_), cudaSuccess);
    emulator::print_reports(true);
  }
  template <class... P, class... A>
  void run(void (*kernel)(P...), dim3 grid, dim3 block, A... arguments) {
    launch("kernel", kernel, grid, block, 0, nullptr, arguments...);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess) << emulator::take_report().text;
  }
  /// The kernel must fail with this report, whose text names the kernel and has these words.
  template <class... P, class... A>
  void refused(Report::Kind kind, std::initializer_list<const char*> words, std::size_t shared, void (*kernel)(P...),
               dim3 grid, dim3 block, A... arguments) {
    launch("culprit", kernel, grid, block, shared, nullptr, arguments...);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    const Report report = emulator::take_report();
    EXPECT_EQ(static_cast<int>(report.kind), static_cast<int>(kind)) << report.text;
    EXPECT_THAT(report.text, HasSubstr("kernel 'culprit'"));
    for (const char* word : words) EXPECT_THAT(report.text, HasSubstr(word));
    // The emulator goes on: the next kernel runs.
    EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  std::uint64_t* out_ = nullptr;
};

// What correct kernels compute.

__global__ void write_indices(std::uint64_t* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  out[block * threads + thread] += block * 1000 + thread + 1;
}

TEST_F(Kernels, EveryThreadOfEveryBlockRunsOnce) {
  run(write_indices, dim3(3, 2, 4), dim3(5, 3, 4), out_);
  for (unsigned block = 0; block < 24; ++block)
    for (unsigned thread = 0; thread < 60; ++thread) ASSERT_EQ(out_[block * 60 + thread], block * 1000 + thread + 1);
}

__global__ void reverse(std::uint64_t* out) {
  FW_SHARED(std::uint64_t, values, 100);
  FW_DYNAMIC_SHARED(std::uint32_t, squares);
  values[threadIdx.x] = threadIdx.x;
  squares[threadIdx.x] = threadIdx.x * threadIdx.x;
  __syncthreads();
  const unsigned other = 99 - threadIdx.x;
  out[blockIdx.x * 100 + threadIdx.x] = values[other] + squares[other];
}

TEST_F(Kernels, SharedMemoryBelongsToTheBlock) {
  launch("reverse", reverse, 7, 100, 100 * sizeof(std::uint32_t), nullptr, out_);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess) << emulator::take_report().text;
  for (unsigned i = 0; i < 700; ++i) {
    const std::uint64_t other = 99 - i % 100;
    ASSERT_EQ(out_[i], other + other * other);
  }
}

__global__ void votes(std::uint64_t* out) {
  const int predicate = threadIdx.x % 3 == 0;
  out[threadIdx.x] = static_cast<std::uint64_t>(__syncthreads_count(predicate));
  out[100 + threadIdx.x] = static_cast<std::uint64_t>(__syncthreads_or(threadIdx.x == 77));
  out[200 + threadIdx.x] = static_cast<std::uint64_t>(__syncthreads_and(threadIdx.x != 77));
  out[300 + threadIdx.x] = static_cast<std::uint64_t>(__syncthreads_and(threadIdx.x < 90));
}

TEST_F(Kernels, BarriersVote) {
  run(votes, 1, 90, out_);
  for (unsigned i = 0; i < 90; ++i) {
    EXPECT_EQ(out_[i], 30u);
    EXPECT_EQ(out_[100 + i], 1u);
    EXPECT_EQ(out_[200 + i], 0u);
    EXPECT_EQ(out_[300 + i], 1u);
  }
}

__global__ void warp_primitives(std::uint64_t* out) {
  const unsigned lane = threadIdx.x;
  const auto put = [&](unsigned row, std::uint64_t value) { out[row * 32 + lane] = value; };
  put(0, __ballot_sync(0xFFFFFFFFu, lane % 5 == 0));
  put(1, __shfl_sync(0xFFFFFFFFu, std::uint64_t{lane} << 40, 7));
  put(2, __shfl_up_sync(0xFFFFFFFFu, lane, 3u));
  put(3, __shfl_down_sync(0xFFFFFFFFu, lane, 3u));
  put(4, __shfl_xor_sync(0xFFFFFFFFu, lane, 5));
  put(5, static_cast<std::uint64_t>(__any_sync(0xFFFFFFFFu, lane == 31)) + 2u * __all_sync(0xFFFFFFFFu, lane < 32));
  put(6, __reduce_or_sync(0xFFFFFFFFu, 1u << lane));
  put(7, __reduce_add_sync(0xFFFFFFFFu, lane));
  put(8, static_cast<std::uint64_t>(__reduce_min_sync(0xFFFFFFFFu, -static_cast<int>(lane)) + 31));
  put(9, __match_any_sync(0xFFFFFFFFu, lane / 4));
  put(10, __shfl_sync(0xFFFFFFFFu, lane, 2, 8));
  put(11, __shfl_up_sync(0xFFFFFFFFu, lane, 1u, 8));
  put(12, static_cast<std::uint64_t>(__shfl_sync(0xFFFFFFFFu, lane * 0.5, 9) * 2));
  // Two halves of a warp may gather apart.
  put(13, lane < 16 ? __reduce_add_sync(0x0000FFFFu, 1u) : __reduce_max_sync(0xFFFF0000u, lane));
  __syncwarp();
  put(14, __reduce_xor_sync(0xFFFFFFFFu, lane) + __reduce_and_sync(0xFFFFFFFFu, lane | 64u));
}

TEST_F(Kernels, WarpPrimitives) {
  run(warp_primitives, 1, 32, out_);
  const auto at = [&](unsigned row, unsigned lane) { return out_[row * 32 + lane]; };
  for (unsigned lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(at(0, lane), 0x42108421u);
    EXPECT_EQ(at(1, lane), std::uint64_t{7} << 40);
    EXPECT_EQ(at(2, lane), lane < 3 ? lane : lane - 3);
    EXPECT_EQ(at(3, lane), lane > 28 ? lane : lane + 3);
    EXPECT_EQ(at(4, lane), lane ^ 5u);
    EXPECT_EQ(at(5, lane), 3u);
    EXPECT_EQ(at(6, lane), 0xFFFFFFFFu);
    EXPECT_EQ(at(7, lane), 496u);
    EXPECT_EQ(at(8, lane), 0u);
    EXPECT_EQ(at(9, lane), 0xFu << (lane / 4 * 4));
    EXPECT_EQ(at(10, lane), lane / 8 * 8 + 2);
    EXPECT_EQ(at(11, lane), lane % 8 == 0 ? lane : lane - 1);
    EXPECT_EQ(at(12, lane), 9u);
    EXPECT_EQ(at(13, lane), lane < 16 ? 16u : 31u);
    EXPECT_EQ(at(14, lane), 64u);
  }
}

__global__ void bit_counts(std::uint64_t* out, std::uint64_t x) {
  const auto low = static_cast<std::uint32_t>(x);
  out[0] = static_cast<std::uint64_t>(__popc(low)) + 100u * static_cast<unsigned>(__popcll(x));
  out[1] = static_cast<std::uint64_t>(__clz(static_cast<int>(low))) +
           100u * static_cast<unsigned>(__clzll(static_cast<long long>(x)));
  out[2] = static_cast<std::uint64_t>(__ffs(static_cast<int>(low))) +
           100u * static_cast<unsigned>(__ffsll(static_cast<long long>(x)));
  out[3] = __brev(low);
  out[4] = __brevll(x);
  out[5] = __byte_perm(0x33221100u, 0x77665544u, 0x7250u);
  out[6] = __funnelshift_r(0x11111111u, 0x22222222u, 4);
  out[7] = __umul64hi(x, 0x100000000ull);
  out[8] = static_cast<std::uint64_t>(__ffs(0) + __ffsll(0)) + static_cast<unsigned>(__clz(0)) +
           static_cast<unsigned>(__clzll(0));
}

TEST_F(Kernels, BitIntrinsics) {
  run(bit_counts, 1, 1, out_, std::uint64_t{0x0000F00000000300u});
  EXPECT_EQ(out_[0], 2u + 600u);
  EXPECT_EQ(out_[1], 22u + 1600u);
  EXPECT_EQ(out_[2], 9u + 900u);
  EXPECT_EQ(out_[3], 0x00C00000u);
  EXPECT_EQ(out_[4], 0x00C00000000F0000u);
  EXPECT_EQ(out_[5], 0x77225500u);
  EXPECT_EQ(out_[6], 0x21111111u);
  EXPECT_EQ(out_[7], 0x0000F000u);
  EXPECT_EQ(out_[8], 96u);
}

__global__ void atomics(std::uint64_t* out) {
  FW_SHARED(std::uint32_t, counter, 1);
  if (threadIdx.x == 0) counter[0] = 0;
  __syncthreads();
  atomicAdd(&counter[0], 1u);
  atomicAdd(&out[0], std::uint64_t{1});
  atomicMax(&out[1], std::uint64_t{blockIdx.x * 100 + threadIdx.x});
  atomicOr(&out[2], std::uint64_t{1} << (threadIdx.x % 64));
  // A lock by compare and swap, held over several instructions.
  while (atomicCAS(&out[3], std::uint64_t{0}, std::uint64_t{1}) != 0) {
  }
  const std::uint64_t seen = out[4];
  __nanosleep(1);
  out[4] = seen + 1;
  __threadfence();
  atomicExch(&out[3], std::uint64_t{0});
  __syncthreads();
  if (threadIdx.x == 0) out[10 + blockIdx.x] = counter[0];
}

TEST_F(Kernels, AtomicsAndLocks) {
  for (std::uint64_t seed : {1, 2, 3}) {
    emulator::Schedule schedule;
    schedule.seed = seed;
    emulator::set_schedule(schedule);
    std::fill_n(out_, 4096, 0);
    run(atomics, 6, 70, out_);
    EXPECT_EQ(out_[0], 420u);
    EXPECT_EQ(out_[1], 569u);
    EXPECT_EQ(out_[2], ~std::uint64_t{0});
    EXPECT_EQ(out_[4], 420u);
    for (unsigned block = 0; block < 6; ++block) EXPECT_EQ(out_[10 + block], 70u);
  }
}

__global__ void wait_for_the_one_before(std::uint64_t* out) {
  // Blocks take numbers as they start, so the one before is running or done.
  FW_SHARED(std::uint64_t, number, 1);
  if (threadIdx.x == 0) number[0] = atomicAdd(&out[0], std::uint64_t{1});
  __syncthreads();
  const std::uint64_t mine = number[0];
  if (threadIdx.x != 0) return;
  std::uint64_t before = 0;
  while (mine > 0 && (before = atomicAdd(&out[mine], std::uint64_t{0})) == 0) {
  }
  atomicExch(&out[mine + 1], before + 1);
}

TEST_F(Kernels, BlocksThatSpinLetOthersRun) {
  for (std::uint64_t seed = 1; seed < 6; ++seed) {
    emulator::Schedule schedule;
    schedule.seed = seed;
    schedule.resident_blocks = static_cast<unsigned>(seed * 3);
    emulator::set_schedule(schedule);
    std::fill_n(out_, 4096, 0);
    run(wait_for_the_one_before, 300, 64, out_);
    EXPECT_EQ(out_[300], 300u);
  }
}

__global__ void order_of_blocks(std::uint64_t* out) { out[1 + atomicAdd(&out[0], std::uint64_t{1})] = blockIdx.x; }

TEST_F(Kernels, SeedsChangeTheOrderAndTheSameSeedRepeatsIt) {
  const auto order = [&](std::uint64_t seed, bool in_order) {
    emulator::Schedule schedule;
    schedule.seed = seed;
    schedule.in_order = in_order;
    schedule.resident_blocks = 1;
    emulator::set_schedule(schedule);
    out_[0] = 0;
    run(order_of_blocks, 40, 1, out_);
    return std::vector<std::uint64_t>(out_ + 1, out_ + 41);
  };
  EXPECT_EQ(order(1, false), order(1, false));
  EXPECT_NE(order(1, false), order(2, false));
  std::vector<std::uint64_t> counted(40);
  std::iota(counted.begin(), counted.end(), 0);
  EXPECT_EQ(order(9, true), counted);
}

// What is reported.

__global__ void some_return_before_the_barrier() {
  if (threadIdx.x >= 40) return;
  __syncthreads();
}
__global__ void in_block_one_some_return() {
  if (blockIdx.x == 1 && threadIdx.x < 32) __syncthreads();
}
__global__ void two_barriers() {
  if (threadIdx.x % 2 == 0)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void barrier_against_warp() {
  if (threadIdx.x < 16)
    __syncthreads();
  else
    __syncwarp();
}

TEST_F(Kernels, DivergentBarriersAreReported) {
  refused(Report::Kind::divergent_barrier, {"barrier", "kernels_cuda_test.cpp:", "24 of 64 threads"}, 0,
          some_return_before_the_barrier, 1, 64);
  refused(Report::Kind::divergent_barrier, {"barrier", "32 of 64 threads", "block (1,0,0)"}, 0,
          in_block_one_some_return, 2, 64);
  refused(Report::Kind::divergent_barrier, {"divergent barrier", "thread (1,0,0)"}, 0, two_barriers, 1, 64);
  refused(Report::Kind::divergent_barrier, {"__syncwarp", "mask 0xffffffff"}, 0, barrier_against_warp, 1, 32);
}

__global__ void lane_outside_mask() { __ballot_sync(0x0000FFFFu, 1); }
__global__ void whole_warp_barrier() { __syncwarp(); }
__global__ void lane_that_left() {
  if (threadIdx.x == 5) return;
  __syncthreads_or(0);
}
__global__ void mask_names_finished_lane() {
  if (threadIdx.x == 5) return;
  __any_sync(0xFFFFFFFFu, 1);
}
__global__ void masks_that_differ() {
  const unsigned mask = threadIdx.x < 16 ? 0xFFFFFFFFu : 0xFFFF0000u;
  __ballot_sync(mask, 1);
  __syncwarp(0xFFFFFFFFu);
}
__global__ void operations_that_differ() {
  if (threadIdx.x < 16)
    __ballot_sync(0xFFFFFFFFu, 1);
  else
    __syncwarp(0xFFFFFFFFu);
}
__global__ void reads_from_outside_mask() {
  if (threadIdx.x < 16) __shfl_sync(0x0000FFFFu, 1, 20);
}
__global__ void lanes_that_never_come(std::uint64_t* out) {
  if (threadIdx.x < 16)
    __ballot_sync(0xFFFFFFFFu, 1);
  else
    while (atomicAdd(&out[0], std::uint64_t{0}) == 0) {
    }
}

TEST_F(Kernels, WarpPrimitivesWithWrongMasksAreReported) {
  refused(Report::Kind::warp_mask, {"thread (16,0,0)", "__ballot_sync", "mask 0x0000ffff", "kernels_cuda_test.cpp:"},
          0, lane_outside_mask, 1, 32);
  refused(Report::Kind::divergent_barrier, {"1 of 32 threads"}, 0, lane_that_left, 1, 32);
  refused(Report::Kind::warp_mask, {"__any_sync", "left the kernel"}, 0, mask_names_finished_lane, 1, 32);
  refused(Report::Kind::warp_mask, {"does not have", "0x000fffff"}, 0, whole_warp_barrier, 1, 20);
  refused(Report::Kind::warp_mask, {"__ballot_sync"}, 0, masks_that_differ, 1, 32);
  refused(Report::Kind::warp_mask, {"__syncwarp", "meets lane 0", "__ballot_sync"}, 0, operations_that_differ, 1, 32);
  refused(Report::Kind::warp_mask, {"reads from lane 20"}, 0, reads_from_outside_mask, 1, 32);
}

__global__ void reads_unwritten(std::uint64_t* out) {
  FW_SHARED(std::uint32_t, half, 64);
  if (threadIdx.x < 32) half[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = half[threadIdx.x];
}
__global__ void reads_unwritten_dynamic(std::uint64_t* out) {
  FW_DYNAMIC_SHARED(std::uint64_t, words);
  out[threadIdx.x] = words[threadIdx.x];
}
__global__ void reads_what_another_block_wrote(std::uint64_t* out) {
  FW_SHARED(std::uint32_t, word, 1);
  if (blockIdx.x == 0)
    word[0] = 1;
  else
    out[0] = word[0];
}
__global__ void beyond_static(std::uint64_t* out) {
  FW_SHARED(std::uint32_t, words, 8);
  words[threadIdx.x] = 1;
  out[0] = 1;
}
__global__ void beyond_dynamic() {
  FW_DYNAMIC_SHARED(std::uint32_t, words);
  words[threadIdx.x + 1] = 1;
}
__global__ void too_much_shared() {
  FW_SHARED(double, huge, 7000);
  huge[0] = 1;
}

TEST_F(Kernels, UnwrittenSharedMemoryIsReported) {
  refused(Report::Kind::unwritten_shared,
          {"reads what was never written", "of shared array 'half' (64 elements)", "cuda_test.cpp:"}, 0,
          reads_unwritten, 1, 64, out_);
  refused(Report::Kind::unwritten_shared, {"element 0 of", "dynamic"}, 256, reads_unwritten_dynamic, 1, 32, out_);
  // A block that starts in the place of one that has ended does not see its shared memory.
  emulator::Schedule schedule;
  schedule.in_order = true;
  schedule.resident_blocks = 1;
  emulator::set_schedule(schedule);
  refused(Report::Kind::unwritten_shared, {"block (1,0,0)"}, 0, reads_what_another_block_wrote, 2, 1, out_);
}

TEST_F(Kernels, SharedMemoryBoundsAreReported) {
  refused(Report::Kind::shared_bounds, {"thread (8,0,0)", "element 8 of shared array 'words' (8 elements)"}, 0,
          beyond_static, 1, 9, out_);
  refused(Report::Kind::shared_bounds, {"thread (31,0,0)", "element 32"}, 128, beyond_dynamic, 1, 32);
  refused(Report::Kind::shared_bounds, {"48 KiB"}, 0, too_much_shared, 1, 1);
}

__global__ void no_barrier_before_reading(std::uint64_t* out) {
  FW_SHARED(std::uint32_t, words, 64);
  words[threadIdx.x] = 0;
  __syncthreads();
  words[threadIdx.x] = threadIdx.x;
  __syncwarp();
  out[threadIdx.x] = words[threadIdx.x ^ 32];
}
__global__ void warp_barrier_is_enough_in_a_warp(std::uint64_t* out) {
  FW_SHARED(std::uint32_t, words, 64);
  words[threadIdx.x] = threadIdx.x;
  __syncwarp();
  out[threadIdx.x] = words[threadIdx.x ^ 1];
  __syncwarp();
  words[threadIdx.x ^ 3] = 5;
}
__global__ void written_while_read(std::uint64_t* out) {
  FW_SHARED(std::uint32_t, words, 32);
  words[threadIdx.x] = threadIdx.x;
  __syncthreads();
  // The last to come to a barrier goes on first, so it reads before the others write.
  if (threadIdx.x == 31)
    out[0] = words[5];
  else
    words[threadIdx.x] = 0;
}
__global__ void two_writers() {
  FW_SHARED(std::uint32_t, word, 1);
  word[0] = threadIdx.x;
}
__global__ void plain_among_atomics() {
  FW_SHARED(std::uint32_t, word, 1);
  if (threadIdx.x == 0) word[0] = 0;
  __syncthreads();
  if (threadIdx.x < 32)
    atomicAdd(&word[0], 1u);
  else
    word[0] = 3;
}

TEST_F(Kernels, RacesInSharedMemoryAreReported) {
  refused(Report::Kind::shared_race, {"race: ", "'words'", "with no barrier between"}, 0, no_barrier_before_reading,
          1, 64, out_);
  refused(Report::Kind::shared_race, {"race: writes element", "read with no barrier between"}, 0, written_while_read,
          1, 32, out_);
  refused(Report::Kind::shared_race, {"race: writes element 0", "'word'", "wrote with no barrier between"}, 0,
          two_writers, 1, 2);
  refused(Report::Kind::shared_race, {"race: "}, 0, plain_among_atomics, 1, 33);
  run(warp_barrier_is_enough_in_a_warp, 1, 64, out_);
}

__global__ void spins_for_ever(std::uint64_t* out) {
  while (atomicAdd(&out[blockIdx.x], std::uint64_t{0}) == 0) {
  }
}

TEST_F(Kernels, KernelsThatNeverEndAreReported) {
  emulator::Schedule schedule;
  schedule.spin_limit = 500;
  emulator::set_schedule(schedule);
  refused(Report::Kind::no_progress, {"no progress", "spins"}, 0, spins_for_ever, 3, 5, out_);
  refused(Report::Kind::no_progress, {"__ballot_sync", "spins"}, 0, lanes_that_never_come, 1, 32, out_);
}

__global__ void throws(std::uint64_t* out) {
  if (threadIdx.x == 3) throw std::runtime_error("out of patience");
  out[0] = 1;
}

TEST_F(Kernels, ExceptionsAreReported) {
  refused(Report::Kind::exception, {"thread (3,0,0)", "out of patience"}, 0, throws, 1, 32, out_);
}

#if !defined(__SANITIZE_ADDRESS__)
__global__ void writes_past_the_end(std::byte* data, unsigned bytes) { data[bytes + threadIdx.x] = std::byte{1}; }

TEST_F(Kernels, WritesPastADeviceAllocationAreReported) {
  std::byte* data = nullptr;
  ASSERT_EQ(cudaMalloc(&data, 100), cudaSuccess);
  refused(Report::Kind::global_bounds, {"byte 100", "100 bytes"}, 0, writes_past_the_end, 1, 1, data, 100u);
  EXPECT_EQ(cudaFree(data), cudaSuccess);
  EXPECT_EQ(static_cast<int>(emulator::take_report().kind), static_cast<int>(Report::Kind::global_bounds));
}
#else
__global__ void reads_past_the_end(const std::byte* data, unsigned bytes, std::uint64_t* out) {
  out[0] = static_cast<std::uint64_t>(data[bytes]);
}

TEST_F(Kernels, AddressSanitizerSeesDeviceMemory) {
  std::byte* data = nullptr;
  ASSERT_EQ(cudaMalloc(&data, 100), cudaSuccess);
  const auto past = [&] {
    launch("culprit", reads_past_the_end, 1, 1, 0, nullptr, static_cast<const std::byte*>(data), 100u, out_);
    (void)cudaDeviceSynchronize();
  };
  EXPECT_DEATH(past(), "heap-buffer-overflow");
  // Device memory is out of the host program's reach.
  EXPECT_DEATH(data[5] = std::byte{1}, "use-after-poison");
  EXPECT_EQ(cudaFree(data), cudaSuccess);
}
#endif

}  // namespace
}  // namespace foreweave
