# One target for each library that a program may use together with Foreweave. The names are those of the installed
# package (cmake/foreweaveConfig.cmake.in), so that a program reads the same inside and outside this tree.
add_library(foreweave_mpi INTERFACE)
target_link_libraries(foreweave_mpi INTERFACE foreweave MPI::MPI_CXX)
add_library(foreweave::mpi ALIAS foreweave_mpi)

if(FOREWEAVE_WITH_KOKKOS)
  add_library(foreweave_with_kokkos INTERFACE)
  target_link_libraries(foreweave_with_kokkos INTERFACE foreweave Kokkos::kokkos)
  add_library(foreweave::kokkos ALIAS foreweave_with_kokkos)
endif()

if(FOREWEAVE_WITH_CUDA)
  add_library(foreweave_with_cuda INTERFACE)
  target_link_libraries(foreweave_with_cuda INTERFACE foreweave CUDA::cudart_static)
  add_library(foreweave::cuda ALIAS foreweave_with_cuda)
endif()
