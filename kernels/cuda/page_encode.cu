// Encoding pages on a device, in one pass over the data: compare, choose the transform, transpose, compact, place and
// update the base. A block encodes one page after another, of whatever region; docs/format.md, "Pages", is what it
// writes, docs/cuda.md what it costs.
#include <algorithm>
#include <string>

#include "kernels/common/check_word.hpp"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/page_sector.cuh"
#include "kernels/cuda/placement.cuh"
#include "kernels/cuda/region_table.cuh"
#include "kernels/decl/page_codec.hpp"

namespace foreweave::kernels::cuda {
namespace {

using common::words_per_page;
using common::words_per_sector;

constexpr unsigned block_threads = 256;  // eight warps, four sectors each
constexpr unsigned block_warps = block_threads / 32;
constexpr unsigned rounds = sectors_per_page / block_warps;
constexpr unsigned words_per_warp = words_per_page / block_warps;
constexpr unsigned resident_blocks = 3;  // on a multiprocessor, by registers and shared memory (sm_90)

struct EncodeArguments {
  EncodeBatch batch;
  std::uint64_t* ticket;
  std::uint64_t* stopped;  ///< not 0 once a page did not fit
  std::uint64_t* places;   ///< a word a page, zero
};

/// A page's words in registers: warp w has the sectors 4w to 4w + 3, a lane two words of each.
struct PageWords {
  Pair at[rounds];
  std::uint64_t before;  ///< the word before the warp's first; 0 before the page's first
};

__device__ std::uint32_t first_word(unsigned warp, unsigned round) {
  return warp * words_per_warp + round * words_per_sector + lane_index();
}

/// The whole block. `plain`: a whole page, aligned to 8; others go through `room`.
__device__ PageWords load_page(const std::byte* from, unsigned warp, std::uint32_t length, bool plain,
                               fw_shared_pointer<std::uint64_t> room) {
  PageWords page;
  const std::uint32_t warp_first = warp * words_per_warp;
  if (plain) {
    const auto* const words = reinterpret_cast<const std::uint64_t*>(from);
    FW_UNROLL
    for (unsigned round = 0; round < rounds; ++round)
      page.at[round] = {words[first_word(warp, round)], words[first_word(warp, round) + 32]};
    page.before = warp_first == 0 ? 0 : words[warp_first - 1];
    return page;
  }
  __syncthreads();
  for (std::uint32_t word = threadIdx.x; word < words_per_page; word += block_threads)
    room[word] = load_word(from, word, length);
  __syncthreads();
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round)
    page.at[round] = {room[first_word(warp, round)], room[first_word(warp, round) + 32]};
  page.before = warp_first == 0 ? std::uint64_t{0} : room[warp_first - 1];
  return page;
}

/// The whole block: writes the sectors that this warp's bits in `sectors` name (bit k: of round k).
__device__ void store_page(std::byte* to, unsigned warp, std::uint32_t length, bool plain, const PageWords& page,
                           std::uint32_t sectors, fw_shared_pointer<std::uint64_t> room) {
  if (plain) {
    auto* const words = reinterpret_cast<std::uint64_t*>(to);
    FW_UNROLL
    for (unsigned round = 0; round < rounds; ++round) {
      if ((sectors >> round & 1) == 0) continue;
      words[first_word(warp, round)] = page.at[round].low;
      words[first_word(warp, round) + 32] = page.at[round].high;
    }
    return;
  }
  __syncthreads();
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round) {
    room[first_word(warp, round)] = page.at[round].low;
    room[first_word(warp, round) + 32] = page.at[round].high;
  }
  __syncwarp();
  for (unsigned half = 0; half < 2 * rounds; ++half) {
    if ((sectors >> half / 2 & 1) == 0) continue;
    const std::uint32_t word = warp * words_per_warp + half * 32 + lane_index();
    store_word(to, word, length, room[word]);
  }
}

