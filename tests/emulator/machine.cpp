#include "machine.hpp"

#include <algorithm>
#include <exception>
#include <numeric>
#include <random>

namespace foreweave::emulator {
namespace {

thread_local Thread* running = nullptr;

/// Stacks that are not in use, kept for the next launch. Launches run one at a time, under the runtime's lock.
std::vector<std::unique_ptr<Fiber>>& spare_fibers() {
  static std::vector<std::unique_ptr<Fiber>> fibers;
  return fibers;
}
std::unique_ptr<Fiber> take_fiber() {
  auto& spare = spare_fibers();
  if (spare.empty()) return std::make_unique<Fiber>();
  auto fiber = std::move(spare.back());
  spare.pop_back();
  return fiber;
}

std::string triple(unsigned x, unsigned y, unsigned z) {
  return "(" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + ")";
}

const char* name_of(WarpOperation operation) {
  switch (operation) {
    case WarpOperation::sync:
      return "__syncwarp";
    case WarpOperation::ballot:
      return "__ballot_sync";
    case WarpOperation::any:
      return "__any_sync";
    case WarpOperation::all:
      return "__all_sync";
    case WarpOperation::shuffle:
      return "__shfl_sync";
    case WarpOperation::match_any:
      return "__match_any_sync";
    default:
      return "__reduce_sync";
  }
}

std::string hex(unsigned mask) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", mask);
  return text;
}

void suspend(Thread& thread, Thread::State state) {
  thread.state = state;
  thread.fiber->suspend();
}

struct GivenUp {};

void note(Thread& thread, Report::Kind kind, const std::string& text) {
  Launch& launch = *thread.block->launch;
  if (!launch.failed()) launch.report = {kind, describe(thread) + ": " + text};
}

/// In the fibre: one device thread from its first to its last instruction.
void thread_main(void* argument) {
  auto& thread = *static_cast<Thread*>(argument);
  try {
    thread.block->launch->body();
  } catch (const GivenUp&) {
  } catch (const std::exception& error) {
    note(thread, Report::Kind::exception, std::string("the kernel threw: ") + error.what());
  } catch (...) {
    note(thread, Report::Kind::exception, "the kernel threw");
  }
}

void require_kernel(const Thread* thread, const char* what) {
  if (thread != nullptr) return;
  std::fprintf(stderr, "foreweave emulator: %s outside a kernel\n", what);
  std::abort();
}

/// A thread left the kernel: is somebody waiting for it?
void finish(Thread& thread) {
  Block& block = *thread.block;
  Warp& warp = block.warps[thread.linear / 32];
  thread.state = Thread::State::finished;
  warp.finished |= 1u << thread.indices.lane;
  --block.alive;
  if (block.launch->failed()) return;
  for (const Thread* other : warp.lanes)
    if (other->state == Thread::State::at_warp && (other->mask >> thread.indices.lane & 1) != 0) {
      block.launch->report = {Report::Kind::warp_mask,
                              describe(*other) + " waits in " + name_of(other->operation) + " at " +
                                  describe(other->where) + " with mask " + hex(other->mask) + ", but lane " +
                                  std::to_string(thread.indices.lane) + " of that mask has left the kernel"};
      return;
    }
  if (block.arrived > 0 && block.arrived == block.alive) {
    for (const Thread& other : block.threads)
      if (other.state == Thread::State::at_barrier) {
        block.launch->report = {
            Report::Kind::divergent_barrier,
            describe(other) + " waits at the barrier at " + describe(other.where) + ", but " +
                std::to_string(block.threads.size() - block.alive) + " of " + std::to_string(block.threads.size()) +
                " threads left the kernel without coming to it, thread " +
                triple(thread.indices.thread.x, thread.indices.thread.y, thread.indices.thread.z) + " among them"};
        return;
      }
  }
}

/// All lanes of `mask` are there: what each gets.
void complete(Warp& warp, unsigned mask, Thread& last) {
  std::uint64_t combined = 0;
  const WarpOperation operation = last.operation;
  bool first = true;
  unsigned ballot = 0;
  for (const Thread* lane : warp.lanes) {
    if ((mask >> lane->indices.lane & 1) == 0) continue;
    if (lane->value != 0) ballot |= 1u << lane->indices.lane;
    const std::uint64_t value = lane->value;
    if (first) {
      combined = value;
    } else {
      const auto low = static_cast<std::uint32_t>(value), so_far = static_cast<std::uint32_t>(combined);
      const auto signed_low = static_cast<std::int32_t>(low), signed_so_far = static_cast<std::int32_t>(so_far);
      switch (operation) {
        case WarpOperation::reduce_or:
          combined |= value;
          break;
        case WarpOperation::reduce_and:
          combined &= value;
          break;
        case WarpOperation::reduce_xor:
          combined ^= value;
          break;
        case WarpOperation::reduce_add:
          combined = low + so_far;
          break;
        case WarpOperation::reduce_min:
          combined = std::min(low, so_far);
          break;
        case WarpOperation::reduce_max:
          combined = std::max(low, so_far);
          break;
        case WarpOperation::reduce_min_signed:
          combined = static_cast<std::uint32_t>(std::min(signed_low, signed_so_far));
          break;
        case WarpOperation::reduce_max_signed:
          combined = static_cast<std::uint32_t>(std::max(signed_low, signed_so_far));
          break;
        default:
          break;
      }
    }
    first = false;
  }
  for (Thread* lane : warp.lanes) {
    if ((mask >> lane->indices.lane & 1) == 0) continue;
    switch (operation) {
      case WarpOperation::sync:
        lane->result = 0;
        break;
      case WarpOperation::ballot:
        lane->result = ballot;
        break;
      case WarpOperation::any:
        lane->result = ballot != 0;
        break;
      case WarpOperation::all:
        lane->result = ballot == mask;
        break;
      case WarpOperation::shuffle:
        lane->result = warp.lanes[lane->source]->value;
        break;
      case WarpOperation::match_any: {
        unsigned equal = 0;
        for (const Thread* other : warp.lanes)
          if ((mask >> other->indices.lane & 1) != 0 && other->value == lane->value)
            equal |= 1u << other->indices.lane;
        lane->result = equal;
        break;
      }
      default:
        lane->result = combined;
        break;
    }
    if (lane != &last) lane->state = Thread::State::ready;
  }
  warp.waiting &= ~mask;
  if (operation == WarpOperation::sync) ++warp.epoch;
}

/// What every thread that still lives waits for, most important first; at most a few lines.
std::string waiting_list(const std::vector<Block*>& blocks) {
  std::string text;
  int lines = 0;
  for (const Block* block : blocks)
    for (const Thread& thread : block->threads) {
      const bool barrier = thread.state == Thread::State::at_barrier;
      if (!barrier && thread.state != Thread::State::at_warp && thread.state != Thread::State::spinning) continue;
      // One line for each place, not for each thread.
      const bool seen = std::any_of(block->threads.data(), &thread, [&](const Thread& other) {
        return other.state == thread.state && other.where.line() == thread.where.line() &&
               (barrier || other.mask == thread.mask);
      });
      if (seen || ++lines > 6) continue;
      text += "\n  " + describe(thread);
      if (barrier)
        text += " waits at the barrier at " + describe(thread.where);
      else if (thread.state == Thread::State::spinning)
        text += " spins";
      else
        text += std::string(" waits in ") + name_of(thread.operation) + " at " + describe(thread.where) +
                " with mask " + hex(thread.mask);
    }
  return text;
}

Report stuck(const Launch& launch, const std::vector<Block*>& blocks) {
  bool barrier = false, warp = false;
  for (const Block* block : blocks)
    for (const Thread& thread : block->threads) {
      barrier |= thread.state == Thread::State::at_barrier;
      warp |= thread.state == Thread::State::at_warp;
    }
  const auto kind = barrier ? Report::Kind::divergent_barrier
                    : warp  ? Report::Kind::warp_mask
                            : Report::Kind::no_progress;
  const char* what = barrier ? "divergent barrier: its threads wait for one another for ever"
                             : "warp primitive whose lanes do not all come: its threads wait for ever";
  return {kind, "kernel '" + launch.name + "': " + what + waiting_list(blocks)};
}

}  // namespace

