#pragma once
// What device code calls: indices, barriers, warp primitives, atomics, bit counting.

#include <bit>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "emulator/types.hpp"

namespace foreweave::emulator {

using Where = std::source_location;

struct Indices {
  uint3 thread, block;
  dim3 grid, block_size;
  unsigned lane;
};
/// Of the device thread that runs now.
const Indices& indices();

enum class WarpOperation : std::uint8_t {
  sync,
  ballot,
  any,
  all,
  shuffle,
  match_any,
  reduce_or,
  reduce_and,
  reduce_xor,
  reduce_add,
  reduce_min,
  reduce_max,
  reduce_min_signed,
  reduce_max_signed
};
/// Gives `value` to the lanes of `mask`, waits for all of them, and returns this lane's result. For a shuffle
/// `source` is the lane to read.
std::uint64_t warp_collective(WarpOperation operation, unsigned mask, std::uint64_t value, unsigned source,
                              Where where);

enum class BarrierOperation : std::uint8_t { plain, count, all, any };
int block_barrier(BarrierOperation operation, int predicate, Where where);

/// Lets other threads and blocks run: every atomic, and every load that spins, calls it.
void yield_thread();

template <class T>
std::uint64_t to_bits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T from_bits(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T, class F>
T atomic_update(T* address, F&& change) {
  yield_thread();
  // Device threads of one launch share a host thread, but the host program may look at managed memory meanwhile.
  T old = __atomic_load_n(address, __ATOMIC_SEQ_CST);
  while (!__atomic_compare_exchange_n(address, &old, static_cast<T>(change(old)), false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_SEQ_CST)) {
  }
  return old;
}

}  // namespace foreweave::emulator

#define threadIdx (::foreweave::emulator::indices().thread)
#define blockIdx (::foreweave::emulator::indices().block)
#define blockDim (::foreweave::emulator::indices().block_size)
#define gridDim (::foreweave::emulator::indices().grid)
inline constexpr int warpSize = 32;

inline void __syncthreads(foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  foreweave::emulator::block_barrier(foreweave::emulator::BarrierOperation::plain, 0, where);
}
inline int __syncthreads_count(int predicate,
                               foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  return foreweave::emulator::block_barrier(foreweave::emulator::BarrierOperation::count, predicate, where);
}
inline int __syncthreads_and(int predicate,
                             foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  return foreweave::emulator::block_barrier(foreweave::emulator::BarrierOperation::all, predicate, where);
}
inline int __syncthreads_or(int predicate, foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  return foreweave::emulator::block_barrier(foreweave::emulator::BarrierOperation::any, predicate, where);
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu,
                       foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  foreweave::emulator::warp_collective(foreweave::emulator::WarpOperation::sync, mask, 0, 0, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  return static_cast<unsigned>(foreweave::emulator::warp_collective(foreweave::emulator::WarpOperation::ballot, mask,
                                                                    predicate != 0, 0, where));
}
inline int __any_sync(unsigned mask, int predicate,
                      foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  return static_cast<int>(
      foreweave::emulator::warp_collective(foreweave::emulator::WarpOperation::any, mask, predicate != 0, 0, where));
}
inline int __all_sync(unsigned mask, int predicate,
                      foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  return static_cast<int>(
      foreweave::emulator::warp_collective(foreweave::emulator::WarpOperation::all, mask, predicate != 0, 0, where));
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value,
                          foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  return static_cast<unsigned>(foreweave::emulator::warp_collective(
      foreweave::emulator::WarpOperation::match_any, mask, foreweave::emulator::to_bits(value), 0, where));
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  const unsigned lane = foreweave::emulator::indices().lane, w = static_cast<unsigned>(width);
  const unsigned from = (lane & ~(w - 1)) + (static_cast<unsigned>(source) & (w - 1));
  return foreweave::emulator::from_bits<T>(foreweave::emulator::warp_collective(
      foreweave::emulator::WarpOperation::shuffle, mask, foreweave::emulator::to_bits(value), from, where));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  const unsigned lane = foreweave::emulator::indices().lane, w = static_cast<unsigned>(width);
  const unsigned from = (lane & (w - 1)) >= delta ? lane - delta : lane;
  return foreweave::emulator::from_bits<T>(foreweave::emulator::warp_collective(
      foreweave::emulator::WarpOperation::shuffle, mask, foreweave::emulator::to_bits(value), from, where));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  const unsigned lane = foreweave::emulator::indices().lane, w = static_cast<unsigned>(width);
  const unsigned from = (lane & (w - 1)) + delta < w ? lane + delta : lane;
  return foreweave::emulator::from_bits<T>(foreweave::emulator::warp_collective(
      foreweave::emulator::WarpOperation::shuffle, mask, foreweave::emulator::to_bits(value), from, where));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  foreweave::emulator::Where where = foreweave::emulator::Where::current()) {
  const unsigned lane = foreweave::emulator::indices().lane, w = static_cast<unsigned>(width);
  const unsigned other = lane ^ static_cast<unsigned>(lane_mask);
  // A lane of a later segment gives the caller its own value back, as CUDA does.
  const unsigned from = other / w > lane / w ? lane : other;
  return foreweave::emulator::from_bits<T>(foreweave::emulator::warp_collective(
      foreweave::emulator::WarpOperation::shuffle, mask, foreweave::emulator::to_bits(value), from, where));
}

#define FOREWEAVE_EMULATED_REDUCE(NAME, TYPE, OPERATION)                                                      \
  inline TYPE NAME(unsigned mask, TYPE value,                                                                 \
                   foreweave::emulator::Where where = foreweave::emulator::Where::current()) {                \
    return foreweave::emulator::from_bits<TYPE>(foreweave::emulator::warp_collective(                         \
        foreweave::emulator::WarpOperation::OPERATION, mask, foreweave::emulator::to_bits(value), 0, where)); \
  }
FOREWEAVE_EMULATED_REDUCE(__reduce_or_sync, unsigned, reduce_or)
FOREWEAVE_EMULATED_REDUCE(__reduce_and_sync, unsigned, reduce_and)
FOREWEAVE_EMULATED_REDUCE(__reduce_xor_sync, unsigned, reduce_xor)
FOREWEAVE_EMULATED_REDUCE(__reduce_add_sync, unsigned, reduce_add)
FOREWEAVE_EMULATED_REDUCE(__reduce_add_sync, int, reduce_add)
FOREWEAVE_EMULATED_REDUCE(__reduce_min_sync, unsigned, reduce_min)
FOREWEAVE_EMULATED_REDUCE(__reduce_max_sync, unsigned, reduce_max)
FOREWEAVE_EMULATED_REDUCE(__reduce_min_sync, int, reduce_min_signed)
FOREWEAVE_EMULATED_REDUCE(__reduce_max_sync, int, reduce_max_signed)
#undef FOREWEAVE_EMULATED_REDUCE

// Memory order: device threads of a launch take turns on one host thread, so fences order nothing that is not
// ordered.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { foreweave::emulator::yield_thread(); }
template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __ffsll(long long x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1; }
inline unsigned long long __brevll(unsigned long long x) {
  unsigned long long y = 0;
  for (int bit = 0; bit < 64; ++bit) y |= (x >> bit & 1) << (63 - bit);
  return y;
}
inline unsigned __brev(unsigned x) { return static_cast<unsigned>(__brevll(x) >> 32); }
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long bytes = static_cast<unsigned long long>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned pick = selector >> (4 * i) & 0xF;
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (pick & 7))) & 0xFF;
    if (pick & 8) byte = byte & 0x80 ? 0xFF : 0;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) >> (shift & 31));
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>((static_cast<unsigned long long>(x) * y) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>((static_cast<unsigned __int128>(x) * y) >> 64);
}

