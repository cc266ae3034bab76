// The same with CUDA memory: the base stays on the device, and only the encoded pages that changed cross to the host.
//
// Built by nvcc where there is one; the same source runs on the CPU emulator as a test. Ends with 77 ("skipped") where
// no device is to be had.

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "foreweave/foreweave.hpp"
#include "foreweave/interop/cuda.hpp"
#ifdef FOREWEAVE_EMULATED_CUDA
#include "kernels/cuda/launch.hpp"
#endif

namespace {

constexpr int skipped = 77;
constexpr unsigned cells = 30'000, threads = 256;

__global__ void advance(double* field, unsigned count) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) field[i] += static_cast<double>(i % 7);
}

void check(cudaError_t code, const char* operation) {
  if (code != cudaSuccess)
    throw foreweave::Error(foreweave::ErrorCategory::cuda, operation, cudaGetErrorString(code), code);
}

void launch_advance(double* field, cudaStream_t stream) {
  const unsigned blocks = (cells + threads - 1) / threads;
#ifdef FOREWEAVE_EMULATED_CUDA  // a plain C++ compiler knows no <<<>>>
  foreweave::kernels::launch("advance", advance, dim3(blocks), dim3(threads), 0, stream, field, cells);
#else
  advance<<<blocks, threads, 0, stream>>>(field, cells);
#endif
  check(cudaGetLastError(), "launch advance");
}

int run(int argc, char** argv) {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreate(&stream), "make a stream");
  double* field = nullptr;
  check(cudaMalloc(reinterpret_cast<void**>(&field), cells * sizeof(double)), "allocate the field");
  check(cudaMemset(field, 0, cells * sizeof(double)), "clear the field");
  int step = 0;
  std::vector<double> host(cells);
  {
    foreweave::Context context(foreweave::Options::from(argc, argv));
    foreweave::cuda::protect(context, "field", field, cells, stream);
    context.protect("step", step);
    context.restore();
    const int end = step + 5;
    while (step < end) {
      launch_advance(field, stream);
      ++step;
      context.checkpoint();  // runs after what `stream` has to do by now
    }
    context.flush();

    check(cudaMemset(field, 0xff, cells * sizeof(double)), "lose the field");  // what a crash leaves of it
    context.restore();
    check(cudaMemcpy(host.data(), field, cells * sizeof(double), cudaMemcpyDeviceToHost), "read the field");
  }
  check(cudaFree(field), "free the field");
  check(cudaStreamDestroy(stream), "end the stream");
  for (unsigned i = 0; i < cells; ++i) {
    if (host[i] == static_cast<double>(step) * static_cast<double>(i % 7)) continue;
    std::fprintf(stderr, "cell %u is %g\n", i, host[i]);
    return EXIT_FAILURE;
  }
  std::printf("restored step %d\n", step);
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return skipped;
  }
  try {
    return run(argc, argv);
  } catch (const foreweave::Error& error) {
    std::fprintf(stderr, "protect_cuda: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
