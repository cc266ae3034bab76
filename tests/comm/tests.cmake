# A death under the MPI transport, where mpirun can let a job outlive one (Open MPI 5 and newer).
execute_process(COMMAND ${MPIEXEC_EXECUTABLE} --version OUTPUT_VARIABLE _mpirun ERROR_QUIET)
if(_mpirun MATCHES "Open MPI\\) ([0-9]+)" AND CMAKE_MATCH_1 GREATER_EQUAL 5)
  add_executable(comm.mpi_failure ${CMAKE_CURRENT_SOURCE_DIR}/comm/mpi_failure.cpp)
  target_include_directories(comm.mpi_failure PRIVATE ${PROJECT_SOURCE_DIR}/src ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(comm.mpi_failure PRIVATE foreweave foreweave_flags ${FOREWEAVE_PRIVATE_LIBRARIES} GTest::gtest)
  add_test(NAME comm.mpi_failure.4
    COMMAND ${MPIEXEC_EXECUTABLE} --with-ft ulfm --oversubscribe -n 4 $<TARGET_FILE:comm.mpi_failure>)
  # mpirun's own status speaks of the killed rank: what counts is what the three others say.
  set_tests_properties(comm.mpi_failure.4 PROPERTIES TIMEOUT 120 PROCESSORS 2 LABELS "mpi;comm"
    PASS_REGULAR_EXPRESSION "survivor ok.*survivor ok.*survivor ok"
    ENVIRONMENT "${FOREWEAVE_TEST_SURVIVOR_ENVIRONMENT}")
endif()
