# These tests run the program.
target_compile_definitions(tools.foreweave_cli_test PRIVATE FOREWEAVE_CLI="$<TARGET_FILE:foreweave_cli>")
add_dependencies(tools.foreweave_cli_test foreweave_cli)
