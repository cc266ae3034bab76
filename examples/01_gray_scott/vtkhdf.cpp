#include "vtkhdf.hpp"

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <vector>

#include "foreweave/core/error.hpp"
#include "foreweave/interop/mpi.hpp"

namespace gray_scott {
namespace {

using foreweave::Error;
using foreweave::ErrorCategory;

/// What HDF5 knows about the last failure: its innermost message.
std::string hdf5_reason() {
  std::string reason;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_DOWNWARD,
      [](unsigned, const H5E_error2_t* entry, void* text) -> herr_t {
        *static_cast<std::string*>(text) = entry->desc ? entry->desc : "";
        return 0;
      },
      &reason);
  return reason.empty() ? "HDF5 gave no reason" : reason;
}

template <class Code>
Code check_hdf5(Code code, const std::string& operation) {
  if (code < 0) throw Error(ErrorCategory::hdf5, operation, hdf5_reason(), static_cast<long>(code));
  return code;
}

/// An open HDF5 object.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close, const std::string& operation) : id_(check_hdf5(id, operation)), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }
  /// Closing a file flushes it: that it worked must be known.
  void close(const std::string& operation) { check_hdf5(close_(std::exchange(id_, H5I_INVALID_HID)), operation); }

 private:
  hid_t id_;
  Close close_;
};

template <class T>
hid_t native_type();
template <>
hid_t native_type<double>() {
  return H5T_NATIVE_DOUBLE;
}
template <>
hid_t native_type<std::int64_t>() {
  return H5T_NATIVE_INT64;
}

class FieldFile {
 public:
  FieldFile(const std::string& path, const Simulation& simulation, const Settings& settings, WriteMode mode)
      : what_("write fields to " + path), access_(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, what_) {
    if (mode == WriteMode::collective) check_hdf5(H5Pset_fapl_mpio(access_, simulation.comm(), MPI_INFO_NULL), what_);
    file_.emplace(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access_), H5Fclose, what_);
    transfer_.emplace(H5Pcreate(H5P_DATASET_XFER), H5Pclose, what_);
    if (mode == WriteMode::collective) check_hdf5(H5Pset_dxpl_mpio(*transfer_, H5FD_MPIO_COLLECTIVE), what_);

