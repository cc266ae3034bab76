#pragma once
// Owners of UCX handles, and UCX's return codes as errors.

#include <ucp/api/ucp.h>

#include <cstdint>
#include <string>

#include "foreweave/comm/transport.hpp"
#include "foreweave/core/bytes.hpp"

namespace foreweave::comm {

/// What stands before a message's head on the wire: mark, source, number of the connection, number in it.
inline constexpr std::size_t ucx_wire_bytes = 24;

/// Throws Error(ucx) unless the status is UCS_OK.
void require_ucx(ucs_status_t status, const std::string& operation, const std::string& advice);

/// A UCP context and one worker in it, with options of their own: the environment's UCX_* settings that matter for
/// surviving the death of a peer are overridden, and an MPI that uses UCX in the same process sees nothing of it.
class UcxWorker {
 public:
  explicit UcxWorker(const UcxOptions& options);
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  ucp_worker_h get() const { return worker_; }
  /// Readable when an armed worker has something to do. Belongs to the worker.
  int event_fd() const { return event_fd_; }
  Bytes address() const;

 private:
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int event_fd_ = -1;
};

}  // namespace foreweave::comm