Thread* current_thread() { return running; }

std::string describe(const Thread& thread) {
  const Indices& at = thread.indices;
  return "kernel '" + thread.block->launch->name + "' block " + triple(at.block.x, at.block.y, at.block.z) +
         " thread " + triple(at.thread.x, at.thread.y, at.thread.z);
}

std::string describe(Where where) {
  std::string file = where.file_name();
  const auto slash = file.find_last_of('/');
  return (slash == std::string::npos ? file : file.substr(slash + 1)) + ":" + std::to_string(where.line());
}

void give_up(Thread& thread, Report::Kind kind, const std::string& text) {
  note(thread, kind, text);
  throw GivenUp{};  // caught where the fibre began, so that what its frames hold is freed
}

const Indices& indices() {
  require_kernel(running, "threadIdx or blockIdx");
  return running->indices;
}

void yield_thread() {
  require_kernel(running, "an atomic or a spinning load");
  suspend(*running, Thread::State::spinning);
}

std::uint64_t warp_collective(WarpOperation operation, unsigned mask, std::uint64_t value, unsigned source,
                              Where where) {
  require_kernel(running, "a warp primitive");
  Thread& thread = *running;
  Warp& warp = thread.block->warps[thread.linear / 32];
  const unsigned self = 1u << thread.indices.lane;
  const auto refuse = [&](const std::string& why) {
    give_up(thread, Report::Kind::warp_mask,
            std::string(name_of(operation)) + " at " + describe(where) + " with mask " + hex(mask) + " " + why);
  };
  if ((mask & self) == 0) refuse("does not name the lane that calls it, " + std::to_string(thread.indices.lane));
  if ((mask & ~warp.existing) != 0) refuse("names lanes that the warp does not have; it has " + hex(warp.existing));
  if ((mask & warp.finished) != 0) refuse("names lanes that have left the kernel: " + hex(mask & warp.finished));
  if (operation == WarpOperation::shuffle && (mask >> source & 1) == 0)
    refuse("reads from lane " + std::to_string(source) + ", which it does not name");
  for (const Thread* other : warp.lanes) {
    if ((mask >> other->indices.lane & 1) == 0 || other->state != Thread::State::at_warp) continue;
    if ((other->mask & self) != 0 && (other->mask != mask || other->operation != operation))
      refuse("meets lane " + std::to_string(other->indices.lane) + ", which waits in " + name_of(other->operation) +
             " at " + describe(other->where) + " with mask " + hex(other->mask));
  }
  thread.operation = operation;
  thread.mask = mask;
  thread.value = value;
  thread.source = source;
  thread.where = where;
  warp.waiting |= self;
  if ((warp.waiting & mask) == mask) {
    // Lanes that wait with another mask are not of this gathering.
    const bool all = std::all_of(warp.lanes.begin(), warp.lanes.end(), [&](const Thread* lane) {
      return (mask >> lane->indices.lane & 1) == 0 || lane->mask == mask;
    });
    if (all) {
      complete(warp, mask, thread);
      return thread.result;
    }
  }
  suspend(thread, Thread::State::at_warp);
  return thread.result;
}

