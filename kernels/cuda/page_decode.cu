// Decoding pages on a device: first every entry is checked and placed, then every body is checked and its sectors found,
// and only then is anything written. Three kernels in stream order; one block a page in the last two. docs/cuda.md says
// what they cost.
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
constexpr std::uint64_t nothing_bad = ~std::uint64_t{0};

/// Findings are ordered by page; the lowest one is kept.
__device__ std::uint64_t finding(std::uint64_t page, DecodeStatus status) {
  return page * 8 + static_cast<std::uint64_t>(status);
}

struct DecodeArguments {
  DecodeJob job;
  common::Strides strides;
  std::uint64_t pages;
  std::uint64_t* bad_entry;  ///< lowest finding in the entries
  std::uint64_t* bad_body;   ///< lowest finding in the bodies
  std::uint64_t* ticket;
  std::uint64_t* places;   ///< a word for each block of entries, zero
  std::uint64_t* offsets;  ///< a word a page: where its body begins
  std::uint16_t* starts;   ///< for each page, where its sectors begin in the body, in words
  DecodeResult* result;
};

/// One thread an entry: checks it, and where its body lies.
__global__ void __launch_bounds__(block_threads) entries_kernel(DecodeArguments args) {
  FW_SHARED(std::uint64_t, totals, block_warps);
  FW_SHARED(std::uint64_t, shared_part, 1);
  FW_SHARED(std::uint64_t, shared_before, 1);
  const unsigned lane = lane_index(), warp = warp_index();
  if (threadIdx.x == 0) shared_part[0] = atomic_ticket(args.ticket);
  __syncthreads();
  const std::uint64_t part = shared_part[0];
  const std::uint64_t page = part * block_threads + threadIdx.x;

  const PageEntry entry = page < args.pages ? args.job.entries[page] : 0;
  // A larger one is bad by itself: what follows it does not matter.
  const std::uint64_t size = entry_size(entry) < max_encoded_page_bytes ? entry_size(entry) : max_encoded_page_bytes;
  const std::uint64_t in_warp = warp_inclusive_sum(size);
  if (lane == 31) totals[warp] = in_warp;
  __syncthreads();
  if (warp == 0) {
    const std::uint64_t mine = lane < block_warps ? static_cast<std::uint64_t>(totals[lane]) : 0;
    const std::uint64_t up_to = warp_inclusive_sum(mine);
    const std::uint64_t all = __shfl_sync(all_lanes, up_to, 31);
    __syncwarp();
    if (lane < block_warps) totals[lane] = up_to - mine;
    if (lane == 0) announce(args.places, part, all);
    const std::uint64_t before = look_back(args.places, part, all);
    if (lane == 0) shared_before[0] = before;
  }
  __syncthreads();
  if (page >= args.pages) return;

  const std::uint64_t end = shared_before[0] + totals[warp] + in_warp;
  args.offsets[page] = end - size;
  DecodeStatus status = common::entry_status(entry, common::page_length(page, args.job.bytes), args.job.shape);
  if (status == DecodeStatus::ok && end > args.job.in_bytes) status = DecodeStatus::bad_size;
  if (status != DecodeStatus::ok) atomic_lower(args.bad_entry, finding(page, status));
  if (page + 1 == args.pages && end < args.job.in_bytes)
    atomic_lower(args.bad_entry, finding(args.pages, DecodeStatus::bad_size));
}

/// The whole block: brings a page's body into shared memory, the header first.
__device__ void load_body(fw_shared_pointer<std::uint64_t> body, const std::byte* from, std::uint32_t size) {
  if (reinterpret_cast<std::uintptr_t>(from) % 8 == 0) {
    const auto* const words = reinterpret_cast<const std::uint64_t*>(from);
    for (std::uint32_t word = threadIdx.x; word < size / 8; word += block_threads) body[word] = words[word];
    return;
  }
  for (std::uint32_t word = threadIdx.x; word < size / 8; word += block_threads)
    body[word] = load_word(from, word, size);
}

