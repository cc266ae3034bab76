#include "context/flusher.hpp"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "context/stores.hpp"
#include "foreweave/core/log.hpp"
#include "state/link_fit.hpp"

namespace foreweave::context {
namespace {

constexpr Nanoseconds wait_slice = 10'000'000;   // how soon a wait for bandwidth sees that something changed

constexpr int most_behind = 2;   // commits since house was kept, before others do it

/// Half a normal thread's claim to a processor would be felt, and none at all would let a lock of a store, which others
/// wait for, be held for long.
constexpr int niceness = 10;

void lower_priority() {
  const auto thread = static_cast<id_t>(::syscall(SYS_gettid));
  (void)::setpriority(PRIO_PROCESS, thread, niceness);   // of this thread, on Linux
  constexpr int who_process = 1, idle_class = 3, class_shift = 13;   // linux/ioprio.h, which not every system has
  (void)::syscall(SYS_ioprio_set, who_process, 0, idle_class << class_shift);
}

std::string tier_name(std::size_t tier) { return tier == 0 ? "file" : "shared"; }

}  // namespace

std::set<Version> kept_versions(const std::vector<Version>& versions, std::size_t keep, std::uint64_t every,
                                Version complete) {
  std::set<Version> kept;
  for (std::size_t i = 0; i < versions.size(); ++i) {
    const auto version = versions[i];
    const bool newest = versions.size() - i <= keep + 1;
    // The first of its block of `every`; that of the first block, which has one version less, would be the first of all.
    const bool first = every != 0 && version >= every && (i == 0 || versions[i - 1] / every != version / every);
    if (newest || first || version == complete) kept.insert(version);
  }
  return kept;
}

/// A snapshot that a tier lacks.
struct Flusher::Link {
  StoredSnapshot stored;
  std::shared_ptr<const SnapshotBytes> bytes;
};

Flusher::Flusher(const Options& options, comm::HubId self, Store& host, std::shared_ptr<const Key> key,
                 trace::Recorder* recorder, std::function<void()> keep_host,
                 std::function<void(const FlushDone&)> done)
    : options_(options),
      host_(host),
      key_(std::move(key)),
      recorder_(recorder),
      keep_host_(std::move(keep_host)),
      done_(std::move(done)),
      bucket_(options.flush_bandwidth * 1'000'000) {
  for (std::size_t tier = 0; tier < file_tiers; ++tier) {
    auto& one = tiers_[tier];
    one.store = open_file_tier(options, static_cast<FileTier>(tier), self, [this](std::uint64_t bytes) { breathe(bytes); });
    if (one.store) one.complete = one.store->committed();
  }
  thread_ = std::thread([this] { work(); });
}

Flusher::~Flusher() { finish(0); }

void Flusher::set_rank(Rank rank) { rank_ = rank; }

void Flusher::wake() {
  {
    const std::lock_guard lock(mutex_);
    ++house_due_;
  }
  wake_.notify_all();
}

void Flusher::order(const FlushOrder& order) {
  auto& tier = tiers_[static_cast<std::size_t>(order.tier)];
  if (!tier.store) return;
  {
    const std::lock_guard lock(mutex_);
    if (order.version != 0) tier.ordered = order.version;
    if (order.complete != 0) tier.complete = order.complete;
    tier.passed_over += order.passed_over;
  }
  wake_.notify_all();
  if (order.passed_over != 0) {
    log::info("the " + tier_name(static_cast<std::size_t>(order.tier)) + " tier is slower than captures: " +
              std::to_string(order.passed_over) + " versions before " + std::to_string(order.version) +
              " are passed over");
  }
}

std::set<Version> Flusher::pending() const {
  std::set<Version> versions;
  for (const auto& tier : tiers_) {
    if (const auto ordered = tier.ordered.load(); ordered != 0) versions.insert(ordered);
  }
  return versions;
}

Flusher::Hold::Hold(Flusher* flusher) : flusher_(flusher) {
  if (flusher_ == nullptr) return;
  ++flusher_->holders_;   // who keeps house gives way
  flusher_->house_.lock();
  flusher_->host_house_.lock();
}

Flusher::Hold::~Hold() {
  if (flusher_ == nullptr) return;
  flusher_->host_house_.unlock();
  flusher_->house_.unlock();
  --flusher_->holders_;
  flusher_->wake();
}

void Flusher::finish(Nanoseconds patience) {
  {
    const std::lock_guard lock(mutex_);
    until_ = monotonic_now() + patience;
    finishing_ = patience > 0;
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Flusher::work() {
  lower_priority();
  const auto ordered = [&] {
    return std::any_of(tiers_.begin(), tiers_.end(), [](const Tier& tier) { return tier.ordered != 0; });
  };
  while (!stop_) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || house_due_ != 0 || ordered(); });
    }
    try {
      keep_host_house();
      for (std::size_t tier = 0; tier < file_tiers; ++tier) {
        if (const auto version = tiers_[tier].ordered.load(); version != 0 && !stop_) flush(tier, version, true);
      }
    } catch (const Interrupted&) {
    }
    // Somebody holds, or keeps the host tier's house just now.
    if (holders_ != 0 || house_due_ != 0) {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, std::chrono::nanoseconds(wait_slice));
    }
  }
  if (!finishing_) return;
  try {
    const auto newest = host_.committed();
    for (std::size_t tier = 0; tier < file_tiers && newest != 0; ++tier) flush(tier, newest, false);
  } catch (const Interrupted&) {
    log::warning("flush: the end did not wait any longer; files may lack the newest version (option commit_wait)");
  } catch (const Error& error) {
    log::warning(std::string("flush: ") + error.what());
  }
}

