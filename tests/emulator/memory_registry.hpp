#pragma once
// The memory that the emulated runtime handed out: which range is device, pinned or managed memory, and of which
// device. In AddressSanitizer builds device memory is poisoned while no kernel or copy of its device runs, so that
// host code that touches it is caught. Not thread safe: the runtime's lock is held.

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "emulator/api.hpp"

namespace foreweave::emulator {

struct Allocation {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
  cudaMemoryType type = cudaMemoryTypeDevice;
  int device = 0;
};

class MemoryRegistry {
 public:
  /// Null when the system has no more. New memory holds a pattern, not zeros: CUDA promises nothing of it.
  void* allocate(std::size_t bytes, cudaMemoryType type, int device);
  /// False when `data` is not the start of an allocation of that kind. `damage` says what was written past its end.
  bool release(void* data, bool device, std::string& damage);
  /// The allocation that holds `pointer`, or null.
  const Allocation* find(const void* pointer) const;
  bool knows(const void* pointer) const { return find(pointer) != nullptr; }

  void open(int device);  ///< device memory of `device` may be used
  void close(int device);
  /// Like open and close for one allocation alone.
  void open(const Allocation& allocation);
  void close(const Allocation& allocation);

  /// What was written past the end of an allocation; empty when nothing was.
  std::string damage() const;
  std::uint64_t bytes_in_use(int device) const;
  std::uint64_t device_allocations() const;

 private:
  std::map<const std::byte*, Allocation> allocations_;
};

}  // namespace foreweave::emulator
