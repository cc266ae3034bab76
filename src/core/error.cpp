#include "foreweave/core/error.hpp"

#include <atomic>
#include <utility>

namespace foreweave {
namespace {
std::atomic<int> process_rank{-1};

std::string compose(ErrorCategory category, const std::string& operation, const std::string& message, long native) {
  std::string text = operation + ": " + message + " [" + std::string(to_string(category));
  if (native != 0) text += " " + std::to_string(native);
  return text + "]";
}
}  // namespace

std::string_view to_string(ErrorCategory category) {
  switch (category) {
    case ErrorCategory::argument: return "argument";
    case ErrorCategory::state: return "state";
    case ErrorCategory::absent: return "absent";
    case ErrorCategory::format: return "format";
    case ErrorCategory::io: return "io";
    case ErrorCategory::resource: return "resource";
    case ErrorCategory::security: return "security";
    case ErrorCategory::peer: return "peer";
    case ErrorCategory::mpi: return "mpi";
    case ErrorCategory::ucx: return "ucx";
    case ErrorCategory::cuda: return "cuda";
    case ErrorCategory::hdf5: return "hdf5";
  }
  return "unknown";
}

Error::Error(ErrorCategory category, std::string operation, std::string message, long native)
    : std::runtime_error(compose(category, operation, message, native)),
      category_(category),
      operation_(std::move(operation)),
      native_(native),
      rank_(process_rank.load(std::memory_order_relaxed)) {}

void set_error_rank(int rank) noexcept { process_rank.store(rank, std::memory_order_relaxed); }

}  // namespace foreweave
