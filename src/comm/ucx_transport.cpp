// UCX transport: active messages over endpoints of its own, with peer error handling. Callbacks of UCX only note what
// happened; listeners are called and endpoints closed after ucp_worker_progress() returned.

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "comm/arrival_order.hpp"
#include "comm/loopback.hpp"
#include "comm/owned_message.hpp"
#include "comm/ucx_worker.hpp"
#include "foreweave/comm/transport.hpp"
#include "foreweave/core/clock.hpp"
#include "foreweave/core/digest.hpp"
#include "foreweave/core/error.hpp"
#include "foreweave/core/log.hpp"

namespace foreweave::comm {
namespace {

constexpr unsigned am_id = 1;
constexpr std::uint32_t wire_mark = 0x31575846;  // "FXW1"
/// Messages given to UCX at once, per peer. The rest waits here, where a failure drops it without UCX's help.
constexpr int most_in_flight = 16;
/// How long a connection that is being closed may go on sending.
constexpr Nanoseconds flush_for = 500'000'000;
/// How long a forced close may take before its remains are left to the destruction of the worker.
constexpr Nanoseconds close_for = 500'000'000;

struct WireHead {
  std::uint32_t mark = wire_mark;
  HubId source = 0;
  std::uint64_t connection = 0;
  std::uint64_t number = 0;
};
static_assert(sizeof(WireHead) == ucx_wire_bytes);

/// One outgoing connection. A peer has at most one that is in use; closed ones live until UCX let go of them.
struct Connection {
  HubId peer = 0;
  std::uint64_t number = 0;  ///< grows with every connect of this hub
  ucp_ep_h endpoint = nullptr;
  std::uint64_t sent = 0;     ///< messages given to UCX
  std::deque<Message> queue;  ///< not yet given to UCX
  std::uint64_t pending = 0;  ///< bytes in the queue and in flight
  int in_flight = 0;
  bool failed = false;
  std::string reason;
  // Closing:
  void* flush = nullptr;  ///< UCX request
  void* close = nullptr;  ///< UCX request
  bool flushed = false, closed = false;
  Nanoseconds deadline = 0;

  void fail(ucs_status_t status) {
    if (failed) return;
    failed = true;
    reason = std::string("UCX: ") + ucs_status_string(status);
  }
};

struct UcxTransportState;

/// A message UCX is sending.
struct Outgoing {
  UcxTransportState* transport = nullptr;
  std::shared_ptr<Connection> connection;
  Bytes head;
  Message message;
  ucs_status_t status = UCS_INPROGRESS;
  std::list<std::unique_ptr<Outgoing>>::iterator place;
};

/// Memory of a payload: UCX's own, or a buffer of ours.
class Payload {
 public:
  Payload() = default;
  Payload(ucp_worker_h worker, void* data, std::size_t size) : worker_(worker), data_(data), size_(size) {}
  Payload(std::unique_ptr<std::byte[]> buffer, std::size_t size) : size_(size), buffer_(std::move(buffer)) {}
  Payload(Payload&& other) noexcept
      : worker_(std::exchange(other.worker_, nullptr)),
        data_(other.data_),
        size_(std::exchange(other.size_, 0)),
        buffer_(std::move(other.buffer_)) {}
  Payload& operator=(Payload&& other) noexcept {
    std::swap(worker_, other.worker_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(buffer_, other.buffer_);
    return *this;
  }
  ~Payload() {
    if (worker_) ucp_am_data_release(worker_, data_);
  }
  ByteView view() const { return {worker_ ? static_cast<const std::byte*>(data_) : buffer_.get(), size_}; }

 private:
  ucp_worker_h worker_ = nullptr;
  void* data_ = nullptr;
  std::size_t size_ = 0;
  std::unique_ptr<std::byte[]> buffer_;
};

struct Arrival {
  HubId from = 0;
  Bytes head;
  Payload payload;
};

/// A large message that waits to be fetched, or is being fetched.
struct Fetch {
  UcxTransportState* transport = nullptr;
  WireHead wire;
  Bytes head;
  void* descriptor = nullptr;
  std::size_t size = 0;
  std::unique_ptr<std::byte[]> buffer;
  ucs_status_t status = UCS_INPROGRESS;
};

struct UcxTransportState {
  std::list<std::unique_ptr<Outgoing>> outgoing;
  std::vector<Outgoing*> sent;                   ///< finished, to be settled
  std::deque<std::unique_ptr<Fetch>> announced;  ///< to be fetched
  std::list<std::unique_ptr<Fetch>> fetching;
  ArrivalOrder<Arrival> order;
  std::deque<Arrival> ready;
  bool warned = false;

