#pragma once
// Foreweave for MPI programs: mpi::Context (mpi_context.hpp), and what a program's own MPI calls need in order to take part in a recovery: an error of MPI becomes an exception, the
// loss of a rank becomes RankLost, and a failed exchange leaves no request behind that could still touch a buffer.

#include <mpi.h>
#if defined(OPEN_MPI) && __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "foreweave/core/error.hpp"
#include "foreweave/core/log.hpp"
#include "foreweave/interop/mpi_context.hpp"

namespace foreweave::mpi {

/// Whether this MPI was built with user-level failure mitigation. Whether it is switched on is decided when the job
/// starts (Open MPI: mpirun --with-ft ulfm).
#if defined(MPIX_ERR_PROC_FAILED) && defined(MPIX_ERR_REVOKED)
#define FOREWEAVE_MPI_FAULT_TOLERANCE 1
#else
#define FOREWEAVE_MPI_FAULT_TOLERANCE 0
#endif
inline constexpr bool has_fault_tolerance = FOREWEAVE_MPI_FAULT_TOLERANCE != 0;

/// True when the return code `rc` says that a rank is gone: a process failed, or another rank noticed first and
/// revoked the communicator. Always false with an MPI that has no fault tolerance.
inline bool is_rank_loss(int rc) {
#if FOREWEAVE_MPI_FAULT_TOLERANCE
  if (rc == MPI_SUCCESS) return false;
  int error_class = MPI_SUCCESS;
  if (MPI_Error_class(rc, &error_class) != MPI_SUCCESS) return false;
#ifdef MPIX_ERR_PROC_FAILED_PENDING
  if (error_class == MPIX_ERR_PROC_FAILED_PENDING) return true;
#endif
  return error_class == MPIX_ERR_PROC_FAILED || error_class == MPIX_ERR_REVOKED;
#else
  (void)rc;
  return false;
#endif
}

/// MPI's own words for a return code.
inline std::string error_text(int rc) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  if (MPI_Error_string(rc, text, &length) != MPI_SUCCESS) return "MPI error " + std::to_string(rc);
  return std::string(text, static_cast<std::size_t>(length));
}

/// Throws unless `rc` is MPI_SUCCESS: RankLost when a rank is gone, else Error(mpi) with MPI's text. The communicator
/// must return errors (MPI_ERRORS_RETURN; the one Context::run hands out does).
/// @param operation what was being done, for the message: "halo exchange"
inline void check(int rc, std::string_view operation) {
  if (rc == MPI_SUCCESS) return;
  if (is_rank_loss(rc)) throw RankLost(std::string(operation), error_text(rc), rc);
  throw Error(ErrorCategory::mpi, std::string(operation), error_text(rc), rc);
}

/// For where nothing may be thrown (destructors, cleaning up after an error): a warning in the log unless `rc` is
/// MPI_SUCCESS.
inline void log_unless_ok(int rc, std::string_view operation) noexcept {
  if (rc == MPI_SUCCESS) return;
  try {
    log::warning(std::string(operation) + ": " + error_text(rc));
  } catch (...) {
    // No memory for the text: nothing can be said.
  }
}

/// Makes every pending and later call on `comm` fail on every rank, so that a rank that waits for a living one which
/// has already given up does not wait for ever. Does nothing where MPI has no fault tolerance. Not collective.
inline void revoke(MPI_Comm comm) noexcept {
#if FOREWEAVE_MPI_FAULT_TOLERANCE
  log_unless_ok(MPIX_Comm_revoke(comm), "revoke a communicator");
#else
  (void)comm;
#endif
}

/// Ends the requests that a failed exchange left behind: cancels the receives that were not matched, then waits for
/// all of them, `patience` at most. On a revoked communicator they end at once, with errors that are of no interest
/// any more. @return true when all have ended; false when some had to be let go: their buffers must then stay
/// allocated until the process ends, because the message may yet arrive.
inline bool drain(std::span<MPI_Request> requests,
                  std::chrono::milliseconds patience = std::chrono::milliseconds(2000)) noexcept {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    bool pending = false;
    for (auto& request : requests) {
      if (request == MPI_REQUEST_NULL) continue;
      int done = 0;
      // An error also ends the request, but some are reported without ending it: those are asked again.
      if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS || !done)
        pending |= request != MPI_REQUEST_NULL;
    }
    if (!pending) return true;
    if (std::chrono::steady_clock::now() > deadline) break;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  for (auto& request : requests)
    if (request != MPI_REQUEST_NULL) log_unless_ok(MPI_Request_free(&request), "let go of a request");
  return false;
}

/// MPI_Waitall that is safe to fail. When a rank is gone it revokes `comm` (so that the others stop waiting, too),
/// ends the remaining requests and throws RankLost; any other error is Error(mpi). All requests are on `comm`.
/// @param abandoned set to true when requests had to be let go before the exception; see drain(). May be null.
inline void wait_all(std::span<MPI_Request> requests, MPI_Comm comm, std::string_view operation,
                     bool* abandoned = nullptr) {
  std::vector<MPI_Status> statuses(requests.size());
  int rc = MPI_Waitall(static_cast<int>(requests.size()), requests.data(), statuses.data());
  if (rc == MPI_SUCCESS) return;
  int error_class = MPI_SUCCESS;
  log_unless_ok(MPI_Error_class(rc, &error_class), "read an error");
  if (error_class == MPI_ERR_IN_STATUS) {
    // Which request failed, and why: a lost rank counts before anything else.
    int first = MPI_SUCCESS;
    for (const auto& status : statuses) {
      if (status.MPI_ERROR == MPI_SUCCESS || status.MPI_ERROR == MPI_ERR_PENDING) continue;
      if (first == MPI_SUCCESS || is_rank_loss(status.MPI_ERROR)) first = status.MPI_ERROR;
    }
    if (first != MPI_SUCCESS) rc = first;
  }
  if (is_rank_loss(rc)) revoke(comm);
  const bool ended = drain(requests);
  if (abandoned) *abandoned = !ended;
  check(rc, operation);
}

}  // namespace foreweave::mpi
