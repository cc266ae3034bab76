#pragma once
// The exchange of the outermost layers of a block with its six neighbours.

#include <mpi.h>

#include <array>
#include <cstdint>
#include <vector>

#include "blocks.hpp"
#include "field.hpp"

namespace gray_scott {

/// Memory of a block: its cells with one ghost layer around, x fastest.
struct Layout {
  explicit Layout(const Triple& size) : size(size), row(size[0] + 2), plane(row * (size[1] + 2)) {}
  std::int64_t total() const { return plane * (size[2] + 2); }
  /// Elements along z, y, x, ghosts included: as Foreweave wants them, slowest first.
  std::vector<std::uint64_t> extents() const {
    return {static_cast<std::uint64_t>(size[2] + 2), static_cast<std::uint64_t>(size[1] + 2),
            static_cast<std::uint64_t>(size[0] + 2)};
  }
  Triple size;         ///< cells without ghosts
  std::int64_t row;    ///< elements from one row to the next
  std::int64_t plane;  ///< elements from one plane to the next
};

/// Six faces, u and v in one message each, nonblocking. A neighbour that is the rank itself is a copy.
class Halo {
 public:
  Halo(const Blocks& blocks, int rank, MPI_Comm comm);
  ~Halo();
  Halo(const Halo&) = delete;
  Halo& operator=(const Halo&) = delete;

  /// Fills the ghost layers of u and v (Layout::total() elements each, memory of the backend). Collective over the
  /// neighbours. Throws foreweave::RankLost when a rank is gone; no request is left that touches live memory.
  void exchange(double* u, double* v);

 private:
  struct Face {
    int axis, side, neighbour;
    StagedField send, receive;
    std::int64_t cells;
  };

  Layout layout_;
  int rank_;
  MPI_Comm comm_;
  std::vector<Face> faces_;
  bool abandoned_ = false;
};

}  // namespace gray_scott
