// mpirun --with-ft ulfm -n N halo_loss_test VICTIM MICROSECONDS
//
// One rank is killed in the middle of the exchange of halos. Every other one must get RankLost, also those that are
// no neighbours of the victim and wait for a living rank that has given up; then the survivors must be able to make a
// smaller communicator and go on with it. A hang is the time limit's to find. Built where MPI has fault tolerance.

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "foreweave/interop/mpi.hpp"
#include "simulation.hpp"

int main(int argc, char** argv) {
  using namespace gray_scott;
  if (argc != 3) return 2;
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int rank = 0, size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (rank == std::atoi(argv[1]))
    std::thread([delay = std::atoi(argv[2])] {
      std::this_thread::sleep_for(std::chrono::microseconds(delay));
      kill(getpid(), SIGKILL);
    }).detach();

  Settings settings;
  settings.size = {24, 24, 24};
  bool lost = false;
  try {
    Simulation simulation(settings, MPI_COMM_WORLD);
    for (;;) simulation.advance();
  } catch (const foreweave::RankLost&) {
    lost = true;
  } catch (const foreweave::Error& error) {
    std::fprintf(stderr, "rank %d: not RankLost but: %s\n", rank, error.what());
  }

  MPI_Comm survivors = MPI_COMM_NULL;
  int rc = MPIX_Comm_shrink(MPI_COMM_WORLD, &survivors), all_lost = lost, count = 0;
  if (rc == MPI_SUCCESS) rc = MPI_Allreduce(MPI_IN_PLACE, &all_lost, 1, MPI_INT, MPI_LAND, survivors);
  if (rc == MPI_SUCCESS) rc = MPI_Comm_size(survivors, &count);
  int good = rc == MPI_SUCCESS && all_lost && count == size - 1;
  // And the survivors can simulate on.
  if (good) {
    MPI_Comm_set_errhandler(survivors, MPI_ERRORS_RETURN);
    try {
      Simulation simulation(settings, survivors);
      for (int i = 0; i < 5; ++i) simulation.advance();
    } catch (const foreweave::Error& error) {
      std::fprintf(stderr, "rank %d: after the repair: %s\n", rank, error.what());
      good = 0;
    }
  }
  if (rank == 0 || (rank == 1 && std::atoi(argv[1]) == 0))
    std::printf("%s: %d of %d ranks go on\n", good ? "survived" : "FAILED", count, size);
  std::fflush(nullptr);
  MPI_Finalize();
  return good ? 0 : 1;
}
