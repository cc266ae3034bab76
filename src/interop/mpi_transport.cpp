#include "foreweave/interop/mpi_transport.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "comm/loopback.hpp"
#include "comm/owned_message.hpp"
#include "foreweave/core/clock.hpp"
#include "foreweave/core/error.hpp"
#include "foreweave/core/log.hpp"
#include "foreweave/interop/mpi.hpp"
#include "foreweave/interop/mpi_bootstrap.hpp"
#include "interop/mpi_handles.hpp"

namespace foreweave::mpi {
namespace {

using comm::HubId;
using comm::max_head_bytes;
using comm::max_payload_bytes;
using comm::Message;
using comm::TransportListener;

constexpr int head_tag = 1, payload_tag = 2;
/// Messages given to MPI at once, per peer; the rest waits here, where a failure drops it.
constexpr std::size_t most_in_flight = 16;
/// How long destruction goes on sending.
constexpr Nanoseconds flush_for = 500'000'000;
/// MPI has no file to sleep on: the pauses between two looks grow from the one to the other while nothing comes.
constexpr std::int64_t shortest_pause = 20'000, longest_pause = 1'000'000;
/// How often MPI is asked for failed processes.
constexpr Nanoseconds ask_every = 20'000'000;

/// A message MPI is sending: a head (the payload's size before it) and, where there is one, the payload.
struct Outgoing {
  Bytes head;
  Message message;
  MPI_Request requests[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
};

/// A message that is being received; handed over when its payload is there and all before it were.
struct Incoming {
  Bytes head;
  std::unique_ptr<std::byte[]> payload;
  std::size_t payload_bytes = 0;
  MPI_Request request = MPI_REQUEST_NULL;
};

struct Peer {
  bool connected = false, dead = false;
  std::string reason;         ///< not empty: failed, to be told
  std::deque<Message> queue;  ///< not yet given to MPI
  std::deque<std::unique_ptr<Outgoing>> sending;
  std::deque<std::unique_ptr<Incoming>> receiving;
  std::uint64_t pending = 0;
};

/// Memory of requests that did not end: MPI may still touch it, so it stays until the process ends.
template <class Item>
void leave_to_mpi(std::unique_ptr<Item> item) {
  static auto* const kept = new std::deque<std::unique_ptr<Item>>;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(item));
}

class MpiTransport final : public comm::Transport {
 public:
  explicit MpiTransport(MPI_Comm original) : comm_(duplicate(original)), loopback_(rank_in(comm_)) {
    self_ = rank_in(comm_);
    int size = 0;
    check(MPI_Comm_size(comm_, &size), "ask for the size of the communicator");
    peers_.resize(static_cast<std::size_t>(size));
  }

  ~MpiTransport() override {
    const Nanoseconds end = monotonic_now() + flush_for;
    const auto unsent = [&] {
      return std::ranges::any_of(peers_,
                                 [](const Peer& peer) { return !peer.queue.empty() || !peer.sending.empty(); });
    };
    while (unsent() && monotonic_now() < end)
      if (!move_sends()) wait(shortest_pause);
    for (Peer& peer : peers_) abandon(peer);
  }

  std::string name() const override { return has_fault_tolerance ? "mpi (tells of failed ranks)" : "mpi"; }
  HubId self() const override { return self_; }

  Bytes address() const override {
    ByteWriter out;
    out.put_string("mpi");
    out.put(self_);
    return out.take();
  }

  void connect(HubId peer, ByteView address) override {
    ByteReader in(address, "MPI address of hub " + std::to_string(peer));
    if (in.get_string(16) != "mpi" || in.get<HubId>() != peer || peer >= peers_.size())
      throw Error(
          ErrorCategory::argument, "connect to hub " + std::to_string(peer),
          "the address is not that of this hub on the MPI transport of " + std::to_string(peers_.size()) + " ranks");
    if (peer == self_) return loopback_.connect();
    peers_[peer].connected = true;
    if (peers_[peer].dead) fail(peer, "MPI: the process has failed and does not come back");
  }

  void disconnect(HubId peer) override {
    if (peer == self_) return loopback_.disconnect();
    if (peer < peers_.size()) peers_[peer].connected = false;  // what is queued goes out nevertheless
  }

  void send(HubId to, Message message) override {
    comm::require_size(message, to);
    comm::own_payload(message);
    if (to == self_) return loopback_.send(std::move(message));
    if (to >= peers_.size() || !peers_[to].connected) return;
    peers_[to].pending += message.head.size() + message.payload.size();
    peers_[to].queue.push_back(std::move(message));
    pump(to);
  }

  std::uint64_t pending_bytes(HubId peer) const override {
    if (peer == self_) return loopback_.pending_bytes();
    return peer < peers_.size() && peers_[peer].connected ? peers_[peer].pending : 0;
  }

