#include "memory_registry.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace foreweave::emulator {
namespace {
constexpr std::size_t alignment = 256;
constexpr unsigned char fresh = 0xCD;
constexpr unsigned char fence = 0xFB;
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t fence_bytes = 0;  // AddressSanitizer has its own
#else
constexpr std::size_t fence_bytes = 256;
#endif

std::string damage_of(const Allocation& allocation) {
  const std::byte* end = allocation.data + allocation.bytes;
  for (std::size_t i = 0; i < fence_bytes; ++i)
    if (end[i] != std::byte{fence})
      return "byte " + std::to_string(allocation.bytes + i) + " of an allocation of " +
             std::to_string(allocation.bytes) + " bytes was written";
  return {};
}
}  // namespace

void* MemoryRegistry::allocate(std::size_t bytes, cudaMemoryType type, int device) {
  // malloc and not aligned_alloc rounded up, so that AddressSanitizer sees the exact end.
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, std::max<std::size_t>(bytes, 1) + fence_bytes) != 0) return nullptr;
  auto* data = static_cast<std::byte*>(memory);
  std::memset(data, fresh, bytes);
  std::memset(data + bytes, fence, fence_bytes);
  const Allocation allocation{data, bytes, type, device};
  allocations_.emplace(data, allocation);
  close(allocation);
  return data;
}

bool MemoryRegistry::release(void* data, bool device, std::string& damage) {
  const auto found = allocations_.find(static_cast<const std::byte*>(data));
  if (found == allocations_.end() || (found->second.type != cudaMemoryTypeHost) != device) return false;
  damage = damage_of(found->second);
  open(found->second);
  std::free(found->second.data);
  allocations_.erase(found);
  return true;
}

const Allocation* MemoryRegistry::find(const void* pointer) const {
  const auto* address = static_cast<const std::byte*>(pointer);
  auto after = allocations_.upper_bound(address);
  if (after == allocations_.begin()) return nullptr;
  const Allocation& candidate = std::prev(after)->second;
  return address < candidate.data + std::max<std::size_t>(candidate.bytes, 1) ? &candidate : nullptr;
}

void MemoryRegistry::open(const Allocation& allocation) {
  if (allocation.type == cudaMemoryTypeDevice) ASAN_UNPOISON_MEMORY_REGION(allocation.data, allocation.bytes);
}
void MemoryRegistry::close(const Allocation& allocation) {
  if (allocation.type == cudaMemoryTypeDevice) ASAN_POISON_MEMORY_REGION(allocation.data, allocation.bytes);
}
void MemoryRegistry::open(int device) {
  for (const auto& [address, allocation] : allocations_)
    if (allocation.device == device) open(allocation);
}
void MemoryRegistry::close(int device) {
  for (const auto& [address, allocation] : allocations_)
    if (allocation.device == device) close(allocation);
}

std::string MemoryRegistry::damage() const {
  for (const auto& [address, allocation] : allocations_)
    if (auto text = damage_of(allocation); !text.empty()) return text;
  return {};
}

std::uint64_t MemoryRegistry::bytes_in_use(int device) const {
  std::uint64_t bytes = 0;
  for (const auto& [address, allocation] : allocations_)
    if (allocation.type != cudaMemoryTypeHost && allocation.device == device) bytes += allocation.bytes;
  return bytes;
}

std::uint64_t MemoryRegistry::device_allocations() const {
  std::uint64_t count = 0;
  for (const auto& [address, allocation] : allocations_) count += allocation.type != cudaMemoryTypeHost;
  return count;
}

}  // namespace foreweave::emulator
