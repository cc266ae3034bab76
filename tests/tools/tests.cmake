# These tests run the program.
foreach(_test IN ITEMS foreweave_cli_test delta_test)
  target_compile_definitions(tools.${_test} PRIVATE FOREWEAVE_CLI="$<TARGET_FILE:foreweave_cli>")
  add_dependencies(tools.${_test} foreweave_cli)
endforeach()
