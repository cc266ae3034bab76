#pragma once
// One rank's part of the simulation: two fields and how they go one step on.

#include <mpi.h>

#include <cstdint>

#include "blocks.hpp"
#include "field.hpp"
#include "foreweave/state/region.hpp"
#include "halo.hpp"
#include "settings.hpp"
#include "stencil.hpp"

namespace gray_scott {

class Simulation {
 public:
  /// Collective over `comm`, which must return errors. Uses `comm` itself and makes none of its own.
  Simulation(const Settings& settings, MPI_Comm comm);

  /// One time step. Collective. The fields are updated in place, so that their addresses never change and no second
  /// copy of them is needed: only two planes of old values are kept while the update walks upwards.
  void advance();

  const Blocks& blocks() const { return blocks_; }
  const Block& block() const { return block_; }
  const Layout& layout() const { return layout_; }
  /// Which cells of the whole grid u and v hold here, along z, y, x.
  foreweave::GlobalPart part() const;
  int rank() const { return rank_; }
  MPI_Comm comm() const { return comm_; }
  double halo_seconds() const { return halo_seconds_; }

  /// The state: block().size cells with a ghost layer around them, x fastest; see Layout. In the backend's memory.
  Field u, v;
  std::int64_t step = 0;

 private:
  void start();
  void update();

  Settings settings_;
  MPI_Comm comm_;
  int rank_;
  Blocks blocks_;
  Block block_;
  Layout layout_;
  Coefficients coefficients_;
  Halo halo_;
  Field old_planes_;  ///< of u and v: the plane being updated and the one below it
  double halo_seconds_ = 0;
};

}  // namespace gray_scott
