add_executable(thread_level ${CMAKE_CURRENT_LIST_DIR}/thread_level.cpp)
target_link_libraries(thread_level PRIVATE foreweave foreweave_flags MPI::MPI_CXX)
add_test(NAME interop.thread_level COMMAND ${FOREWEAVE_MPIRUN} -n 1 $<TARGET_FILE:thread_level>)
set_tests_properties(interop.thread_level PROPERTIES TIMEOUT 60 LABELS "mpi;interop"
  ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
