# cmake -DBUILD=... -DCONFIG=... -DSOURCE=... -DFOLDER=... -DMPIRUN=... -DFLAGS=... -DCOMPILER=... -P run_test.cmake
# Installs Foreweave into a prefix of its own, moves that, and builds against it what a user would: this project with
# CMake and its mpi component, one that asks for the library alone and has no MPI in sight, and one with pkg-config.
function(step)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${ARGN}\nended with ${code}:\n${text}")
  endif()
  set(said "${text}" PARENT_SCOPE)
endfunction()
function(expect text)
  if(NOT said MATCHES "${text}")
    message(FATAL_ERROR "expected '${text}', but it said:\n${said}")
  endif()
endfunction()

file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
step(${CMAKE_COMMAND} --install ${BUILD} --prefix ${FOLDER}/installed)
file(RENAME ${FOLDER}/installed ${FOLDER}/prefix)
set(configure ${CMAKE_COMMAND} -G Ninja -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_CXX_FLAGS=${FLAGS}
  -DCMAKE_PREFIX_PATH=${FOLDER}/prefix -DCMAKE_BUILD_TYPE=${CONFIG})

# This project. Run twice: the second run of a job counts on.
step(${configure} -S ${SOURCE} -B ${FOLDER}/counter)
step(${CMAKE_COMMAND} --build ${FOLDER}/counter)
set(count ${MPIRUN} -n 2 ${FOLDER}/counter/counter --foreweave-store=${FOLDER}/store --foreweave-job=outside)
step(${count})
expect("counted: step 5 on 2 ranks")
step(${count})
expect("counted: step 10 on 2 ranks")

# The library alone.
file(MAKE_DIRECTORY ${FOLDER}/alone_source)
file(WRITE ${FOLDER}/alone_source/main.cpp "#include <cstdio>
#include <foreweave/foreweave.hpp>
#include <foreweave/core/version.hpp>
#ifdef MPI_VERSION
#error MPI came along
#endif
int main(int argc, char** argv) {
  foreweave::Options options = foreweave::Options::from(argc, argv);
  std::printf(\"version %s\\n\", foreweave::build_info().version.c_str());
  return options.enabled ? 0 : 1;
}
")
file(WRITE ${FOLDER}/alone_source/CMakeLists.txt "cmake_minimum_required(VERSION 3.25)
project(alone LANGUAGES CXX)
find_package(foreweave REQUIRED)
if(TARGET MPI::MPI_CXX OR TARGET Kokkos::kokkos OR TARGET CUDA::cudart)
  message(FATAL_ERROR \"find_package(foreweave) without components looked for more than foreweave\")
endif()
add_executable(alone main.cpp)
target_link_libraries(alone PRIVATE foreweave::foreweave)
find_package(foreweave QUIET COMPONENTS mpj)
if(foreweave_FOUND)
  message(FATAL_ERROR \"an unknown component was found\")
endif()
if(NOT foreweave_NOT_FOUND_MESSAGE MATCHES \"mpi;kokkos;cuda\")
  message(FATAL_ERROR \"the refusal does not name the components: \${foreweave_NOT_FOUND_MESSAGE}\")
endif()
")
step(${configure} -S ${FOLDER}/alone_source -B ${FOLDER}/alone)
step(${CMAKE_COMMAND} --build ${FOLDER}/alone)
step(${FOLDER}/alone/alone)
expect("version ${VERSION}")

# pkg-config.
find_program(PKG_CONFIG pkg-config REQUIRED)
set(ENV{PKG_CONFIG_PATH} ${FOLDER}/prefix/${LIBDIR}/pkgconfig)
step(${PKG_CONFIG} --modversion foreweave)
expect("^${VERSION}")
execute_process(COMMAND ${PKG_CONFIG} --cflags --libs foreweave OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE)
separate_arguments(flags UNIX_COMMAND "${flags}")
separate_arguments(more UNIX_COMMAND "${FLAGS}")
step(${COMPILER} -std=c++20 ${more} ${FOLDER}/alone_source/main.cpp ${flags} -o ${FOLDER}/by_pkg_config)
set(ENV{LD_LIBRARY_PATH} ${FOLDER}/prefix/${LIBDIR})
step(${FOLDER}/by_pkg_config)
expect("version ${VERSION}")

# What else is installed runs from where it is now.
step(${FOLDER}/prefix/${BINDIR}/foreweave-run --help)
expect("usage: foreweave-run")
