# Whole jobs under foreweave-run that lose a rank at seeded moments, and must end with the undisturbed result.
add_executable(ring_program ${CMAKE_CURRENT_LIST_DIR}/ring_program.cpp)
target_link_libraries(ring_program PRIVATE foreweave foreweave_flags MPI::MPI_CXX)
function(foreweave_kill_moments name seeds)
  add_test(NAME recovery.kill_moments.${name} COMMAND ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/kill_moments.py
    --program $<TARGET_FILE:ring_program> --seeds ${seeds} ${ARGN})
  set_tests_properties(recovery.kill_moments.${name} PROPERTIES TIMEOUT 600 PROCESSORS 2 SKIP_RETURN_CODE 77
    LABELS "recovery;slow;mpi")
endfunction()
foreweave_kill_moments(relaunch 12 --mode relaunch)
foreweave_kill_moments(relaunch.mpi_transport 4 --mode relaunch --transport mpi)
foreweave_kill_moments(in_place 16 --mode in_place)
foreweave_kill_moments(relaunch.parity 6 --mode relaunch --redundancy rs:3+1 --ranks 4)
foreweave_kill_moments(in_place.parity 6 --mode in_place --redundancy rs:2+1 --ranks 4)
foreach(_scenario spare_dies spare_then_rank takeover_then_relaunch)
  add_test(NAME recovery.deaths.${_scenario} COMMAND ${CMAKE_CURRENT_LIST_DIR}/deaths.py
    --program $<TARGET_FILE:ring_program> --cli $<TARGET_FILE:foreweave_cli> ${_scenario})
  set_tests_properties(recovery.deaths.${_scenario} PROPERTIES TIMEOUT 240 PROCESSORS 2 SKIP_RETURN_CODE 77
    LABELS "recovery;slow;mpi")
endforeach()
foreach(_scenario memory_lost nodes_lost mixture killed_in_a_flush slow_files older_when_allowed)
  add_test(NAME recovery.tiers.${_scenario} COMMAND ${CMAKE_CURRENT_LIST_DIR}/tiers.py
    --program $<TARGET_FILE:ring_program> --cli $<TARGET_FILE:foreweave_cli> ${_scenario})
  set_tests_properties(recovery.tiers.${_scenario} PROPERTIES TIMEOUT 240 PROCESSORS 2 LABELS "recovery;slow;mpi")
endforeach()
# Deaths in the middle of writing a file, at calls to the system that are chosen by seed.
add_library(kill_in_write MODULE ${CMAKE_CURRENT_LIST_DIR}/kill_in_write.cpp)
target_link_libraries(kill_in_write PRIVATE foreweave_flags ${CMAKE_DL_LIBS})
if(FOREWEAVE_EXAMPLES AND NOT FOREWEAVE_SANITIZE)  # a sanitizer's runtime must come before what is preloaded
  foreach(_what fields trace)
    foreach(_mode relaunch in_place)
      set(_test recovery.kill_in_write.${_what}.${_mode})
      add_test(NAME ${_test} COMMAND ${CMAKE_CURRENT_LIST_DIR}/kill_in_write.py --what ${_what} --mode ${_mode}
        --program $<TARGET_FILE:gray_scott> --compare $<TARGET_FILE:compare_fields> --cli $<TARGET_FILE:foreweave_cli>
        --library $<TARGET_FILE:kill_in_write> --seeds 8)
      set_tests_properties(${_test} PROPERTIES TIMEOUT 300 PROCESSORS 2 SKIP_RETURN_CODE 77 LABELS "recovery;slow;mpi")
    endforeach()
  endforeach()
endif()
