#include "context/fault.hpp"

#include <chrono>
#include <csignal>
#include <fstream>
#include <thread>

#include "foreweave/core/clock.hpp"

namespace foreweave::context {
namespace {

void die(const FaultPlan& plan, const std::filesystem::path& host_folder, const std::filesystem::path& record) {
  std::error_code ignored;   // nothing can be reported from here
  if (plan.memory_lost) {
    for (int i = 0; i < 3; ++i) std::filesystem::remove_all(host_folder, ignored);   // the worker may be adding to it
  }
  std::ofstream(record) << wall_now() << std::endl;
  std::raise(SIGKILL);
}

}  // namespace

void strike(const FaultPlan& plan, const std::filesystem::path& host_folder, const std::filesystem::path& record) {
  if (plan.after_ms <= 0) return die(plan, host_folder, record);
  std::thread([=] {
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(plan.after_ms));
    die(plan, host_folder, record);
  }).detach();
}

}  // namespace foreweave::context