int block_barrier(BarrierOperation operation, int predicate, Where where) {
  require_kernel(running, "__syncthreads");
  Thread& thread = *running;
  Block& block = *thread.block;
  if (block.arrived > 0 && (block.barrier != operation || block.barrier_where.line() != where.line() ||
                            std::string_view(block.barrier_where.file_name()) != where.file_name()))
    give_up(thread, Report::Kind::divergent_barrier,
            "divergent barrier: it is at " + describe(where) + " while other threads of its block wait at " +
                describe(block.barrier_where));
  if (block.arrived == 0) {
    block.barrier = operation;
    block.barrier_where = where;
    block.predicates = 0;
  }
  ++block.arrived;
  block.predicates += predicate != 0;
  thread.where = where;
  if (block.arrived == block.threads.size()) {
    block.release_barrier();
    return block.barrier_result;
  }
  if (block.arrived == block.alive)
    give_up(thread, Report::Kind::divergent_barrier,
            "divergent barrier at " + describe(where) + ": " + std::to_string(block.threads.size() - block.alive) +
                " of " + std::to_string(block.threads.size()) + " threads left the kernel without coming to it");
  suspend(thread, Thread::State::at_barrier);
  return block.barrier_result;
}

void Block::release_barrier() {
  const auto all = static_cast<unsigned>(threads.size());
  barrier_result = barrier == BarrierOperation::all   ? predicates == all
                   : barrier == BarrierOperation::any ? predicates > 0
                                                      : static_cast<int>(predicates);
  arrived = 0;
  ++epoch;
  for (Thread& thread : threads)
    if (thread.state == Thread::State::at_barrier) thread.state = Thread::State::ready;
}

