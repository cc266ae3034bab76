#include <cstdlib>

#include "foreweave/context/group.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave {
namespace {

class SoloGroup final : public Group {
 public:
  comm::HubId hub() const override { return 0; }
  std::vector<comm::HubId> living() const override { return {0}; }
  std::uint32_t node() const override { return 0; }
  std::vector<std::pair<comm::HubId, Bytes>> gather_all(ByteView mine) override {
    return {{0, Bytes(mine.begin(), mine.end())}};
  }
  std::vector<Bytes> gather_members(ByteView mine) override { return {Bytes(mine.begin(), mine.end())}; }
  bool agree_all(bool mine) override { return mine; }
  bool agree_members(bool mine) override { return mine; }
  void assign(const std::vector<comm::HubId>&) override {}
  bool can_repair() const override { return false; }
  void repair() override { throw Error(ErrorCategory::state, "repair the group", "one process alone has none"); }
  std::vector<comm::HubId> check() override { return {}; }
  SpareCall wait_as_spare() override { return SpareCall::finished; }
  void release_spares() override {}
  std::unique_ptr<comm::Transport> make_transport(const Options&) override { return network_.attach(0); }
  [[noreturn]] void abort(int status) override { std::_Exit(status); }

 private:
  comm::LocalNetwork network_;
};

}  // namespace

std::unique_ptr<Group> make_solo_group() { return std::make_unique<SoloGroup>(); }

}  // namespace foreweave
