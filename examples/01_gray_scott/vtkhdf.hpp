#pragma once
// The fields as a VTKHDF ImageData file (https://docs.vtk.org/en/latest/design_documents/VTKFileFormats.html), which
// ParaView, PyVista and h5py open.

#include <string>

#include "simulation.hpp"

namespace gray_scott {

enum class WriteMode {
  gathered,    ///< ranks send their blocks to rank 0, which writes: a rank that is lost meanwhile is an error, not a
               ///< hang
  collective,  ///< all ranks write through MPI-IO, which has no fault tolerance
};

/// Writes u, v (point data), the step and the time of `simulation` to `path`, over what is there: first under a
/// temporary name in the same folder, then renamed. Collective; every rank returns or every rank throws
/// (foreweave::Error hdf5 or io; RankLost).
void write_fields(const Simulation& simulation, const Settings& settings, const std::string& path, WriteMode mode);

}  // namespace gray_scott
