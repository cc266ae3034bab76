# foreweave_example_test(TARGET EXPECTED [AGAIN]): runs an example of one process as a test. It passes when the program
# ends with 0 and prints what the regular expression EXPECTED describes; 77 is "skipped". Its snapshots go to a folder
# of their own, empty at the start, or with AGAIN as the run before has left it.
include_guard(GLOBAL)
function(foreweave_example_test target expected)
  if(NOT FOREWEAVE_TESTS)
    return()
  endif()
  set(name example.${target})
  set(fresh TRUE)
  if("AGAIN" IN_LIST ARGN)
    set(name ${name}.again)
    set(fresh FALSE)
    set_tests_properties(example.${target} PROPERTIES FIXTURES_SETUP ${target}_ran)
  endif()
  add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:${target}> "-DEXPECTED=${expected}"
    -DFRESH=${fresh} -DSTORE=${CMAKE_CURRENT_BINARY_DIR}/store.${target}
    -P ${PROJECT_SOURCE_DIR}/cmake/foreweave_run_example.cmake)
  set_tests_properties(${name} PROPERTIES TIMEOUT 120 LABELS example SKIP_REGULAR_EXPRESSION "skipped: no CUDA device"
    ENVIRONMENT "${FOREWEAVE_TEST_ENVIRONMENT};OMP_NUM_THREADS=1;OMP_PROC_BIND=false")
  if(NOT fresh)
    set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED ${target}_ran)
  endif()
endfunction()
