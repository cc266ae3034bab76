# The library: every layer's sources once, joined with one CUDA backend.
#
#   foreweave_objects    all layers but CUDA code
#   foreweave            the library: objects + the real CUDA backend (nvcc), or the stubs without nvcc
#   foreweave_emulated   objects + the same .cu files compiled for the CPU emulator (tests/emulator); tests only
set(FOREWEAVE_LAYERS core device state comm predict trace mirror weave speculate specialize context interop)
set(_sources)
foreach(_layer IN LISTS FOREWEAVE_LAYERS)
  file(GLOB _layer_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${_layer}/*.cpp)
  list(APPEND _sources ${_layer_sources})
endforeach()
file(GLOB _host_kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/host/*.cpp)

# What is called through the CUDA runtime, kernels and device memory both. .cu files include only CUDA, the standard
# library and plain headers of the project.
file(GLOB FOREWEAVE_CUDA_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu
  ${PROJECT_SOURCE_DIR}/src/device/cuda/*.cu)
file(GLOB FOREWEAVE_STUB_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/stub/*.cpp)

add_library(foreweave_objects OBJECT ${_sources} ${_host_kernels})
target_include_directories(foreweave_objects
  PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
  PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(foreweave_objects PRIVATE
  FOREWEAVE_VERSION="${PROJECT_VERSION}" FOREWEAVE_BUILD_TYPE="$<CONFIG>" FOREWEAVE_WITH_CUDA=$<BOOL:${FOREWEAVE_WITH_CUDA}>
  FOREWEAVE_WITH_KOKKOS=$<BOOL:${FOREWEAVE_WITH_KOKKOS}>)
set(FOREWEAVE_PRIVATE_LIBRARIES Threads::Threads MPI::MPI_CXX PkgConfig::UCX PkgConfig::XXHASH PkgConfig::ZSTD
  PkgConfig::HWY PkgConfig::ISAL OpenSSL::Crypto foreweave_hdf5 fmt::fmt spdlog::spdlog ${CMAKE_DL_LIBS})
target_link_libraries(foreweave_objects PRIVATE foreweave_flags ${FOREWEAVE_PRIVATE_LIBRARIES})

# Makes a shared library out of the objects and one CUDA backend's sources.
function(foreweave_add_library target)
  add_library(${target} SHARED $<TARGET_OBJECTS:foreweave_objects>)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:foreweave_flags> ${FOREWEAVE_PRIVATE_LIBRARIES})
  set_target_properties(${target} PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
endfunction()

foreweave_add_library(foreweave)
add_library(foreweave::foreweave ALIAS foreweave)
if(FOREWEAVE_WITH_CUDA)
  target_sources(foreweave PRIVATE ${FOREWEAVE_CUDA_SOURCES})
  target_compile_options(foreweave PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;--expt-relaxed-constexpr>)
  set_target_properties(foreweave PROPERTIES CUDA_RUNTIME_LIBRARY Static)
  target_link_libraries(foreweave PRIVATE CUDA::cudart_static)
else()
  target_sources(foreweave PRIVATE ${FOREWEAVE_STUB_SOURCES})
endif()

file(GLOB _tool_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/tools/*.cpp)
if(_tool_sources)
  add_executable(foreweave_cli ${_tool_sources})
  set_target_properties(foreweave_cli PROPERTIES OUTPUT_NAME foreweave)
  target_include_directories(foreweave_cli PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(foreweave_cli PRIVATE foreweave foreweave_flags ${FOREWEAVE_PRIVATE_LIBRARIES} CLI11::CLI11)
  # Where `foreweave report` finds its script: installed (relative to the prefix), and in the source tree.
  target_compile_definitions(foreweave_cli PRIVATE FOREWEAVE_KOKKOS_VERSION="${Kokkos_VERSION}"
    FOREWEAVE_REPORT_INSTALLED="${CMAKE_INSTALL_DATADIR}/foreweave"
    FOREWEAVE_REPORT_SOURCE="${PROJECT_SOURCE_DIR}/src/tools/report")
endif()