template <class T>
concept EmulatedAtomic = std::is_integral_v<T> &&(sizeof(T) == 4 || sizeof(T) == 8);
template <EmulatedAtomic T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return foreweave::emulator::atomic_update(address, [&](T old) { return static_cast<T>(old + value); });
}
template <EmulatedAtomic T>
T atomicSub(T* address, std::type_identity_t<T> value) {
  return foreweave::emulator::atomic_update(address, [&](T old) { return static_cast<T>(old - value); });
}
template <EmulatedAtomic T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return foreweave::emulator::atomic_update(address, [&](T old) { return old < value ? value : old; });
}
template <EmulatedAtomic T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return foreweave::emulator::atomic_update(address, [&](T old) { return value < old ? value : old; });
}
template <EmulatedAtomic T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return foreweave::emulator::atomic_update(address, [&](T old) { return static_cast<T>(old | value); });
}
template <EmulatedAtomic T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  return foreweave::emulator::atomic_update(address, [&](T old) { return static_cast<T>(old & value); });
}
template <EmulatedAtomic T>
T atomicXor(T* address, std::type_identity_t<T> value) {
  return foreweave::emulator::atomic_update(address, [&](T old) { return static_cast<T>(old ^ value); });
}
template <EmulatedAtomic T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return foreweave::emulator::atomic_update(address, [&](T) { return value; });
}
template <EmulatedAtomic T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return foreweave::emulator::atomic_update(address, [&](T old) { return old == expected ? value : old; });
}
