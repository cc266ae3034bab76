#pragma once
// Launching a kernel without <<<>>>, so that the same source runs on tests/emulator.
//
//   launch("fill", fill_kernel<float>, grid, block, shared_bytes, stream, data, count);

#include <cuda_runtime.h>

#include <string>
#include <tuple>
#include <utility>

#include "kernels/cuda/check.hpp"

namespace foreweave::kernels {

/// Queues `kernel` in `stream`; arguments are converted to the kernel's parameter types and copied at once. `name` is
/// for messages. Throws Error(cuda) when the launch is refused; what the kernel itself does wrong is reported where
/// the stream is waited for.
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t dynamic_shared, void* stream,
            A&&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A));
  const auto queue = static_cast<cudaStream_t>(stream);
#ifdef FOREWEAVE_EMULATED_CUDA
  const cudaError_t code =
      emulator::launch(name, reinterpret_cast<const void*>(kernel), grid, block, dynamic_shared, queue,
                       [kernel, values = std::tuple<P...>(static_cast<P>(std::forward<A>(arguments))...)] {
                         std::apply(kernel, values);
                       });
#else
  std::tuple<P...> values(static_cast<P>(std::forward<A>(arguments))...);
  const cudaError_t code = std::apply(
      [&](auto&... value) {
        void* pointers[] = {static_cast<void*>(&value)..., nullptr};
        return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, pointers, dynamic_shared, queue);
      },
      values);
#endif
  if (code != cudaSuccess) cuda_detail::check(code, std::string("launch kernel ") + name);
}

}  // namespace foreweave::kernels
