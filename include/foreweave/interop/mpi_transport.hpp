#pragma once
// A Transport over MPI, for where UCX is absent or MPI is asked for.

#include <mpi.h>

#include <memory>

#include "foreweave/comm/transport.hpp"

namespace foreweave::mpi {

/// Messages over a duplicate of `comm`; hub numbers are its ranks. Collective over `comm` (the duplication), then never
/// again: sending, receiving and the destruction are local and do not block. Errors of the duplicate are returned, not
/// fatal. With an MPI that tells of failed processes (ULFM) these become on_peer_failed(); without, a failed process
/// ends the job as MPI sees fit.
///
/// The duplicate is left to MPI_Finalize: freeing it is collective, and the others may be dead. Destroy the transport
/// before MPI_Finalize.
///
/// Throws Error(mpi) unless MPI provides MPI_THREAD_MULTIPLE: the progress thread calls MPI beside the program.
std::unique_ptr<comm::Transport> make_mpi_transport(MPI_Comm comm);

}  // namespace foreweave::mpi
