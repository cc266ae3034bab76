#pragma once
// The emulator's inside: blocks, warps and threads of one launch, and the loop that lets them take turns.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "emulator/control.hpp"
#include "emulator/intrinsics.hpp"
#include "emulator/shared.hpp"
#include "fiber.hpp"

namespace foreweave::emulator {

struct Block;
struct Launch;

struct Thread {
  enum class State : std::uint8_t { ready, spinning, at_barrier, at_warp, finished };

  Indices indices{};
  unsigned linear = 0;  ///< in the block
  State state = State::ready;
  Block* block = nullptr;
  std::unique_ptr<Fiber> fiber;

  Where where;  ///< of the barrier or warp primitive it waits in
  WarpOperation operation{};
  unsigned mask = 0, source = 0;
  std::uint64_t value = 0, result = 0;
};

struct Warp {
  std::vector<Thread*> lanes;                        ///< those that exist
  unsigned existing = 0, finished = 0, waiting = 0;  ///< lane masks; waiting: in a warp primitive
  std::uint32_t epoch = 0;                           ///< counts __syncwarp
};

struct Block {
  Launch* launch = nullptr;
  uint3 index{};
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  unsigned alive = 0;
  // The barrier that is being gathered.
  unsigned arrived = 0, predicates = 0;
  BarrierOperation barrier{};
  Where barrier_where;
  int barrier_result = 0;
  std::uint32_t epoch = 0;  ///< counts barriers

  struct Static {
    const void* key;
    std::unique_ptr<SharedStorage, void (*)(SharedStorage*)> storage;
  };
  std::vector<Static> statics;
  std::unique_ptr<SharedStorage, void (*)(SharedStorage*)> dynamic{nullptr, nullptr};

  void reset(Launch& of, std::uint64_t linear_block);
  void release_barrier();
};

struct Launch {
  std::string name;
  dim3 grid, block_size;
  std::size_t dynamic_shared = 0;
  std::function<void()> body;
  Report report;  ///< the first one; the launch is given up then
  bool failed() const { return report.kind != Report::Kind::none; }

  /// Runs the whole grid; what went wrong is in `report`.
  void run(const Schedule& schedule);
};

/// The thread that runs now, or null outside kernels.
Thread* current_thread();
/// "kernel 'encode' block (3,0,0) thread (17,0,0)"
std::string describe(const Thread& thread);
std::string describe(Where where);

/// Notes a report and leaves the kernel, by an exception: the launch is given up.
[[noreturn]] void give_up(Thread& thread, Report::Kind kind, const std::string& text);

SharedStorage* make_storage(const char* name, std::size_t bytes);
void drop_storage(SharedStorage* storage);

}  // namespace foreweave::emulator
