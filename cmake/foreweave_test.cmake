# foreweave_add_test(FILE): one GoogleTest binary per file, and its CTest entries. The rules of names are in
# tests/CMakeLists.txt.
include_guard(GLOBAL)  # read once, at the top: tests, examples and benchmarks all have tests
option(FOREWEAVE_TEST_REAL_CUDA "Link the *_cuda_test binaries with the real CUDA backend, not the emulated one" OFF)
if(FOREWEAVE_TEST_REAL_CUDA AND NOT FOREWEAVE_WITH_CUDA)
  message(FATAL_ERROR "FOREWEAVE_TEST_REAL_CUDA=ON needs the CUDA backend: configure with the preset 'cuda'.")
endif()

# Layers whose tests, but for those under MPI, ./tests/run repeats under AddressSanitizer: they get the label
# `sanitized`, and the target tests_sanitized builds them.
set(FOREWEAVE_SANITIZED_LAYERS core device kernels emulator state comm mirror trace context)
add_custom_target(tests_sanitized)
# And the tests whose first lines say `// threads`, which it repeats under ThreadSanitizer: label `threads`, target
# tests_threads. Building the library anew is most of what that costs, so they are those in which our threads meet.
add_custom_target(tests_threads)

# The environment of every test: what MPI wants in a container as root on few cores, and what the sanitizers are not
# to report because it is not ours.
set(FOREWEAVE_TEST_ENVIRONMENT
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
  PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
  PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none
  ASAN_OPTIONS=detect_stack_use_after_return=0:strict_init_order=1
  LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/sanitizers/lsan.supp:print_suppressions=0
  UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
  TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/sanitizers/tsan.supp:ignore_noninstrumented_modules=1)
if(FOREWEAVE_SANITIZE)  # (no name that begins with FOREWEAVE_: those are options, and unknown ones are refused)
  list(APPEND FOREWEAVE_TEST_ENVIRONMENT SIMULATION_PART=8)
endif()
if(FOREWEAVE_SANITIZE MATCHES "thread")
  # UCX puts itself before madvise(), which glibc calls when a thread has ended for ThreadSanitizer but not for itself:
  # the lock that UCX takes there is a fault. The hooks are of use with registered memory only.
  list(APPEND FOREWEAVE_TEST_ENVIRONMENT UCX_MEM_MMAP_HOOK_MODE=none UCX_MEM_MALLOC_HOOKS=n UCX_MEM_EVENTS=n)
endif()
# And of those that go on after a death (mpirun --with-ft ulfm): as foreweave-run sets it, and for its reasons.
set(FOREWEAVE_TEST_SURVIVOR_ENVIRONMENT ${FOREWEAVE_TEST_ENVIRONMENT} OMPI_MCA_pml=ob1 OMPI_MCA_async_mpi_finalize=1
  OMPI_MCA_btl=self,sm)

# What starts the ranks of a test; a rank count and the program follow.
set(FOREWEAVE_MPIRUN ${MPIEXEC_EXECUTABLE} --oversubscribe)
function(foreweave_add_test file)
  get_filename_component(name ${file} NAME_WE)
  get_filename_component(layer ${file} DIRECTORY)
  get_filename_component(layer ${layer} NAME)
  set(target ${layer}.${name})
  file(STRINGS ${file} head LIMIT_COUNT 3)
  set(timeout 120)
  if(head MATCHES "timeout: *([0-9]+)")
    set(timeout ${CMAKE_MATCH_1})
  endif()
  if(FOREWEAVE_SANITIZE)
    math(EXPR timeout "3 * ${timeout}")
  endif()
  set(labels ${layer})
  if(head MATCHES "// *slow")
    list(APPEND labels slow)
  endif()
  if(head MATCHES "// *threads(;|$)")
    list(APPEND labels threads)
  endif()
  set(library foreweave)
  if(name MATCHES "_cuda_(mpi_)?test$")
    list(APPEND labels cuda)
    if(NOT FOREWEAVE_TEST_REAL_CUDA OR layer STREQUAL "emulator")
      if(NOT TARGET foreweave_emulated)
        return()
      endif()
      set(library foreweave_emulated)
    endif()
  endif()
  add_executable(${target} ${file})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${target} PRIVATE ${library} foreweave_flags ${FOREWEAVE_PRIVATE_LIBRARIES} GTest::gtest
    GTest::gmock)
  if(FOREWEAVE_SANITIZE MATCHES "undefined")
    # Of the tests' own code; the library has all checks. These four double the time it takes to compile a test. (Of the
    # source file, since that comes last on the command line.)
    set_property(SOURCE ${file} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=null,alignment,object-size,vptr)
  endif()
  if(threads IN_LIST labels)
    add_dependencies(tests_threads ${target})
  endif()
  if(name MATCHES "_mpi_test$")
    target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests/mpi_main.cpp)
    if(NOT head MATCHES "ranks: *([0-9 ]+)")
      message(FATAL_ERROR "${file}: the first line of an MPI test says its rank counts, as in  // ranks: 1 2 4")
    endif()
    string(STRIP "${CMAKE_MATCH_1}" counts)
    string(REPLACE " " ";" counts "${counts}")
    foreach(count IN LISTS counts)
      add_test(NAME ${target}.${count} COMMAND ${FOREWEAVE_MPIRUN} -n ${count} $<TARGET_FILE:${target}>)
      set_tests_properties(${target}.${count} PROPERTIES TIMEOUT ${timeout} COST ${timeout} PROCESSORS 2 LABELS "mpi;${labels}"
        ENVIRONMENT "${FOREWEAVE_TEST_ENVIRONMENT}")
    endforeach()
  else()
    if(layer IN_LIST FOREWEAVE_SANITIZED_LAYERS)
      list(APPEND labels sanitized)
      add_dependencies(tests_sanitized ${target})
    endif()
    target_link_libraries(${target} PRIVATE GTest::gtest_main)
    add_test(NAME ${target} COMMAND ${target})
    # What may take long begins first, so that nothing is left to run alone at the end.
    set_tests_properties(${target} PROPERTIES TIMEOUT ${timeout} COST ${timeout} LABELS "${labels}"
      ENVIRONMENT "${FOREWEAVE_TEST_ENVIRONMENT}")
  endif()
endfunction()
