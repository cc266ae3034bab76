// ranks: 1 2 4
#include "foreweave/interop/mpi_transport.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "comm/conformance.hpp"
#include "foreweave/comm/engine.hpp"
#include "foreweave/core/error.hpp"
#include "foreweave/interop/mpi_bootstrap.hpp"

namespace foreweave::comm {
namespace {

using namespace conformance;

class MpiRanks : public testing::Test {
 protected:
  void SetUp() override {
    transport_ = mpi::make_mpi_transport(MPI_COMM_WORLD);
    const auto addresses = mpi::exchange_addresses(MPI_COMM_WORLD, transport_->address());
    hubs_ = static_cast<HubId>(addresses.size());
    for (HubId hub = 0; hub < hubs_; ++hub) transport_->connect(hub, addresses[hub]);
    addresses_ = addresses;
  }
  void TearDown() override { transport_.reset(); }

  HubId hubs_ = 0;
  std::vector<Bytes> addresses_;
  std::unique_ptr<Transport> transport_;
};

TEST_F(MpiRanks, AllPairs) { all_pairs(*transport_, hubs_, all_sizes(), 1); }
TEST_F(MpiRanks, BackPressure) { back_pressure(*transport_, hubs_, 20, 1 << 20); }
TEST_F(MpiRanks, TokenRing) { token_ring(*transport_, hubs_, 300); }

TEST_F(MpiRanks, TheProgramsOwnTrafficIsApart) {
  // The same tags and a receive from anyone on the original communicator, while the transport works.
  const int rank = static_cast<int>(transport_->self()), next = (rank + 1) % static_cast<int>(hubs_);
  int mine = 1000 + rank, theirs = -1;
  MPI_Request request;
  ASSERT_EQ(MPI_Isend(&mine, 1, MPI_INT, next, 1, MPI_COMM_WORLD, &request), MPI_SUCCESS);
  all_pairs(*transport_, hubs_, {0, 1, 5000, 100000}, 3);
  ASSERT_EQ(MPI_Recv(&theirs, 1, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
            MPI_SUCCESS);
  ASSERT_EQ(MPI_Wait(&request, MPI_STATUS_IGNORE), MPI_SUCCESS);
  EXPECT_EQ(theirs, 1000 + (rank + static_cast<int>(hubs_) - 1) % static_cast<int>(hubs_));
}

TEST_F(MpiRanks, NothingGoesToThoseNotConnected) {
  const HubId next = (transport_->self() + 1) % hubs_;
  transport_->disconnect(next);
  transport_->send(next, {head_of(Kind::data, 7, 0), {}, nullptr});  // would be out of order if it arrived
  EXPECT_EQ(transport_->pending_bytes(next), 0u);
  MPI_Barrier(MPI_COMM_WORLD);
  transport_->connect(next, addresses_[next]);
  all_pairs(*transport_, hubs_, {10}, 2);
  EXPECT_THROW(transport_->connect(hubs_, addresses_[0]), Error);
}

TEST_F(MpiRanks, AHubThatDoesNotReceiveHoldsUpNobody) {
  // Rank 0 sends more than MPI buffers to a rank that never looks, and is destroyed.
  if (transport_->self() == 0 && hubs_ > 1) {
    const auto data = std::make_shared<const Bytes>(std::size_t{4} << 20);
    for (std::uint64_t n = 0; n < 20; ++n) transport_->send(1, {head_of(Kind::data, n, data->size()), *data, data});
    EXPECT_GT(transport_->pending_bytes(1), 0u);
    transport_.reset();
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST(MpiEngine, RunsOnItsThreadBesideTheProgram) {
  class Handler final : public EngineHandler {
   public:
    void on_frame(const Frame& frame, Nanoseconds) override { bytes += frame.payload.size(); }
    void on_peer_failed(HubId, const std::string&, Nanoseconds) override {}
    void tick(Nanoseconds) override {}
    std::atomic<std::uint64_t> bytes = 0;
  } handler;
  auto transport = mpi::make_mpi_transport(MPI_COMM_WORLD);
  const auto addresses = mpi::exchange_addresses(MPI_COMM_WORLD, transport->address());
  Engine engine(std::move(transport), handler);
  for (HubId hub = 0; hub < addresses.size(); ++hub) engine.connect(hub, addresses[hub]);
  engine.start();
  const auto data = std::make_shared<const Bytes>(100'000);
  for (int round = 0; round < 50; ++round) {
    for (HubId hub = 0; hub < addresses.size(); ++hub) engine.send(hub, FrameType::snapshot_chunk, {}, *data, data);
    int sum = 0;
    ASSERT_EQ(MPI_Allreduce(&round, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD), MPI_SUCCESS);
    EXPECT_EQ(sum, round * static_cast<int>(addresses.size()));
  }
  while (handler.bytes < 50 * 100'000 * addresses.size()) std::this_thread::yield();
  MPI_Barrier(MPI_COMM_WORLD);
  engine.stop();
  EXPECT_EQ(engine.take_error(), nullptr);
}

}  // namespace
}  // namespace foreweave::comm
