#pragma once
// One spelling for functions that run on the host and on the device. Under the CPU emulator (no nvcc) they are plain
// inline functions.

#if defined(__CUDACC__)
#define FOREWEAVE_HD __host__ __device__
#else
#define FOREWEAVE_HD
#endif
