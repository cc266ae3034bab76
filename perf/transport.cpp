// The transports between two processes of one machine: half a round trip and the rate of a stream, 8 B to 4 MiB,
// beside plain MPI in the same run.
//
//   perf_transport [--repeats R] [--only WAY] [--json FILE]
//
// quick: --repeats 1
// Starts itself under mpirun -n 2. "asleep" sleeps in wait() when nothing moves, as a hub does; "spinning" never
// sleeps.

#include <mpi.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "foreweave/comm/transport.hpp"
#include "foreweave/core/clock.hpp"
#include "foreweave/interop/mpi.hpp"
#include "foreweave/interop/mpi_bootstrap.hpp"
#include "foreweave/interop/mpi_transport.hpp"

namespace {

using namespace foreweave;
using namespace foreweave::comm;

/// What the benchmark does with a way to carry messages. Blocks until done.
class Carrier {
 public:
  virtual ~Carrier() = default;
  virtual void send(const std::shared_ptr<const Bytes>& data) = 0;
  virtual void receive(std::size_t size) = 0;
  /// Sends `count` messages, as many at once as is good for it.
  virtual void stream(const std::shared_ptr<const Bytes>& data, int count) = 0;
};

class OverTransport final : public Carrier, TransportListener {
 public:
  OverTransport(std::unique_ptr<Transport> transport, bool sleeps)
      : transport_(std::move(transport)), sleeps_(sleeps) {
    const auto addresses = mpi::exchange_addresses(MPI_COMM_WORLD, transport_->address());
    peer_ = 1 - transport_->self();
    transport_->connect(peer_, addresses[peer_]);
  }
  void on_message(HubId, ByteView, ByteView) override { ++arrived_; }
  void on_peer_failed(HubId peer, const std::string& reason) override {
    throw Error(ErrorCategory::peer, "measure a transport", "hub " + std::to_string(peer) + ": " + reason);
  }
  void send(const std::shared_ptr<const Bytes>& data) override {
    transport_->send(peer_, {Bytes(16), *data, data});
    while (transport_->pending_bytes(peer_) > 0) turn();
  }
  void receive(std::size_t) override {
    while (arrived_ == taken_) turn();
    ++taken_;
  }
  void stream(const std::shared_ptr<const Bytes>& data, int count) override {
    for (int i = 0; i < count; ++i) {
      while (transport_->pending_bytes(peer_) > (8u << 20)) turn();
      transport_->send(peer_, {Bytes(16), *data, data});
    }
    while (transport_->pending_bytes(peer_) > 0) turn();
  }

 private:
  void turn() {
    if (!transport_->progress(*this) && sleeps_) transport_->wait(1'000'000);
  }
  std::unique_ptr<Transport> transport_;
  HubId peer_ = 0;
  bool sleeps_;
  std::uint64_t arrived_ = 0, taken_ = 0;
};

class PlainMpi final : public Carrier {
 public:
  PlainMpi() {
    int rank = 0;
    mpi::check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "ask for the rank");
    peer_ = 1 - rank;
  }
  void send(const std::shared_ptr<const Bytes>& data) override {
    mpi::check(MPI_Send(data->data(), static_cast<int>(data->size()), MPI_BYTE, peer_, 0, MPI_COMM_WORLD), "send");
  }
  void receive(std::size_t size) override {
    buffer_.resize(std::max(size, buffer_.size()));
    mpi::check(
        MPI_Recv(buffer_.data(), static_cast<int>(size), MPI_BYTE, peer_, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
        "receive");
  }
  void stream(const std::shared_ptr<const Bytes>& data, int count) override {
    std::deque<MPI_Request> open;
    for (int i = 0; i < count; ++i) {
      open.emplace_back();
      mpi::check(
          MPI_Isend(data->data(), static_cast<int>(data->size()), MPI_BYTE, peer_, 0, MPI_COMM_WORLD, &open.back()),
          "send");
      while (open.size() > 16) finish_first(open);
    }
    while (!open.empty()) finish_first(open);
  }

 private:
  static void finish_first(std::deque<MPI_Request>& open) {
    mpi::check(MPI_Wait(&open.front(), MPI_STATUS_IGNORE), "send");
    open.pop_front();
  }
  int peer_ = 0;
  Bytes buffer_;
};

struct Figure {
  double median = 0, low = 0, high = 0;
};
Figure figure_of(std::vector<double> values) {
  std::ranges::sort(values);
  return {values[values.size() / 2], values.front(), values.back()};
}

/// Seconds of processor time this process has used.
double processor_time() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

/// Microseconds of half a round trip.
double latency(Carrier& carrier, bool first, const std::shared_ptr<const Bytes>& data, int rounds) {
  const auto begin = monotonic_now();
  for (int round = 0; round < rounds; ++round) {
    if (first) carrier.send(data);
    carrier.receive(data->size());
    if (!first) carrier.send(data);
  }
  return static_cast<double>(monotonic_now() - begin) / 2e3 / rounds;
}

/// GB/s of a stream from the first to the second, to the answer that all of it came.
double rate(Carrier& carrier, bool first, const std::shared_ptr<const Bytes>& data, int count) {
  const auto answer = std::make_shared<const Bytes>(8);
  const auto begin = monotonic_now();
  if (first) {
    carrier.stream(data, count);
    carrier.receive(8);
  } else {
    for (int i = 0; i < count; ++i) carrier.receive(data->size());
    carrier.send(answer);
  }
  return static_cast<double>(data->size()) * count / static_cast<double>(monotonic_now() - begin);
}

struct Way {
  std::string id, title;
  std::function<std::unique_ptr<Carrier>()> make;
};

int run(int argc, char** argv) {
  CLI::App app{"Transports between two processes of this machine"};
  int repeats = 5;
  std::string json, only;
  app.add_option("--only", only,
                 "one way alone: ucx_tcp, ucx_tcp_spinning, ucx_shm, ucx_shm_spinning, mpi, mpi_plain");
  app.add_option("--repeats", repeats, "how often each is measured; the median counts")->check(CLI::PositiveNumber);
  app.add_option("--json", json, "write the figures there");
  CLI11_PARSE(app, argc, argv);
  int rank = 0, ranks = 0;
  mpi::check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "ask for the rank");
  mpi::check(MPI_Comm_size(MPI_COMM_WORLD, &ranks), "ask for the size of the communicator");
  if (ranks != 2) throw Error(ErrorCategory::argument, "measure transports", "it takes two ranks: mpirun -n 2");

