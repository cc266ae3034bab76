# Every build option of the project, in one place.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
# Line numbers are enough for backtraces and profiles, and a quarter of the compile time goes without the rest.
string(REGEX REPLACE "(^| )-g( |$)" "\\1-g1\\2" CMAKE_CXX_FLAGS_RELWITHDEBINFO "${CMAKE_CXX_FLAGS_RELWITHDEBINFO}")
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(FOREWEAVE_CUDA AUTO CACHE STRING "Compile the CUDA backend: AUTO (where nvcc is found), ON, OFF")
set(FOREWEAVE_KOKKOS AUTO CACHE STRING "Build the Kokkos parts: AUTO (where Kokkos is found), ON, OFF")
set_property(CACHE FOREWEAVE_CUDA PROPERTY STRINGS AUTO ON OFF)
set_property(CACHE FOREWEAVE_KOKKOS PROPERTY STRINGS AUTO ON OFF)
option(FOREWEAVE_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(FOREWEAVE_EXAMPLES "Build the examples" ${PROJECT_IS_TOP_LEVEL})
option(FOREWEAVE_PERF "Build the benchmarks" ${PROJECT_IS_TOP_LEVEL})
option(FOREWEAVE_FUZZ "Build the fuzz harnesses (tests/fuzz) and nothing else; needs clang" OFF)
option(FOREWEAVE_WERROR "Treat warnings as errors" OFF)
set(FOREWEAVE_SANITIZE "" CACHE STRING "Sanitizers: empty, 'address,undefined' or 'thread'")

# The flags of every target of the project. Results must match between backends: no contraction, no fast-math.
add_library(foreweave_flags INTERFACE)
target_compile_features(foreweave_flags INTERFACE cxx_std_20)
target_compile_options(foreweave_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-ffp-contract=off>
  $<$<AND:$<BOOL:${FOREWEAVE_WERROR}>,$<COMPILE_LANGUAGE:CXX>>:-Werror>)
if(FOREWEAVE_SANITIZE)
  target_compile_options(foreweave_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${FOREWEAVE_SANITIZE};-fno-omit-frame-pointer>)
  target_link_options(foreweave_flags INTERFACE -fsanitize=${FOREWEAVE_SANITIZE})
endif()
