# 05_outside_tree is no part of this build: its test installs Foreweave and builds it against that.
if(FOREWEAVE_TESTS)
  set(_flags "")
  if(FOREWEAVE_SANITIZE)
    set(_flags "-fsanitize=${FOREWEAVE_SANITIZE}")
  endif()
  add_test(NAME example.outside_tree COMMAND ${CMAKE_COMMAND} -DBUILD=${PROJECT_BINARY_DIR} -DCONFIG=$<CONFIG>
    -DSOURCE=${CMAKE_CURRENT_SOURCE_DIR}/05_outside_tree -DFOLDER=${CMAKE_CURRENT_BINARY_DIR}/outside_tree
    "-DMPIRUN=${FOREWEAVE_MPIRUN}" -DFLAGS=${_flags} -DCOMPILER=${CMAKE_CXX_COMPILER} -DVERSION=${PROJECT_VERSION}
    -DLIBDIR=${CMAKE_INSTALL_LIBDIR} -DBINDIR=${CMAKE_INSTALL_BINDIR}
    -P ${CMAKE_CURRENT_SOURCE_DIR}/05_outside_tree/run_test.cmake)
  set_tests_properties(example.outside_tree PROPERTIES TIMEOUT 300 PROCESSORS 2 LABELS "example;mpi"
    ENVIRONMENT "${FOREWEAVE_TEST_ENVIRONMENT}")
endif()
