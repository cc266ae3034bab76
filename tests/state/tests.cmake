target_compile_definitions(state.golden_test PRIVATE FOREWEAVE_GOLDEN_DIR="${PROJECT_SOURCE_DIR}/tests/format")
target_compile_definitions(state.archive_test PRIVATE FOREWEAVE_GOLDEN_DIR="${PROJECT_SOURCE_DIR}/tests/format")
target_compile_definitions(state.packed_store_test PRIVATE FOREWEAVE_GOLDEN_DIR="${PROJECT_SOURCE_DIR}/tests/format")
target_compile_definitions(state.parity_test PRIVATE FOREWEAVE_GOLDEN_DIR="${PROJECT_SOURCE_DIR}/tests/format")
