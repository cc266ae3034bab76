// timeout: 300
// slow
// Hubs in processes of their own, all-pairs traffic over UCX, and one of them killed, stopped or replaced at a seeded
// moment: no survivor dies, hangs, or gets anything wrong. FOREWEAVE_TEST_TRIES=N makes more tries than the default.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <random>

#include "comm/child_process.hpp"
#include "comm/conformance.hpp"

namespace foreweave::comm {
namespace {

using namespace conformance;
using test::await_file;
using test::Child;
using test::Folder;

constexpr HubId hubs = 4, victim = 1;
constexpr std::uint64_t enough = 40;  ///< messages from each survivor after the fault
enum Exit : int { good = 0, damaged = 2, hung = 3, lost_a_survivor = 4, threw = 5 };

std::string file_of(const char* what, HubId hub, int life) {
  return std::string(what) + "." + std::to_string(hub) + "." + std::to_string(life);
}

/// One hub. Runs until the fault has happened and enough came from everyone after it.
class Hub {
 public:
  Hub(HubId self, int life, std::string mode, std::filesystem::path folder, const UcxOptions& options)
      : self_(self),
        mode_(std::move(mode)),
        folder_(std::move(folder)),
        transport_(make_ucx_transport(options)),
        checker_(self),
        random_(self * 100 + static_cast<unsigned>(life)) {
    test::publish(folder_ / file_of("address", self, life), transport_->address());
    for (HubId peer = 0; peer < hubs; ++peer) {
      const int newest = life == 2 && peer == self ? 2 : 1;
      const auto file = folder_ / file_of("address", peer, newest);
      if (!await_file(file)) throw Error(ErrorCategory::absent, "wait for an address", file.string());
      transport_->connect(peer, test::contents(file));
    }
    again_ = life == 2;
    if (mode_ == "replace") checker_.may_restart = victim;
    life_ = life;
  }

  int run() {
    const Nanoseconds end = monotonic_now() + 30 * second;
    while (!done()) {
      if (monotonic_now() > end) return describe(hung);
      feed();
      if (!transport_->progress(checker_)) transport_->wait(2'000'000);
      if (!checker_.complaints.empty()) return describe(damaged);
      for (HubId peer = 0; peer < hubs; ++peer)
        if (checker_.failures[peer] > 0 && peer != victim && checker_.finished_from[peer] == 0)
          return describe(lost_a_survivor);
      say_ready();
      notice_fault();
    }
    transport_.reset();  // must end too
    return good;
  }

 private:
  bool counts(HubId peer) const { return peer != victim || again_ || mode_ == "none"; }

  void feed() {
    if (finished_) return;
    for (HubId peer = 0; peer < hubs; ++peer) {
      if (checker_.failures[peer] > 0 && !(peer == victim && reconnected_)) continue;
      while (transport_->pending_bytes(peer) < (1u << 20)) {
        const unsigned kind = random_() % 10;
        const std::size_t size = kind < 6 ? random_() % 1000 : kind < 9 ? random_() % 65536 : random_() % (1u << 20);
        const auto n = number_[peer]++;
        auto data = std::make_shared<const Bytes>(pattern(self_, peer, n, size));
        const ByteView view = *data;
        transport_->send(peer, {head_of(Kind::data, n, size), view, std::move(data)});
        if (peer == self_) break;
      }
    }
  }

  /// Ready: everyone was heard, so that every connection stands.
  void say_ready() {
    if (ready_) return;
    for (HubId peer = 0; peer < hubs; ++peer)
      if (checker_.received_from[peer] == 0) return;
    ready_ = true;
    test::publish(folder_ / file_of("ready", self_, life_), {});
  }

  /// The transport told, or (where it does not notice every death) the test, as heartbeats do for a real hub.
  bool victim_is_gone() {
    if (checker_.failures[victim] == 0 && std::filesystem::exists(folder_ / "told")) {
      transport_->disconnect(victim);
      checker_.failures[victim] = 1;
    }
    return checker_.failures[victim] > 0;
  }

  void notice_fault() {
    if (happened_) return;
    if (mode_ == "kill") happened_ = victim_is_gone();
    if (mode_ == "stop") happened_ = std::filesystem::exists(folder_ / "stopped");
    if (mode_ == "replace") {
      const auto file = folder_ / file_of("address", victim, 2);
      if (self_ == victim) {
        happened_ = true;
      } else if (victim_is_gone() && std::filesystem::exists(file)) {
        number_[victim] = 0;
        transport_->connect(victim, test::contents(file));
        again_ = reconnected_ = happened_ = true;
      }
    }
    if (happened_) base_ = checker_.received_from;
  }

  bool done() {
    if (!happened_) return false;
    bool all = true;
    for (HubId peer = 0; peer < hubs; ++peer)
      if (counts(peer) && checker_.finished_from[peer] == 0) {
        all = false;
        if (!finished_ && checker_.received_from[peer] < base_[peer] + enough) return false;
      }
    if (!finished_) {
      finished_ = true;
      for (HubId peer = 0; peer < hubs; ++peer)
        if (counts(peer)) transport_->send(peer, {head_of(Kind::finished, 0, 0), {}, nullptr});
      return false;
    }
    for (HubId peer = 0; peer < hubs; ++peer)
      if (counts(peer) && checker_.failures[peer] == 0) all &= transport_->pending_bytes(peer) == 0;
    return all;
  }