void Block::reset(Launch& of, std::uint64_t linear_block) {
  launch = &of;
  const dim3 grid = of.grid, size = of.block_size;
  index = {static_cast<unsigned>(linear_block % grid.x), static_cast<unsigned>(linear_block / grid.x % grid.y),
           static_cast<unsigned>(linear_block / grid.x / grid.y)};
  const unsigned count = size.x * size.y * size.z;
  statics.clear();
  dynamic = {make_storage("dynamic shared memory", of.dynamic_shared), &drop_storage};
  threads.resize(count);
  warps.assign((count + 31) / 32, Warp{});
  alive = count;
  arrived = 0;
  epoch = 0;
  for (unsigned i = 0; i < count; ++i) {
    Thread& thread = threads[i];
    thread.block = this;
    thread.linear = i;
    thread.indices = {{i % size.x, i / size.x % size.y, i / size.x / size.y}, index, grid, size, i % 32};
    thread.state = Thread::State::ready;
    if (thread.fiber == nullptr) thread.fiber = take_fiber();
    thread.fiber->prepare(&thread_main, &thread);
    Warp& warp = warps[i / 32];
    warp.lanes.push_back(&thread);
    warp.existing |= 1u << (i % 32);
  }
}

void Launch::run(const Schedule& schedule) {
  const std::uint64_t total = std::uint64_t{grid.x} * grid.y * grid.z;
  std::mt19937_64 random(schedule.seed);
  std::vector<std::uint64_t> order(total);
  std::iota(order.begin(), order.end(), 0);
  if (!schedule.in_order) std::shuffle(order.begin(), order.end(), random);

  std::vector<std::unique_ptr<Block>> storage;
  std::vector<Block*> resident;
  std::uint64_t next = 0, idle_rounds = 0;
  const std::uint64_t places = std::min<std::uint64_t>(std::max(1u, schedule.resident_blocks), total);
  for (; next < places; ++next) {
    storage.push_back(std::make_unique<Block>());
    storage.back()->reset(*this, order[next]);
    resident.push_back(storage.back().get());
  }

  while (!resident.empty() && !failed()) {
    bool progress = false, spinning = false;
    for (std::size_t b = 0; b < resident.size() && !failed();) {
      Block& block = *resident[b];
      const std::size_t warps = block.warps.size();
      const std::size_t start = warps > 1 ? random() % warps : 0;
      for (std::size_t w = 0; w < warps && !failed(); ++w) {
        Warp& warp = block.warps[(start + w) % warps];
        for (Thread* lane : warp.lanes)
          if (lane->state == Thread::State::spinning) {
            lane->state = Thread::State::ready;
            spinning = true;
            // A lane that spins again has made no progress; one that does anything else has.
            running = lane;
            const bool more = lane->fiber->resume();
            running = nullptr;
            if (!more) finish(*lane);
            progress |= lane->state != Thread::State::spinning;
            if (failed()) break;
          }
        for (bool again = true; again && !failed();) {
          again = false;
          for (Thread* lane : warp.lanes) {
            if (lane->state != Thread::State::ready) continue;
            again = progress = true;
            running = lane;
            const bool more = lane->fiber->resume();
            running = nullptr;
            if (!more) finish(*lane);
            if (failed()) break;
          }
        }
      }
      if (block.alive == 0 && !failed()) {
        progress = true;
        if (next < total) {
          block.reset(*this, order[next++]);
          ++b;
        } else {
          resident.erase(resident.begin() + static_cast<std::ptrdiff_t>(b));
        }
      } else {
        ++b;
      }
    }
    if (failed() || resident.empty()) break;
    if (!progress && !spinning) report = stuck(*this, resident);
    idle_rounds = progress ? 0 : idle_rounds + 1;
    if (!progress && idle_rounds > schedule.spin_limit)
      report = {Report::Kind::no_progress,
                "kernel '" + name + "' makes no progress: its threads only spin, block " +
                    triple(resident[0]->index.x, resident[0]->index.y, resident[0]->index.z) + " among others" +
                    waiting_list(resident)};
  }
  for (auto& block : storage)
    for (Thread& thread : block->threads) spare_fibers().push_back(std::move(thread.fiber));
}

}  // namespace foreweave::emulator