/// One thread: where each sector's data begins in the body, in words. Anything but ok when they do not fit.
__device__ DecodeStatus find_sectors(fw_shared_pointer<std::uint64_t> body, std::uint32_t words,
                                     std::uint32_t transform, std::uint32_t length,
                                     std::uint16_t* starts) {
  const auto stored = static_cast<std::uint32_t>(body[0]);
  if (stored == 0 || (stored & ~common::sector_mask(length)) != 0) return DecodeStatus::bad_sectors;
  std::uint32_t at = 1;
  for (std::uint32_t sector = 0; sector < sectors_per_page; ++sector) {
    starts[sector] = static_cast<std::uint16_t>(at);
    if ((stored >> sector & 1) == 0) continue;
    if (transform == 0) {
      at += common::raw_words(sector, length);
    } else {
      if (at >= words) return DecodeStatus::bad_planes;
      const std::uint64_t mask = body[at];
      if (mask == 0) return DecodeStatus::bad_planes;
      at += 1 + static_cast<std::uint32_t>(__popcll(mask));
    }
  }
  return at == words ? DecodeStatus::ok : DecodeStatus::bad_planes;
}

__global__ void __launch_bounds__(block_threads) bodies_kernel(DecodeArguments args) {
  FW_SHARED(std::uint64_t, body, words_per_page + 1);
  FW_SHARED(std::uint64_t, sums, block_warps);
  if (*args.bad_entry != nothing_bad) return;
  const std::uint64_t page = blockIdx.x;
  const PageEntry entry = args.job.entries[page];
  if (entry == 0) return;
  const std::uint32_t words = entry_size(entry) / 8;
  load_body(body, args.job.in + args.offsets[page], entry_size(entry));
  __syncthreads();
  std::uint64_t sum = 0;
  for (std::uint32_t word = 1 + threadIdx.x; word < words; word += block_threads)
    sum += common::check_term(word - 1, body[word]);
  sum = warp_sum(sum);
  if (lane_index() == 0) sums[warp_index()] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  const std::uint32_t transform = entry_transform(entry);
  DecodeStatus status = find_sectors(body, words, transform, common::page_length(page, args.job.bytes),
                                     args.starts + page * sectors_per_page);
  if (status == DecodeStatus::ok) {
    std::uint64_t all = 0;
    for (unsigned warp = 0; warp < block_warps; ++warp) all += sums[warp];
    const std::uint64_t header = body[0];
    if (common::check_finish(all, static_cast<std::uint32_t>(header), transform) != header >> 32)
      status = DecodeStatus::bad_check;
  }
  if (status != DecodeStatus::ok) atomic_lower(args.bad_body, finding(page, status));
}

/// The whole block: undoes (1 − S_stride) on the page's elements in shared memory. The stride is doubled until there are
/// columns for all threads (1/(1 − S) = (1 + S)(1 + S²)…); then each sums up its own.
template <class T>
__device__ void undo_stride(fw_shared_pointer<T> values, std::uint32_t stride) {
  constexpr std::uint32_t count = page_bytes / sizeof(T), each = count / block_threads;
  for (; stride < block_threads; stride *= 2) {
    T before[each];
    FW_UNROLL
    for (std::uint32_t i = 0; i < each; ++i) {
      const std::uint32_t at = i * block_threads + threadIdx.x;
      before[i] = at >= stride ? static_cast<T>(values[at - stride]) : T{0};
    }
    __syncthreads();
    FW_UNROLL
    for (std::uint32_t i = 0; i < each; ++i) {
      if (i * block_threads + threadIdx.x >= stride) values[i * block_threads + threadIdx.x] += before[i];
    }
    __syncthreads();
  }
  for (std::uint32_t column = threadIdx.x; column < stride; column += block_threads) {
    T sum = values[column];
    for (std::uint32_t at = column + stride; at < count; at += stride) {
      sum += values[at];
      values[at] = sum;
    }
  }
  __syncthreads();
}

