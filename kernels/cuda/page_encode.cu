// Encoding pages on a device, in one pass over the data: compare, choose the transform, transpose, compact, update
// the base and place. One block encodes one page; docs/format.md, "Pages", is what it writes.
#include <string>

#include "kernels/common/check_word.hpp"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/page_sector.cuh"
#include "kernels/cuda/placement.cuh"
#include "kernels/decl/page_codec.hpp"

namespace foreweave::kernels::cuda {
namespace {

using common::words_per_page;
using common::words_per_sector;

constexpr unsigned block_threads = 256;  // eight warps, four sectors each
constexpr unsigned block_warps = block_threads / 32;
constexpr unsigned rounds = sectors_per_page / block_warps;

struct EncodeArguments {
  EncodeJob job;
  common::Strides strides;
  std::uint64_t pages;
  std::uint64_t* ticket;
  std::uint64_t* places;  ///< a word a page, zero
  std::uint64_t* total;
};

/// The size in words of this lane's sector under each transform, and its place when one was chosen.
struct Choice {
  std::uint32_t transform, words, stored, offset;
};

/// Every warp alike; lane k stands for sector k. `ors` has the OR of each sector's words for the transforms 1 to 4.
template <int width>
__device__ Choice choose(fw_shared_pointer<std::uint64_t> ors, std::uint32_t length, bool three) {
  const unsigned lane = lane_index();
  const bool dirty = ors[lane] != 0;
  std::uint32_t best = 0, best_total = 0, best_words = 0;
  FW_UNROLL
  for (std::uint32_t transform = 0; transform < transform_count; ++transform) {
    if (width == 1 && transform > static_cast<std::uint32_t>(Transform::exclusive_or)) continue;
    if (!three && transform == static_cast<std::uint32_t>(Transform::subtract_3d)) continue;
    std::uint32_t words = 0;
    if (transform == 0) {
      if (dirty) words = common::raw_words(lane, length);
    } else {
      const std::uint64_t planes = ors[(transform - 1) * sectors_per_page + lane];
      if (planes != 0) words = 1 + static_cast<std::uint32_t>(__popcll(planes));
    }
    const std::uint32_t total = warp_sum(words);
    if (transform == 0 || total < best_total) {
      best = transform;
      best_total = total;
      best_words = words;
    }
  }
  const std::uint32_t end = warp_inclusive_sum(best_words);
  return {best, best_total, __ballot_sync(all_lanes, best_words != 0), end - best_words};
}

// Three blocks on a multiprocessor: 80 registers a thread, nothing spilled for elements of 4 and 8 bytes (sm_90).
template <int width>
__global__ void __launch_bounds__(block_threads, 3) encode_kernel(EncodeArguments args) {
  FW_SHARED(std::uint64_t, differences, words_per_page);
  FW_SHARED(std::uint64_t, body, words_per_page);
  FW_SHARED(std::uint64_t, ors, 4 * sectors_per_page);
  FW_SHARED(std::uint64_t, sums, block_warps);
  FW_SHARED(std::uint64_t, shared_page, 1);
  FW_SHARED(std::uint64_t, shared_place, 2);
  const unsigned lane = lane_index(), warp = warp_index();

  if (threadIdx.x == 0) shared_page[0] = atomic_ticket(args.ticket);
  __syncthreads();
  const std::uint64_t page = shared_page[0];
  const EncodeJob& job = args.job;
  const std::uint32_t length = common::page_length(page, job.bytes);
  const std::uint32_t sectors = common::sector_count(length);
  const std::byte* const current = job.current + page * page_bytes;
  std::byte* const base = job.base == nullptr ? nullptr : job.base + page * page_bytes;
  const bool three = width > 1 && args.strides.any();

  // Compare; the words stay in registers. All loads are asked for before the first is used.
  Pair words[rounds], changes[rounds];
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round) {
    const std::uint32_t word = (round * block_warps + warp) * words_per_sector + lane;
    words[round] = {load_word(current, word, length), load_word(current, word + 32, length)};
    changes[round] =
        base == nullptr ? Pair{0, 0} : Pair{load_word(base, word, length), load_word(base, word + 32, length)};
  }
  std::uint32_t dirty = 0;  // bit k: this warp's sector of round k
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round) {
    const std::uint32_t sector = round * block_warps + warp;
    std::uint64_t or_change = 0, or_difference = 0;
    if (sector < sectors) {
      const std::uint32_t word = sector * words_per_sector + lane;
      const Pair c = words[round], b = changes[round];
      changes[round] = {c.low ^ b.low, c.high ^ b.high};
      or_change = warp_or(changes[round].low | changes[round].high);
      if constexpr (width > 1) {
        const Pair s{Elements<width>::subtract(c.low, b.low), Elements<width>::subtract(c.high, b.high)};
        differences[word] = s.low;
        differences[word + 32] = s.high;
        or_difference = warp_or(Elements<width>::fold(s.low) | Elements<width>::fold(s.high));
      }
    }
    if (or_change != 0) dirty |= 1u << round;
    if (lane == 0) {
      ors[sector] = or_change;
      ors[sectors_per_page + sector] = or_difference;
    }
  }

  if (__syncthreads_or(dirty != 0) == 0) {  // a clean page takes no bytes
    if (warp == 0) {
      if (lane == 0) {
        job.entries[page] = 0;
        announce(args.places, page, 0);
      }
      const std::uint64_t before = look_back(args.places, page, 0);
      if (lane == 0 && page + 1 == args.pages) *args.total = before;
    }
    return;
  }

