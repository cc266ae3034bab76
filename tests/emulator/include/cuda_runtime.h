#pragma once
// Stands in for the CUDA toolkit's cuda_runtime.h, so that the project's .cu files compile with the host compiler and run
// on the CPU. What is here is what the project uses; tests/emulator/README.md says how it works and what it checks.

#ifndef FOREWEAVE_EMULATED_CUDA
#error "tests/emulator/include is only for targets that compile CUDA sources for the CPU emulator"
#endif

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define CUDART_VERSION 13000

#include "emulator/api.hpp"
#include "emulator/control.hpp"
#include "emulator/intrinsics.hpp"
#include "emulator/shared.hpp"
