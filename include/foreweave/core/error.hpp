#pragma once
// The errors of every layer: exceptions at API borders that say what failed, where, and with which native code.

#include <stdexcept>
#include <string>
#include <string_view>

namespace foreweave {

/// What kind of thing went wrong. A caller decides by category; the message is for people.
enum class ErrorCategory {
  argument,  ///< the caller passed something that cannot be: a region that changed size, a bad option
  state,     ///< called at the wrong moment, or on an object that is closed
  absent,    ///< something that was asked for by name is not there (a version, a file)
  format,    ///< damaged, truncated or foreign data
  io,        ///< the operating system refused: disk full, permission
  resource,  ///< a budget or device is exhausted or missing
  security,  ///< wrong key, no key, or a seal that does not verify
  peer,      ///< another rank died, hung or was cut off
  mpi,
  ucx,
  cuda,
  hdf5,
};

std::string_view to_string(ErrorCategory category);

/// The one exception type of the library. `what()` is "<operation>: <message> [<category> <native code>]".
/// Thread safe to copy; carries no references.
class Error : public std::runtime_error {
 public:
  /// @param operation what was being done, naming the thing: "restore region 'u' of rank 2 version 7"
  /// @param message   what is wrong and what to do about it
  /// @param native    errno, MPI, UCX, CUDA or HDF5 code; 0 where there is none
  Error(ErrorCategory category, std::string operation, std::string message, long native = 0);

  ErrorCategory category() const noexcept { return category_; }
  const std::string& operation() const noexcept { return operation_; }
  long native() const noexcept { return native_; }
  /// The rank (of this process) the error was raised on; -1 before ranks are known. Set by set_error_rank().
  int rank() const noexcept { return rank_; }

 private:
  ErrorCategory category_;
  std::string operation_;
  long native_;
  int rank_;
};

/// A member of the group died or was cut off; the communicator must be repaired before it is used again.
class RankLost : public Error {
 public:
  explicit RankLost(std::string operation, std::string message, long native = 0)
      : Error(ErrorCategory::peer, std::move(operation), std::move(message), native) {}
};

/// The rank that errors of this process carry from now on.
void set_error_rank(int rank) noexcept;

}  // namespace foreweave
