#pragma once
// StatusPage: a few numbers of this process in shared memory, which outlive it: how far a killed program had come.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>

#include "state/file_descriptor.hpp"

namespace foreweave::context {

class StatusPage {
 public:
  /// Opens or makes `file`; what an earlier process left there is in previous_step(). One process at a time has it, for
  /// as long as this object lives: two jobs of one name at once would take each other's snapshots for their own.
  /// Error(state) when another process still has it after `patience`; one that was killed needs a while to end.
  explicit StatusPage(const std::filesystem::path& file, std::chrono::milliseconds patience = std::chrono::seconds(10));
  ~StatusPage();
  StatusPage(const StatusPage&) = delete;
  StatusPage& operator=(const StatusPage&) = delete;

  std::uint64_t previous_step() const { return previous_; }
  /// Epochs over all starts of the job: the last that this hub joined, and the last that it worked in. All hubs of an
  /// epoch join it before any of them works in it: so a hub that did not join what another worked in was left behind.
  std::uint32_t joined() const { return epochs_[0].load(); }
  std::uint32_t active() const { return epochs_[1].load(); }
  void set_joined(std::uint32_t epoch) { epochs_[0].store(epoch); }
  void set_active(std::uint32_t epoch) { epochs_[1].store(epoch); }
  void set_step(std::uint64_t step) { step_->store(step, std::memory_order_relaxed); }

 private:
  state_detail::FileDescriptor file_;   ///< holds the lock
  std::atomic<std::uint64_t>* step_ = nullptr;
  std::atomic<std::uint32_t>* epochs_ = nullptr;
  std::uint64_t previous_ = 0;
};

}  // namespace foreweave::context
