#pragma once
// Who owns which cells: the periodic grid cut into blocks, one per rank.

#include <array>
#include <cstdint>

namespace gray_scott {

using Triple = std::array<std::int64_t, 3>;  // along x, y, z

/// One rank's block of the grid.
struct Block {
  Triple offset;  ///< first cell, in the whole grid
  Triple size;    ///< cells
};

/// Cuts a grid into `ranks` blocks, as little surface as possible. Depends on nothing but its arguments, so every
/// rank finds the same. Plain arithmetic instead of a Cartesian communicator: the simulation then uses no
/// communicator but the one it was given, and revoking that one reaches all of its calls.
class Blocks {
 public:
  /// Throws foreweave::Error(argument) when the grid has no cut into that many blocks.
  Blocks(const Triple& grid, int ranks);

  const Triple& grid() const { return grid_; }
  const Triple& cuts() const { return cuts_; }  ///< blocks along x, y, z
  int ranks() const { return static_cast<int>(cuts_[0] * cuts_[1] * cuts_[2]); }
  Block block(int rank) const;
  /// The periodic neighbour of `rank` along `axis`: side 0 is the lower, 1 the upper. May be `rank` itself.
  int neighbour(int rank, int axis, int side) const;

 private:
  Triple place(int rank) const;
  Triple grid_, cuts_;
};

}  // namespace gray_scott
