target_compile_definitions(context.options_test PRIVATE FOREWEAVE_DOCS_DIR="${PROJECT_SOURCE_DIR}/docs")
