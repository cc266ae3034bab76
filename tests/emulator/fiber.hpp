#pragma once
// A fibre with a stack of its own, switched by Boost.Context, known to AddressSanitizer and ThreadSanitizer.
//
// The low-level jumps are used, and not boost::context::fiber, because a launch that is given up leaves its fibres
// where they are: their stacks are used again without being unwound.

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

namespace foreweave::emulator {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next resume() begins `entry(argument)` on an empty stack, whatever the fibre was in the middle of.
  void prepare(void (*entry)(void*), void* argument);
  /// Runs the fibre until it suspends or its entry returns. True while it has not returned.
  bool resume();
  /// In the fibre: goes back to where resume() was called.
  void suspend();

 private:
  static void begin(boost::context::detail::transfer_t transfer);

  std::byte* mapping_ = nullptr;
  std::byte* stack_ = nullptr;  ///< lowest address
  boost::context::detail::fcontext_t context_ = nullptr;
  boost::context::detail::fcontext_t caller_ = nullptr;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  bool finished_ = true;
  // For the sanitizers.
  void* own_fake_stack_ = nullptr;
  void* caller_fake_stack_ = nullptr;
  const void* caller_stack_ = nullptr;
  std::size_t caller_stack_bytes_ = 0;
  void* own_tsan_ = nullptr;
  void* caller_tsan_ = nullptr;
};

}  // namespace foreweave::emulator