void Flusher::keep_host_house() {
  if (house_due_ == 0 || holders_ != 0) return;
  if (const std::unique_lock lock(host_house_, std::try_to_lock); lock) keep_host_house_now();
}

void Flusher::keep_host_house_now() {
  house_due_ = 0;
  try {
    keep_host_();
  } catch (const std::exception& error) {
    log::warning(std::string("keeping house: ") + error.what());
  }
}

void Flusher::catch_up() {
  if (house_due_ < most_behind) return;
  std::unique_lock lock(host_house_, std::defer_lock);
  while (!lock.try_lock()) {
    if (holders_ != 0) return;   // who holds may wait for this thread
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (house_due_ != 0) keep_host_house_now();
}

void Flusher::breathe(std::uint64_t bytes) {
  const auto begin = monotonic_now();
  const auto end = begin + bucket_.take(bytes, begin);
  for (;;) {
    const auto now = monotonic_now();
    if (stop_ && (!finishing_ || now > until_)) throw Interrupted{};
    if (keeping_ && holders_ != 0) throw Interrupted{};   // somebody waits to read
    if (!stop_) {
      keep_host_house();
      for (std::size_t nearer = 0; nearer < flushing_ && !keeping_; ++nearer) {
        if (const auto version = tiers_[nearer].ordered.load(); version != 0) flush(nearer, version, true);
      }
    }
    if (now >= end) return;
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, std::chrono::nanoseconds(std::min(end - now, wait_slice)));
  }
}

void Flusher::warn_once(const std::string& text) {
  if (text == warned_) return;
  warned_ = text;
  log::warning(text);
}

/// @param ordered the coordinator waits for it.
void Flusher::flush(std::size_t number, Version version, bool ordered) {
  auto& tier = tiers_[number];
  if (!tier.store) return;
  const SnapshotId id{rank_, version};
  if (id.rank < 0 && !ordered) return;   // a spare, of which nothing is expected
  struct Flushing {
    std::size_t& tier;
    const std::size_t before;
    ~Flushing() { tier = before; }
  } const flushing{flushing_, std::exchange(flushing_, number)};
  trace::FlushRecord record;
  record.tier = static_cast<FileTier>(number);
  record.rank = id.rank;
  record.version = version;
  record.begin = monotonic_now();
  try {
    if (id.rank < 0) throw Error(ErrorCategory::state, "flush version " + std::to_string(version), "this hub has no rank");
    const auto size = bring(number, id);
    record.ok = true;
    record.bytes = size.snapshot;
    record.unique = size.unique;
    record.stored = size.stored;
  } catch (const Interrupted&) {
    throw;   // the order stands
  } catch (const std::exception& error) {
    warn_once("flush " + to_string(id) + " to the " + tier_name(number) + " tier: " + error.what());
  }
  record.end = monotonic_now();
  record.passed_over = tier.passed_over.exchange(0);
  if (recorder_ != nullptr) recorder_->add(record);
  if (ordered) {
    auto expected = version;
    tier.ordered.compare_exchange_strong(expected, 0);   // unless another was ordered meanwhile
    done_({record.tier, version, record.ok});
  }
  try {
    keep_tier_house(number);
  } catch (const Interrupted&) {
    if (stop_) throw;
  } catch (const std::exception& error) {
    warn_once(std::string("keeping house in the ") + tier_name(number) + " tier: " + error.what());
  }
}

/// Host memory, then the tiers before this one.
std::vector<const Store*> Flusher::sources(std::size_t number) const {
  std::vector<const Store*> stores{&host_};
  for (std::size_t other = 0; other < number; ++other) {
    if (tiers_[other].store) stores.push_back(tiers_[other].store.get());
  }
  return stores;
}

