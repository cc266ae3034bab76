#include "trace/hdf5.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "foreweave/core/error.hpp"

namespace foreweave::trace {
namespace {

// The stack repeats itself when several chunks fail: each text once, and an end.
constexpr std::size_t longest_text = 600;

herr_t collect(unsigned, const H5E_error2_t* entry, void* text) {
  auto& all = *static_cast<std::string*>(text);
  std::string one = entry->desc != nullptr ? entry->desc : "";
  std::replace(one.begin(), one.end(), '\n', ' ');
  if (!one.empty() && all.size() + one.size() < longest_text && all.find(one) == all.npos) {
    all += (all.empty() ? "" : "; ") + one;
  }
  return 0;
}

Handle file_access() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), "HDF5 file access list");
  // Closing the file closes whatever is still open in it, so that an error in the middle leaks nothing.
  check_hdf5(H5Pset_fclose_degree(access, H5F_CLOSE_STRONG), "HDF5 file access list");
  check_hdf5(H5Pset_fapl_sec2(access), "HDF5 file access list");
  return access;
}

// Room beyond the end of an open file; errno where there is none.
int reserve(int descriptor, std::uint64_t room) {
  if (room == 0) return 0;
  struct stat state {};
  if (::fstat(descriptor, &state) != 0) return errno;
  if (::fallocate(descriptor, FALLOC_FL_KEEP_SIZE, state.st_size, static_cast<off_t>(room)) == 0) return 0;
  if (errno != EOPNOTSUPP && errno != ENOSYS) return errno;
  struct statvfs system {};
  if (::fstatvfs(descriptor, &system) != 0) return errno;
  return static_cast<std::uint64_t>(system.f_bavail) * system.f_frsize < room ? ENOSPC : 0;
}

// Whether a new file has room; errno where it has not. Leaves it empty, or nothing. HDF5 is not asked before: should it
// fail to write a file's first block, it complains of that whenever it is closed.
int probe(const std::string& path, std::uint64_t room) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) return errno;
  const int code = reserve(descriptor, room);
  ::close(descriptor);
  if (code != 0) ::unlink(path.c_str());
  return code;
}

// Where a file that is given up is written to: memory, since HDF5 cuts a file to its length when it is closed, and
// /dev/null refuses that. With a low limit on the size of files, which memory would have too, /dev/null all the same.
int open_nowhere() {
  constexpr rlim_t low = rlim_t{1} << 30;
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur >= low) {
    if (const int memory = ::memfd_create("foreweave-given-up", MFD_CLOEXEC); memory >= 0) return memory;
  }
  return ::open("/dev/null", O_RDWR | O_CLOEXEC);
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

std::string get_text_attribute(hid_t object, const char* name) {
  if (H5Aexists(object, name) <= 0) return {};
  const Handle attribute(H5Aopen(object, name, H5P_DEFAULT));
  const Handle type(H5Aget_type(attribute));
  if (H5Tis_variable_str(type) <= 0) return {};
  char* text = nullptr;
  if (H5Aread(attribute, type, &text) < 0 || text == nullptr) return {};
  std::string value(text);
  H5free_memory(text);
  return value;
}

WritableFile::WritableFile(std::string path, Mode mode, std::uint64_t room) : path_(std::move(path)) {
  const auto no_room = [&](int code) { throw Error(ErrorCategory::io, "write " + path_, std::strerror(code), code); };
  if (mode == Mode::create) {
    if (const int code = probe(path_, room); code != 0) no_room(code);
  }
  const auto access = file_access();
  file_ = mode == Mode::create
              ? Handle(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access), "create " + path_)
              : Handle(H5Fopen(path_.c_str(), H5F_ACC_RDWR, access), "open " + path_);
  void* handle = nullptr;
  check_hdf5(H5Fget_vfd_handle(file_, access, &handle), "open " + path_);
  descriptor_ = *static_cast<int*>(handle);
  if (const int code = reserve(descriptor_, room); code != 0) {
    discard();
    no_room(code);
  }
}

WritableFile::~WritableFile() { discard(); }

void WritableFile::discard() noexcept {
  if (descriptor_ < 0) return;
  if (const int nowhere = open_nowhere(); nowhere >= 0) {
    ::dup3(nowhere, descriptor_, O_CLOEXEC);
    ::close(nowhere);
  }
  descriptor_ = -1;
}

void WritableFile::close() {
  check_hdf5(H5Fflush(file_, H5F_SCOPE_LOCAL), "write " + path_);
  descriptor_ = -1;
  file_.close("write " + path_);
  // Gives back what was reserved and not used.
  if (struct stat state{}; ::stat(path_.c_str(), &state) == 0) (void)!::truncate(path_.c_str(), state.st_size);
}

Handle open_hdf5_file(const std::string& path) {
  return Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, file_access()), "open " + path);
}

}  // namespace foreweave::trace