  if (job.update_base) {
    FW_UNROLL
    for (unsigned round = 0; round < rounds; ++round) {
      if ((dirty >> round & 1) == 0) continue;
      const std::uint32_t word = (round * block_warps + warp) * words_per_sector + lane;
      store_word(base, word, length, words[round].low);
      store_word(base, word + 32, length, words[round].high);
    }
  }

  // The spatial transforms read their neighbours' differences.
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round) {
    const std::uint32_t sector = round * block_warps + warp;
    std::uint64_t or_line = 0, or_space = 0;
    if constexpr (width > 1) {
      if (sector < sectors) {
        const std::uint32_t word = sector * words_per_sector + lane;
        or_line = warp_or(spatial_word<width>(differences, word, false, args.strides) |
                          spatial_word<width>(differences, word + 32, false, args.strides));
        if (three)
          or_space = warp_or(spatial_word<width>(differences, word, true, args.strides) |
                             spatial_word<width>(differences, word + 32, true, args.strides));
      }
    }
    if (lane == 0) {
      ors[2 * sectors_per_page + sector] = or_line;
      ors[3 * sectors_per_page + sector] = or_space;
    }
  }
  __syncthreads();

  const Choice choice = choose<width>(ors, length, three);
  const std::uint32_t size = page_header_bytes + choice.words * 8;
  if (threadIdx.x == 0) {
    announce(args.places, page, size);
    job.entries[page] = make_entry(size, static_cast<Transform>(choice.transform));
  }

  // The body, compacted in shared memory, and its check sum.
  std::uint64_t sum = 0;
  const auto put = [&](std::uint32_t index, std::uint64_t word) {
    body[index] = word;
    sum += common::check_term(index, word);
  };
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round) {
    const std::uint32_t sector = round * block_warps + warp;
    const std::uint32_t offset = __shfl_sync(all_lanes, choice.offset, static_cast<int>(sector));
    if ((choice.stored >> sector & 1) == 0) continue;
    if (choice.transform == 0) {
      const std::uint32_t count = common::raw_words(sector, length);
      if (lane < count) put(offset + lane, words[round].low);
      if (lane + 32 < count) put(offset + lane + 32, words[round].high);
      continue;
    }
    Pair values = changes[round];
    if constexpr (width > 1) {
      const std::uint32_t word = sector * words_per_sector + lane;
      if (choice.transform == static_cast<std::uint32_t>(Transform::subtract)) {
        values = {Elements<width>::fold(differences[word]), Elements<width>::fold(differences[word + 32])};
      } else if (choice.transform != static_cast<std::uint32_t>(Transform::exclusive_or)) {
        const bool spatial = choice.transform == static_cast<std::uint32_t>(Transform::subtract_3d);
        values = {spatial_word<width>(differences, word, spatial, args.strides),
                  spatial_word<width>(differences, word + 32, spatial, args.strides)};
      }
    }
    const Pair planes = transpose(values);
    const std::uint64_t mask = ors[(choice.transform - 1) * sectors_per_page + sector];
    const auto rank = [&](unsigned plane) {
      return static_cast<std::uint32_t>(__popcll(mask & ((std::uint64_t{1} << plane) - 1)));
    };
    if (lane == 0) put(offset, mask);
    if (mask >> lane & 1) put(offset + 1 + rank(lane), planes.low);
    if (mask >> (lane + 32) & 1) put(offset + 1 + rank(lane + 32), planes.high);
  }
  sum = warp_sum(sum);
  if (lane == 0) sums[warp] = sum;
  __syncthreads();

  if (warp == 0) {
    const std::uint64_t before = look_back(args.places, page, size);
    const std::uint64_t all =
        warp_sum(lane < block_warps ? static_cast<std::uint64_t>(sums[lane]) : std::uint64_t{0});
    if (lane == 0) {
      shared_place[0] = before;
      shared_place[1] =
          std::uint64_t{common::check_finish(all, choice.stored, choice.transform)} << 32 | choice.stored;
      if (page + 1 == args.pages) *args.total = before + size;
    }
  }
  __syncthreads();
  std::byte* const out = job.out + static_cast<std::uint64_t>(shared_place[0]);
  if (threadIdx.x == 0) store_word(out, 0, size, shared_place[1]);
  for (std::uint32_t word = threadIdx.x; word < choice.words; word += block_threads)
    store_word(out, word + 1, size, body[word]);
}

}  // namespace

std::uint64_t encode_scratch_bytes(std::uint64_t bytes) { return 8 + 8 * page_count(bytes); }

void encode_pages(const EncodeJob& job, std::byte* scratch, std::uint64_t* total, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const std::uint64_t pages = page_count(job.bytes);
  const std::string operation = "encode " + std::to_string(job.bytes) + " bytes on the device";
  if (pages == 0) {
    cuda_detail::check(cudaMemsetAsync(total, 0, sizeof *total, queue), operation);
    return;
  }
  if (pages > 0x7FFFFFFFu) throw Error(ErrorCategory::argument, operation, "a run may have at most 32 TiB");
  cuda_detail::check(cudaMemsetAsync(scratch, 0, encode_scratch_bytes(job.bytes), queue), operation);
  auto* const counters = reinterpret_cast<std::uint64_t*>(scratch);
  const EncodeArguments args{job, common::strides_of(job.shape), pages, counters, counters + 1, total};
  const dim3 grid(static_cast<unsigned>(pages)), block(block_threads);
  switch (common::element_width(job.shape)) {
    case 8:
      return launch("encode_pages<8>", encode_kernel<8>, grid, block, 0, stream, args);
    case 4:
      return launch("encode_pages<4>", encode_kernel<4>, grid, block, 0, stream, args);
    default:
      return launch("encode_pages<1>", encode_kernel<1>, grid, block, 0, stream, args);
  }
}

}  // namespace foreweave::kernels::cuda
