#pragma once
// Protecting CUDA memory.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "foreweave/context/context.hpp"

namespace foreweave::cuda {

/// Protects `elements` of device (or pinned, or managed) memory. Its base stays on the device; a capture runs after the
/// work that `stream` has by then, and only encoded pages cross to the host. The memory stays the program's.
template <class T>
void protect(Context& context, std::string name, T* data, std::uint64_t elements, cudaStream_t stream = nullptr,
             std::vector<std::uint64_t> extents = {}, std::optional<GlobalPart> part = {}) {
  static_assert(std::is_trivially_copyable_v<T>, "only trivially copyable elements can be protected");
  RegionSpec spec{std::move(name), data, elements * sizeof(T), element_type_of<T>(), std::move(extents)};
  spec.stream = stream;
  spec.part = std::move(part);
  context.protect(std::move(spec));
}

}  // namespace foreweave::cuda
