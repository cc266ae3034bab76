// The smallest program that a recovery can be proved on: ranks pass values around a ring and mix them into their state;
// the final digest depends on every step of every rank.
//
//   ring_program STEPS ELEMENTS RESULT_FILE [MICROSECONDS]     (Foreweave's options as usual)
//
// Rank 0 writes the digest of all ranks' state, and "recoveries N", to RESULT_FILE.
#include <mpi.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

#include "foreweave/core/digest.hpp"
#include "foreweave/foreweave.hpp"
#include "foreweave/interop/mpi.hpp"

namespace {

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 31;
  x *= 0x9E3779B97F4A7C15u;
  return x ^ x >> 29;
}

void advance(std::vector<std::uint64_t>& state, std::uint64_t& step, MPI_Comm comm) {
  int rank = 0, size = 1;
  foreweave::mpi::check(MPI_Comm_rank(comm, &rank), "rank");
  foreweave::mpi::check(MPI_Comm_size(comm, &size), "size");
  std::uint64_t received = 0;
  MPI_Request requests[2];
  foreweave::mpi::check(MPI_Irecv(&received, 1, MPI_UINT64_T, (rank + size - 1) % size, 0, comm, &requests[0]), "receive");
  foreweave::mpi::check(MPI_Isend(&state[step % state.size()], 1, MPI_UINT64_T, (rank + 1) % size, 0, comm, &requests[1]),
                        "send");
  foreweave::mpi::wait_all(requests, comm, "ring");
  ++step;
  // A third of the state changes in a step.
  for (std::size_t i = step % 3; i < state.size(); i += 3) state[i] = mix(state[i] + received + i);
}

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int status = 0;
  try {
    const auto options = foreweave::Options::from(argc, argv);
    if (argc < 4) throw std::invalid_argument("ring_program STEPS ELEMENTS RESULT_FILE [MICROSECONDS]");
    const auto steps = std::strtoull(argv[1], nullptr, 10), elements = std::strtoull(argv[2], nullptr, 10);
    const std::chrono::microseconds pause(argc > 4 ? std::atol(argv[4]) : 0);
    foreweave::mpi::Context context(MPI_COMM_WORLD, options);
    context.run([&](MPI_Comm comm) {
      int rank = 0, size = 1;
      foreweave::mpi::check(MPI_Comm_rank(comm, &rank), "rank");
      foreweave::mpi::check(MPI_Comm_size(comm, &size), "size");
      std::vector<std::uint64_t> state(elements);
      for (std::size_t i = 0; i < state.size(); ++i) state[i] = mix(i + static_cast<std::uint64_t>(rank) * elements);
      std::uint64_t step = 0;
      context.protect("state", state);
      context.protect("step", step);
      context.restore();
      while (step < steps) {
        advance(state, step, comm);
        if (pause.count() > 0) std::this_thread::sleep_for(pause);
        context.step();
      }
      const auto digest = foreweave::digest64(std::as_bytes(std::span(state)));
      std::vector<std::uint64_t> digests(static_cast<std::size_t>(size));
      foreweave::mpi::check(MPI_Gather(&digest, 1, MPI_UINT64_T, digests.data(), 1, MPI_UINT64_T, 0, comm), "gather");
      if (rank == 0) {
        std::ofstream result(argv[3]);
        for (const auto one : digests) result << std::hex << one << '\n';
        result << std::dec << "recoveries " << context.statistics().recoveries << " steps " << context.steps() << '\n';
      }
    });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ring_program: %s\n", error.what());
    status = 1;
  }
  if (status != 0) {
    MPI_Abort(MPI_COMM_WORLD, status);
  }
  MPI_Finalize();
  return status;
}