  int describe(Exit status) {
    std::fprintf(stderr, "hub %u of mode %s: exit %d, fault noticed %d, finished %d\n", self_, mode_.c_str(), status,
                 happened_, finished_);
    for (HubId peer = 0; peer < hubs; ++peer)
      std::fprintf(
          stderr, "  peer %u: received %llu (base %llu), sent %llu, pending %llu, finished %d, failed %d (%s)\n",
          peer, static_cast<unsigned long long>(checker_.received_from[peer]),
          static_cast<unsigned long long>(base_[peer]), static_cast<unsigned long long>(number_[peer]),
          static_cast<unsigned long long>(transport_->pending_bytes(peer)),
          static_cast<int>(checker_.finished_from[peer]), checker_.failures[peer], checker_.failed[peer].c_str());
    for (const auto& complaint : checker_.complaints) std::fprintf(stderr, "  %s\n", complaint.c_str());
    return status;
  }

  HubId self_;
  std::string mode_;
  std::filesystem::path folder_;
  std::unique_ptr<Transport> transport_;
  Checker checker_;
  std::mt19937 random_;
  std::map<HubId, std::uint64_t> number_, base_;
  bool again_ = false, reconnected_ = false, happened_ = false, finished_ = false, ready_ = false;
  int life_ = 1;
};

int child_main(char** argv) {
  try {
    UcxOptions options;
    options.self = static_cast<HubId>(std::stoul(argv[2]));
    options.tls = argv[6];
    options.rendezvous_bytes = std::stoul(argv[7]);
    options.keepalive_seconds = 0.2;
    Hub hub(options.self, std::stoi(argv[3]), argv[4], argv[5], options);
    return hub.run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hub %s: %s\n", argv[2], error.what());
    return threw;
  }
}

struct Setting {
  std::string name, tls;
  bool notices;  ///< the transport tells of every death by itself
  int tries;
};

class Survival : public testing::TestWithParam<Setting> {
 protected:
  int tries() const {
    const char* more = std::getenv("FOREWEAVE_TEST_TRIES");
    return more ? std::atoi(more) : GetParam().tries;
  }
  Child start(const Folder& folder, HubId hub, const std::string& mode, int life = 1) {
    return Child(
        {"--hub", std::to_string(hub), std::to_string(life), mode, folder.path().string(), GetParam().tls, "0"});
  }
  std::vector<Child> start_all(const Folder& folder, const std::string& mode) {
    std::vector<Child> children;
    for (HubId hub = 0; hub < hubs; ++hub) children.push_back(start(folder, hub, mode));
    return children;
  }
  static void expect_survivors(std::vector<Child>& children, unsigned seed) {
    for (HubId hub = 0; hub < hubs; ++hub) {
      if (hub == victim) continue;
      EXPECT_EQ(children[hub].wait(std::chrono::seconds(40)), good) << "hub " << hub << ", seed " << seed;
    }
  }
};

TEST_P(Survival, APeerIsKilled) {
  for (int seed = 0; seed < tries(); ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    Folder folder;
    auto children = start_all(folder, "kill");
    for (HubId hub = 0; hub < hubs; ++hub) ASSERT_TRUE(await_file(folder.path() / file_of("ready", hub, 1)));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 200'000));
    children[victim].signal(SIGKILL);
    EXPECT_EQ(children[victim].wait(std::chrono::seconds(40)), -SIGKILL);  // a zombie passes for alive
    if (!GetParam().notices) test::publish(folder.path() / "told", {});
    expect_survivors(children, static_cast<unsigned>(seed));
    if (HasFailure()) return;
  }
}

TEST_P(Survival, APeerIsStopped) {
  for (int seed = 0; seed < (tries() + 1) / 2; ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed) + 1000);
    Folder folder;
    auto children = start_all(folder, "stop");
    for (HubId hub = 0; hub < hubs; ++hub) ASSERT_TRUE(await_file(folder.path() / file_of("ready", hub, 1)));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 200'000));
    children[victim].signal(SIGSTOP);
    test::publish(folder.path() / "stopped", {});
    expect_survivors(children, static_cast<unsigned>(seed));
    if (HasFailure()) return;
  }
}

TEST_P(Survival, AKilledPeerIsReplaced) {
  for (int seed = 0; seed < (tries() + 1) / 2; ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed) + 2000);
    Folder folder;
    auto children = start_all(folder, "replace");
    for (HubId hub = 0; hub < hubs; ++hub) ASSERT_TRUE(await_file(folder.path() / file_of("ready", hub, 1)));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 200'000));
    children[victim].signal(SIGKILL);
    EXPECT_EQ(children[victim].wait(std::chrono::seconds(40)), -SIGKILL);  // a zombie passes for alive
    if (!GetParam().notices) test::publish(folder.path() / "told", {});
    Child second = start(folder, victim, "replace", 2);
    expect_survivors(children, static_cast<unsigned>(seed));
    EXPECT_EQ(second.wait(std::chrono::seconds(40)), good) << "the replacement, seed " << seed;
    if (HasFailure()) return;
  }
}

// Shared memory is measured on demand (FOREWEAVE_TEST_SHM=1), not promised: see docs/transports.md.
std::vector<Setting> settings() {
  std::vector<Setting> all{{"tcp", "tcp,self", true, 6}};
  if (std::getenv("FOREWEAVE_TEST_SHM") != nullptr) all.push_back({"shm", "posix,sysv,self", false, 4});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Settings, Survival, testing::ValuesIn(settings()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace foreweave::comm

int main(int argc, char** argv) {
  if (argc == 8 && std::string(argv[1]) == "--hub") return foreweave::comm::child_main(argv);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
