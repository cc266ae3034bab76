#pragma once
// Owners of MPI's handles. What goes wrong when they are given back is logged: destructors do not throw.

#include <mpi.h>

#include <utility>

#include "foreweave/interop/mpi.hpp"

namespace foreweave::mpi {

/// A group that is freed when it goes.
class OwnedGroup {
 public:
  OwnedGroup() = default;
  ~OwnedGroup() { reset(); }
  OwnedGroup(OwnedGroup&& other) noexcept : group_(std::exchange(other.group_, MPI_GROUP_NULL)) {}
  OwnedGroup& operator=(OwnedGroup&& other) noexcept {
    std::swap(group_, other.group_);
    return *this;
  }

  operator MPI_Group() const { return group_; }
  /// For MPI to put a new group into.
  MPI_Group* out() {
    reset();
    return &group_;
  }
  void reset() noexcept {
    if (group_ != MPI_GROUP_NULL && group_ != MPI_GROUP_EMPTY) log_unless_ok(MPI_Group_free(&group_), "free a group");
    group_ = MPI_GROUP_NULL;
  }

 private:
  MPI_Group group_ = MPI_GROUP_NULL;
};

/// Frees a communicator, which is collective over it.
inline void free_logged(MPI_Comm& comm, std::string_view operation) noexcept {
  if (comm != MPI_COMM_NULL) log_unless_ok(MPI_Comm_free(&comm), operation);
  comm = MPI_COMM_NULL;
}

}  // namespace foreweave::mpi
