#pragma once
// Transport: carries messages between hubs. One interface; UCX, MPI, local and simulated implementations.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "foreweave/core/bytes.hpp"

namespace foreweave::comm {

/// A hub's number: its rank in the communicator the job was started with (spares included). Never reused.
using HubId = std::uint32_t;

/// One message: a small head and, where there is bulk data, a payload that is sent from where it lies.
struct Message {
  Bytes head;                         ///< at most 4 KiB
  ByteView payload;                   ///< may be empty; at most max_payload_bytes
  std::shared_ptr<const void> owner;  ///< keeps the payload alive until it was sent; none: send() copies it
};
inline constexpr std::size_t max_head_bytes = 4096;
inline constexpr std::size_t max_payload_bytes = std::size_t{4} << 20;

/// What a transport tells; called from inside progress(), on the thread that calls it. The views are valid during the
/// call. A listener may call send(), connect() and disconnect() from inside, and must not throw.
class TransportListener {
 public:
  virtual ~TransportListener() = default;
  virtual void on_message(HubId from, ByteView head, ByteView payload) = 0;
  /// The peer cannot be reached any more (endpoint error, connection reset). Sends to it that were pending are
  /// dropped. Told once per connection.
  virtual void on_peer_failed(HubId peer, const std::string& reason) = 0;
};

/// Messages between two hubs arrive in order, whole, at most once; none is lost while the connection lasts.
/// Not thread safe: one thread owns it. No call blocks on a peer: a dead or hung one cannot hold up a living one.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual std::string name() const = 0;  ///< "ucx tcp,self (survivable)", "mpi", "local"
  virtual HubId self() const = 0;
  /// What others need to connect to this hub; opaque; exchanged at bootstrap.
  virtual Bytes address() const = 0;
  /// Makes a peer reachable. Connecting anew after a failure is allowed (single-flight). Sending to oneself is
  /// allowed.
  virtual void connect(HubId peer, ByteView address) = 0;
  virtual void disconnect(HubId peer) = 0;
  /// Queues a message; returns at once. To a peer that is not connected or failed: dropped (the failure was told).
  virtual void send(HubId peer, Message message) = 0;
  /// Bytes queued and not yet handed over for a peer: callers hold back above a limit.
  virtual std::uint64_t pending_bytes(HubId peer) const = 0;
  /// Moves everything that can move; returns whether anything did. Must be called often.
  virtual bool progress(TransportListener& listener) = 0;
  /// Sleeps until there may be something to do, `wake()` is called from another thread, or the time is over.
  virtual void wait(std::int64_t nanoseconds) = 0;
  virtual void wake() = 0;  ///< thread safe
};

/// A transport among the hubs of one process; each hub's end is used by one thread, hubs may be on different threads.
class LocalNetwork {
 public:
  LocalNetwork();
  ~LocalNetwork();
  std::unique_ptr<Transport> attach(HubId self);
  /// As if the hub's process died: its peers are told, what it had queued is lost.
  void kill(HubId hub);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

struct UcxOptions {
  HubId self = 0;
  std::string tls = "tcp,self";    ///< survivable mode; "posix,sysv,self" needs mm_error_handling
  bool mm_error_handling = true;   ///< UCX_MM_ERROR_HANDLING, for the shared memory transports
  double keepalive_seconds = 0.5;  ///< UCX_KEEPALIVE_INTERVAL
  std::string net_devices;         ///< empty: all
  /// Payloads from this size on are fetched by the receiver (rendezvous); 0: never, they are sent at once in pieces.
  /// Survivable mode does without: a fetch depends on the peer answering.
  std::uint64_t rendezvous_bytes = 0;
};
/// UCP worker, active messages only, peer error handling; options are set in its own ucp_config, so that a UCX which
/// MPI uses in the same process is not touched. Throws Error(ucx).
std::unique_ptr<Transport> make_ucx_transport(const UcxOptions& options);
/// For `foreweave info`.
std::string ucx_version();

}  // namespace foreweave::comm
