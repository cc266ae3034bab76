// ranks: 2 4
// UCX between real processes, beside an MPI that may use UCX itself: addresses come by the MPI bootstrap.

#include <gtest/gtest.h>
#include <mpi.h>

#include "comm/conformance.hpp"
#include "foreweave/interop/mpi_bootstrap.hpp"

namespace foreweave::comm {
namespace {

using namespace conformance;

class UcxRanks : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    int rank = 0, size = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    hubs_ = static_cast<HubId>(size);
    UcxOptions options;
    options.self = static_cast<HubId>(rank);
    options.tls = GetParam();
    transport_ = make_ucx_transport(options);
    const auto addresses = mpi::exchange_addresses(MPI_COMM_WORLD, transport_->address());
    for (HubId hub = 0; hub < hubs_; ++hub) transport_->connect(hub, addresses[hub]);
  }
  void TearDown() override { transport_.reset(); }

  HubId hubs_ = 0;
  std::unique_ptr<Transport> transport_;
};

TEST_P(UcxRanks, AllPairs) { all_pairs(*transport_, hubs_, all_sizes(), 1); }
TEST_P(UcxRanks, BackPressure) { back_pressure(*transport_, hubs_, 20, 1 << 20); }
TEST_P(UcxRanks, TokenRing) { token_ring(*transport_, hubs_, 300); }

INSTANTIATE_TEST_SUITE_P(Transports, UcxRanks, testing::Values("tcp,self", "posix,sysv,self"),
                         [](const auto& info) { return info.param == "tcp,self" ? "tcp" : "shm"; });

}  // namespace
}  // namespace foreweave::comm
