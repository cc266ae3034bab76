// The job of perf/recovery.py: each rank has a field that changes entirely in every step, a checkpoint follows every
// step, and at the end the field is what it would be had nothing happened.
//
//   foreweave-run -n 2 perf_recovery_job MEGABYTES STEPS

#include <mpi.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "foreweave/interop/mpi.hpp"

namespace {

double value(std::size_t i, std::uint64_t step, int rank) {
  return static_cast<double>(i % 1021) * 0.5 + static_cast<double>(step) * 0.125 + rank;
}

int run(int argc, char** argv) {
  auto options = foreweave::Options::from(argc, argv);
  const auto megabytes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
  const auto steps = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (megabytes == 0 || steps == 0) {
    std::fprintf(stderr, "usage: perf_recovery_job MEGABYTES STEPS\n");
    return 2;
  }
  options.every = 1;
  foreweave::mpi::Context context(MPI_COMM_WORLD, options);
  context.run([&](MPI_Comm comm) {
    int rank = 0;
    foreweave::mpi::check(MPI_Comm_rank(comm, &rank), "rank");
    std::vector<double> field(megabytes * 1000000 / sizeof(double));
    context.protect("field", field);
    context.restore();
    while (context.steps() < steps) {
      const auto next = context.steps() + 1;
      for (std::size_t i = 0; i < field.size(); ++i) field[i] = value(i, next, rank);
      foreweave::mpi::check(MPI_Barrier(comm), "barrier");
      context.step();
    }
    for (std::size_t i = 0; i < field.size(); ++i) {
      if (field[i] != value(i, steps, rank)) {
        throw foreweave::Error(foreweave::ErrorCategory::state, "check the field",
                               "element " + std::to_string(i) + " of rank " + std::to_string(rank) + " is wrong");
      }
    }
  });
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int code = 1;
  try {
    code = run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "perf_recovery_job: %s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return code;
}
