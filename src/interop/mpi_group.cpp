#include <mpi.h>
#if defined(OPEN_MPI)
#include <mpi-ext.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "foreweave/core/log.hpp"
#include "foreweave/interop/mpi.hpp"
#include "foreweave/interop/mpi_bootstrap.hpp"
#include "foreweave/interop/mpi_context.hpp"
#include "foreweave/interop/mpi_transport.hpp"
#include "interop/mpi_handles.hpp"

namespace foreweave::mpi {
namespace {

constexpr int finished_tag = 17;

void require_thread_level(const Options& options) {
  if (options.transport == TransportChoice::mpi) return require_thread_multiple("transport=mpi");
  const std::string level = provided_thread_level();
  if (level == "MPI_THREAD_SINGLE") {
    throw Error(ErrorCategory::mpi, "make a Context",
                "MPI was started with MPI_THREAD_SINGLE (MPI_Init does that), but Foreweave runs threads beside the "
                "program: start it with MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided)");
  }
}

/// Whether this job's MPI goes on after a death: built with ULFM, and started with it.
bool fault_tolerance_is_on() {
#if FOREWEAVE_MPI_FAULT_TOLERANCE
  const char* enabled = std::getenv("OMPI_MCA_mpi_ft_enable");
  return enabled != nullptr && (std::strcmp(enabled, "1") == 0 || std::strcmp(enabled, "true") == 0);
#else
  return false;
#endif
}

class MpiGroup final : public Group {
 public:
  MpiGroup(MPI_Comm communicator, const Options& options)
      : can_repair_(fault_tolerance_is_on() && (options.recover == RecoverChoice::automatic || options.recover == RecoverChoice::in_place)) {
    check(MPI_Comm_dup(communicator, &world_), "duplicate the communicator");
    check(MPI_Comm_set_errhandler(world_, MPI_ERRORS_RETURN), "set the error handler");
    check(MPI_Comm_group(world_, original_.out()), "read the communicator's group");
    node_ = mpi::node_of_rank(world_).at(static_cast<std::size_t>(rank_in(world_)));
    hub_ = static_cast<comm::HubId>(rank_in(world_));
    read_living();
  }

  ~MpiGroup() override {
    int finalized = 0;
    log_unless_ok(MPI_Finalized(&finalized), "ask whether MPI was finalized");
    if (finalized != 0) return;
    original_.reset();
    // A communicator that lost a member is left alone: freeing is collective, and the dead do not answer.
    if (repaired_) return;
    free_logged(members_, "free the ranks' communicator");
    if (dead_.empty()) free_logged(world_, "free the communicator of all");
  }

  MPI_Comm members() const { return members_; }

  comm::HubId hub() const override { return hub_; }
  std::vector<comm::HubId> living() const override { return living_; }
  std::uint32_t node() const override { return node_; }

  std::vector<std::pair<comm::HubId, Bytes>> gather_all(ByteView mine) override {
    auto parts = exchange_addresses(world_, Bytes(mine.begin(), mine.end()));
    std::vector<std::pair<comm::HubId, Bytes>> result;
    for (std::size_t i = 0; i < parts.size(); ++i) result.emplace_back(living_[i], std::move(parts[i]));
    return result;
  }
  std::vector<Bytes> gather_members(ByteView mine) override { return exchange_addresses(members_, Bytes(mine.begin(), mine.end())); }
  bool agree_all(bool mine) override { return agree(world_, mine); }
  bool agree_members(bool mine) override { return agree(members_, mine); }

  void assign(const std::vector<comm::HubId>& hub_of_rank) override {
    const auto at = std::find(hub_of_rank.begin(), hub_of_rank.end(), hub_);
    const bool member = at != hub_of_rank.end();
    MPI_Comm made = MPI_COMM_NULL;
    check(MPI_Comm_split(world_, member ? 0 : MPI_UNDEFINED, static_cast<int>(at - hub_of_rank.begin()), &made),
          "make the ranks' communicator");
    if (member) check(MPI_Comm_set_errhandler(made, MPI_ERRORS_RETURN), "set the error handler");
    members_ = made;
    holders_ = {hub_of_rank.begin(), hub_of_rank.end()};
  }

