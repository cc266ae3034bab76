// ranks: 1 3
// MPI's return codes are not dropped: calls that MPI refuses (this test stands in their place, by MPI's own profiling
// interface) are errors, or warnings in the log where nothing may be thrown.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <memory>
#include <string>

#include "foreweave/core/error.hpp"
#include "foreweave/interop/mpi.hpp"

namespace {
bool refuse_comm_free = false, refuse_group_free = false, refuse_comm_group = false;
}

// Each does what it is asked for, and then says that it failed: nothing is left behind.
extern "C" int MPI_Comm_free(MPI_Comm* comm) {
  const int rc = PMPI_Comm_free(comm);
  return refuse_comm_free ? MPI_ERR_COMM : rc;
}
extern "C" int MPI_Group_free(MPI_Group* group) {
  const int rc = PMPI_Group_free(group);
  return refuse_group_free ? MPI_ERR_GROUP : rc;
}
extern "C" int MPI_Comm_group(MPI_Comm comm, MPI_Group* group) {
  return refuse_comm_group ? MPI_ERR_COMM : PMPI_Comm_group(comm, group);
}

namespace foreweave {
namespace {

using ::testing::HasSubstr;

class MpiGroupTest : public ::testing::Test {
 protected:
  void TearDown() override { refuse_comm_free = refuse_group_free = refuse_comm_group = false; }

  static std::unique_ptr<Group> make() { return mpi::make_group(MPI_COMM_WORLD, Options()); }
  static void assign_all(Group& group) { group.assign(group.living()); }
  template <class Action>
  static std::string log_of(Action action) {
    ::testing::internal::CaptureStderr();
    action();
    return ::testing::internal::GetCapturedStderr();
  }
};

TEST_F(MpiGroupTest, NothingIsLoggedWhenAllGoesWell) {
  const auto said = log_of([] {
    auto group = make();
    assign_all(*group);
    EXPECT_TRUE(group->check().empty());
    group->release_spares();
  });
  EXPECT_EQ(said, "");
}

TEST_F(MpiGroupTest, CommunicatorsThatCannotBeFreedAreLogged) {
  auto group = make();
  assign_all(*group);
  refuse_comm_free = true;
  const auto said = log_of([&] { group.reset(); });
  EXPECT_THAT(said, HasSubstr("free the ranks' communicator"));
  EXPECT_THAT(said, HasSubstr("free the communicator of all"));
}

TEST_F(MpiGroupTest, GroupsThatCannotBeFreedAreLogged) {
  auto group = make();
  refuse_group_free = true;
  EXPECT_THAT(log_of([&] { group.reset(); }), HasSubstr("free a group"));
}

TEST_F(MpiGroupTest, ReleasingSparesSaysWhatFailed) {
  auto group = make();
  assign_all(*group);
  refuse_comm_group = true;
  // The first rank is the one that lets them go.
  if (group->hub() == 0) {
    EXPECT_THROW(group->release_spares(), Error);
  } else {
    EXPECT_NO_THROW(group->release_spares());
  }
  refuse_comm_group = false;
}

TEST_F(MpiGroupTest, AGroupThatCannotBeMadeIsAnError) {
  refuse_comm_group = true;
  try {
    (void)make();
    ADD_FAILURE() << "made";
  } catch (const Error& error) {
    EXPECT_EQ(error.category(), ErrorCategory::mpi);
    EXPECT_THAT(error.what(), HasSubstr("read the communicator's group"));
  }
}

}  // namespace
}  // namespace foreweave
