#pragma once
// Small things every kernel of the project uses: warps of 32, words of 64 bits at any address, and the loads and
// stores that blocks talk to each other with.

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/shared.hpp"

#ifdef FOREWEAVE_EMULATED_CUDA
#define FW_UNROLL
#else
#define FW_UNROLL _Pragma("unroll")
#endif

namespace foreweave::kernels::cuda {

inline constexpr unsigned all_lanes = 0xFFFFFFFFu;

__device__ inline unsigned lane_index() { return threadIdx.x % 32; }
/// The same in all lanes, and told to the compiler in a way that it sees: what depends on it alone is no divergence.
__device__ inline unsigned warp_index() {
#ifdef FOREWEAVE_EMULATED_CUDA
  return threadIdx.x / 32;
#else
  return __shfl_sync(all_lanes, threadIdx.x / 32, 0);
#endif
}

/// Says that a pointer out of memory points to global memory, so that no generic access is needed.
template <class T>
__device__ inline T* global_memory(T* pointer) {
#ifndef FOREWEAVE_EMULATED_CUDA
  __builtin_assume(__isGlobal(pointer));
#endif
  return pointer;
}

/// OR over the lanes of the warp, to every lane.
__device__ inline std::uint32_t warp_or(std::uint32_t value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  for (int step = 16; step > 0; step /= 2) value |= __shfl_xor_sync(all_lanes, value, step);
  return value;
#else
  return __reduce_or_sync(all_lanes, value);
#endif
}
__device__ inline std::uint64_t warp_or(std::uint64_t value) {
  const std::uint32_t low = warp_or(static_cast<std::uint32_t>(value));
  const std::uint32_t high = warp_or(static_cast<std::uint32_t>(value >> 32));
  return std::uint64_t{high} << 32 | low;
}

/// Sum over the lanes of the warp, to every lane.
__device__ inline std::uint32_t warp_sum(std::uint32_t value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(all_lanes, value, step);
  return value;
#else
  return __reduce_add_sync(all_lanes, value);
#endif
}
__device__ inline std::uint64_t warp_sum(std::uint64_t value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(all_lanes, value, step);
  return value;
}

/// Sum of this lane's value and those of the lanes before it.
template <class T>
__device__ inline T warp_inclusive_sum(T value) {
  const unsigned lane = lane_index();
  FW_UNROLL
  for (unsigned step = 1; step < 32; step *= 2) {
    const T before = __shfl_up_sync(all_lanes, value, step);
    if (lane >= step) value += before;
  }
  return value;
}

/// Word `index` of `length` bytes at `from`, which has any alignment; zeros past the end.
__device__ inline std::uint64_t load_word(const std::byte* from, std::uint32_t index, std::uint32_t length) {
  const std::uint32_t at = index * 8;
  if (at + 8 <= length) {
    const auto address = reinterpret_cast<std::uintptr_t>(from);
    if (address % 8 == 0) return *reinterpret_cast<const std::uint64_t*>(from + at);
    if (address % 4 == 0) {
      const auto* half = reinterpret_cast<const std::uint32_t*>(from + at);
      return half[0] | std::uint64_t{half[1]} << 32;
    }
  }
  std::uint64_t word = 0;
  for (std::uint32_t i = 0; i < 8 && at + i < length; ++i)
    word |= static_cast<std::uint64_t>(from[at + i]) << (8 * i);
  return word;
}

/// The counterpart of load_word: bytes past the end are not written.
__device__ inline void store_word(std::byte* to, std::uint32_t index, std::uint32_t length, std::uint64_t word) {
  const std::uint32_t at = index * 8;
  if (at + 8 <= length) {
    const auto address = reinterpret_cast<std::uintptr_t>(to);
    if (address % 8 == 0) {
      *reinterpret_cast<std::uint64_t*>(to + at) = word;
      return;
    }
    if (address % 4 == 0) {
      auto* half = reinterpret_cast<std::uint32_t*>(to + at);
      half[0] = static_cast<std::uint32_t>(word);
      half[1] = static_cast<std::uint32_t>(word >> 32);
      return;
    }
  }
  for (std::uint32_t i = 0; i < 8 && at + i < length; ++i) to[at + i] = static_cast<std::byte>(word >> (8 * i));
}

/// A load that other blocks' stores are seen by, for loops that wait for one. A value is one word, so no order with
/// other memory is needed.
__device__ inline std::uint64_t watch(const std::uint64_t* address) {
#ifdef FOREWEAVE_EMULATED_CUDA
  emulator::yield_thread();
  return *address;
#else
  std::uint64_t value;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(address) : "memory");
  return value;
#endif
}
__device__ inline void publish(std::uint64_t* address, std::uint64_t value) {
#ifdef FOREWEAVE_EMULATED_CUDA
  *address = value;
#else
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(address), "l"(value) : "memory");
#endif
}

__device__ inline std::uint64_t atomic_ticket(std::uint64_t* counter) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(counter), 1ull);
}
__device__ inline void atomic_lower(std::uint64_t* address, std::uint64_t value) {
  atomicMin(reinterpret_cast<unsigned long long*>(address), static_cast<unsigned long long>(value));
}

}  // namespace foreweave::kernels::cuda
