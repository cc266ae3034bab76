// ranks: 1 2 4
#include "foreweave/interop/mpi_bootstrap.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace foreweave::mpi {
namespace {

int rank() {
  int value = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &value);
  return value;
}
std::size_t ranks() {
  int value = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &value);
  return static_cast<std::size_t>(value);
}

TEST(Bootstrap, AddressesOfDifferentSizesReachEverybody) {
  // Rank 0 has none at all.
  const Bytes own(static_cast<std::size_t>(rank()) * 100, static_cast<std::byte>(rank()));
  const auto all = exchange_addresses(MPI_COMM_WORLD, own);
  ASSERT_EQ(all.size(), ranks());
  for (std::size_t other = 0; other < all.size(); ++other)
    EXPECT_EQ(all[other], Bytes(other * 100, static_cast<std::byte>(other)));
}

TEST(Bootstrap, OneMachineIsOneNode) {
  unsetenv("FOREWEAVE_NODE");
  EXPECT_EQ(node_of_rank(MPI_COMM_WORLD), std::vector<std::uint32_t>(ranks(), 0));
}

TEST(Bootstrap, NamedNodesAreNumberedByTheirLowestRank) {
  const char* names[] = {"zebra", "ant", "zebra", "0"};
  setenv("FOREWEAVE_NODE", names[rank()], 1);
  std::vector<std::uint32_t> due{0, 1, 0, 2};
  due.resize(ranks());
  EXPECT_EQ(node_of_rank(MPI_COMM_WORLD), due);
  // Some named, some not: those without a name are together.
  if (rank() % 2 == 0) unsetenv("FOREWEAVE_NODE");
  due = {0, 1, 0, 2};
  due.resize(ranks());
  EXPECT_EQ(node_of_rank(MPI_COMM_WORLD), due);
  unsetenv("FOREWEAVE_NODE");
}

TEST(Bootstrap, ThreadLevelIsNamed) {
  EXPECT_STREQ(provided_thread_level(), "MPI_THREAD_MULTIPLE");
  require_thread_multiple("test");
}

}  // namespace
}  // namespace foreweave::mpi
