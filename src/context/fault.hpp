#pragma once
// Carrying out a planned fault (options.hpp, FaultPlan), for demonstrations and tests.

#include <filesystem>

#include "foreweave/context/options.hpp"

namespace foreweave::context {

/// Ends this process by SIGKILL: at once, without returning, or after the plan's delay from a thread of its own. With
/// memory_lost, `host_folder` is removed first, as if the node had gone. The moment is written to `record`
/// (wall clock, nanoseconds, as text).
void strike(const FaultPlan& plan, const std::filesystem::path& host_folder, const std::filesystem::path& record);

}  // namespace foreweave::context
