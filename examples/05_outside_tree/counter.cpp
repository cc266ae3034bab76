// An MPI program outside the tree of Foreweave: every rank counts, and a later run of the same job counts on.
//
//   foreweave-run -n 2 --job counter ./counter      (twice: the second run goes on where the first stopped)

#include <mpi.h>

#include <cstdio>
#include <foreweave/foreweave.hpp>
#include <foreweave/interop/mpi.hpp>
#include <vector>

int main(int argc, char** argv) {
  int provided = 0;
  if (MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS) return 1;
  int code = 1;
  try {
    foreweave::mpi::Context context(MPI_COMM_WORLD, foreweave::Options::from(argc, argv));
    context.run([&](MPI_Comm comm) {
      std::vector<double> counts(1000);
      int step = 0;
      context.protect("counts", counts);
      context.protect("step", step);
      context.restore();
      const int end = step + 5;
      while (step < end) {
        double sum = 1;
        foreweave::mpi::check(MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_DOUBLE, MPI_SUM, comm), "count together");
        for (auto& count : counts) count += sum;
        ++step;
        context.checkpoint();
      }
      bool good = true;
      for (const auto count : counts) good = good && count == static_cast<double>(step * context.ranks());
      if (context.rank() == 0)
        std::printf("%s: step %d on %d ranks\n", good ? "counted" : "wrong", step, context.ranks());
      code = good ? 0 : 1;
    });
    context.flush();
  } catch (const foreweave::Error& error) {
    std::fprintf(stderr, "counter: %s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return code;
}
