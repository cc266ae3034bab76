#pragma once
// StatusPage: a few numbers of this process in shared memory, which outlive it: how far a killed program had come.

#include <atomic>
#include <cstdint>
#include <filesystem>

namespace foreweave::context {

class StatusPage {
 public:
  /// Opens or makes `file`; what an earlier process left there is in previous_step().
  explicit StatusPage(const std::filesystem::path& file);
  ~StatusPage();
  StatusPage(const StatusPage&) = delete;
  StatusPage& operator=(const StatusPage&) = delete;

  std::uint64_t previous_step() const { return previous_; }
  void set_step(std::uint64_t step) { step_->store(step, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t>* step_ = nullptr;
  std::uint64_t previous_ = 0;
};

}  // namespace foreweave::context
