#include "foreweave/context/context.hpp"

#include <algorithm>
#include <exception>
#include <fstream>
#include <iterator>

#include "context/context_impl.hpp"
#include "context/stores.hpp"
#include "foreweave/device/memory.hpp"

namespace foreweave {

namespace {

std::shared_ptr<const Key> read_key(const Options& options) {
  if (!options.key.empty()) return Key::from_hex(options.key);
  if (!options.key_file.empty()) return Key::from_file(options.key_file);
  return nullptr;
}

}  // namespace

Context::Impl::Impl(std::unique_ptr<Group> group_of_job, Options given)
    : options(std::move(given)), group(std::move(group_of_job)) {
  options.check();
  log::set_level(options.log);
  const auto hubs = static_cast<Rank>(group->living().size());
  ranks = hubs - static_cast<Rank>(options.spares);
  if (ranks < 1) {
    throw Error(ErrorCategory::argument, "option spares=" + std::to_string(options.spares),
                "only " + std::to_string(hubs) + " processes were started, and one at least must be no spare");
  }
  if (!options.enabled) {
    adopt_role(group->hub() < static_cast<comm::HubId>(ranks) ? std::optional(static_cast<Rank>(group->hub()))
                                                              : std::nullopt);
    std::vector<comm::HubId> roles;
    for (Rank r = 0; r < ranks; ++r) roles.push_back(static_cast<comm::HubId>(r));
    group->assign(roles);
    return;
  }
  key = read_key(options);
  faults = parse_faults(options.fault);
  if (key == nullptr && group->hub() == 0) log::info("no key: snapshots are not sealed (give key_file to seal them)");
  store = context::open_host_store(options, group->hub());
  parity_store = context::open_parity_store(options, group->hub());
  status = std::make_unique<context::StatusPage>(context::host_folder(options, group->hub()) / "status");
  earlier_steps = status->previous_step();
  if (!options.trace.empty()) open_trace();
  flusher = std::make_unique<context::Flusher>(
      options, group->hub(), *store, key, recorder.get(), [this] { keep_house(); },
      [this](const context::FlushDone& done) { hub->flushed(done); });
  hub = std::make_unique<context::Hub>(
      group->make_transport(options), *store, parity_store.get(),
      context::HubOptions{group->hub(), to_nanoseconds(options.heartbeat), to_nanoseconds(options.suspect_after)},
      recorder.get(), [this](Version) { flusher->wake(); });
  hub->schedule_flushes(context::FlushSchedule({options.file_store.empty() ? 0 : options.file_every,
                                                options.shared_store.empty() ? 0 : options.shared_every}),
                        [this](const context::FlushOrder& order) { flusher->order(order); });
  worker = std::make_unique<context::Worker>([this] { hub->notify(); });
  try {
    form_first();
  } catch (...) {
    flusher->finish(0);
    hub.reset();  // before the worker, which its progress thread knows
    throw;
  }
  if (options.attempt > 0) {
    recovery = trace::RecoveryRecord{};
    recovery->mode = trace::RecoveryMode::relaunch;
    recovery->begin =
        monotonic_of_wall(options.died_at != 0 ? static_cast<Nanoseconds>(options.died_at) : wall_now());
  }
}

Context::Impl::~Impl() {
  if (worker) worker->finish();  // ends what was captured; it needs the hub
  if (flusher) flusher->finish(std::uncaught_exceptions() ? 0 : to_nanoseconds(options.commit_wait));
  if (hub && !std::uncaught_exceptions()) {
    try {
      hub->leave();
    } catch (const std::exception& error) {
      log::warning(std::string("leaving the group: ") + error.what());
    }
  }
  hub.reset();
  recorder.reset();
}

std::string Context::Impl::command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  while (!text.empty() && text.back() == '\0') text.pop_back();
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

void Context::Impl::open_trace() {
  trace::RunInfo info;
  info.run_id = options.run_id;
  info.job = options.job;
  info.command_line = command_line();
  info.rank = group->hub() < static_cast<comm::HubId>(ranks) ? static_cast<Rank>(group->hub()) : -1;  // a spare
  info.ranks = ranks;
  info.hub = group->hub();
  info.hubs = static_cast<std::uint32_t>(group->living().size());
  info.attempt = static_cast<int>(options.attempt);
  for (const auto& entry : options.list()) info.options.emplace_back(entry.name, entry.value);
  recorder = std::make_unique<trace::Recorder>(options.trace, info);
  if (group->hub() == 0) trace::write_index(options.trace, info);
}
Context::Context(Options options) : Context(make_solo_group(), std::move(options)) {}
Context::Context(std::unique_ptr<Group> group, Options options)
    : impl_(std::make_unique<Impl>(std::move(group), std::move(options))) {}
Context::~Context() {
  if (impl_->options.enabled && !std::uncaught_exceptions()) {
    try {
      impl_->flush();
    } catch (const std::exception& error) {
      log::warning(std::string("the newest version may not be committed: ") + error.what());
    }
  }
}

Rank Context::rank() const {
  if (!impl_->rank) throw Error(ErrorCategory::state, "ask for the rank", "this process is a spare; use run()");
  return *impl_->rank;
}
Rank Context::ranks() const { return impl_->ranks; }
bool Context::is_spare() const { return !impl_->rank; }
const Options& Context::options() const { return impl_->options; }

void Context::protect(RegionSpec spec) {
  (void)rank();
  if (!impl_->options.enabled) return;
  if (spec.data != nullptr) spec.space = memory_space_of(spec.data);
  impl_->wait_for_worker();
  impl_->capture->add(spec);
}

void Context::unprotect(const std::string& name) {
  (void)rank();
  if (!impl_->options.enabled) return;
  impl_->wait_for_worker();
  impl_->capture->remove(name);
}

std::optional<Version> Context::restore() {
  (void)rank();
  return impl_->restore(std::nullopt);
}
void Context::restore(Version version) {
  (void)rank();
  impl_->restore(version);
}

void Context::step() {
  (void)rank();
  impl_->step();
}
std::uint64_t Context::steps() const { return impl_->steps; }
Version Context::checkpoint() {
  (void)rank();
  return impl_->checkpoint();
}
void Context::flush() { impl_->flush(); }
Version Context::committed() const { return impl_->hub ? impl_->hub->committed() : 0; }
void Context::run(const std::function<void()>& body) { impl_->run(body); }

Statistics Context::statistics() const {
  if (impl_->worker) impl_->wait_for_worker();  // it changes what a capture holds
  const auto held = impl_->capture ? impl_->capture->held_bytes() : 0;
  const std::lock_guard lock(impl_->statistics_mutex);
  auto result = impl_->statistics;
  result.held_bytes = held;
  if (impl_->hub) result.bytes_sent = impl_->hub->bytes_sent();
  return result;
}

Group& Context::group() { return *impl_->group; }

}  // namespace foreweave
