# cmake -DPROGRAM=... -DEXPECTED=... -DFRESH=... -DSTORE=... -P foreweave_run_example.cmake: see foreweave_example_test.cmake.
if(FRESH)
  file(REMOVE_RECURSE ${STORE})
endif()
execute_process(COMMAND ${PROGRAM} --foreweave-store=${STORE} --foreweave-job=example RESULT_VARIABLE code
  OUTPUT_VARIABLE text ERROR_VARIABLE text)
message("${text}")
if(code EQUAL 77)
  return()  # what it printed says so to CTest
endif()
if(NOT code EQUAL 0 OR NOT text MATCHES "${EXPECTED}")
  message(FATAL_ERROR "${PROGRAM} ended with ${code}; expected was: ${EXPECTED}")
endif()
