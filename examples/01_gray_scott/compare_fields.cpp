// compare_fields A.vtkhdf B.vtkhdf: are u and v the same, byte for byte? Exit status 0: yes, 1: no, 2: cannot tell.

#include <hdf5.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

struct Data {
  std::vector<hsize_t> extents;
  std::vector<double> values;
};

/// False when the file or the field is not there or is not a readable array of doubles.
bool read(const char* path, const char* field, Data& data) {
  const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file < 0) return false;
  const hid_t set = H5Dopen2(file, field, H5P_DEFAULT);
  bool good = set >= 0;
  if (good) {
    const hid_t space = H5Dget_space(set);
    const int rank = H5Sget_simple_extent_ndims(space);
    data.extents.resize(rank > 0 ? static_cast<std::size_t>(rank) : 0);
    good = rank > 0 && H5Sget_simple_extent_dims(space, data.extents.data(), nullptr) == rank;
    if (good) {
      data.values.resize(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space)));
      good = H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.values.data()) >= 0;
    }
    H5Sclose(space);
    H5Dclose(set);
  }
  H5Fclose(file);
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: compare_fields A.vtkhdf B.vtkhdf\n");
    return 2;
  }
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  for (const char* field : {"/VTKHDF/PointData/u", "/VTKHDF/PointData/v"}) {
    Data a, b;
    for (int i = 0; i < 2; ++i) {
      if (read(argv[1 + i], field, i == 0 ? a : b)) continue;
      std::fprintf(stderr, "compare_fields: %s has no readable %s\n", argv[1 + i], field);
      return 2;
    }
    if (a.extents != b.extents) {
      std::printf("%s: the sizes differ\n", field);
      return 1;
    }
    for (std::size_t i = 0; i < a.values.size(); ++i) {
      if (std::memcmp(&a.values[i], &b.values[i], sizeof(double)) == 0) continue;
      std::printf("%s: first difference at element %zu: %.17g and %.17g\n", field, i, a.values[i], b.values[i]);
      return 1;
    }
  }
  std::printf("identical\n");
  return 0;
}
