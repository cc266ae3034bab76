#pragma once
// A file descriptor with one owner, and the error that a failed system call on it becomes.

#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "foreweave/core/error.hpp"

namespace foreweave::state_detail {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// Error(io) of the errno that a call just left; `operation` names the file.
[[noreturn]] inline void throw_io(const std::string& operation, int code = errno) {
  throw Error(ErrorCategory::io, operation, std::generic_category().message(code), code);
}

}  // namespace foreweave::state_detail
