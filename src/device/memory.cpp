#include "foreweave/device/memory.hpp"

#include <cstring>
#include <string>
#include <utility>

#include "device/backend.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave {
namespace {
void demand_device(const char* what, std::uint64_t bytes) {
  if (device_backend::count() > 0) return;
  throw Error(ErrorCategory::resource, std::string("allocate ") + std::to_string(bytes) + " bytes of " + what,
              "there is no CUDA device: " + device_report().reason);
}
}  // namespace

MemorySpace memory_space_of(const void* pointer) {
  if (pointer == nullptr || device_backend::count() == 0) return MemorySpace::host;
  return device_backend::locate(pointer).space;
}

int device_of(const void* pointer) {
  if (pointer == nullptr || device_backend::count() == 0) return -1;
  const auto place = device_backend::locate(pointer);
  return place.space == MemorySpace::device ? place.device : -1;
}

DeviceBuffer::DeviceBuffer(std::uint64_t bytes, int device) : bytes_(bytes) {
  demand_device("device memory", bytes);
  const DeviceGuard guard(device);
  device_ = device_backend::current();
  if (bytes > 0) data_ = static_cast<std::byte*>(device_backend::allocate_device(bytes));
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)), device_(other.device_) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  return *this;
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) device_backend::release_device(data_);
}

PinnedBuffer::PinnedBuffer(std::uint64_t bytes) : bytes_(bytes) {
  demand_device("pinned memory", bytes);
  if (bytes > 0) data_ = static_cast<std::byte*>(device_backend::allocate_pinned(bytes));
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) device_backend::release_pinned(data_);
}

void copy_async(void* to, const void* from, std::uint64_t bytes, StreamHandle stream) {
  if (bytes > 0) device_backend::copy_async(to, from, bytes, stream);
}

void fill_async(void* to, unsigned char value, std::uint64_t bytes, StreamHandle stream) {
  if (bytes > 0) device_backend::fill_async(to, value, bytes, stream);
}

void copy_and_wait(void* to, const void* from, std::uint64_t bytes, StreamHandle stream) {
  if (bytes == 0) return;
  // Copies between host pointers need no CUDA, but pinned memory may have work of the stream still on it.
  if (memory_space_of(to) == MemorySpace::host && memory_space_of(from) == MemorySpace::host) {
    std::memcpy(to, from, bytes);
    return;
  }
  device_backend::copy_async(to, from, bytes, stream);
  device_backend::synchronize_stream(stream);
}

}  // namespace foreweave
