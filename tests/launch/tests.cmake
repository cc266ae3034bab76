# The scripts that people start; each test file says what it covers.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
foreach(_script foreweave_run)
  add_test(NAME launch.${_script} COMMAND Python3::Interpreter -B ${CMAKE_CURRENT_LIST_DIR}/${_script}_test.py)
  set_tests_properties(launch.${_script} PROPERTIES TIMEOUT 180 LABELS launch ENVIRONMENT "${FOREWEAVE_TEST_ENVIRONMENT}")
endforeach()
