# cmake -DLAUNCHER=... -DPROGRAM=... -DCOMPARE=... -DSETTINGS=... -DREFERENCE=... -DFOLDER=... -P restart_test.cmake
# One job, started three times with other numbers of ranks, from memory and from files; a rank is killed on the way. The
# last file must hold the same u and v, byte for byte, as that of an undisturbed run on one rank (REFERENCE).
string(RANDOM LENGTH 8 ALPHABET abcdefghijklmnopqrstuvwxyz run)
foreach(tier IN ITEMS memory files shared)
  foreach(numbers IN ITEMS "3 2 4" "1 4 3")
    separate_arguments(ranks UNIX_COMMAND "${numbers}")
    string(MAKE_C_IDENTIFIER "${tier}_${numbers}" name)
    set(folder ${FOLDER}/${name})
    set(job restart-${name}-${run})
    set(host ${FOLDER}/host)
    file(REMOVE_RECURSE ${folder})
    set(step 0)
    foreach(count IN LISTS ranks)
      math(EXPR step "${step} + 10")
      set(fault "")
      if(step EQUAL 20)
        # After the first start on another number of ranks, before much was committed there.
        set(fault --foreweave-fault=kill:rank=1,step=13)
      endif()
      # Where the tiers are is this test's; the rest as the example has it.
      execute_process(COMMAND ${LAUNCHER} -n ${count} --job ${job} --keep --recover relaunch -- ${PROGRAM} ${SETTINGS}
        --steps ${step} --output ${folder} --foreweave-every=5 --foreweave-store=${host}
        --foreweave-options_file=${CMAKE_CURRENT_LIST_DIR}/tiers.options --foreweave-file_store=${folder}/files --foreweave-shared_store=${folder}/shared ${fault}
        RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
      if(NOT code EQUAL 0)
        message(FATAL_ERROR "${name}: ${count} ranks to step ${step} ended with ${code}:\n${text}")
      endif()
      if(NOT fault STREQUAL "" AND NOT text MATCHES "recovery: by relaunch")
        message(FATAL_ERROR "${name}: nothing was recovered:\n${text}")
      endif()
      # As if the nodes had been given back: their memory is gone, or their disks, too.
      if(NOT tier STREQUAL "memory")
        file(REMOVE_RECURSE ${host}/${job})
      endif()
      if(tier STREQUAL "shared")
        file(REMOVE_RECURSE ${folder}/files)
      endif()
    endforeach()
    file(REMOVE_RECURSE ${host}/${job})
    execute_process(COMMAND ${COMPARE} ${REFERENCE}/fields_00000030.vtkhdf ${folder}/fields_00000030.vtkhdf
      RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
    if(NOT code EQUAL 0)
      message(FATAL_ERROR "${name}: the fields are not those of the undisturbed run: ${text}")
    endif()
    file(READ ${folder}/summary.json summary)
    string(JSON taken GET "${summary}" steps_taken)
    if(taken GREATER 10)
      message(FATAL_ERROR "${name}: the last start took ${taken} steps: it began anew")
    endif()
    message(STATUS "${name}: identical")
  endforeach()
endforeach()
