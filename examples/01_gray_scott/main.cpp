// 3-D Gray-Scott reaction-diffusion over MPI.
//
//   foreweave-run -n 3 gray_scott settings.toml [--steps N] [--output DIR] [--plain] [--progress] [--foreweave-...]
//
// Writes DIR/fields_STEP.vtkhdf (ParaView opens them) and DIR/summary.json. A rank that is lost on the way changes
// nothing in the fields. What Foreweave needs for that is in simulate() and run_protected(); everything else would be
// the same without it.

#include <mpi.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <span>
#include <vector>

#include "fingerprint.hpp"
#include "foreweave/foreweave.hpp"
#include "foreweave/interop/mpi.hpp"
#include "progress.hpp"
#include "settings.hpp"
#include "simulation.hpp"
#include "vtkhdf.hpp"

namespace {

using namespace gray_scott;

struct Arguments {
  std::string settings;
  std::int64_t steps = -1;
  std::string output;
  bool plain = false, progress = false;
};

struct Timings {
  double begin = MPI_Wtime();
  double step = 0, halo = 0, output = 0, checkpoint = 0;  // seconds
  std::int64_t steps = 0;                                 // that this process took, steps taken again included
};

std::string fields_path(const Settings& settings, std::int64_t step) {
  char name[48];
  std::snprintf(name, sizeof name, "fields_%08lld.vtkhdf", static_cast<long long>(step));
  return (std::filesystem::path(settings.directory) / name).string();
}

void write_state(const Simulation& simulation, const Settings& settings, Timings& timings) {
  const double begin = MPI_Wtime();
  write_fields(simulation, settings, fields_path(settings, simulation.step),
               settings.collective ? WriteMode::collective : WriteMode::gathered);
  timings.output += MPI_Wtime() - begin;
}

/// One step, and what follows from it.
void advance(Simulation& simulation, const Settings& settings, Timings& timings, Progress& progress) {
  const double begin = MPI_Wtime(), halo_before = simulation.halo_seconds();
  simulation.advance();
  timings.step += MPI_Wtime() - begin;
  timings.halo += simulation.halo_seconds() - halo_before;
  ++timings.steps;
  const bool asked = settings.output_every > 0 && simulation.step % settings.output_every == 0;
  if (asked || simulation.step == settings.steps) write_state(simulation, settings, timings);
  progress.show(simulation.step);
}

/// What Foreweave did, summed over the ranks of this attempt, as a JSON value. Collective.
std::string foreweave_summary(foreweave::mpi::Context* context, MPI_Comm comm) {
  if (!context) return "null";
  context->flush();
  const auto mine = context->statistics();
  std::uint64_t sums[3] = {mine.bytes_captured, mine.bytes_stored, mine.bytes_sent};
  foreweave::mpi::check(MPI_Allreduce(MPI_IN_PLACE, sums, 3, MPI_UINT64_T, MPI_SUM, comm), "sum of the statistics");
  // Of each rank's captures the median (within 1.6 %) and the slowest (exact); of the ranks the slowest.
  double waits[2] = {1e-6 * static_cast<double>(mine.blocked.median()), 1e-6 * static_cast<double>(mine.blocked.most())};
  foreweave::mpi::check(MPI_Allreduce(MPI_IN_PLACE, waits, 2, MPI_DOUBLE, MPI_MAX, comm), "slowest capture");
  char text[512];
  std::snprintf(text, sizeof text,
                "{\"versions\": %llu, \"captures\": %llu, \"bytes_captured\": %llu, \"bytes_stored\": %llu, "
                "\"bytes_sent\": %llu, \"blocked_ms_median\": %.6f, \"blocked_ms_max\": %.6f, \"recoveries\": %d}",
                static_cast<unsigned long long>(context->committed()), static_cast<unsigned long long>(mine.captures),
                static_cast<unsigned long long>(sums[0]), static_cast<unsigned long long>(sums[1]),
                static_cast<unsigned long long>(sums[2]), waits[0], waits[1], mine.recoveries);
  return text;
}

void write_summary(const Simulation& simulation, const Settings& settings, const Timings& timings, double wall,
                   foreweave::mpi::Context* context) {
  const auto digest = fingerprint(simulation, settings);
  const auto statistics = foreweave_summary(context, simulation.comm());
  if (simulation.rank() != 0) return;
  const auto path = std::filesystem::path(settings.directory) / "summary.json";
  // A job that goes on behind its last output has not made the folder.
  std::error_code ignored;
  std::filesystem::create_directories(settings.directory, ignored);
  std::ofstream out(path);
  const auto& cuts = simulation.blocks().cuts();
  char text[1024];
  std::snprintf(text, sizeof text,
                "{\n  \"program\": \"gray_scott\",\n  \"backend\": \"%s\",\n  \"plain\": %s,\n  \"ranks\": %d,\n"
                "  \"blocks\": [%lld, %lld, %lld],\n  \"size\": [%lld, %lld, %lld],\n  \"steps\": %lld,\n"
                "  \"steps_taken\": %lld,\n  \"digest\": \"%s\",\n  \"wall_seconds\": %.6f,\n"
                "  \"step_seconds\": %.6f,\n  \"halo_seconds\": %.6f,\n  \"output_seconds\": %.6f,\n"
                "  \"checkpoint_seconds\": %.6f,\n  \"seconds_per_step\": %.9f,\n  \"foreweave\": ",
                backend, context ? "false" : "true", simulation.blocks().ranks(), static_cast<long long>(cuts[0]),
                static_cast<long long>(cuts[1]), static_cast<long long>(cuts[2]),
                static_cast<long long>(settings.size[0]), static_cast<long long>(settings.size[1]),
                static_cast<long long>(settings.size[2]), static_cast<long long>(simulation.step),
                static_cast<long long>(timings.steps), digest.c_str(), wall, timings.step, timings.halo,
                timings.output, timings.checkpoint,
                timings.steps > 0 ? (timings.step + timings.checkpoint) / static_cast<double>(timings.steps) : 0.0);
  out << text << statistics << "\n}\n";
  out.close();
  if (!out)
    throw foreweave::Error(foreweave::ErrorCategory::io, "write " + path.string(), "the file could not be written");
}

/// The program, from its first step or from the newest version; `context` is null without Foreweave. After a repair
/// it is called again.
void simulate(const Settings& settings, MPI_Comm comm, bool progress_asked, Timings& timings,
              foreweave::mpi::Context* context) {
  Simulation simulation(settings, comm);
  if (context) {
    const auto extents = simulation.layout().extents();
    const auto part = simulation.part();  // so that the job can go on with another number of ranks
    context->protect("u", std::span(simulation.u.data(), simulation.u.size()), extents, part);
    context->protect("v", std::span(simulation.v.data(), simulation.v.size()), extents, part);
    context->protect("step", simulation.step, foreweave::GlobalPart::replicated());
    context->restore();
  }
  Progress progress(settings.steps, simulation.rank() == 0, progress_asked);
  if (simulation.step == 0) write_state(simulation, settings, timings);
  while (simulation.step < settings.steps) {
    advance(simulation, settings, timings, progress);
    const double begin = MPI_Wtime();
    if (context) context->step();  // after the output: a step that a checkpoint has seen is not written again
    timings.checkpoint += MPI_Wtime() - begin;
  }
  write_summary(simulation, settings, timings, MPI_Wtime() - timings.begin, context);
}

void run_plain(const Settings& settings, bool progress) {
  Timings timings;
  simulate(settings, MPI_COMM_WORLD, progress, timings, nullptr);
}

void run_protected(const Settings& settings, bool progress, const foreweave::Options& options) {
  Timings timings;
  foreweave::mpi::Context context(MPI_COMM_WORLD, options);
  context.run([&](MPI_Comm comm) { simulate(settings, comm, progress, timings, &context); });
}

int run(int argc, char** argv) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const auto say = [&](const char* text) {
    if (rank == 0) std::fprintf(stderr, "gray_scott: %s\n", text);
  };
  CLI::App app("3-D Gray-Scott reaction-diffusion over MPI");
  Arguments arguments;
  foreweave::Options options;
  try {
    options = foreweave::Options::from(argc, argv);  // takes what is Foreweave's
  } catch (const foreweave::Error& error) {
    say(error.what());
    return 2;
  }
  app.footer("Options of Foreweave, --foreweave-NAME=VALUE, are listed by `foreweave info`.");
  app.add_option("settings", arguments.settings, "TOML file with the parameters")->required();
  app.add_option("--steps", arguments.steps, "time steps, over run.steps of the file")
      ->check(CLI::Range(std::int64_t{0}, std::numeric_limits<std::int64_t>::max()));
  app.add_option("--output", arguments.output, "folder for the results, over output.directory of the file");
  app.add_flag("--plain", arguments.plain, "run without Foreweave, to compare with");
  app.add_flag("--progress", arguments.progress, "show a progress line even where there is no terminal");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return rank == 0 ? app.exit(error) : error.get_exit_code();
  }
  Settings settings;
  try {
    settings = load_settings(arguments.settings);
    if (arguments.steps >= 0) settings.steps = arguments.steps;
    if (!arguments.output.empty()) settings.directory = arguments.output;
    settings.validate();
  } catch (const foreweave::Error& error) {
    // Every rank reads the same file and finds the same: all return.
    say(error.what());
    return 2;
  }
  try {
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (arguments.plain)
      run_plain(settings, arguments.progress);
    else
      run_protected(settings, arguments.progress, options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gray_scott: rank %d: %s\n", rank, error.what());
    // The others may be waiting for this rank.
    MPI_Abort(MPI_COMM_WORLD, 1);
    return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  int provided = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS) return 1;
  int code = 0;
  {
    Runtime runtime(argc, argv);
    code = run(argc, argv);
  }
  MPI_Finalize();
  return code;
}
