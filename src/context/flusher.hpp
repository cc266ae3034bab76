#pragma once
// Flusher: the thread that brings committed versions from the host tier to files, near ones and shared ones, and keeps
// house: folds chains that have grown long and erases what no kept version needs, in the host tier too.
//
// It runs at low priority and a program never waits for it, but at its end. Between two writes it looks at the host tier,
// so that a slow file system does not fill the memory, and at the nearer tier, so that a slow one does not hold it up.

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "context/flush_schedule.hpp"
#include "context/token_bucket.hpp"
#include "foreweave/comm/transport.hpp"
#include "foreweave/context/options.hpp"
#include "foreweave/core/seal.hpp"
#include "foreweave/state/chain.hpp"
#include "foreweave/state/packed_store.hpp"
#include "foreweave/trace/recorder.hpp"

namespace foreweave::context {

/// The versions among `versions` (ascending) that stay in a file tier: the newest and `keep` before it, the first of each
/// `every` (0: none), and `complete`, which is the newest that every rank has there.
std::set<Version> kept_versions(const std::vector<Version>& versions, std::size_t keep, std::uint64_t every,
                                Version complete);

/// All calls are thread safe.
class Flusher {
 public:
  /// @param host the host tier; like `recorder` (which may be null) it must outlive the flusher.
  /// @param keep_host keeps house in the host tier; called on the flush thread or by catch_up(), by one at a
  /// time and never while a Hold lives.
  /// @param done is called on the flush thread when an ordered version is in its tier, or could not be brought there.
  Flusher(const Options& options, comm::HubId self, Store& host, std::shared_ptr<const Key> key,
          trace::Recorder* recorder, std::function<void()> keep_host, std::function<void(const FlushDone&)> done);
  ~Flusher();   ///< what is under way ends at once

  /// Which chains are flushed.
  void set_rank(Rank rank);
  /// There is a newer committed version: keep house. Returns at once.
  void wake();
  /// Keeps house in the host tier on the caller's thread where the flush thread has fallen behind with it, so that the
  /// host tier stays bounded whatever holds that up. Waits for no file.
  void catch_up();
  /// What the coordinator wants. Returns at once. The version stays in the host tier until it is flushed; see pending().
  void order(const FlushOrder& order);
  /// The versions that are still to be flushed, which the host tier must keep.
  std::set<Version> pending() const;

  /// While it lives no store is folded or erased from: for who reads them.
  class Hold {
   public:
    explicit Hold(Flusher* flusher);   ///< null: nothing to hold
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Flusher* flusher_;
  };

  /// Brings the newest committed version to every tier, for `patience` at most, and ends the thread.
  void finish(Nanoseconds patience);

 private:
  struct Tier {
    std::unique_ptr<PackedStore> store;   ///< null: no such tier
    std::atomic<Version> ordered{0};      ///< 0: nothing
    std::atomic<Version> complete{0};
    std::atomic<std::uint64_t> passed_over{0};   ///< not in the trace yet
  };
  struct Link;
  struct Interrupted {};

  void work();
  void keep_host_house();
  void keep_host_house_now();   ///< host_house_ is held
  /// Between two writes.
  void breathe(std::uint64_t bytes);
  void flush(std::size_t tier, Version version, bool ordered);
  std::vector<const Store*> sources(std::size_t tier) const;
  std::optional<std::vector<Link>> missing_links(std::size_t tier, SnapshotId id) const;
  PackedSize bring(std::size_t tier, SnapshotId id);
  PackedSize bring_full(PackedStore& to, const Chain& chain);
  void keep_tier_house(std::size_t tier);
  void drop_damaged(PackedStore& store, Rank rank);
  void warn_once(const std::string& text);

  const Options options_;
  Store& host_;
  std::shared_ptr<const Key> key_;
  trace::Recorder* recorder_;
  std::function<void()> keep_host_;
  std::function<void(const FlushDone&)> done_;
  std::array<Tier, file_tiers> tiers_;
  TokenBucket bucket_;
  std::atomic<Rank> rank_{-1};
  std::string warned_;

  std::mutex house_;                       ///< held while something in files is folded or erased, or held off
  std::mutex host_house_;                  ///< the same of the host tier; taken after house_
  std::atomic<int> holders_{0};
  bool keeping_ = false;                   ///< the flush thread has house_
  std::size_t flushing_ = 0;               ///< the tier that the flush thread writes to

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int> house_due_{0};          ///< how often that was said since house was kept
  std::atomic<bool> stop_{false}, finishing_{false};
  std::atomic<Nanoseconds> until_{0};
  std::thread thread_;   // last: it uses the others
};

}  // namespace foreweave::context
