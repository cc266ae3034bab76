#pragma once
// What is the same for all regions of one capture.

#include <optional>

#include "state/write_tracker.hpp"

namespace foreweave::state_detail {

class CaptureMoment {
 public:
  explicit CaptureMoment(bool full) : full_(full) {}

  /// Everything is taken, against no base.
  bool full() const { return full_; }
  /// Asked at most once a capture, and only where a region is tracked or could be: it costs some 20 us.
  bool pinned_memory() {
    if (!pinned_) pinned_ = state_detail::pinned_memory();
    return *pinned_;
  }

 private:
  bool full_;
  std::optional<bool> pinned_;
};

}  // namespace foreweave::state_detail