  bool can_repair() const override { return can_repair_; }

  void repair() override {
#if FOREWEAVE_MPI_FAULT_TOLERANCE
    repaired_ = true;
    // Interrupt everyone who waits for someone alive, who may be here already.
    if (members_ != MPI_COMM_NULL) revoke(members_);
    revoke(world_);
    members_ = MPI_COMM_NULL;
    MPI_Comm next = MPI_COMM_NULL;
    check(MPIX_Comm_shrink(world_, &next), "shrink the communicator to the living");
    check(MPI_Comm_set_errhandler(next, MPI_ERRORS_RETURN), "set the error handler");
    world_ = next;
    read_living();
#else
    throw Error(ErrorCategory::state, "repair the group", "this MPI has no fault tolerance");
#endif
  }

  std::vector<comm::HubId> check() override {
    if (members_ != MPI_COMM_NULL) check(look(members_, finished_tag + 1), "look for lost ranks");
    if (can_repair_) {
      sort_out(look(world_, finished_tag + 1), "look for lost ranks");
      note_deaths("look for lost ranks");
    }
    return std::exchange(untold_, {});
  }

  SpareCall wait_as_spare() override {
    for (;;) {
      int finished = 0;
      MPI_Status status;
      try {
        sort_out(MPI_Iprobe(MPI_ANY_SOURCE, finished_tag, world_, &finished, &status), "wait as a spare");
        if (finished != 0) {
          mpi::check(MPI_Recv(nullptr, 0, MPI_BYTE, status.MPI_SOURCE, finished_tag, world_, MPI_STATUS_IGNORE),
                     "wait as a spare");
          return SpareCall::finished;
        }
      } catch (const RankLost&) {
        return SpareCall::repair;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  void release_spares() override {
    // One member speaks for all; it is alive, since all have just agreed that they are done.
    if (rank_in(members_) != 0) return;
    OwnedGroup ranks, all;
    check(MPI_Comm_group(members_, ranks.out()), "read the ranks' group");
    check(MPI_Comm_group(world_, all.out()), "read the group");
    for (std::size_t i = 0; i < living_.size(); ++i) {
      int in_world = static_cast<int>(i), in_members = MPI_UNDEFINED;
      check(MPI_Group_translate_ranks(all, 1, &in_world, ranks, &in_members), "find the spares");
      if (in_members != MPI_UNDEFINED) continue;
      try {
        check(MPI_Send(nullptr, 0, MPI_BYTE, in_world, finished_tag, world_), "let a spare go");
      } catch (const RankLost& lost) {
        log::info(lost.what());   // it died while it waited; there is nothing to be let go
      }
    }
  }

  std::unique_ptr<comm::Transport> make_transport(const Options& options) override {
    if (options.transport == TransportChoice::mpi) return make_mpi_transport(world_);
    comm::UcxOptions ucx;
    ucx.self = hub_;
    ucx.tls = options.ucx_tls;
    ucx.net_devices = options.ucx_net_devices;
    return comm::make_ucx_transport(ucx);
  }

  [[noreturn]] void abort(int status) override {
    log_unless_ok(MPI_Abort(world_, status), "abort the job");
    std::_Exit(status);
  }

 private:
  static void check(int code, const char* operation) { mpi::check(code, operation); }
  static int rank_in(MPI_Comm comm) {
    int rank = 0;
    check(MPI_Comm_rank(comm, &rank), "read the rank");
    return rank;
  }

  void read_living() {
    OwnedGroup now;
    check(MPI_Comm_group(world_, now.out()), "read the communicator's group");
    living_ = hubs_of(now);
    lost_holder_.reset();
    deaths_seen_ = 0;
    dead_.clear();
    untold_.clear();
  }

  bool agree(MPI_Comm comm, bool mine) {
    int flag = mine ? 1 : 0;
#if FOREWEAVE_MPI_FAULT_TOLERANCE
    if (can_repair_) {
      // Uniform: either all living get the same answer, or all learn of the death.
      check(MPIX_Comm_agree(comm, &flag), "agree");
      return flag != 0;
    }
#endif
    check(MPI_Allreduce(MPI_IN_PLACE, &flag, 1, MPI_INT, MPI_MIN, comm), "agree");
    return flag != 0;
  }

  /// What MPI knows of deaths and revocations, without waiting for anything: the code of a probe.
  static int look(MPI_Comm comm, int tag) {
    int flag = 0;
    return MPI_Iprobe(MPI_ANY_SOURCE, tag, comm, &flag, MPI_STATUS_IGNORE);
  }

  /// What a probe of `world_` said: RankLost when a rank died or a repair began.
  void sort_out(int code, const char* operation) {
#if FOREWEAVE_MPI_FAULT_TOLERANCE
    int error_class = MPI_SUCCESS;
    check(MPI_Error_class(code, &error_class), "read an error");
    if (error_class == MPIX_ERR_PROC_FAILED || error_class == MPIX_ERR_PROC_FAILED_PENDING) {
      check(MPIX_Comm_failure_ack(world_), "acknowledge deaths");   // a spare's would be all that is heard from now on
      note_deaths(operation);
      return;
    }
#endif
    check(code, operation);
  }

  /// Asks MPI who died. It has to be asked: a probe tells of revocations, but in Open MPI 5.0.7 of no death.
  void note_deaths(const char* operation) {
#if FOREWEAVE_MPI_FAULT_TOLERANCE
    OwnedGroup failed;
    check(MPIX_Comm_get_failed(world_, failed.out()), "ask who died");
    int count = 0;
    check(MPI_Group_size(failed, &count), "read the group's size");
    if (count > deaths_seen_) {
      deaths_seen_ = count;
      for (const auto hub : hubs_of(failed)) {
        if (holders_.contains(hub)) lost_holder_ = hub;
        else if (dead_.insert(hub).second) untold_.push_back(hub);
      }
    }
    if (lost_holder_) throw RankLost(operation, "hub " + std::to_string(*lost_holder_) + " died");
#else
    (void)operation;
#endif
  }

  /// The hubs of a group of processes.
  std::vector<comm::HubId> hubs_of(MPI_Group group) const {
    int size = 0;
    check(MPI_Group_size(group, &size), "read the group's size");
    std::vector<int> here(static_cast<std::size_t>(size)), first(static_cast<std::size_t>(size));
    for (int i = 0; i < size; ++i) here[static_cast<std::size_t>(i)] = i;
    check(MPI_Group_translate_ranks(group, size, here.data(), original_, first.data()), "find out which hubs they are");
    return {first.begin(), first.end()};
  }

  MPI_Comm world_ = MPI_COMM_NULL, members_ = MPI_COMM_NULL;
  OwnedGroup original_;
  comm::HubId hub_ = 0;
  std::uint32_t node_ = 0;
  std::vector<comm::HubId> living_;
  std::set<comm::HubId> holders_;        // of a rank
  std::optional<comm::HubId> lost_holder_;   // known to be dead: until the repair every look says so
  int deaths_seen_ = 0;
  std::set<comm::HubId> dead_;           // hubs without a rank that died since the last repair
  std::vector<comm::HubId> untold_;      // those of them that check() has not returned yet
  bool can_repair_ = false, repaired_ = false;
};

}  // namespace

std::unique_ptr<Group> make_group(MPI_Comm communicator, const Options& options) {
  require_thread_level(options);
  return std::make_unique<MpiGroup>(communicator, options);
}

Context::Context(MPI_Comm communicator, Options options)
    : foreweave::Context(make_group(communicator, options), options) {}

MPI_Comm Context::comm() { return static_cast<MpiGroup&>(group()).members(); }

void Context::run(const std::function<void(MPI_Comm)>& body) {
  foreweave::Context::run(std::function<void()>([&] { body(comm()); }));
}

}  // namespace foreweave::mpi
