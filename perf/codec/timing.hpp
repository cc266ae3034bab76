#pragma once
// Times of repeated work, and what is made of them.

#include <time.h>

#include <algorithm>
#include <vector>

namespace foreweave::perf {

struct Spread {
  double median = 0, low = 0, high = 0;
};

inline Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

/// One value for each repeat. Rates and shares are taken repeat by repeat, so that what disturbed a whole repeat
/// cancels.
class Samples {
 public:
  void add(double value) { values_.push_back(value); }
  Spread spread() const { return spread_of(values_); }
  /// `amount` over each value.
  Spread rate(double amount) const {
    std::vector<double> rates;
    for (const double value : values_) rates.push_back(amount / value);
    return spread_of(rates);
  }
  /// Each value of `other` over the value here.
  Spread share(const Samples& other) const {
    std::vector<double> shares;
    for (std::size_t i = 0; i < values_.size(); ++i) shares.push_back(other.values_[i] / values_[i]);
    return spread_of(shares);
  }

 private:
  std::vector<double> values_;
};

inline double clock_seconds(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// CPU time of this thread: on a busy machine, what others take does not count (what they do to caches does).
template <class Work>
double thread_seconds(const Work& work) {
  const double start = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
  work();
  return clock_seconds(CLOCK_THREAD_CPUTIME_ID) - start;
}

template <class Work>
double wall_seconds(const Work& work) {
  const double start = clock_seconds(CLOCK_MONOTONIC);
  work();
  return clock_seconds(CLOCK_MONOTONIC) - start;
}

}  // namespace foreweave::perf