/// What the block keeps in shared memory.
struct EncodeRoom {
  fw_shared_pointer<std::uint64_t> lines;   ///< subtract_1d of the page, not folded
  fw_shared_pointer<std::uint64_t> body;    ///< after its first 8 bytes; before that, subtract_3d, not folded
  fw_shared_pointer<std::uint64_t> ors;     ///< of each sector's words for the transforms 1 to 4
  fw_shared_pointer<std::uint64_t> sums;    ///< of the check word, a warp each
  fw_shared_pointer<std::uint64_t> place;   ///< where the body begins
  fw_shared_pointer<std::uint32_t> starts;  ///< of each sector in the body, in words
  fw_shared_pointer<std::uint32_t> choice;  ///< transform, bitmap of stored sectors, words of the body, 1: it fits
};

/// One warp, lane k for sector k: finds the transform whose body is smallest, and where its sectors begin. Returns the
/// body's size in bytes.
template <int width>
__device__ std::uint32_t choose(const EncodeRoom& room, std::uint32_t length, bool three) {
  const unsigned lane = lane_index();
  const bool dirty = room.ors[lane] != 0;
  std::uint32_t best = 0, best_total = 0, best_words = 0;
  FW_UNROLL
  for (std::uint32_t transform = 0; transform < transform_count; ++transform) {
    if (width == 1 && transform > static_cast<std::uint32_t>(Transform::exclusive_or)) continue;
    if (!three && transform == static_cast<std::uint32_t>(Transform::subtract_3d)) continue;
    std::uint32_t words = 0;
    if (transform == 0) {
      if (dirty) words = common::raw_words(lane, length);
    } else {
      const std::uint64_t planes = room.ors[(transform - 1) * sectors_per_page + lane];
      if (planes != 0) words = 1 + static_cast<std::uint32_t>(__popcll(planes));
    }
    const std::uint32_t total = warp_sum(words);
    if (transform == 0 || total < best_total) {
      best = transform;
      best_total = total;
      best_words = words;
    }
  }
  room.starts[lane] = warp_inclusive_sum(best_words) - best_words;
  const unsigned stored = __ballot_sync(all_lanes, best_words != 0);
  if (lane == 0) {
    room.choice[0] = best;
    room.choice[1] = stored;
    room.choice[2] = best_total;
  }
  return page_header_bytes + best_total * 8;
}

/// One warp: puts its words of subtract_3d into `body`, and each sector's OR beside the others.
template <int width, bool deep>
__device__ void difference_in_space(const EncodeRoom& room, unsigned warp, std::uint32_t sectors, Lorenzo strides) {
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round) {
    const std::uint32_t sector = warp * rounds + round, word = first_word(warp, round);
    const std::uint64_t low = lorenzo_word<width, deep>(room.lines, word, strides);
    const std::uint64_t high = lorenzo_word<width, deep>(room.lines, word + 32, strides);
    room.body[word] = low;
    room.body[word + 32] = high;
    FoldedOr<width> space;
    space.add(low);
    space.add(high);
    const std::uint64_t bits = warp_or(space.bits());
    if (lane_index() == 0) room.ors[3 * sectors_per_page + sector] = sector < sectors ? bits : 0;
  }
}

/// One warp: finds the place of the page's `size` bytes, and notes how far the batch came where it ends with this page.
/// True when the page fits.
__device__ bool take_place(const EncodeArguments& args, std::uint64_t page, std::uint64_t part, std::uint64_t size,
                           std::uint64_t& before) {
  const EncodeBatch& batch = args.batch;
  before = look_back(args.places, part, size);
  const bool fits = before + size <= batch.out_bytes;
  if (lane_index() == 0) {
    if (!fits && before <= batch.out_bytes) {  // the first that does not; all later ones find themselves past the end
      *batch.progress = {page, before};
      publish(args.stopped, 1);
    }
    if (fits && page + 1 == batch.pages) *batch.progress = {batch.pages, before + size};
  }
  return fits;
}

