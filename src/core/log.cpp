#include "foreweave/core/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <memory>

namespace foreweave::log {
namespace {
spdlog::logger& logger() {
  static auto instance = [] {
    auto made = std::make_shared<spdlog::logger>("foreweave", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_level(spdlog::level::warn);
    made->set_pattern("[foreweave] %l: %v");
    return made;
  }();
  return *instance;
}
}  // namespace

void set_level(Level level) {
  constexpr std::array levels{spdlog::level::trace, spdlog::level::debug, spdlog::level::info,
                              spdlog::level::warn,  spdlog::level::err,   spdlog::level::off};
  logger().set_level(levels[static_cast<std::size_t>(level)]);
}

void set_rank(int rank) { logger().set_pattern("[foreweave " + std::to_string(rank) + "] %l: %v"); }

void debug(const std::string& text) { logger().debug(text); }
void info(const std::string& text) { logger().info(text); }
void warning(const std::string& text) { logger().warn(text); }
void error(const std::string& text) { logger().error(text); }

}  // namespace foreweave::log
