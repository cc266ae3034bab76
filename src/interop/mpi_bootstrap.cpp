#include "foreweave/interop/mpi_bootstrap.hpp"

#include <cstdlib>
#include <map>
#include <span>
#include <string>

#include "foreweave/interop/mpi.hpp"
#include "interop/mpi_handles.hpp"

namespace foreweave::mpi {
namespace {

/// A communicator that is freed when it goes.
struct OwnedComm {
  MPI_Comm comm = MPI_COMM_NULL;
  ~OwnedComm() {
    free_logged(comm, "free the node's communicator");
  }
};

int size_of(MPI_Comm comm) {
  int size = 0;
  check(MPI_Comm_size(comm, &size), "ask for the size of the communicator");
  return size;
}

/// The lowest rank (in `comm`) of those this one can share memory with.
int lowest_neighbour(MPI_Comm comm) {
  int rank = 0;
  check(MPI_Comm_rank(comm, &rank), "ask for the rank");
  OwnedComm node;
  check(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node.comm),
        "find the ranks of this node");
  int lowest = rank;
  check(MPI_Bcast(&lowest, 1, MPI_INT, 0, node.comm), "agree on the number of this node");
  return lowest;
}

}  // namespace

std::vector<Bytes> exchange_addresses(MPI_Comm comm, const Bytes& own) {
  const auto ranks = static_cast<std::size_t>(size_of(comm));
  std::vector<int> sizes(ranks), offsets(ranks);
  const int mine = static_cast<int>(own.size());
  check(MPI_Allgather(&mine, 1, MPI_INT, sizes.data(), 1, MPI_INT, comm), "exchange the sizes of addresses");
  int total = 0;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    offsets[rank] = total;
    total += sizes[rank];
  }
  Bytes joined(static_cast<std::size_t>(total));
  check(MPI_Allgatherv(own.data(), mine, MPI_BYTE, joined.data(), sizes.data(), offsets.data(), MPI_BYTE, comm),
        "exchange addresses");
  std::vector<Bytes> all;
  for (std::size_t rank = 0; rank < ranks; ++rank)
    all.emplace_back(joined.begin() + offsets[rank], joined.begin() + offsets[rank] + sizes[rank]);
  return all;
}

std::vector<std::uint32_t> node_of_rank(MPI_Comm comm) {
  // Everyone takes part in the split, also one that has a name. A name cannot be taken for a number: '=' marks it.
  const int lowest = lowest_neighbour(comm);
  const char* named = std::getenv("FOREWEAVE_NODE");
  const std::string own = named && *named ? "=" + std::string(named) : std::to_string(lowest);
  const Bytes bytes = [&] {
    const auto view = std::as_bytes(std::span(own));
    return Bytes(view.begin(), view.end());
  }();
  const std::vector<Bytes> keys = exchange_addresses(comm, bytes);
  std::map<Bytes, std::uint32_t> numbers;
  std::vector<std::uint32_t> nodes;
  for (const Bytes& key : keys) {
    const auto next = static_cast<std::uint32_t>(numbers.size());
    nodes.push_back(numbers.try_emplace(key, next).first->second);
  }
  return nodes;
}

const char* provided_thread_level() {
  int started = 0, ended = 0;
  check(MPI_Initialized(&started), "ask whether MPI was started");
  check(MPI_Finalized(&ended), "ask whether MPI was finalized");
  if (!started || ended)
    throw Error(ErrorCategory::mpi, "ask for MPI's thread level",
                ended ? "MPI was finalized: destroy the Context before MPI_Finalize"
                      : "MPI was not started: call MPI_Init_thread with MPI_THREAD_MULTIPLE first");
  int level = MPI_THREAD_SINGLE;
  check(MPI_Query_thread(&level), "ask for MPI's thread level");
  switch (level) {
    case MPI_THREAD_SINGLE:
      return "MPI_THREAD_SINGLE";
    case MPI_THREAD_FUNNELED:
      return "MPI_THREAD_FUNNELED";
    case MPI_THREAD_SERIALIZED:
      return "MPI_THREAD_SERIALIZED";
    default:
      return "MPI_THREAD_MULTIPLE";
  }
}

void require_thread_multiple(const char* what) {
  const std::string level = provided_thread_level();
  if (level == "MPI_THREAD_MULTIPLE") return;
  throw Error(ErrorCategory::mpi, what,
              "MPI provides " + level +
                  " only, and Foreweave's progress thread needs MPI_THREAD_MULTIPLE: start MPI with "
                  "MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided), or use the UCX transport");
}

}  // namespace foreweave::mpi
