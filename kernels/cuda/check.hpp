#pragma once
// From a CUDA return code to the library's exception. Included by .cu files only.

#include <cuda_runtime.h>

#include <string>

#include "foreweave/core/error.hpp"

namespace foreweave::cuda_detail {

/// Throws when `code` is an error: Error(resource) when memory ran out, Error(cuda) otherwise. `operation` names what
/// was being done.
inline void check(cudaError_t code, const std::string& operation) {
  if (code == cudaSuccess) return;
  const bool memory = code == cudaErrorMemoryAllocation;
  (void)cudaGetLastError();  // taken up here, so that it is not reported again by the next call
  throw Error(memory ? ErrorCategory::resource : ErrorCategory::cuda, operation,
              std::string(cudaGetErrorString(code)) + " (" + cudaGetErrorName(code) + ")", static_cast<long>(code));
}

}  // namespace foreweave::cuda_detail