  const auto ucx = [&](const std::string& tls, bool sleeps) {
    return [=]() -> std::unique_ptr<Carrier> {
      UcxOptions options;
      options.self = static_cast<HubId>(rank);
      options.tls = tls;
      return std::make_unique<OverTransport>(make_ucx_transport(options), sleeps);
    };
  };
  const std::vector<Way> ways{
      {"ucx_tcp", "UCX tcp, asleep", ucx("tcp,self", true)},
      {"ucx_tcp_spinning", "UCX tcp, spinning", ucx("tcp,self", false)},
      {"ucx_shm", "UCX shared memory, asleep", ucx("posix,sysv,self", true)},
      {"ucx_shm_spinning", "UCX shared memory, spinning", ucx("posix,sysv,self", false)},
      {"mpi", "MPI transport, spinning",
       []() -> std::unique_ptr<Carrier> {
         return std::make_unique<OverTransport>(mpi::make_mpi_transport(MPI_COMM_WORLD), false);
       }},
      {"mpi_plain", "plain MPI", []() -> std::unique_ptr<Carrier> { return std::make_unique<PlainMpi>(); }},
  };
  std::string results;
  const auto note = [&](const std::string& id, const Figure& figure, const char* unit) {
    char line[256];
    std::snprintf(line, sizeof line,
                  "%s  {\"id\": \"transport.%s\", \"value\": %.6g, \"unit\": \"%s\", \"spread\": [%.6g, %.6g]}",
                  results.empty() ? "" : ",\n", id.c_str(), figure.median, unit, figure.low, figure.high);
    results += line;
  };
  for (const Way& way : ways) {
    if (!only.empty() && only != way.id) continue;
    const auto carrier = way.make();
    if (rank == 0)
      std::printf("%s\n  %9s  %26s  %26s  %9s\n", way.title.c_str(), "bytes", "half a round trip, µs", "stream, GB/s",
                  "CPU s/GB");
    for (const std::size_t size : {8u, 64u, 512u, 4096u, 32768u, 262144u, 1048576u, 4194304u}) {
      const auto data = std::make_shared<const Bytes>(size);
      const int rounds = size <= 4096 ? 500 : size <= 262144 ? 100 : 20;
      const int count = size <= 4096 ? 2000 : static_cast<int>(std::max<std::size_t>(16, (64u << 20) / size));
      std::vector<double> latencies, rates, costs;
      latency(*carrier, rank == 0, data, rounds / 10 + 1);  // warm
      for (int repeat = 0; repeat < repeats; ++repeat) {
        latencies.push_back(latency(*carrier, rank == 0, data, rounds));
        const double before = processor_time();
        rates.push_back(rate(*carrier, rank == 0, data, count));
        double mine = processor_time() - before, both = 0;
        mpi::check(MPI_Allreduce(&mine, &both, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD), "add processor times");
        costs.push_back(both / (static_cast<double>(size) * count / 1e9));
      }
      const Figure half = figure_of(latencies), stream = figure_of(rates), cost = figure_of(costs);
      if (rank == 0)
        std::printf("  %9zu  %8.2f (%7.2f … %7.2f)  %8.3f (%7.3f … %7.3f)  %9.2f\n", size, half.median, half.low,
                    half.high, stream.median, stream.low, stream.high, cost.median);
      note(way.id + ".latency." + std::to_string(size), half, "us");
      note(way.id + ".cost." + std::to_string(size), cost, "s/GB");
      note(way.id + ".rate." + std::to_string(size), stream, "GB/s");
    }
    mpi::check(MPI_Barrier(MPI_COMM_WORLD), "end one way");
  }
  if (rank == 0 && !json.empty()) {
    std::ofstream out(json);
    out << "[\n" << results << "\n]\n";
    if (!out.flush()) throw Error(ErrorCategory::io, "write " + json, "is the disk full?");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (!std::getenv("OMPI_COMM_WORLD_SIZE") && !std::getenv("PMIX_RANK")) {
    std::vector<std::string> words{"mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none", "/proc/self/exe"};
    char self[4096] = {};
    if (readlink("/proc/self/exe", self, sizeof self - 1) > 0) words.back() = self;
    words.insert(words.end(), argv + 1, argv + argc);
    if (geteuid() == 0) words.insert(words.begin() + 1, "--allow-run-as-root");
    std::vector<char*> command;
    for (auto& word : words) command.push_back(word.data());
    command.push_back(nullptr);
    execvp(command[0], command.data());
    std::perror("start mpirun");
    return 1;
  }
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int status = 1;
  try {
    status = run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "perf_transport: %s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);  // the other waits for this one
  }
  MPI_Finalize();
  return status;
}
