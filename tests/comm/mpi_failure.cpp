// Run under a fault-tolerant mpirun (tests.cmake): rank 1 dies in the middle of all-pairs traffic over the MPI
// transport. Each survivor is told of it, goes on with the other survivors, and says "survivor ok" at its end.

#include <mpi.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "comm/conformance.hpp"
#include "foreweave/interop/mpi_bootstrap.hpp"
#include "foreweave/interop/mpi_transport.hpp"

using namespace foreweave;
using namespace foreweave::comm;
using namespace foreweave::comm::conformance;

namespace {

constexpr HubId victim = 1;
constexpr std::uint64_t before_death = 30, after_death = 30;

int run() {
  auto transport = mpi::make_mpi_transport(MPI_COMM_WORLD);
  const auto addresses = mpi::exchange_addresses(MPI_COMM_WORLD, transport->address());
  const auto hubs = static_cast<HubId>(addresses.size());
  const HubId self = transport->self();
  for (HubId hub = 0; hub < hubs; ++hub) transport->connect(hub, addresses[hub]);
  Checker checker(self);
  std::map<HubId, std::uint64_t> number, base;
  bool finished = false;
  const auto survivors_have = [&](const std::function<bool(HubId)>& what) {
    for (HubId hub = 0; hub < hubs; ++hub)
      if (hub != victim && !what(hub)) return false;
    return true;
  };
  const Nanoseconds end = monotonic_now() + 60 * second;
  while (!(finished && survivors_have([&](HubId hub) { return checker.finished_from[hub] > 0; }))) {
    if (monotonic_now() > end || !checker.complaints.empty()) {
      std::fprintf(stderr, "rank %u: told of the death %d, finished %d, complaints %zu\n", self,
                   checker.failures[victim], finished, checker.complaints.size());
      return 1;
    }
    for (HubId hub = 0; hub < hubs && !finished; ++hub)
      if (checker.failures[hub] == 0 && transport->pending_bytes(hub) < (1u << 20)) {
        const std::size_t size = number[hub] % 4 == 3 ? 300'000 : 100;
        const Bytes data = pattern(self, hub, number[hub], size);
        transport->send(hub, {head_of(Kind::data, number[hub]++, size), data, nullptr});
      }
    if (!transport->progress(checker)) transport->wait(1'000'000);
    if (self == victim && survivors_have([&](HubId hub) { return checker.received_from[hub] > before_death; }))
      std::raise(SIGKILL);
    if (checker.failures[victim] == 0) continue;
    if (base.empty()) base = checker.received_from;
    if (!finished && survivors_have([&](HubId hub) {
          return checker.finished_from[hub] > 0 || checker.received_from[hub] >= base[hub] + after_death;
        })) {
      finished = true;
      for (HubId hub = 0; hub < hubs; ++hub)
        if (hub != victim) transport->send(hub, {head_of(Kind::finished, 0, 0), {}, nullptr});
    }
  }
  transport.reset();
  std::printf("survivor ok\n");
  std::fflush(stdout);
  // Long enough that the output is taken and all others ended too; MPI_Finalize waits for the dead on some versions.
  sleep(1);
  return checker.failures[victim] == 1 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int status = 1;
  try {
    status = run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  _exit(status);
}