  bool progress(TransportListener& listener) override {
    bool moved = move_sends();
    moved |= accept();
    ask_for_failures();
    moved |= deliver(listener);
    moved |= loopback_.deliver(listener);
    moved |= tell_failures(listener);
    if (moved) pause_ = shortest_pause;
    return moved;
  }

  void wait(std::int64_t nanoseconds) override {
    if (!loopback_.empty()) return;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::nanoseconds(std::min(nanoseconds, pause_)), [&] { return woken_; });
    woken_ = false;
    pause_ = std::min(2 * pause_, longest_pause);
  }

  void wake() override {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_all();
  }

 private:
  static MPI_Comm duplicate(MPI_Comm original) {
    require_thread_multiple("make an MPI transport");
    MPI_Comm copy = MPI_COMM_NULL;
    check(MPI_Comm_dup(original, &copy), "duplicate the communicator");
    check(MPI_Comm_set_errhandler(copy, MPI_ERRORS_RETURN), "have errors of the communicator returned");
    return copy;
  }
  static HubId rank_in(MPI_Comm comm) {
    int rank = 0;
    check(MPI_Comm_rank(comm, &rank), "ask for the rank");
    return static_cast<HubId>(rank);
  }

  void fail(HubId peer, const std::string& reason) {
    if (peers_[peer].reason.empty()) peers_[peer].reason = reason;
  }
  void fail(HubId peer, int rc) {
    if (is_rank_loss(rc)) peers_[peer].dead = true;
    fail(peer, "MPI: " + error_text(rc));
  }

  void pump(HubId to) {
    Peer& peer = peers_[to];
    while (peer.reason.empty() && !peer.queue.empty() && peer.sending.size() < most_in_flight) {
      auto out = std::make_unique<Outgoing>();
      out->message = std::move(peer.queue.front());
      peer.queue.pop_front();
      const std::uint64_t payload_bytes = out->message.payload.size();
      out->head.resize(sizeof payload_bytes + out->message.head.size());
      std::memcpy(out->head.data(), &payload_bytes, sizeof payload_bytes);
      std::ranges::copy(out->message.head, out->head.begin() + sizeof payload_bytes);
      const int rank = static_cast<int>(to);
      int rc = MPI_Isend(out->head.data(), static_cast<int>(out->head.size()), MPI_BYTE, rank, head_tag, comm_,
                         &out->requests[0]);
      if (rc == MPI_SUCCESS && payload_bytes > 0)
        rc = MPI_Isend(out->message.payload.data(), static_cast<int>(payload_bytes), MPI_BYTE, rank, payload_tag,
                       comm_, &out->requests[1]);
      peer.sending.push_back(std::move(out));
      if (rc != MPI_SUCCESS) fail(to, rc);
    }
  }

  /// Whether a request has ended; an error of its own makes the peer a failed one.
  bool ended(MPI_Request& request, HubId peer) {
    if (request == MPI_REQUEST_NULL) return true;
    int done = 0;
    const int rc = MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (rc != MPI_SUCCESS) fail(peer, rc);
    return done || request == MPI_REQUEST_NULL;
  }

  bool move_sends() {
    bool moved = false;
    for (HubId to = 0; to < peers_.size(); ++to) {
      Peer& peer = peers_[to];
      while (!peer.sending.empty()) {
        Outgoing& first = *peer.sending.front();
        if (!ended(first.requests[0], to) || !ended(first.requests[1], to)) break;
        peer.pending -= first.message.head.size() + first.message.payload.size();
        peer.sending.pop_front();
        moved = true;
      }
      pump(to);
    }
    return moved;
  }

  /// Takes every head that is there and begins to receive its payload. MPI keeps the order of heads of one sender,
  /// and of payloads among themselves, so the n-th payload belongs to the n-th head that announces one.
  bool accept() {
    bool moved = false;
    for (;;) {
      int there = 0;
      MPI_Message message = MPI_MESSAGE_NULL;
      MPI_Status status;
      if (const int rc = MPI_Improbe(MPI_ANY_SOURCE, head_tag, comm_, &there, &message, &status); rc != MPI_SUCCESS) {
        // A failed process makes every receive from anyone an error, until it is acknowledged.
        next_ask_ = 0;
        if (!is_rank_loss(rc)) check(rc, "look for messages");
        return moved;
      }
      if (!there) return moved;
      int size = 0;
      check(MPI_Get_count(&status, MPI_BYTE, &size), "ask for the size of a message");
      Bytes head(static_cast<std::size_t>(size));
      const auto from = static_cast<HubId>(status.MPI_SOURCE);
      if (const int rc = MPI_Mrecv(head.data(), size, MPI_BYTE, &message, MPI_STATUS_IGNORE); rc != MPI_SUCCESS) {
        fail(from, rc);
        continue;
      }
      moved = true;
      begin_receive(from, std::move(head));
    }
  }

