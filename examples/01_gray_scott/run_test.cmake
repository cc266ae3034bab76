# cmake -DMPIRUN=... -DPROGRAM=... -DREFERENCE=... -DCOMPARE=... -DSETTINGS=... -DFOLDER=... -DRANKS=... -P run_test.cmake
# Runs PROGRAM at several rank counts: every file it writes must hold the same u and v, byte for byte, as what
# REFERENCE writes on one rank, and the digests must be equal.
function(run program ranks folder)
  file(REMOVE_RECURSE ${folder})
  execute_process(COMMAND ${MPIRUN} -n ${ranks} ${program} ${SETTINGS} --output ${folder} --plain ${ARGN}
    RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${program} on ${ranks} ranks failed (${code}):\n${text}")
  endif()
endfunction()
function(digest folder result)
  file(READ ${folder}/summary.json json)
  string(JSON value GET ${json} digest)
  set(${result} ${value} PARENT_SCOPE)
endfunction()

run(${REFERENCE} 1 ${FOLDER}/reference)
digest(${FOLDER}/reference expected)
file(GLOB files RELATIVE ${FOLDER}/reference ${FOLDER}/reference/*.vtkhdf)
list(LENGTH files count)
if(NOT count EQUAL 4)  # steps 0, 10, 20, 30
  message(FATAL_ERROR "the reference run wrote ${count} files, not 4: ${files}")
endif()
function(compare folder)
  digest(${folder} found)
  if(NOT found STREQUAL expected)
    message(FATAL_ERROR "${folder}: the digest is ${found}, not ${expected}")
  endif()
  foreach(file IN LISTS files)
    execute_process(COMMAND ${COMPARE} ${FOLDER}/reference/${file} ${folder}/${file} RESULT_VARIABLE code
      OUTPUT_VARIABLE text ERROR_VARIABLE text)
    if(NOT code EQUAL 0)
      message(FATAL_ERROR "${folder}/${file}: ${text}")
    endif()
  endforeach()
endfunction()
foreach(ranks IN LISTS RANKS)
  set(folder ${FOLDER}/ranks_${ranks})
  run(${PROGRAM} ${ranks} ${folder})
  compare(${folder})
endforeach()

# Written through MPI-IO the file holds the same.
file(READ ${SETTINGS} text)
file(WRITE ${FOLDER}/collective.toml "${text}collective = true\n")
set(SETTINGS ${FOLDER}/collective.toml)
run(${PROGRAM} 3 ${FOLDER}/collective)
compare(${FOLDER}/collective)

# Two states that differ must be told apart, or the comparison above says nothing.
execute_process(COMMAND ${COMPARE} ${FOLDER}/reference/fields_00000000.vtkhdf ${FOLDER}/reference/fields_00000030.vtkhdf
  RESULT_VARIABLE code OUTPUT_QUIET)
if(NOT code EQUAL 1)
  message(FATAL_ERROR "compare_fields did not notice that steps 0 and 30 differ")
endif()
# A setting that does not exist is refused by name, on one line and not once per rank.
file(WRITE ${FOLDER}/bad.toml "[model]\nfeeed = 1\n")
execute_process(COMMAND ${MPIRUN} -n 2 ${PROGRAM} ${FOLDER}/bad.toml RESULT_VARIABLE code OUTPUT_VARIABLE text
  ERROR_VARIABLE text)
string(REGEX MATCHALL "model.feeed" found "${text}")
list(LENGTH found times)
if(code EQUAL 0 OR NOT times EQUAL 1 OR NOT text MATCHES "accepted in .model.: feed, kill")
  message(FATAL_ERROR "a bad setting ended with ${code} and said:\n${text}")
endif()
