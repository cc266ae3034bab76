#include "fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define FOREWEAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FOREWEAVE_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define FOREWEAVE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FOREWEAVE_TSAN 1
#endif
#endif

#ifdef FOREWEAVE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FOREWEAVE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace foreweave::emulator {
namespace {
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

// Kernels have small frames; the sanitizers multiply them.
#if defined(FOREWEAVE_ASAN) || defined(FOREWEAVE_TSAN)
constexpr std::size_t stack_bytes = 256 << 10;
#else
constexpr std::size_t stack_bytes = 64 << 10;
#endif

std::size_t guard_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
}  // namespace

Fiber::Fiber() {
  void* mapping = mmap(nullptr, stack_bytes + guard_bytes(), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<std::byte*>(mapping);
  stack_ = mapping_ + guard_bytes();
  mprotect(mapping_, guard_bytes(), PROT_NONE);  // an overflow ends in a fault, not in a neighbour's stack
#ifdef FOREWEAVE_TSAN
  own_tsan_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef FOREWEAVE_TSAN
  __tsan_destroy_fiber(own_tsan_);
#endif
#ifdef FOREWEAVE_ASAN
  __asan_unpoison_memory_region(stack_, stack_bytes);
#endif
  munmap(mapping_, stack_bytes + guard_bytes());
}

void Fiber::prepare(void (*entry)(void*), void* argument) {
#ifdef FOREWEAVE_ASAN
  // A fibre that was given up left the red zones of its frames behind.
  if (!finished_) __asan_unpoison_memory_region(stack_, stack_bytes);
#endif
  entry_ = entry;
  argument_ = argument;
  finished_ = false;
  own_fake_stack_ = nullptr;
  context_ = make_fcontext(stack_ + stack_bytes, stack_bytes, &Fiber::begin);
}

void Fiber::begin(transfer_t transfer) {
  auto* self = static_cast<Fiber*>(transfer.data);
  self->caller_ = transfer.fctx;
#ifdef FOREWEAVE_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &self->caller_stack_, &self->caller_stack_bytes_);
#endif
  self->entry_(self->argument_);
  self->finished_ = true;
#ifdef FOREWEAVE_ASAN
  __sanitizer_start_switch_fiber(nullptr, self->caller_stack_, self->caller_stack_bytes_);
#endif
#ifdef FOREWEAVE_TSAN
  __tsan_switch_to_fiber(self->caller_tsan_, 0);
#endif
  jump_fcontext(self->caller_, nullptr);
}

bool Fiber::resume() {
#ifdef FOREWEAVE_ASAN
  __sanitizer_start_switch_fiber(&caller_fake_stack_, stack_, stack_bytes);
#endif
#ifdef FOREWEAVE_TSAN
  caller_tsan_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(own_tsan_, 0);
#endif
  const transfer_t back = jump_fcontext(context_, this);
#ifdef FOREWEAVE_ASAN
  __sanitizer_finish_switch_fiber(caller_fake_stack_, nullptr, nullptr);
#endif
  context_ = back.fctx;
  return !finished_;
}

void Fiber::suspend() {
#ifdef FOREWEAVE_ASAN
  __sanitizer_start_switch_fiber(&own_fake_stack_, caller_stack_, caller_stack_bytes_);
#endif
#ifdef FOREWEAVE_TSAN
  __tsan_switch_to_fiber(caller_tsan_, 0);
#endif
  const transfer_t back = jump_fcontext(caller_, nullptr);
  caller_ = back.fctx;
#ifdef FOREWEAVE_ASAN
  __sanitizer_finish_switch_fiber(own_fake_stack_, &caller_stack_, &caller_stack_bytes_);
#endif
}

}  // namespace foreweave::emulator
