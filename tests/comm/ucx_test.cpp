#include <gtest/gtest.h>

#include <barrier>
#include <thread>

#include "comm/conformance.hpp"
#include "foreweave/comm/transport.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave::comm {
namespace {

using namespace conformance;

UcxOptions options_of(HubId self, const std::string& tls, std::uint64_t rendezvous) {
  UcxOptions options;
  options.self = self;
  options.tls = tls;
  options.keepalive_seconds = 0.2;
  options.rendezvous_bytes = rendezvous;
  return options;
}

struct Setting {
  std::string name, tls;
  std::uint64_t rendezvous;
};

class Ucx : public testing::TestWithParam<Setting> {
 protected:
  std::unique_ptr<Transport> make(HubId self) {
    return make_ucx_transport(options_of(self, GetParam().tls, GetParam().rendezvous));
  }
  void on_threads(HubId hubs, const std::function<void(Transport&)>& program) {
    std::vector<std::unique_ptr<Transport>> ends;
    for (HubId hub = 0; hub < hubs; ++hub) ends.push_back(make(hub));
    for (auto& end : ends)
      for (auto& other : ends) end->connect(other->self(), other->address());
    std::barrier all(static_cast<std::ptrdiff_t>(hubs));
    std::vector<std::thread> threads;
    for (HubId hub = 0; hub < hubs; ++hub)
      threads.emplace_back([&, hub] {
        program(*ends[hub]);
        all.arrive_and_wait();
        ends[hub].reset();
      });
    for (auto& thread : threads) thread.join();
  }
};

TEST_P(Ucx, AllPairs) {
  for (const HubId hubs : {1u, 2u, 3u})
    on_threads(hubs, [&](Transport& transport) { all_pairs(transport, hubs, all_sizes(), 2); });
}
TEST_P(Ucx, BackPressure) {
  on_threads(3, [](Transport& transport) { back_pressure(transport, 3, 40, 1 << 20); });
}
TEST_P(Ucx, TokenRing) {
  on_threads(3, [](Transport& transport) { token_ring(transport, 3, 300); });
}

INSTANTIATE_TEST_SUITE_P(Settings, Ucx,
                         testing::Values(Setting{"tcp", "tcp,self", 0}, Setting{"tcp_rendezvous", "tcp,self", 16384},
                                         Setting{"shm", "posix,sysv,self", 0},
                                         Setting{"shm_rendezvous", "posix,sysv,self", 16384}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace foreweave::comm