/// The whole block: encodes page `page` of the batch, the `part`-th of this launch. Ends with thread 0 holding the next
/// ticket, taken early so that its way is covered by the writing.
template <int width>
__device__ std::uint64_t encode_page(const EncodeArguments& args, const EncodeRegion& region, std::uint64_t page,
                                     std::uint64_t part, const EncodeRoom& room) {
  const unsigned lane = lane_index(), warp = warp_index();
  const EncodeBatch& batch = args.batch;
  const std::uint64_t in_region = page - region.first_page;
  const std::uint32_t length = common::page_length(in_region, region.bytes);
  const std::uint32_t sectors = common::sector_count(length);
  const std::byte* const current = global_memory(region.current + in_region * page_bytes);
  // Without meaning, and not used, where the batch neither compares nor updates.
  std::byte* const base = global_memory(region.base + in_region * page_bytes);
  const auto addresses = reinterpret_cast<std::uintptr_t>(current) | reinterpret_cast<std::uintptr_t>(base);
  const bool plain = length == page_bytes && addresses % 8 == 0;

  // Compare; the words stay in registers. All loads are asked for before the first is used.
  const PageWords words = load_page(current, warp, length, plain, room.body);
  PageWords changes{};
  if (batch.compare) changes = load_page(base, warp, length, plain, room.body);
  std::uint64_t before = 0;  // in lane 0: the difference before the sector
  if constexpr (width > 1) before = Elements<width>::subtract(words.before, changes.before);
  std::uint64_t any = 0;
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round) {
    changes.at[round].low ^= words.at[round].low;
    changes.at[round].high ^= words.at[round].high;
    any |= changes.at[round].low | changes.at[round].high;
  }

  if (__syncthreads_or(any != 0) == 0) {  // a clean page takes no bytes
    std::uint64_t next = 0;
    if (warp == 0) {
      if (lane == 0) {
        batch.entries[page] = 0;
        announce(args.places, part, 0);
        next = atomic_ticket(args.ticket);
      }
      std::uint64_t unused;
      take_place(args, page, part, 0, unused);
    }
    if (!batch.compare && batch.update_base) store_page(base, warp, length, plain, words, ~0u, room.lines);
    return next;
  }

  // Sectors past the end of a short page are computed like the others: their words are zeros, and what the differences
  // make of them is not taken.
  std::uint32_t dirty = 0;  // bit k: this warp's sector of round k
  FW_UNROLL
  for (unsigned round = 0; round < rounds; ++round) {
    const std::uint32_t sector = warp * rounds + round;
    const Pair c = words.at[round], x = changes.at[round];
    const std::uint64_t or_change = warp_or(x.low | x.high);
    std::uint64_t or_difference = 0, or_line = 0;
    if constexpr (width > 1) {
      using E = Elements<width>;
      const Pair s{E::subtract(c.low, c.low ^ x.low), E::subtract(c.high, c.high ^ x.high)};
      const Pair line = line_pair<width>(s, before);
      FoldedOr<width> difference, along;
      difference.add(s.low);
      difference.add(s.high);
      along.add(line.low);
      along.add(line.high);
      or_difference = warp_or(difference.bits());
      or_line = warp_or(along.bits());
      room.lines[first_word(warp, round)] = line.low;
      room.lines[first_word(warp, round) + 32] = line.high;
    }
    if (or_change != 0) dirty |= 1u << round;
    if (lane == 0) {
      room.ors[sector] = or_change;
      room.ors[sectors_per_page + sector] = or_difference;
      room.ors[2 * sectors_per_page + sector] = sector < sectors ? or_line : 0;
    }
  }
  const common::Strides strides = common::strides_of(region.shape);
  const bool three = width > 1 && strides.any();
  if constexpr (width > 1) {
    if (three) {
      __syncthreads();  // it reads what other warps have put into `lines`
      const Lorenzo lorenzo(strides);
      if (warp * words_per_warp * Elements<width>::per_word >= lorenzo.reach()) {
        difference_in_space<width, true>(room, warp, sectors, lorenzo);
      } else {
        difference_in_space<width, false>(room, warp, sectors, lorenzo);
      }
    }
  }
  __syncthreads();
  if (warp == 0) {
    const std::uint32_t size = choose<width>(room, length, three);
    if (lane == 0) announce(args.places, part, size);
  }
  __syncthreads();

  // The values of the transform take the place of `changes`.
  const std::uint32_t transform = room.choice[0], stored = room.choice[1], body_words = room.choice[2];
  const std::uint32_t size = page_header_bytes + body_words * 8;
  if constexpr (width > 1) {
    using E = Elements<width>;
    if (transform == static_cast<std::uint32_t>(Transform::subtract)) {
      FW_UNROLL
      for (unsigned round = 0; round < rounds; ++round) {
        const Pair c = words.at[round], x = changes.at[round];
        changes.at[round] = {E::fold(E::subtract(c.low, c.low ^ x.low)), E::fold(E::subtract(c.high, c.high ^ x.high))};
      }
    } else if (transform == static_cast<std::uint32_t>(Transform::subtract_1d)) {
      FW_UNROLL
      for (unsigned round = 0; round < rounds; ++round) {
        const std::uint32_t word = first_word(warp, round);
        changes.at[round] = {E::fold(room.lines[word]), E::fold(room.lines[word + 32])};
      }
    } else if (transform == static_cast<std::uint32_t>(Transform::subtract_3d)) {
      FW_UNROLL
      for (unsigned round = 0; round < rounds; ++round) {
        const std::uint32_t word = first_word(warp, round);
        changes.at[round] = {E::fold(room.body[word]), E::fold(room.body[word + 32])};
      }
      __syncthreads();  // the body takes that place now
    }
  }

  // The body, compacted in shared memory.
  if (transform == 0) {
    FW_UNROLL
    for (unsigned round = 0; round < rounds; ++round) {
      const std::uint32_t sector = warp * rounds + round;
      if ((stored >> sector & 1) == 0) continue;
      const std::uint32_t count = common::raw_words(sector, length), start = room.starts[sector];
      if (lane < count) room.body[start + lane] = words.at[round].low;
      if (lane + 32 < count) room.body[start + lane + 32] = words.at[round].high;
    }
  } else {
    const Transpose transpose;
    const std::uint32_t own = 1u << lane, lower = own - 1;
    FW_UNROLL
    for (unsigned round = 0; round < rounds; ++round) {
      const std::uint32_t sector = warp * rounds + round;
      if ((stored >> sector & 1) == 0) continue;
      const Pair planes = transpose(changes.at[round]);
      const std::uint32_t start = room.starts[sector];
      const std::uint64_t mask = room.ors[(transform - 1) * sectors_per_page + sector];
      const auto low = static_cast<std::uint32_t>(mask), high = static_cast<std::uint32_t>(mask >> 32);
      const std::uint32_t middle = start + 1 + static_cast<std::uint32_t>(__popc(low));
      if (lane == 0) room.body[start] = mask;
      if ((low & own) != 0) room.body[start + 1 + static_cast<std::uint32_t>(__popc(low & lower))] = planes.low;
      if ((high & own) != 0) room.body[middle + static_cast<std::uint32_t>(__popc(high & lower))] = planes.high;
    }
  }

  if (warp == 0) {
    std::uint64_t begin = 0;
    const bool fits = take_place(args, page, part, size, begin);
    if (lane == 0) {
      if (fits) batch.entries[page] = make_entry(size, static_cast<Transform>(transform));
      room.place[0] = begin;
      room.choice[3] = fits ? 1 : 0;
    }
  }
  __syncthreads();
  std::uint64_t next = 0;
  if (threadIdx.x == 0) next = atomic_ticket(args.ticket);
  if (room.choice[3] == 0) return next;

  // Out with it, adding up the check word on the way.
  auto* const out = global_memory(reinterpret_cast<std::uint64_t*>(batch.out + static_cast<std::uint64_t>(room.place[0])));
  std::uint64_t sum = 0;
  for (std::uint32_t word = threadIdx.x; word < body_words; word += block_threads) {
    const std::uint64_t value = room.body[word];
    out[word + 1] = value;
    sum += common::check_term(word, value);
  }
  sum = warp_sum(sum);
  if (lane == 0) room.sums[warp] = sum;
  if (batch.update_base) store_page(base, warp, length, plain, words, batch.compare ? dirty : ~0u, room.lines);
  __syncthreads();
  if (threadIdx.x == 0) {
    std::uint64_t all = 0;
    for (unsigned w = 0; w < block_warps; ++w) all += room.sums[w];
    out[0] = std::uint64_t{common::check_finish(all, stored, transform)} << 32 | stored;
  }
  return next;
}

