// Context: the program's steps, and what becomes of the job when a rank is lost.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "context/context_impl.hpp"
#include "context/stores.hpp"

namespace foreweave {

namespace {
constexpr Nanoseconds progress_every = 200'000'000;
constexpr int gave_up_status = 86;  // exit status when only a relaunch can help
}  // namespace

void Context::Impl::strike(std::uint64_t at_step, Version at_version) {
  for (auto& plan : faults) {
    // The process that began as the rank, not one that took its place.
    if (plan.attempt != static_cast<int>(options.attempt) || group->hub() != static_cast<comm::HubId>(plan.rank))
      continue;
    if ((plan.step == 0 || plan.step != at_step) && (plan.version == 0 || plan.version != at_version)) continue;
    plan.attempt = -1;  // once
    const auto job = std::filesystem::path(options.store) / options.job;
    context::strike(plan, context::host_folder(options, group->hub()),
                    job / ("fault-" + std::to_string(options.attempt)));
  }
}

void Context::Impl::show_progress() {
  const auto now = monotonic_now();
  if (now - progress_shown < progress_every || ::isatty(STDERR_FILENO) == 0) return;
  progress_shown = now;
  std::fprintf(stderr, "\rstep %llu, version %llu, committed %llu ", static_cast<unsigned long long>(steps),
               static_cast<unsigned long long>(newest), static_cast<unsigned long long>(hub->committed()));
}

void Context::Impl::step() {
  ++steps;
  if (!options.enabled) return;
  status->set_step(steps);
  strike(steps, 0);
  if (options.progress && *rank == 0) show_progress();
  if (options.every > 0 && steps % options.every == 0) checkpoint();
}

void Context::Impl::flush() {
  if (!options.enabled || !rank) return;
  wait_until([&] { return worker->idle() && (hub->committed() >= newest || newest == abandoned); },
             "commit of version " + std::to_string(newest));
  worker->rethrow();
}

void Context::Impl::say_outcome(const std::string& text) {
  if (!options.enabled) return;
  const auto folder = std::filesystem::path(options.store) / options.job;
  const auto file = folder / ("outcome-" + std::to_string(options.attempt));
  const auto temporary = file.string() + ".tmp-" + std::to_string(group->hub());
  std::ofstream(temporary) << text << '\n';
  std::error_code problem;
  std::filesystem::rename(temporary, file, problem);
  if (problem) log::warning("write " + file.string() + ": " + problem.message());
}

void Context::Impl::run(const std::function<void()>& body) {
  for (;;) {
    if (!rank) {
      if (group->wait_as_spare() == Group::SpareCall::finished) return;
      repair_or_give_up();
      continue;
    }
    try {
      body();
      flush();
      if (group->agree_members(true)) {
        group->release_spares();
        if (*rank == 0) say_outcome("finished");
        return;
      }
    } catch (const RankLost& lost) {
      log::info(lost.what());
      if (!group->can_repair()) give_up(lost);
    } catch (const std::exception& error) {
      // An ordinary error would only happen again: say so, for foreweave-run.
      say_outcome(std::string("error: ") + error.what());
      throw;
    }
    repair_or_give_up();
  }
}

void Context::Impl::repair_or_give_up() {
  try {
    repair();
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::resource) throw;
    give_up(error);
  }
}

void Context::Impl::give_up(const Error& why) {
  if (options.recover == RecoverChoice::none) {
    say_outcome(std::string("error: ") + why.what());
    throw why;
  }
  say_outcome(std::string("lost: ") + why.what());  // mpirun's exit status does not always tell
  log::error(std::string(why.what()) + "; ending the job, so that foreweave-run can start it again");
  drain_trace([](trace::Recorder& trace) { trace.drain(); });
  group->abort(gave_up_status);
  std::abort();  // not reached; abort() of a group is virtual, and the compiler does not see that it never returns
}

}  // namespace foreweave
