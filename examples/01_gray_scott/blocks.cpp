#include "blocks.hpp"

#include <limits>
#include <string>

#include "foreweave/core/error.hpp"

namespace gray_scott {

Blocks::Blocks(const Triple& grid, int ranks) : grid_(grid), cuts_{0, 0, 0} {
  auto best = std::numeric_limits<double>::infinity();
  // z outermost and downwards: of equal cuts the one along the slowest axis, whose faces are contiguous.
  for (std::int64_t z = ranks; z >= 1; --z) {
    if (ranks % z != 0 || z > grid[2]) continue;
    for (std::int64_t y = ranks / z; y >= 1; --y) {
      if ((ranks / z) % y != 0 || y > grid[1]) continue;
      const std::int64_t x = ranks / z / y;
      if (x > grid[0]) continue;
      // Cells that all ranks together send along each axis; an axis that is not cut sends none.
      const auto area = [&](std::int64_t cuts, int a, int b) {
        return cuts > 1 ? static_cast<double>(cuts) * static_cast<double>(grid[a]) * static_cast<double>(grid[b])
                        : 0.0;
      };
      const double surface = area(x, 1, 2) + area(y, 0, 2) + area(z, 0, 1);
      if (surface < best) {
        best = surface;
        cuts_ = {x, y, z};
      }
    }
  }
  if (cuts_[0] == 0) {
    const auto text = std::to_string(grid[0]) + " x " + std::to_string(grid[1]) + " x " + std::to_string(grid[2]);
    throw foreweave::Error(
        foreweave::ErrorCategory::argument, "cut the grid of " + text + " cells",
        "it has no cut into " + std::to_string(ranks) + " blocks; use another number of ranks or a larger grid");
  }
}

Triple Blocks::place(int rank) const {
  return {rank % cuts_[0], rank / cuts_[0] % cuts_[1], rank / cuts_[0] / cuts_[1]};
}

Block Blocks::block(int rank) const {
  const Triple at = place(rank);
  Block block{};
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const auto begin = [&](std::int64_t i) { return grid_[axis] * i / cuts_[axis]; };
    block.offset[axis] = begin(at[axis]);
    block.size[axis] = begin(at[axis] + 1) - begin(at[axis]);
  }
  return block;
}

int Blocks::neighbour(int rank, int axis, int side) const {
  Triple at = place(rank);
  const auto a = static_cast<std::size_t>(axis);
  at[a] = (at[a] + (side == 0 ? cuts_[a] - 1 : 1)) % cuts_[a];
  return static_cast<int>((at[2] * cuts_[1] + at[1]) * cuts_[0] + at[0]);
}

}  // namespace gray_scott
