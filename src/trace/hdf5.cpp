#include "trace/hdf5.hpp"

#include "foreweave/core/error.hpp"

namespace foreweave::trace {
namespace {

herr_t collect(unsigned, const H5E_error2_t* entry, void* text) {
  auto& all = *static_cast<std::string*>(text);
  const std::string one = entry->desc != nullptr ? entry->desc : "";
  if (!one.empty()) all += (all.empty() ? "" : "; ") + one;
  return 0;
}

Handle file_access() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), "HDF5 file access list");
  // Closing the file closes whatever is still open in it, so that an error in the middle leaks nothing.
  check_hdf5(H5Pset_fclose_degree(access, H5F_CLOSE_STRONG), "HDF5 file access list");
  check_hdf5(H5Pset_fapl_sec2(access), "HDF5 file access list");
  return access;
}

}  // namespace

Hdf5Scope::Hdf5Scope() {
  H5open();
  H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Scope::~Hdf5Scope() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }

void throw_hdf5(const std::string& operation) {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, collect, &text);
  H5Eclear2(H5E_DEFAULT);
  throw Error(ErrorCategory::hdf5, operation, text.empty() ? "HDF5 failed and did not say why" : text);
}

Handle utf8_string_type() {
  Handle type(H5Tcopy(H5T_C_S1), "HDF5 string type");
  check_hdf5(H5Tset_size(type, H5T_VARIABLE), "HDF5 string type");
  check_hdf5(H5Tset_cset(type, H5T_CSET_UTF8), "HDF5 string type");
  return type;
}

void put_attribute(hid_t object, const char* name, const std::vector<std::string>& values) {
  const auto what = std::string("write attribute ") + name;
  const hsize_t count = values.size();
  const Handle type = utf8_string_type();
  const Handle space(H5Screate_simple(1, &count, nullptr), what);
  const Handle attribute(H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT), what);
  std::vector<const char*> texts;
  for (const auto& value : values) texts.push_back(value.c_str());
  if (count != 0) check_hdf5(H5Awrite(attribute, type, texts.data()), what);
}

void put_attribute(hid_t object, const char* name, const std::string& value) {
  const auto what = std::string("write attribute ") + name;
  const Handle type = utf8_string_type();
  const Handle space(H5Screate(H5S_SCALAR), what);
  const Handle attribute(H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT), what);
  const char* text = value.c_str();
  check_hdf5(H5Awrite(attribute, type, &text), what);
}

void put_attribute(hid_t object, const char* name, std::int64_t value) {
  const auto what = std::string("write attribute ") + name;
  if (check_hdf5(H5Aexists(object, name), what) > 0) check_hdf5(H5Adelete(object, name), what);
  const Handle space(H5Screate(H5S_SCALAR), what);
  const Handle attribute(H5Acreate2(object, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT), what);
  check_hdf5(H5Awrite(attribute, H5T_NATIVE_INT64, &value), what);
}

Handle create_hdf5_file(const std::string& path) {
  return Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, file_access()), "create " + path);
}

Handle open_hdf5_file(const std::string& path, bool writable) {
  return Handle(H5Fopen(path.c_str(), writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, file_access()), "open " + path);
}

}  // namespace foreweave::trace
