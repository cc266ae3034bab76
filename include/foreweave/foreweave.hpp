#pragma once
// All of Foreweave that needs no other library. MPI, CUDA and Kokkos programs add foreweave/interop/{mpi,cuda,kokkos}.hpp.

#include "foreweave/context/context.hpp"
#include "foreweave/context/options.hpp"
#include "foreweave/core/error.hpp"
