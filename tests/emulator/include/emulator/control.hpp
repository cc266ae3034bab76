#pragma once
// What tests say to the emulator and ask of it, and how kernels are launched on it.

#include <cstdint>
#include <functional>
#include <string>

#include "emulator/api.hpp"

namespace foreweave::emulator {

/// How blocks and warps take turns. Every value gives a legal order; other seeds give other orders.
struct Schedule {
  std::uint64_t seed = 1;             ///< FOREWEAVE_EMULATOR_SEED, when that is set
  unsigned resident_blocks = 4;       ///< blocks that run at the same time, as on a device of that size
  bool in_order = false;              ///< start blocks in the order of their index
  std::uint64_t spin_limit = 200000;  ///< rounds in which threads only spin before "no progress" is reported
};
void set_schedule(const Schedule& schedule);
Schedule schedule();

/// Something a kernel did that CUDA does not define, or that never ends.
struct Report {
  enum class Kind {
    none,
    divergent_barrier,  ///< not every thread of the block comes to the same __syncthreads
    warp_mask,          ///< a warp primitive whose mask does not match the lanes that come to it
    unwritten_shared,   ///< shared memory read before it was written
    shared_bounds,      ///< outside a shared array
    shared_race,        ///< two threads use the same shared memory, one writes, and nothing orders them
    global_bounds,      ///< written past the end of a device allocation
    no_progress,        ///< threads wait for one another, or spin, for ever
    exception,          ///< the kernel threw
  };
  Kind kind = Kind::none;
  std::string text;  ///< names the kernel, the block, the thread and the place in the source
};
/// The newest report, taken away; kind none when there is none. The launch that caused it also failed, with
/// cudaErrorLaunchFailure where its stream is waited for.
Report take_report();
/// Reports also go to stderr, unless a test that wants them says no.
void print_reports(bool yes);

/// Changes what cudaMemGetInfo and cudaMalloc think the devices have. 0: the default, 64 GiB.
void set_device_memory(std::uint64_t bytes);
/// Bytes and allocations of device memory that live now (leak checks).
std::uint64_t device_bytes_in_use();
std::uint64_t device_allocations();
/// How many kernels have run in this process.
std::uint64_t kernels_run();
/// How many graphs were made ready, and launched, in this process.
std::uint64_t graphs_instantiated();
std::uint64_t graphs_launched();
/// The `after`-th runtime call from now on that can fail fails with `code` (0: the next one); cudaSuccess: none does.
void fail_call(cudaError_t code, unsigned after = 0);

/// Queues a kernel. `body` is run once for each thread, with its indices in threadIdx and so on.
cudaError_t launch(const char* name, const void* kernel, dim3 grid, dim3 block, std::size_t dynamic_shared,
                   cudaStream_t stream, std::function<void()> body);

}  // namespace foreweave::emulator
