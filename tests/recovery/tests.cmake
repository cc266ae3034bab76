# Whole jobs under foreweave-run that lose a rank at seeded moments, and must end with the undisturbed result.
add_executable(ring_program ${CMAKE_CURRENT_LIST_DIR}/ring_program.cpp)
target_link_libraries(ring_program PRIVATE foreweave foreweave_flags MPI::MPI_CXX)
foreach(_mode relaunch in_place)
  add_test(NAME recovery.kill_moments.${_mode} COMMAND ${CMAKE_CURRENT_LIST_DIR}/kill_moments.py
    --mode ${_mode} --program $<TARGET_FILE:ring_program> --seeds 12)
  set_tests_properties(recovery.kill_moments.${_mode} PROPERTIES TIMEOUT 600 PROCESSORS 2 SKIP_RETURN_CODE 77
    LABELS "recovery;slow;mpi")
endforeach()
