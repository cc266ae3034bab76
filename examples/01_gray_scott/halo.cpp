#include "halo.hpp"

#include <limits>
#include <string>

#include "foreweave/core/error.hpp"
#include "foreweave/interop/mpi.hpp"

namespace gray_scott {
namespace {

/// Strides of a face in a block's memory: its rows and columns, and the first element of the layer that is wanted.
struct FaceIndex {
  std::int64_t origin, row_stride, column_stride, rows, columns;
};

/// @param layer of the axis: 0 and size + 1 are the ghosts, 1 and size the outermost cells
FaceIndex face_index(const Layout& layout, int axis, std::int64_t layer) {
  const std::int64_t strides[3] = {1, layout.row, layout.plane};
  const int column = axis == 0 ? 1 : 0, row = axis == 2 ? 1 : 2;
  return {layer * strides[axis] + strides[column] + strides[row], strides[row], strides[column],
          layout.size[static_cast<std::size_t>(row)], layout.size[static_cast<std::size_t>(column)]};
}

/// The layer of u and v that `index` names, into `out`: all of u, then all of v.
void pack(const FaceIndex& index, const double* u, const double* v, double* out) {
  const FaceIndex f = index;
  for_cells(
      f.rows, f.columns, GRAY_SCOTT_LAMBDA(std::int64_t row, std::int64_t column) {
        const std::int64_t from = f.origin + row * f.row_stride + column * f.column_stride;
        const std::int64_t to = row * f.columns + column;
        out[to] = u[from];
        out[f.rows * f.columns + to] = v[from];
      });
}

void unpack(const FaceIndex& index, const double* in, double* u, double* v) {
  const FaceIndex f = index;
  for_cells(
      f.rows, f.columns, GRAY_SCOTT_LAMBDA(std::int64_t row, std::int64_t column) {
        const std::int64_t to = f.origin + row * f.row_stride + column * f.column_stride;
        const std::int64_t from = row * f.columns + column;
        u[to] = in[from];
        v[to] = in[f.rows * f.columns + from];
      });
}

}  // namespace

Halo::Halo(const Blocks& blocks, int rank, MPI_Comm comm)
    : layout_(blocks.block(rank).size), rank_(rank), comm_(comm) {
  for (int axis = 0; axis < 3; ++axis) {
    for (int side = 0; side < 2; ++side) {
      const auto index = face_index(layout_, axis, 0);
      const std::int64_t cells = index.rows * index.columns;
      if (2 * cells > std::numeric_limits<int>::max())
        throw foreweave::Error(
            foreweave::ErrorCategory::argument, "halo exchange",
            "a face of " + std::to_string(cells) + " cells is too large for one message; use more ranks");
      faces_.push_back({axis, side, blocks.neighbour(rank, axis, side), StagedField("halo send", 2 * cells),
                        StagedField("halo receive", 2 * cells), cells});
    }
  }
}

Halo::~Halo() {
  // Requests that had to be let go may still write: their buffers live as long as the process.
  if (abandoned_) new std::vector<Face>(std::move(faces_));
}

void Halo::exchange(double* u, double* v) {
  std::vector<MPI_Request> requests;
  requests.reserve(2 * faces_.size());
  // A message is tagged with the side it left from; what left a neighbour's upper side fills our lower ghosts.
  const auto tag = [](int axis, int side) { return 2 * axis + side; };
  const auto start = [&](int rc) {
    if (rc == MPI_SUCCESS) return;
    requests.back() = MPI_REQUEST_NULL;
    if (foreweave::mpi::is_rank_loss(rc)) foreweave::mpi::revoke(comm_);
    abandoned_ = !foreweave::mpi::drain(requests);
    foreweave::mpi::check(rc, "halo exchange of rank " + std::to_string(rank_));
  };
  for (const auto& face : faces_) {
    if (face.neighbour == rank_) continue;
    requests.push_back(MPI_REQUEST_NULL);
    start(MPI_Irecv(face.receive.host(), static_cast<int>(2 * face.cells), MPI_DOUBLE, face.neighbour,
                    tag(face.axis, 1 - face.side), comm_, &requests.back()));
  }
  for (const auto& face : faces_) {
    const auto outermost = face.side == 0 ? 1 : layout_.size[static_cast<std::size_t>(face.axis)];
    pack(face_index(layout_, face.axis, outermost), u, v, face.send.device());
  }
  finish_loops();
  for (const auto& face : faces_) {
    if (face.neighbour == rank_) continue;
    face.send.to_host();
    requests.push_back(MPI_REQUEST_NULL);
    start(MPI_Isend(face.send.host(), static_cast<int>(2 * face.cells), MPI_DOUBLE, face.neighbour,
                    tag(face.axis, face.side), comm_, &requests.back()));
  }
  foreweave::mpi::wait_all(requests, comm_, "halo exchange of rank " + std::to_string(rank_), &abandoned_);
  for (const auto& face : faces_) {
    const auto ghosts = face.side == 0 ? 0 : layout_.size[static_cast<std::size_t>(face.axis)] + 1;
    const double* in = face.receive.device();
    if (face.neighbour == rank_)
      in = faces_[static_cast<std::size_t>(2 * face.axis + 1 - face.side)].send.device();
    else
      face.receive.to_device();
    unpack(face_index(layout_, face.axis, ghosts), in, u, v);
  }
}

}  // namespace gray_scott