template <int width>
__global__ void __launch_bounds__(block_threads) write_kernel(DecodeArguments args) {
  FW_SHARED(std::uint64_t, body, words_per_page + 1);
  FW_SHARED(std::uint64_t, values, words_per_page);
  FW_SHARED(std::uint64_t, totals, sectors_per_page);
  const unsigned lane = lane_index(), warp = warp_index();
  const std::uint64_t bad = *args.bad_entry != nothing_bad ? *args.bad_entry : *args.bad_body;
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    DecodeResult result;
    if (bad != nothing_bad) {
      result.status = static_cast<DecodeStatus>(bad % 8);
      result.page = bad / 8;
    }
    *args.result = result;
  }
  const std::uint64_t page = blockIdx.x;
  if (bad != nothing_bad || page >= args.pages) return;
  const PageEntry entry = args.job.entries[page];
  if (entry == 0) return;

  const std::uint32_t length = common::page_length(page, args.job.bytes);
  const std::uint32_t transform = entry_transform(entry);
  std::byte* const data = args.job.data + page * page_bytes;
  load_body(body, args.job.in + args.offsets[page], entry_size(entry));
  const std::uint16_t* const starts = args.starts + page * sectors_per_page;
  // What is there already, asked for while the body is on its way.
  const bool plain = length == page_bytes && reinterpret_cast<std::uintptr_t>(data) % 8 == 0;
  Pair old[rounds] = {};
  if (plain && transform != static_cast<std::uint32_t>(Transform::raw)) {
    const auto* const words = reinterpret_cast<const std::uint64_t*>(data);
    FW_UNROLL
    for (unsigned round = 0; round < rounds; ++round) {
      const std::uint32_t word = (round * block_warps + warp) * words_per_sector + lane;
      old[round] = {words[word], words[word + 32]};
    }
  }
  __syncthreads();
  const auto stored = static_cast<std::uint32_t>(body[0]);

  if (transform == static_cast<std::uint32_t>(Transform::raw)) {
    for (unsigned round = 0; round < rounds; ++round) {
      const std::uint32_t sector = round * block_warps + warp;
      if ((stored >> sector & 1) == 0) continue;
      const std::uint32_t count = common::raw_words(sector, length), start = starts[sector];
      for (std::uint32_t word = lane; word < count; word += 32)
        store_word(data, sector * words_per_sector + word, length, body[start + word]);
    }
    return;
  }

  // The transformed words of this warp's sectors; 0 where a sector is not stored.
  const Transpose transpose;
  Pair at[rounds];
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round) {
    const std::uint32_t sector = round * block_warps + warp;
    at[round] = Pair{0, 0};
    if ((stored >> sector & 1) == 0) continue;
    const std::uint32_t start = starts[sector];
    const std::uint64_t mask = body[start];
    const auto plane = [&](unsigned bit) -> std::uint64_t {
      if ((mask >> bit & 1) == 0) return 0;
      return body[start + 1 + static_cast<std::uint32_t>(__popcll(mask & ((std::uint64_t{1} << bit) - 1)))];
    };
    at[round] = transpose(Pair{plane(lane), plane(lane + 32)});
  }

  if constexpr (width > 1) {
    using E = Elements<width>;
    using T = typename E::Type;
    if (transform != static_cast<std::uint32_t>(Transform::exclusive_or)) {
      FW_UNROLL
      for (unsigned round = 0; round < rounds; ++round)
        at[round] = {E::unfold(at[round].low), E::unfold(at[round].high)};
    }
    if (transform >= static_cast<std::uint32_t>(Transform::subtract_1d)) {
      // Running sums: inside each half sector, then from half to half and sector to sector.
      FW_UNROLL
      for (unsigned round = 0; round < rounds; ++round) {
        const T low = E::total(at[round].low), high = E::total(at[round].high);
        const T low_end = warp_inclusive_sum(low), high_end = warp_inclusive_sum(high);
        const T half = __shfl_sync(all_lanes, low_end, 31);
        at[round] = {E::running(at[round].low, low_end - low), E::running(at[round].high, half + high_end - high)};
        if (lane == 31) totals[round * block_warps + warp] = static_cast<T>(half + high_end);
      }
      __syncthreads();
      const T mine = static_cast<T>(totals[lane]);
      const T before_lane = warp_inclusive_sum(mine) - mine;
      FW_UNROLL
      for (unsigned round = 0; round < rounds; ++round) {
        const T before = __shfl_sync(all_lanes, before_lane, static_cast<int>(round * block_warps + warp));
        // Adds `before` to every element of the word.
        const std::uint64_t spread = width == 8 ? std::uint64_t{before} : std::uint64_t{before} << 32 | before;
        at[round] = {E::add(at[round].low, spread), E::add(at[round].high, spread)};
      }
    }
    if (transform == static_cast<std::uint32_t>(Transform::subtract_3d)) {
      FW_UNROLL
      for (unsigned round = 0; round < rounds; ++round) {
        const std::uint32_t word = (round * block_warps + warp) * words_per_sector + lane;
        values[word] = at[round].low;
        values[word + 32] = at[round].high;
      }
      __syncthreads();
      if (args.strides.row != 0) undo_stride<T>(shared_cast<T>(values), args.strides.row);
      if (args.strides.plane != 0) undo_stride<T>(shared_cast<T>(values), args.strides.plane);
      FW_UNROLL
      for (unsigned round = 0; round < rounds; ++round) {
        const std::uint32_t word = (round * block_warps + warp) * words_per_sector + lane;
        at[round] = {values[word], values[word + 32]};
      }
    }
  }

  const auto changed = [&](std::uint64_t before, std::uint64_t change) {
    if constexpr (width > 1) {
      if (transform != static_cast<std::uint32_t>(Transform::exclusive_or)) return Elements<width>::add(before, change);
    }
    return before ^ change;
  };
  if (plain) {
    auto* const words = reinterpret_cast<std::uint64_t*>(data);
    FW_UNROLL
    for (unsigned round = 0; round < rounds; ++round) {
      const std::uint32_t word = (round * block_warps + warp) * words_per_sector + lane;
      if (at[round].low != 0) words[word] = changed(old[round].low, at[round].low);
      if (at[round].high != 0) words[word + 32] = changed(old[round].high, at[round].high);
    }
    return;
  }
  __syncthreads();
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round) {
    const std::uint32_t word = (round * block_warps + warp) * words_per_sector + lane;
    values[word] = at[round].low;
    values[word + 32] = at[round].high;
  }
  __syncthreads();
  for (std::uint32_t word = threadIdx.x; word * 8 < length; word += block_threads) {
    if (values[word] != 0) store_word(data, word, length, changed(load_word(data, word, length), values[word]));
  }
}