  void begin_receive(HubId from, Bytes head) {
    std::uint64_t payload_bytes = 0;
    if (head.size() >= sizeof payload_bytes) std::memcpy(&payload_bytes, head.data(), sizeof payload_bytes);
    if (head.size() < sizeof payload_bytes || head.size() > sizeof payload_bytes + max_head_bytes ||
        payload_bytes > max_payload_bytes) {
      fail(from, "it sent a message that is none of Foreweave's");
      return;
    }
    auto in = std::make_unique<Incoming>();
    in->head.assign(head.begin() + sizeof payload_bytes, head.end());
    in->payload_bytes = payload_bytes;
    if (payload_bytes > 0) {
      in->payload = std::make_unique_for_overwrite<std::byte[]>(payload_bytes);
      if (const int rc = MPI_Irecv(in->payload.get(), static_cast<int>(payload_bytes), MPI_BYTE,
                                   static_cast<int>(from), payload_tag, comm_, &in->request);
          rc != MPI_SUCCESS) {
        fail(from, rc);
        return;
      }
    }
    peers_[from].receiving.push_back(std::move(in));
  }

  bool deliver(TransportListener& listener) {
    bool any = false;
    for (HubId from = 0; from < peers_.size(); ++from) {
      auto& receiving = peers_[from].receiving;
      while (!receiving.empty()) {
        const bool done = ended(receiving.front()->request, from);
        if (!done || peers_[from].dead) break;  // an error may have ended it: nothing of the dead is taken then
        const auto in = std::move(receiving.front());
        receiving.pop_front();
        listener.on_message(from, in->head, {in->payload.get(), in->payload_bytes});
        any = true;
      }
    }
    return any;
  }

  /// Lets go of everything that concerns a peer; requests that did not end are left to MPI with their memory.
  void abandon(Peer& peer) {
    peer.queue.clear();
    for (auto& out : peer.sending) {
      bool open = false;
      for (MPI_Request& request : out->requests) open |= !drain({&request, 1}, std::chrono::milliseconds(0));
      if (open) leave_to_mpi(std::move(out));
    }
    peer.sending.clear();
    for (auto& in : peer.receiving) {
      if (in->request != MPI_REQUEST_NULL) log_unless_ok(MPI_Cancel(&in->request), "cancel a receive");  // its outcome is asked for next
      if (!drain({&in->request, 1}, std::chrono::milliseconds(0))) leave_to_mpi(std::move(in));
    }
    peer.receiving.clear();
    peer.pending = 0;
  }

  bool tell_failures(TransportListener& listener) {
    bool any = false;
    for (HubId hub = 0; hub < peers_.size(); ++hub) {
      Peer& peer = peers_[hub];
      if (peer.reason.empty()) continue;
      const std::string reason = std::exchange(peer.reason, {});
      const bool tell = std::exchange(peer.connected, false);
      abandon(peer);
      if (tell) listener.on_peer_failed(hub, reason);
      any = true;
    }
    return any;
  }

  /// Asks MPI who has failed, and acknowledges it, so that receives from anyone go on.
  void ask_for_failures() {
#if FOREWEAVE_MPI_FAULT_TOLERANCE
    const Nanoseconds now = monotonic_now();
    if (now < next_ask_) return;
    next_ask_ = now + ask_every;
    OwnedGroup failed, all;
    check(MPIX_Comm_failure_ack(comm_), "acknowledge failed ranks");
    check(MPIX_Comm_failure_get_acked(comm_, failed.out()), "ask for failed ranks");
    int count = 0;
    check(MPI_Group_size(failed, &count), "count the failed ranks");
    if (count > failures_seen_) {
      check(MPI_Comm_group(comm_, all.out()), "ask for the group of the communicator");
      for (int which = 0; which < count; ++which) {
        int rank = MPI_UNDEFINED;
        check(MPI_Group_translate_ranks(failed, 1, &which, all, &rank), "number the failed ranks");
        if (rank == MPI_UNDEFINED || peers_[static_cast<std::size_t>(rank)].dead) continue;
        peers_[static_cast<std::size_t>(rank)].dead = true;
        fail(static_cast<HubId>(rank), "MPI: the process has failed");
      }
      failures_seen_ = count;
    }
#endif
  }

  MPI_Comm comm_;
  HubId self_ = 0;
  comm::Loopback loopback_;
  std::deque<Peer> peers_;  ///< not a vector: it would want to copy them
  [[maybe_unused]] Nanoseconds next_ask_ = 0;
  [[maybe_unused]] int failures_seen_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  std::int64_t pause_ = shortest_pause;
};

}  // namespace

std::unique_ptr<comm::Transport> make_mpi_transport(MPI_Comm comm) { return std::make_unique<MpiTransport>(comm); }

}  // namespace foreweave::mpi
