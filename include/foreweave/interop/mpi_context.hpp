#pragma once
// Context for MPI programs. Include foreweave/interop/mpi.hpp, which has this and the checks of return codes.

#include <mpi.h>

#include <functional>
#include <memory>

#include "foreweave/context/context.hpp"

namespace foreweave::mpi {

/// The processes of a communicator: the last `options.spares` of them are spares, the others the program's ranks.
/// Collective over `communicator`, which is duplicated and left as it is. MPI must run with at least
/// MPI_THREAD_FUNNELED (MPI_THREAD_MULTIPLE for Options::transport=mpi), else Error(mpi) names both levels.
std::unique_ptr<Group> make_group(MPI_Comm communicator, const Options& options);

/// foreweave::Context over an MPI communicator.
class Context : public foreweave::Context {
 public:
  /// Collective over `communicator`. MPI stays the program's: it is neither started nor finalized here. Destroy the
  /// context before MPI_Finalize.
  explicit Context(MPI_Comm communicator, Options options = Options::from_environment());

  /// The communicator of the ranks (without spares), errors returned, not fatal. It changes with every repair, so ask
  /// anew in each run of the body. MPI_COMM_NULL on a spare.
  MPI_Comm comm();

  using foreweave::Context::run;
  /// As Context::run; the body gets comm().
  void run(const std::function<void(MPI_Comm)>& body);
};

}  // namespace foreweave::mpi