// 80 registers a thread, three blocks on a multiprocessor.
__global__ void __launch_bounds__(block_threads, resident_blocks) encode_kernel(EncodeArguments args) {
  FW_SHARED(std::uint64_t, lines, words_per_page);
  FW_SHARED(std::uint64_t, body, words_per_page);
  FW_SHARED(std::uint64_t, ors, 4 * sectors_per_page);
  FW_SHARED(std::uint64_t, sums, block_warps);
  FW_SHARED(std::uint64_t, place, 1);
  FW_SHARED(std::uint64_t, shared_part, 1);
  FW_SHARED(std::uint32_t, starts, sectors_per_page);
  FW_SHARED(std::uint32_t, choice, 4);
  const EncodeRoom room{lines, body, ors, sums, place, starts, choice};
  const EncodeBatch& batch = args.batch;
  const std::uint64_t first = batch.after == nullptr ? 0 : batch.after->next_page;
  if (first >= batch.pages) {
    if (blockIdx.x == 0 && threadIdx.x == 0) *batch.progress = {batch.pages, 0};
    return;
  }
  const std::uint64_t parts = batch.pages - first;
  std::uint64_t next = threadIdx.x == 0 ? atomic_ticket(args.ticket) : 0;
  for (;;) {
    if (threadIdx.x == 0) {
      if (next < parts && watch(args.stopped) != 0) {  // nothing more fits: whoever looks back is told so
        give_up_place(args.places, next, batch.out_bytes + 1);
        next = parts;
      }
      shared_part[0] = next;
    }
    __syncthreads();
    const std::uint64_t part = shared_part[0];
    if (part >= parts) return;
    const std::uint64_t page = first + part;
    const EncodeRegion& region = batch.regions[region_of(batch.regions, batch.count, page)];
    switch (common::element_width(region.shape)) {
      case 8:
        next = encode_page<8>(args, region, page, part, room);
        break;
      case 4:
        next = encode_page<4>(args, region, page, part, room);
        break;
      default:
        next = encode_page<1>(args, region, page, part, room);
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(block_threads) copy_kernel(const std::byte* out, const EncodeProgress* progress,
                                                             std::byte* to, std::uint64_t room) {
  const std::uint64_t bytes = progress->bytes < room ? progress->bytes : room;
  const std::uint64_t threads = std::uint64_t{gridDim.x} * block_threads;
  const std::uint64_t self = std::uint64_t{blockIdx.x} * block_threads + threadIdx.x;
  for (std::uint64_t at = self; at < bytes / 16; at += threads)
    reinterpret_cast<ulonglong2*>(to)[at] = reinterpret_cast<const ulonglong2*>(out)[at];
  if (self == 0 && bytes % 16 != 0)  // bodies are multiples of 8
    *reinterpret_cast<std::uint64_t*>(to + bytes / 16 * 16) =
        *reinterpret_cast<const std::uint64_t*>(out + bytes / 16 * 16);
}

/// Enough to fill the link to the host, and few enough to leave the device to others.
constexpr unsigned copy_blocks = 32;

}  // namespace

std::uint64_t encode_scratch_bytes(std::uint64_t pages) { return 8 * (2 + pages); }

void encode_regions(const EncodeBatch& batch, std::byte* scratch, void* stream) {
  const std::string operation = "encode " + std::to_string(batch.pages) + " pages on the device";
  if (batch.count == 0 || batch.pages == 0 || batch.out_bytes < max_encoded_page_bytes)
    throw Error(ErrorCategory::argument, operation, "no regions, no pages, or no room for one page");
  int device = 0, multiprocessors = 0;
  cuda_detail::check(cudaGetDevice(&device), operation);
  cuda_detail::check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), operation);
  cuda_detail::check(cudaMemsetAsync(scratch, 0, encode_scratch_bytes(batch.pages), static_cast<cudaStream_t>(stream)),
                     operation);
  auto* const words = reinterpret_cast<std::uint64_t*>(scratch);
  const auto blocks = std::min<std::uint64_t>(batch.pages, std::uint64_t(multiprocessors) * resident_blocks);
  launch("encode_regions", encode_kernel, dim3(static_cast<unsigned>(blocks)), dim3(block_threads), 0, stream,
         EncodeArguments{batch, words, words + 1, words + 2});
}

void copy_encoded(const std::byte* out, const EncodeProgress* progress, std::byte* to, std::uint64_t room,
                  void* stream) {
  launch("copy_encoded", copy_kernel, dim3(copy_blocks), dim3(block_threads), 0, stream, out, progress, to, room);
}

}  // namespace foreweave::kernels::cuda