    Handle root(H5Gcreate2(*file_, "VTKHDF", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose, what_);
    const auto& n = settings.size;
    attribute<std::int64_t>(root, "Version", {1, 0});
    text_attribute(root, "Type", "ImageData");
    attribute<std::int64_t>(root, "WholeExtent", {0, n[0] - 1, 0, n[1] - 1, 0, n[2] - 1});
    attribute<double>(root, "Origin", {0, 0, 0});
    attribute<double>(root, "Spacing", {settings.spacing, settings.spacing, settings.spacing});
    attribute<double>(root, "Direction", {1, 0, 0, 0, 1, 0, 0, 0, 1});

    Handle points(H5Gcreate2(root, "PointData", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose, what_);
    text_attribute(points, "Scalars", "v");
    // In VTKHDF, as in memory here, x is the fastest: the last dimension.
    const hsize_t dimensions[3] = {static_cast<hsize_t>(n[2]), static_cast<hsize_t>(n[1]),
                                   static_cast<hsize_t>(n[0])};
    Handle space(H5Screate_simple(3, dimensions, nullptr), H5Sclose, what_);
    for (const char* name : {"u", "v"})
      fields_.emplace_back(H5Dcreate2(points, name, H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Dclose, what_);

    Handle extras(H5Gcreate2(root, "FieldData", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose, what_);
    scalar<std::int64_t>(extras, "step", simulation.step);
    scalar<double>(extras, "time", static_cast<double>(simulation.step) * settings.dt);
  }

  /// Cells [offset, offset + count) of field 0 (u) or 1 (v), both z, y, x; `data` has the memory extents and offset.
  void write(std::size_t field, const std::array<hsize_t, 3>& offset, const std::array<hsize_t, 3>& count,
             const double* data, const std::array<hsize_t, 3>& memory_extents,
             const std::array<hsize_t, 3>& memory_offset) {
    Handle memory(H5Screate_simple(3, memory_extents.data(), nullptr), H5Sclose, what_);
    check_hdf5(H5Sselect_hyperslab(memory, H5S_SELECT_SET, memory_offset.data(), nullptr, count.data(), nullptr),
               what_);
    Handle space(H5Dget_space(fields_[field]), H5Sclose, what_);
    check_hdf5(H5Sselect_hyperslab(space, H5S_SELECT_SET, offset.data(), nullptr, count.data(), nullptr), what_);
    check_hdf5(H5Dwrite(fields_[field], H5T_NATIVE_DOUBLE, memory, space, *transfer_, data), what_);
  }

  void close() {
    for (auto& field : fields_) field.close(what_);
    file_->close(what_);
  }

 private:
  template <class T>
  void attribute(hid_t where, const char* name, const std::vector<T>& values) {
    const hsize_t size = values.size();
    Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose, what_);
    Handle made(H5Acreate2(where, name, native_type<T>(), space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, what_);
    check_hdf5(H5Awrite(made, native_type<T>(), values.data()), what_);
  }

  /// A fixed-length ASCII string: VTK's reader takes no other for Type.
  void text_attribute(hid_t where, const char* name, const char* value) {
    Handle type(H5Tcopy(H5T_C_S1), H5Tclose, what_);
    check_hdf5(H5Tset_size(type, std::strlen(value)), what_);
    check_hdf5(H5Tset_strpad(type, H5T_STR_NULLPAD), what_);
    Handle space(H5Screate(H5S_SCALAR), H5Sclose, what_);
    Handle made(H5Acreate2(where, name, type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, what_);
    check_hdf5(H5Awrite(made, type, value), what_);
  }

  /// One number as an array of one, all ranks together: the value is the same everywhere.
  template <class T>
  void scalar(hid_t where, const char* name, T value) {
    const hsize_t one = 1;
    Handle space(H5Screate_simple(1, &one, nullptr), H5Sclose, what_);
    Handle made(H5Dcreate2(where, name, native_type<T>(), space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose,
                what_);
    check_hdf5(H5Dwrite(made, native_type<T>(), H5S_ALL, H5S_ALL, *transfer_, &value), what_);
  }

  std::string what_;
  Handle access_;
  std::optional<Handle> file_, transfer_;
  std::vector<Handle> fields_;
};

std::array<hsize_t, 3> reversed(const Triple& t) {
  return {static_cast<hsize_t>(t[2]), static_cast<hsize_t>(t[1]), static_cast<hsize_t>(t[0])};
}

/// Every rank learns whether rank 0 succeeded; where it did not, every rank throws.
void agree(const std::optional<std::string>& failure, const std::string& what, MPI_Comm comm, int rank) {
  std::array<char, 512> text{};
  if (rank == 0 && failure)
    std::snprintf(text.data(), text.size(), "%s", failure->empty() ? "failed" : failure->c_str());
  foreweave::mpi::check(MPI_Bcast(text.data(), static_cast<int>(text.size()), MPI_CHAR, 0, comm), what);
  if (text[0]) throw Error(ErrorCategory::io, what, text.data());
}

/// Runs `act` and remembers what it threw, so that rank 0 can go on with the protocol before it reports. A lost rank
/// is not remembered: there is no protocol to go on with.
template <class Act>
void attempt(std::optional<std::string>& failure, const Act& act) {
  if (failure) return;
  try {
    act();
  } catch (const foreweave::RankLost&) {
    throw;
  } catch (const std::exception& error) {
    failure = error.what();
  }
}

void write_gathered(const Simulation& simulation, const Settings& settings, const std::string& path,
                    const std::array<const double*, 2>& fields, const std::string& what) {
  const MPI_Comm comm = simulation.comm();
  const Layout& layout = simulation.layout();
  // A few planes at a time, so that rank 0 needs little memory and counts fit MPI's int.
  constexpr std::int64_t chunk_cells = 1 << 21;
  const auto planes_at_once = [](const Triple& size) {
    return std::clamp<std::int64_t>(chunk_cells / (size[0] * size[1]), 1, size[2]);
  };
  const auto message = [](const Triple& size, std::int64_t planes) {
    return static_cast<int>(size[0] * size[1] * planes);
  };
  constexpr int tag = 100;

  if (simulation.rank() != 0) {
    const Triple size = simulation.block().size;
    std::vector<double> chunk;
    agree(std::nullopt, what, comm, simulation.rank());
    for (const double* field : fields) {
      for (std::int64_t z = 0; z < size[2]; z += planes_at_once(size)) {
        const auto planes = std::min(planes_at_once(size), size[2] - z);
        chunk.clear();
        for (std::int64_t k = z; k < z + planes; ++k)
          for (std::int64_t y = 0; y < size[1]; ++y) {
            const double* row = field + (k + 1) * layout.plane + (y + 1) * layout.row + 1;
            chunk.insert(chunk.end(), row, row + size[0]);
          }
        foreweave::mpi::check(MPI_Send(chunk.data(), message(size, planes), MPI_DOUBLE, 0, tag, comm), what);
      }
    }
    agree(std::nullopt, what, comm, simulation.rank());
    return;
  }

  std::optional<std::string> failure;
  std::optional<FieldFile> file;
  attempt(failure, [&] { file.emplace(path, simulation, settings, WriteMode::gathered); });
  agree(failure, what, comm, 0);
  const auto own = simulation.block();
  const std::array<hsize_t, 3> extents{static_cast<hsize_t>(layout.size[2] + 2),
                                       static_cast<hsize_t>(layout.size[1] + 2),
                                       static_cast<hsize_t>(layout.size[0] + 2)};
  attempt(failure, [&] {
    for (std::size_t field = 0; field < 2; ++field)
      file->write(field, reversed(own.offset), reversed(own.size), fields[field], extents, {1, 1, 1});
  });
  std::vector<double> chunk;
  for (int rank = 1; rank < simulation.blocks().ranks(); ++rank) {
    const auto block = simulation.blocks().block(rank);
    for (std::size_t field = 0; field < 2; ++field) {
      for (std::int64_t z = 0; z < block.size[2]; z += planes_at_once(block.size)) {
        const auto planes = std::min(planes_at_once(block.size), block.size[2] - z);
        chunk.resize(static_cast<std::size_t>(message(block.size, planes)));
        foreweave::mpi::check(
            MPI_Recv(chunk.data(), message(block.size, planes), MPI_DOUBLE, rank, tag, comm, MPI_STATUS_IGNORE),
            what);
        const auto count = reversed({block.size[0], block.size[1], planes});
        attempt(failure, [&] {
          file->write(field, reversed({block.offset[0], block.offset[1], block.offset[2] + z}), count, chunk.data(),
                      count, {0, 0, 0});
        });
      }
    }
  }
  attempt(failure, [&] { file->close(); });
  agree(failure, what, comm, 0);
}

}  // namespace

void write_fields(const Simulation& simulation, const Settings& settings, const std::string& path, WriteMode mode) {
  check_hdf5(H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr), "quieten HDF5");
  const std::string what = "write fields to " + path, temporary = path + ".part";
  const int rank = simulation.rank();
  std::optional<std::string> failure;
  if (rank == 0)
    attempt(failure, [&] {
      const auto folder = std::filesystem::path(path).parent_path();
      if (!folder.empty()) std::filesystem::create_directories(folder);
    });
  agree(failure, what, simulation.comm(), rank);

  const HostValues u(simulation.u), v(simulation.v);
  if (mode == WriteMode::gathered) {
    write_gathered(simulation, settings, temporary, {u.data(), v.data()}, what);
  } else {
    FieldFile file(temporary, simulation, settings, mode);
    const auto& block = simulation.block();
    const auto extents = reversed({block.size[0] + 2, block.size[1] + 2, block.size[2] + 2});
    file.write(0, reversed(block.offset), reversed(block.size), u.data(), extents, {1, 1, 1});
    file.write(1, reversed(block.offset), reversed(block.size), v.data(), extents, {1, 1, 1});
    file.close();
  }
  if (rank == 0) attempt(failure, [&] { std::filesystem::rename(temporary, path); });
  agree(failure, what, simulation.comm(), rank);
}

}  // namespace gray_scott