/// The links of the chain of `id` that the tier lacks, the newest first; nothing when they are not there to be had.
std::optional<std::vector<Flusher::Link>> Flusher::missing_links(std::size_t number, SnapshotId id) const {
  auto stores = sources(number);
  stores.insert(stores.begin(), tiers_[number].store.get());
  std::shared_ptr<const Snapshot> above;
  // A copy that is damaged, or of another state under the same number, is as good as none.
  const auto find = [&](const Store& store, Version version) -> std::pair<Link, std::shared_ptr<const Snapshot>> {
    const SnapshotId wanted{id.rank, version};
    try {
      auto bytes = store.open(wanted);
      if (!bytes) return {};
      auto snapshot = Snapshot::parse(bytes, key_.get(), to_string(wanted) + " in " + store.name());
      state_detail::check_identity(*snapshot, wanted, store.name());
      if (above) state_detail::check_fit(*snapshot, *above, "flush " + to_string(id));
      return {Link{{wanted, snapshot->manifest().base, bytes->size()}, bytes}, snapshot};
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::format) throw;
      log::debug(error.what());
      return {};
    }
  };
  std::vector<Link> missing;
  for (auto version = id.version; version != 0;) {
    std::shared_ptr<const Snapshot> found;
    for (const auto* store : stores) {
      auto [link, snapshot] = find(*store, version);
      if (!snapshot) continue;
      if (store != stores.front()) missing.push_back(std::move(link));
      found = std::move(snapshot);
      break;
    }
    // Also below what the tier has: a link of it may have been found damaged, and dropped.
    if (!found) return std::nullopt;
    version = found->manifest().base;
    above = std::move(found);
  }
  return missing;
}

PackedSize Flusher::bring(std::size_t number, SnapshotId id) {
  auto& to = *tiers_[number].store;
  // A fold between two links, here or by another process, looks like a missing one: a second look finds what is now.
  auto missing = missing_links(number, id);
  if (!missing) missing = missing_links(number, id);
  if (!missing) return bring_full(to, Chain::open(sources(number), id, key_.get()));
  // What the links together would take, against one full snapshot instead.
  std::uint64_t links = 0, full = 0;
  for (const auto& link : *missing) links += link.stored.bytes;
  std::map<Version, StoredSnapshot> in_host;
  for (const auto& stored : host_.list()) {
    if (stored.id.rank == id.rank) in_host.emplace(stored.id.version, stored);
  }
  for (auto at = in_host.find(id.version); at != in_host.end(); at = in_host.find(at->second.base)) {
    if (at->second.base == 0) {
      full = at->second.bytes;
      break;
    }
  }
  if (missing->size() > 1 && full != 0 && links > full + full / 4) {
    try {
      return bring_full(to, Chain::open(host_, id, key_.get()));
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::absent && error.category() != ErrorCategory::format) throw;
      log::debug(error.what());   // erased meanwhile: the links are open already
    }
  }
  PackedSize size;
  for (auto link = missing->rbegin(); link != missing->rend(); ++link) {
    const auto one = to.put(link->stored.id, link->stored.base, *link->bytes);
    size.snapshot += one.snapshot;
    size.unique += one.unique;
    size.stored += one.stored;
  }
  return size;
}

/// The whole state as one full snapshot.
PackedSize Flusher::bring_full(PackedStore& to, const Chain& chain) {
  const auto bytes = fold(chain, to, key_);
  const auto packed = to.packed_size({chain.manifest().rank, chain.manifest().version});
  return packed ? *packed : PackedSize{bytes, bytes, bytes};   // sealed
}

void Flusher::keep_tier_house(std::size_t number) {
  auto& tier = tiers_[number];
  if (holders_ != 0) return;
  const std::unique_lock lock(house_, std::try_to_lock);
  if (!lock) return;
  struct Keeping {
    bool& flag;
    explicit Keeping(bool& given) : flag(given) { flag = true; }
    ~Keeping() { flag = false; }
  } const keeping(keeping_);
  const auto complete = tier.complete.load();
  if (complete > tier.store->committed()) tier.store->set_committed(complete);
  std::map<Rank, std::vector<Version>> versions;
  for (const auto& stored : tier.store->list()) versions[stored.id.rank].push_back(stored.id.version);
  for (const auto& [rank, list] : versions) {
    const auto kept = kept_versions(list, options_.keep, options_.keep_every, complete);
    try {
      retain(*tier.store, rank, *kept.rbegin(), kept, options_.max_chain, key_);
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::format) throw;
      drop_damaged(*tier.store, rank);
    }
  }
}

/// Erases the snapshots that are damaged, so that nothing more is built on them: the next flush brings what its chain then
/// lacks.
void Flusher::drop_damaged(PackedStore& store, Rank rank) {
  for (const auto& stored : store.list()) {
    if (stored.id.rank != rank) continue;
    breathe(0);
    try {
      if (const auto bytes = store.open(stored.id)) Snapshot::parse(bytes, key_.get(), to_string(stored.id))->verify();
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::format) throw;
      log::warning("dropped from " + store.name() + ": " + error.what());
      store.erase(stored.id);
    }
  }
}

}  // namespace foreweave::context
