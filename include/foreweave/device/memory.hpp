#pragma once
// Device and pinned memory: where a pointer lies, owners, and copies in stream order.

#include <cstddef>
#include <cstdint>

#include "foreweave/device/memory_space.hpp"
#include "foreweave/device/stream.hpp"

namespace foreweave {

/// Where `pointer` lies. Memory CUDA does not know is host; managed memory counts as host. Without a driver or CUDA
/// in the build everything is host. Thread safe.
MemorySpace memory_space_of(const void* pointer);

/// The device whose memory `pointer` is in; −1 for host and pinned memory.
int device_of(const void* pointer);

/// Owns device memory, aligned to 256 bytes, contents undefined. Move-only; allocated and freed at once (not in
/// stream order: freeing waits for the device's work). Thread safe between objects.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// `bytes` on `device` (−1: the calling thread's). Error(resource) where there is no device, or not enough memory.
  explicit DeviceBuffer(std::uint64_t bytes, int device = -1);
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  ~DeviceBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  template <class T>
  T* as(std::uint64_t byte_offset = 0) {
    return reinterpret_cast<T*>(data_ + byte_offset);
  }
  template <class T>
  const T* as(std::uint64_t byte_offset = 0) const {
    return reinterpret_cast<const T*>(data_ + byte_offset);
  }
  std::uint64_t size() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  int device_ = -1;
};

/// Owns page-locked host memory that every device can copy from and to at full speed. Aligned to 256 bytes, contents
/// undefined. Move-only.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  /// Error(resource) where there is no device, or not enough memory.
  explicit PinnedBuffer(std::uint64_t bytes);
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;
  ~PinnedBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  template <class T>
  T* as(std::uint64_t byte_offset = 0) {
    return reinterpret_cast<T*>(data_ + byte_offset);
  }
  std::uint64_t size() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

/// Copies `bytes` from `from` to `to`, each in host, pinned or device memory (no overlap), in stream order. Returns
/// at once when the host side is pinned; with pageable host memory it may return only after staging. Neither side may
/// change before the stream has passed. Error(cuda) when it cannot be queued. `bytes` 0 does nothing.
void copy_async(void* to, const void* from, std::uint64_t bytes, StreamHandle stream);

/// Sets every byte of device or pinned memory to `value`, in stream order.
void fill_async(void* to, unsigned char value, std::uint64_t bytes, StreamHandle stream);

/// As copy_async, and waits. Of host memory alone it is a memcpy and needs no CUDA.
void copy_and_wait(void* to, const void* from, std::uint64_t bytes, StreamHandle stream = nullptr);

}  // namespace foreweave
