// foreweave: looks at builds, stores and traces. One subcommand a file, commands.hpp.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <string_view>

#include "foreweave/core/error.hpp"
#include "foreweave/core/version.hpp"
#include "tools/commands.hpp"

namespace {

using namespace foreweave;

int status_of(const Error& error) {
  switch (error.category()) {
    case ErrorCategory::argument:
      return tools::status_usage;
    case ErrorCategory::absent:
      return tools::status_absent;
    case ErrorCategory::format:
    case ErrorCategory::security:
    case ErrorCategory::hdf5:
      return tools::status_bad;
    default:
      return tools::status_failed;
  }
}

bool is_option_of_the_library(std::string_view argument) { return argument.starts_with("--foreweave-"); }

int run(int argc, char** argv) {
  // Options come first, so that `foreweave info --foreweave-copies=2` shows what a program would get. `info` is for
  // finding mistakes in them, so it runs even when they are refused; the others need them only for keys.
  Options options;
  std::string problem;
  try {
    options = Options::from(argc, argv);
  } catch (const Error& error) {
    problem = error.what();
    // What was refused may still stand there; CLI11 would only say that it is not expected.
    argc = static_cast<int>(std::remove_if(argv + 1, argv + argc, is_option_of_the_library) - argv);
  }

  CLI::App app("Looks at Foreweave's builds, stores and traces, and tries its codec.", "foreweave");
  app.set_version_flag("--version", build_info().version);
  app.require_subcommand(1);
  app.footer(
      "Options of the library (foreweave info lists them) are accepted as --foreweave-NAME=VALUE too.\n"
      "Exit status: 0 good, 1 damaged or incomplete, 2 wrong arguments or options, 3 not there, 4 other errors.");
  bool json = false;
  std::string what, output = "report.html", key_file;

  auto* info = app.add_subcommand("info", "build, devices, libraries, and every option with where it came from");
  info->add_flag("--json", json, "print JSON");
  auto* ls = app.add_subcommand("ls", "what is in a store folder or a trace");
  ls->add_option("WHAT", what, "a store folder, or a trace (trace.h5)")->required();
  ls->add_flag("--json", json, "print JSON");
  auto* verify = app.add_subcommand("verify", "read and check every byte of a store folder or a snapshot");
  verify->add_option("WHAT", what, "a store folder, or one snapshot file")->required();
  verify->add_option("--key-file", key_file, "the job's key, for sealed snapshots");
  verify->add_flag("--json", json, "print JSON");
  auto* report = app.add_subcommand("report", "draw a trace as one HTML page, with the numbers as CSV beside it");
  report->add_option("TRACE", what, "trace.h5 of a run, or the file of one hub")->required();
  report->add_option("-o,--output", output, "the page to write")->capture_default_str();
  tools::DeltaRequest pair;
  auto* delta = app.add_subcommand("delta", "try the codec: encode one raw file against another, check, time");
  delta->add_option("OLD", pair.old_file, "the base: a raw file of elements")->required();
  delta->add_option("NEW", pair.new_file, "what became of it: as large")->required();
  delta->add_option("--type", pair.type, "f64, f32, i64, i32, u64, u32 or u8")->required();
  delta->add_option("--extents", pair.extents, "elements along each dimension, slowest first: 256x256x256");
  delta->add_flag("--archive", pair.archive, "the archive stage too");
  delta->add_option("--threads", pair.threads, "threads that share the segments")->capture_default_str();
  delta->add_option("--repeats", pair.repeats, "timed repeats")->capture_default_str();
  delta->add_flag("--json", pair.json, "print JSON");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error) == 0) return tools::status_ok;
    if (!problem.empty()) std::cerr << problem << '\n';   // a word that is left over may be the refused option's value
    return tools::status_usage;
  }
  if (*info) return tools::info(options, problem, json);
  if (*ls) return tools::list(what, json);
  if (*delta) return tools::delta(pair);
  if (*report) return tools::report(what, output);
  if (!problem.empty()) throw Error(ErrorCategory::argument, "options", problem);
  if (!key_file.empty()) options.set("key_file", key_file, "--key-file");
  return tools::verify(what, options, json);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const foreweave::Error& error) {
    std::cerr << "foreweave: " << error.what() << '\n';
    return status_of(error);
  } catch (const std::exception& error) {
    std::cerr << "foreweave: " << error.what() << '\n';
    return foreweave::tools::status_failed;
  }
}
