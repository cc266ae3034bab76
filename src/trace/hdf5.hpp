#pragma once
// HDF5 handles, and its error stack as exceptions. Internal to the trace layer.

#include <hdf5.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace foreweave::trace {

/// Silences HDF5's own error printing while it lives and puts the program's handler back. One on every entry.
class Hdf5Scope {
 public:
  Hdf5Scope();
  ~Hdf5Scope();
  Hdf5Scope(const Hdf5Scope&) = delete;
  Hdf5Scope& operator=(const Hdf5Scope&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

/// Throws Error(hdf5) with the text of HDF5's error stack.
[[noreturn]] void throw_hdf5(const std::string& operation);

/// Passes `code` on, or throws where it is negative.
template <class T>
T check_hdf5(T code, const std::string& operation) {
  if (code < 0) throw_hdf5(operation);
  return code;
}

/// Owns any HDF5 identifier. Closing drops one reference, whatever kind it is of.
class Handle {
 public:
  Handle() = default;
  explicit Handle(hid_t id) : id_(id) {}
  Handle(hid_t id, const std::string& operation) : id_(check_hdf5(id, operation)) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) H5Idec_ref(id_);
  }
  operator hid_t() const { return id_; }
  /// Closes now, and throws what the destructor would hide: a file is written out when it is closed.
  void close(const std::string& operation) {
    if (id_ >= 0 && H5Idec_ref(std::exchange(id_, -1)) < 0) throw_hdf5(operation);
  }

 private:
  hid_t id_ = -1;
};

Handle utf8_string_type();
void put_attribute(hid_t object, const char* name, const std::string& value);
void put_attribute(hid_t object, const char* name, const std::vector<std::string>& values);
void put_attribute(hid_t object, const char* name, std::int64_t value);

/// Empty where it is missing or not a string of variable length.
std::string get_text_attribute(hid_t object, const char* name);

/// A file that is written. HDF5 does not survive a write that fails: a data set whose last chunk cannot be written
/// when it is closed stays in its tables half freed, and the process crashes when it ends. So room is reserved before
/// anything is written, and should a write fail all the same, what HDF5 still holds goes nowhere (discard()) before
/// its handles are closed.
class WritableFile {
 public:
  enum class Mode { create, open };
  /// Reserves `room` bytes beyond the file's end. Throws Error(io) where they cannot be had, Error(hdf5) for the
  /// rest.
  WritableFile(std::string path, Mode mode, std::uint64_t room);
  ~WritableFile();  ///< not closed: discards
  WritableFile(const WritableFile&) = delete;
  WritableFile& operator=(const WritableFile&) = delete;
  operator hid_t() const { return file_; }
  /// From now on nothing reaches the file; to be called before handles with unwritten data are closed.
  void discard() noexcept;
  /// Writes everything out and closes. Throws, then the file is damaged.
  void close();

 private:
  std::string path_;
  Handle file_;
  int descriptor_ = -1;  // HDF5's own
};

Handle open_hdf5_file(const std::string& path);  ///< for reading

}  // namespace foreweave::trace
