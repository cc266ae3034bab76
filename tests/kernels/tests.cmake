# Where the golden files of the page codec are, for every test that runs the suite.
foreach(_test page_codec_test page_codec_cuda_test)
  if(TARGET kernels.${_test})
    target_compile_definitions(kernels.${_test} PRIVATE FOREWEAVE_GOLDEN_DIR="${PROJECT_SOURCE_DIR}/tests/format")
  endif()
endforeach()
