# The kill test has its files read by tests/trace/check_traces.py.
target_compile_definitions(trace.recorder_kill_test PRIVATE FOREWEAVE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
