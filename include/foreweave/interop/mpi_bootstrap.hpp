#pragma once
// What MPI gives Foreweave at the start of a job: everybody's addresses, and who shares a node with whom. After that
// a dead rank cannot hang a living one, because nothing of Foreweave's own is collective over MPI any more.

#include <mpi.h>

#include <cstdint>
#include <vector>

#include "foreweave/core/bytes.hpp"

namespace foreweave::mpi {

/// Everybody's bytes, by rank. Collective over `comm`. Throws Error(mpi), or RankLost when a rank is gone.
std::vector<Bytes> exchange_addresses(MPI_Comm comm, const Bytes& own);

/// For each rank the number of its node; nodes are numbered from 0 in the order of their lowest ranks. Ranks share a
/// node when they can share memory (MPI_Comm_split_type), unless the environment variable FOREWEAVE_NODE names a
/// node, so that a test can have several on one machine. Collective over `comm`. Throws Error(mpi), or RankLost.
std::vector<std::uint32_t> node_of_rank(MPI_Comm comm);

/// The thread level MPI was started with, as text ("MPI_THREAD_FUNNELED"). Throws Error(mpi) when MPI is not started
/// or already finalized.
const char* provided_thread_level();
/// Throws Error(mpi) that names the level that is there and how to ask for more, unless it is MPI_THREAD_MULTIPLE.
void require_thread_multiple(const char* what);

}  // namespace foreweave::mpi