  /// Something on this network speaks another language.
  void refuse_foreign() {
    if (!warned) log::warning("a UCX message that is none of Foreweave's was dropped");
    warned = true;
  }

  void settle_soon(Outgoing* message, ucs_status_t status) {
    message->status = status;
    sent.push_back(message);
  }
};

void on_sent(void* request, ucs_status_t status, void* user) {
  auto* message = static_cast<Outgoing*>(user);
  message->transport->settle_soon(message, status);
  ucp_request_free(request);
}

void on_fetched(void* request, ucs_status_t status, std::size_t, void* user) {
  static_cast<Fetch*>(user)->status = status;
  ucp_request_free(request);
}

void on_endpoint_error(void* user, ucp_ep_h, ucs_status_t status) { static_cast<Connection*>(user)->fail(status); }

ucs_status_t on_active_message(void* user, const void* header, std::size_t header_size, void* data, std::size_t size,
                               const ucp_am_recv_param_t* param);

class UcxTransport final : public Transport {
 public:
  explicit UcxTransport(const UcxOptions& options)
      : options_(options),
        wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        worker_(options),
        loopback_(options.self) {
    if (wake_fd_.number < 0) throw Error(ErrorCategory::io, "make an event file", std::strerror(errno), errno);
    state_.worker = worker_.get();
    ucp_am_handler_param_t param{};
    param.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
    param.id = am_id;
    param.cb = on_active_message;
    param.arg = &state_;
    require_ucx(ucp_worker_set_am_recv_handler(worker_.get(), &param), "listen for active messages",
                "is this UCX 1.13 or newer?");
  }

  ~UcxTransport() override {
    while (!connections_.empty()) disconnect(connections_.begin()->first);
    const Nanoseconds end = monotonic_now() + flush_for + close_for + close_for;
    while (!closing_.empty() && monotonic_now() < end)
      if (!turn()) wait(1'000'000);
    state_.ready.clear();
    state_.order.clear();
  }

  std::string name() const override {
    return "ucx " + options_.tls + (options_.mm_error_handling ? " (survivable)" : "");
  }
  HubId self() const override { return options_.self; }

  Bytes address() const override {
    ByteWriter out;
    out.put_string("ucx");
    out.put(options_.self);
    const Bytes worker = worker_.address();
    out.put(static_cast<std::uint32_t>(worker.size()));
    out.put_bytes(worker);
    out.put(digest64(out.bytes()));
    return out.take();
  }

  void connect(HubId peer, ByteView address) override {
    const Bytes worker = worker_address(peer, address);
    if (peer == options_.self) {
      loopback_.connect();
      return;
    }
    if (const auto found = connections_.find(peer); found != connections_.end()) {
      if (!found->second->failed) return;  // it stands, or is being made: one at a time
      abandon(peer);
    }
    auto connection = std::make_shared<Connection>();
    connection->peer = peer;
    connection->number = ++connects_;
    ucp_ep_params_t params{};
    params.field_mask =
        UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
    params.address = reinterpret_cast<const ucp_address_t*>(worker.data());
    params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    params.err_handler = {on_endpoint_error, connection.get()};
    const ucs_status_t status = ucp_ep_create(worker_.get(), &params, &connection->endpoint);
    if (status != UCS_OK) {
      connection->endpoint = nullptr;
      connection->fail(status);
    }
    connections_.emplace(peer, std::move(connection));
  }

  void disconnect(HubId peer) override {
    if (peer == options_.self) loopback_.disconnect();
    const auto found = connections_.find(peer);
    if (found == connections_.end()) return;
    const auto connection = std::move(found->second);
    connections_.erase(found);
    // What is queued goes out first; progress() sees to it, within bounds.
    connection->deadline = monotonic_now() + flush_for;
    closing_.push_back(connection);
  }

