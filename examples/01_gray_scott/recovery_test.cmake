# cmake -DLAUNCHER=... -DPROGRAM=... -DCOMPARE=... -DSETTINGS=... -DREFERENCE=... -DFOLDER=... -DRECOVER=... -DWAY=... -P recovery_test.cmake
# The main job: ranks are killed at several moments, and each time the last file must hold the same u and v, byte for
# byte, as that of an undisturbed run on one rank (REFERENCE, left by the test of the program). WAY: the way back that has
# to be taken, "in place" or "by relaunch".
foreach(fault IN ITEMS
    "kill:rank=1,step=17"                         # between two checkpoints
    "kill:rank=0,step=9,memory=lost"              # the coordinator, and its memory with it
    "kill:rank=2,version=2,after=1"               # in the middle of a capture or its commit
    "kill:rank=1,step=30"                         # at the end
    "kill:rank=1,step=27,memory=lost rs:2+1"      # with parity in place of copies; two versions at least are committed
    "kill:rank=0,version=2,after=1,memory=lost rs:2+1")
  set(redundancy copies)
  if(fault MATCHES "^(.*) (rs:.*)$")
    set(fault ${CMAKE_MATCH_1})
    set(redundancy ${CMAKE_MATCH_2})
  endif()
  string(MAKE_C_IDENTIFIER "${fault}_${redundancy}" name)
  set(folder ${FOLDER}/${name})
  file(REMOVE_RECURSE ${folder})
  execute_process(COMMAND ${LAUNCHER} -n 3 --recover ${RECOVER} -- ${PROGRAM} ${SETTINGS} --output ${folder}
    --foreweave-every=5 --foreweave-fault=${fault} --foreweave-redundancy=${redundancy} --foreweave-log=info
    RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${fault}: ended with ${code}:\n${text}")
  endif()
  if(NOT text MATCHES "recovery: ${WAY}( \\(1 of [0-9]+\\))?\n")
    message(FATAL_ERROR "${fault}: nothing was recovered ${WAY}:\n${text}")
  endif()
  message(STATUS "${fault}, ${redundancy}: ${CMAKE_MATCH_0}")
  # What was captured before the death had no time to be committed now and then; what was, comes from parity.
  if(NOT redundancy STREQUAL "copies" AND text MATCHES "restored version [1-9]" AND NOT text MATCHES "from parity")
    message(FATAL_ERROR "${fault}: the lost memory was not rebuilt from parity:\n${text}")
  endif()
  execute_process(COMMAND ${COMPARE} ${REFERENCE}/fields_00000030.vtkhdf ${folder}/fields_00000030.vtkhdf
    RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${fault}: the fields are not those of the undisturbed run: ${text}")
  endif()
endforeach()
