#pragma once
// One line that is written over and over, on standard error.

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>

namespace gray_scott {

class Progress {
 public:
  /// Shown when asked for, or on a terminal; only by the rank that is told to show it.
  Progress(std::int64_t total, bool shows, bool asked)
      : total_(total), on_(shows && (asked || isatty(STDERR_FILENO))) {}
  ~Progress() {
    if (shown_) std::fputc('\n', stderr);
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(std::int64_t step) {
    if (!on_) return;
    const auto now = std::chrono::steady_clock::now();
    if (shown_ && step < total_ && now - last_ < std::chrono::milliseconds(200)) return;
    if (!shown_) begin_ = now, first_ = step;
    last_ = now;
    shown_ = true;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double rate = seconds > 0 ? static_cast<double>(step - first_) / seconds : 0;
    std::fprintf(stderr, "\rgray_scott: step %lld of %lld, %3d %%, %.1f steps/s   ", static_cast<long long>(step),
                 static_cast<long long>(total_), total_ > 0 ? static_cast<int>(100 * step / total_) : 100, rate);
    std::fflush(stderr);
  }

 private:
  std::int64_t total_, first_ = 0;
  bool on_, shown_ = false;
  std::chrono::steady_clock::time_point begin_, last_;
};

}  // namespace gray_scott