  void send(HubId peer, Message message) override {
    require_size(message, peer);
    if (peer == options_.self) {
      own_payload(message);
      loopback_.send(std::move(message));
      return;
    }
    const auto found = connections_.find(peer);
    // One that failed and was not told yet queues on: whoever sends until a window is full comes to an end.
    if (found == connections_.end()) return;
    own_payload(message);
    found->second->pending += message.head.size() + message.payload.size();
    found->second->queue.push_back(std::move(message));
    pump(found->second);
  }

  std::uint64_t pending_bytes(HubId peer) const override {
    if (peer == options_.self) return loopback_.pending_bytes();
    const auto found = connections_.find(peer);
    return found == connections_.end() ? 0 : found->second->pending;
  }

  bool progress(TransportListener& listener) override {
    bool moved = turn();
    moved |= deliver(listener);
    moved |= tell_failures(listener);
    return moved;
  }

  void wait(std::int64_t nanoseconds) override {
    if (!state_.ready.empty() || !state_.sent.empty() || !loopback_.empty() || !state_.announced.empty()) return;
    if (std::ranges::any_of(connections_, [](const auto& entry) { return entry.second->failed; })) return;
    const ucs_status_t status = ucp_worker_arm(worker_.get());
    if (status == UCS_ERR_BUSY) return;
    require_ucx(status, "arm the UCX worker", "the transport cannot be used any more");
    std::array<pollfd, 2> files{{{worker_.event_fd(), POLLIN, 0}, {wake_fd_.number, POLLIN, 0}}};
    nanoseconds = std::max<std::int64_t>(nanoseconds, 0);
    const timespec limit{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    // EINTR and a timeout are alike: the caller looks again.
    if (ppoll(files.data(), files.size(), &limit, nullptr) < 0 && errno != EINTR)
      throw Error(ErrorCategory::io, "wait for messages", std::strerror(errno), errno);
    if (files[1].revents & POLLIN) {
      std::uint64_t count = 0;
      [[maybe_unused]] const auto got = read(wake_fd_.number, &count, sizeof count);  // may be empty again: fine
    }
  }

  void wake() override {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto put = write(wake_fd_.number, &one, sizeof one);  // full: it is awake already
  }

 private:
  struct File {
    explicit File(int file) : number(file) {}
    ~File() {
      if (number >= 0) close(number);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int number;
  };

  Bytes worker_address(HubId peer, ByteView address) const {
    const std::string what = "UCX address of hub " + std::to_string(peer);
    ByteReader in(address, what);
    const std::string kind = in.get_string(16);
    const auto hub = in.get<HubId>();
    if (kind != "ucx" || hub != peer)
      throw Error(ErrorCategory::argument, "connect to hub " + std::to_string(peer),
                  "the address is that of hub " + std::to_string(hub) + " on transport '" + kind + "'");
    const auto size = in.get<std::uint32_t>();
    const ByteView worker = in.get_bytes(size);
    const std::uint64_t digest = digest64(address.first(in.position()));
    if (in.get<std::uint64_t>() != digest)
      throw Error(ErrorCategory::format, "connect to hub " + std::to_string(peer), "the address is damaged");
    in.expect_end();
    return {worker.begin(), worker.end()};
  }

  /// UCX and everything that follows from it, but for calls of a listener.
  bool turn() {
    bool moved = ucp_worker_progress(worker_.get()) != 0;
    moved |= settle_sent();
    moved |= fetch_announced();
    moved |= collect_fetched();
    moved |= close_connections();
    return moved;
  }

  /// Gives UCX as much of the queue as may be in flight.
  void pump(const std::shared_ptr<Connection>& connection) {
    while (!connection->failed && !connection->queue.empty() && connection->in_flight < most_in_flight) {
      auto made = std::make_unique<Outgoing>();
      Outgoing* const out = made.get();
      out->transport = &state_;
      out->connection = connection;
      out->message = std::move(connection->queue.front());
      connection->queue.pop_front();
      WireHead wire;
      wire.source = options_.self;
      wire.connection = connection->number;
      wire.number = connection->sent++;
      out->head.resize(sizeof wire + out->message.head.size());
      std::memcpy(out->head.data(), &wire, sizeof wire);
      std::ranges::copy(out->message.head, out->head.begin() + sizeof wire);
      out->place = state_.outgoing.insert(state_.outgoing.end(), std::move(made));
      ++connection->in_flight;

      ucp_request_param_t param{};
      param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
      param.flags = options_.rendezvous_bytes == 0 ? UCP_AM_SEND_FLAG_EAGER : 0;
      param.cb.send = on_sent;
      param.user_data = out;
      const ByteView payload = out->message.payload;
      const ucs_status_ptr_t result = ucp_am_send_nbx(connection->endpoint, am_id, out->head.data(), out->head.size(),
                                                      payload.data(), payload.size(), &param);
      if (result == nullptr)
        settle(out, UCS_OK);
      else if (UCS_PTR_IS_ERR(result))
        settle(out, UCS_PTR_STATUS(result));
    }
  }

  void settle(Outgoing* out, ucs_status_t status) {
    const auto connection = out->connection;
    --connection->in_flight;
    connection->pending -= out->message.head.size() + out->message.payload.size();
    if (status != UCS_OK) connection->fail(status);
    state_.outgoing.erase(out->place);
  }

  bool settle_sent() {
    const bool any = !state_.sent.empty();
    while (!state_.sent.empty()) {
      std::vector<Outgoing*> batch;
      batch.swap(state_.sent);
      for (Outgoing* out : batch) {
        const auto connection = out->connection;
        settle(out, out->status);
        pump(connection);
      }
    }
    return any;
  }

  bool fetch_announced() {
    const bool any = !state_.announced.empty();
    while (!state_.announced.empty()) {
      auto fetch = std::move(state_.announced.front());
      state_.announced.pop_front();
      fetch->buffer = std::make_unique_for_overwrite<std::byte[]>(fetch->size);
      ucp_request_param_t param{};
      param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
      param.cb.recv_am = on_fetched;
      param.user_data = fetch.get();
      const ucs_status_ptr_t result =
          ucp_am_recv_data_nbx(worker_.get(), fetch->descriptor, fetch->buffer.get(), fetch->size, &param);
      if (result == nullptr)
        fetch->status = UCS_OK;
      else if (UCS_PTR_IS_ERR(result))
        fetch->status = UCS_PTR_STATUS(result);
      state_.fetching.push_back(std::move(fetch));
    }
    return any;
  }

  bool collect_fetched() {
    bool any = false;
    for (auto place = state_.fetching.begin(); place != state_.fetching.end();) {
      Fetch& fetch = **place;
      if (fetch.status == UCS_INPROGRESS) {
        ++place;
        continue;
      }
      // One that failed is lost with its sender's connection; the sender, if it lives, is told by its own endpoint.
      if (fetch.status == UCS_OK)
        state_.order.arrive(fetch.wire.source, fetch.wire.connection, fetch.wire.number,
                            {fetch.wire.source, std::move(fetch.head), Payload(std::move(fetch.buffer), fetch.size)},
                            state_.ready);
      place = state_.fetching.erase(place);
      any = true;
    }
    return any;
  }

  /// A failed connection: what it had queued is dropped, its endpoint closed by force.
  void abandon(HubId peer) {
    const auto found = connections_.find(peer);
    const auto connection = std::move(found->second);
    connections_.erase(found);
    connection->queue.clear();
    closing_.push_back(connection);
  }

  /// Moves every closing connection on: queue sent, flushed, closed, nothing in flight.
  bool close_connections() {
    bool moved = false;
    for (auto place = closing_.begin(); place != closing_.end();) {
      Connection& connection = **place;
      const Nanoseconds now = monotonic_now();
      if (!connection.close && !connection.closed) {
        if (!connection.failed) pump(*place);
        if (!connection.failed && connection.queue.empty() && !connection.flush && !connection.flushed) {
          ucp_request_param_t param{};
          const ucs_status_ptr_t result = ucp_ep_flush_nbx(connection.endpoint, &param);
          if (UCS_PTR_IS_PTR(result))
            connection.flush = result;
          else
            connection.flushed = true;
        }
        if (connection.flush && ucp_request_check_status(connection.flush) != UCS_INPROGRESS) {
          ucp_request_free(std::exchange(connection.flush, nullptr));
          connection.flushed = true;
        }
        if (connection.failed || connection.flushed || now >= connection.deadline) {
          connection.queue.clear();
          force_close(connection);
          connection.deadline = now + close_for;
          moved = true;
        }
      }
      if (connection.flush && ucp_request_check_status(connection.flush) != UCS_INPROGRESS)
        ucp_request_free(std::exchange(connection.flush, nullptr));
      if (connection.close && ucp_request_check_status(connection.close) != UCS_INPROGRESS) {
        ucp_request_free(std::exchange(connection.close, nullptr));
        connection.closed = true;
      }
      if (connection.closed && !connection.flush && connection.in_flight == 0) {
        place = closing_.erase(place);
        moved = true;
      } else {
        ++place;
      }
    }
    return moved;
  }

  void force_close(Connection& connection) {
    if (!connection.endpoint) {
      connection.closed = true;
      return;
    }
    ucp_request_param_t param{};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = UCP_EP_CLOSE_FLAG_FORCE;
    const ucs_status_ptr_t result = ucp_ep_close_nbx(connection.endpoint, &param);
    connection.endpoint = nullptr;
    if (UCS_PTR_IS_PTR(result))
      connection.close = result;
    else
      connection.closed = true;  // done, or an error: there is nothing left to close either way
  }

  bool deliver(TransportListener& listener) {
    bool any = false;
    any |= loopback_.deliver(listener);
    while (!state_.ready.empty()) {
      const Arrival arrival = std::move(state_.ready.front());
      state_.ready.pop_front();
      listener.on_message(arrival.from, arrival.head, arrival.payload.view());
      any = true;
    }
    return any;
  }

  bool tell_failures(TransportListener& listener) {
    std::vector<std::pair<HubId, std::string>> failures;
    for (const auto& [peer, connection] : connections_)
      if (connection->failed) failures.emplace_back(peer, connection->reason);
    for (const auto& failure : failures) abandon(failure.first);
    for (const auto& [peer, reason] : failures) listener.on_peer_failed(peer, reason);
    return !failures.empty();
  }

 public:
  struct State : UcxTransportState {
    ucp_worker_h worker = nullptr;
  };

 private:
  const UcxOptions options_;
  File wake_fd_;
  State state_;  // outlives the worker: UCX may hold messages until it is destroyed
  std::list<std::shared_ptr<Connection>> closing_;
  std::map<HubId, std::shared_ptr<Connection>> connections_;
  UcxWorker worker_;
  /// Later incarnations of a hub count on from above, so that receivers take their connections for newer ones.
  std::uint64_t connects_ = static_cast<std::uint64_t>(wall_now());
  Loopback loopback_;
};

ucs_status_t on_active_message(void* user, const void* header, std::size_t header_size, void* data, std::size_t size,
                               const ucp_am_recv_param_t* param) {
  auto& state = *static_cast<UcxTransport::State*>(user);
  WireHead wire;
  if (header_size < sizeof wire || header_size > sizeof wire + max_head_bytes || size > max_payload_bytes) {
    state.refuse_foreign();
    return UCS_OK;
  }
  std::memcpy(&wire, header, sizeof wire);
  if (wire.mark != wire_mark) {
    state.refuse_foreign();
    return UCS_OK;
  }
  const auto* first = static_cast<const std::byte*>(header) + sizeof wire;
  Bytes head(first, first + (header_size - sizeof wire));
  if (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) {
    auto fetch = std::make_unique<Fetch>();
    fetch->transport = &state;
    fetch->wire = wire;
    fetch->head = std::move(head);
    fetch->descriptor = data;
    fetch->size = size;
    state.announced.push_back(std::move(fetch));
    return UCS_INPROGRESS;
  }
  if (size > 0 && param->recv_attr & UCP_AM_RECV_ATTR_FLAG_DATA) {
    state.order.arrive(wire.source, wire.connection, wire.number,
                       {wire.source, std::move(head), Payload(state.worker, data, size)}, state.ready);
    return UCS_INPROGRESS;  // the memory is ours until Payload releases it
  }
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(size);
  if (size > 0) std::memcpy(buffer.get(), data, size);
  state.order.arrive(wire.source, wire.connection, wire.number,
                     {wire.source, std::move(head), Payload(std::move(buffer), size)}, state.ready);
  return UCS_OK;
}

}  // namespace

std::unique_ptr<Transport> make_ucx_transport(const UcxOptions& options) {
  return std::make_unique<UcxTransport>(options);
}

}  // namespace foreweave::comm