std::uint64_t entry_blocks(std::uint64_t pages) { return (pages + block_threads - 1) / block_threads; }

}  // namespace

std::uint64_t decode_scratch_bytes(std::uint64_t bytes) {
  const std::uint64_t pages = page_count(bytes);
  return 8 * (3 + entry_blocks(pages) + pages) + pages * sectors_per_page * sizeof(std::uint16_t);
}

void decode_pages(const DecodeJob& job, std::byte* scratch, DecodeResult* result, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const std::uint64_t pages = page_count(job.bytes);
  const std::uint64_t parts = entry_blocks(pages);
  const std::string operation = "decode " + std::to_string(job.bytes) + " bytes on the device";
  if (pages > 0x7FFFFFFFu) throw Error(ErrorCategory::argument, operation, "a run may have at most 32 TiB");
  auto* const words = reinterpret_cast<std::uint64_t*>(scratch);
  const DecodeArguments args{
      job, common::strides_of(job.shape), pages, words, words + 1, words + 2, words + 3, words + 3 + parts,
      reinterpret_cast<std::uint16_t*>(words + 3 + parts + pages), result};
  cuda_detail::check(cudaMemsetAsync(words, 0xFF, 16, queue), operation);  // nothing_bad
  cuda_detail::check(cudaMemsetAsync(words + 2, 0, 8 * (1 + parts), queue), operation);
  const dim3 grid(static_cast<unsigned>(pages)), block(block_threads);
  if (pages > 0) {
    launch("decode_pages: entries", entries_kernel, dim3(static_cast<unsigned>(parts)), block, 0, stream, args);
    launch("decode_pages: bodies", bodies_kernel, grid, block, 0, stream, args);
  } else if (job.in_bytes != 0) {
    // No page, yet bytes: the finding of the entries, written as entries_kernel would.
    cuda_detail::check(cudaMemsetAsync(words, 0, 8, queue), operation);
    cuda_detail::check(cudaMemsetAsync(words, static_cast<int>(DecodeStatus::bad_size), 1, queue), operation);
  }
  const dim3 writers(static_cast<unsigned>(pages > 0 ? pages : 1));
  switch (common::element_width(job.shape)) {
    case 8:
      return launch("decode_pages: write<8>", write_kernel<8>, writers, block, 0, stream, args);
    case 4:
      return launch("decode_pages: write<4>", write_kernel<4>, writers, block, 0, stream, args);
    default:
      return launch("decode_pages: write<1>", write_kernel<1>, writers, block, 0, stream, args);
  }
}

}  // namespace foreweave::kernels::cuda
