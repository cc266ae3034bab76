#pragma once
// Loops over independent pieces (segments of a region, mostly) on several threads.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace foreweave {

/// A team of threads that waits for loops: the calling thread and `threads` - 1 of its own, which live as long as the
/// team does, sleep between loops and have every signal blocked (signals are the program's).
///
/// Pieces are handed out in ascending order, one at a time, to whichever thread is free: threads that are slower or
/// start late take fewer. With one thread the loop runs on the caller, in order, and no thread is ever made.
class Parallel {
 public:
  using Body = std::function<void(std::uint64_t index, int member)>;

  /// @param threads at least 1, else Error(argument); Error(resource) when the system refuses threads.
  explicit Parallel(int threads);
  ~Parallel();
  Parallel(const Parallel&) = delete;
  Parallel& operator=(const Parallel&) = delete;

  int threads() const { return static_cast<int>(team_.size()) + 1; }

  /// Calls body(index, member) for every index below `count`, each once, and returns when all calls have. `member`
  /// (0 for the caller, below threads()) is the calling thread's number in the team: what each thread keeps for
  /// itself (scratch, counters) goes by it. What the calls wrote can be read by the caller afterwards.
  ///
  /// The first exception that a call throws is thrown again here, once the calls that had begun are over; pieces that
  /// were not handed out by then are left out. Thread safe: loops of several callers follow one another. A body must
  /// not start a loop on its own team: Error(state).
  void for_each(std::uint64_t count, const Body& body);

 private:
  void member(int number);
  void work(const Body& body, std::uint64_t count, int number);
  void close();

  std::mutex callers_;  ///< held by whoever runs a loop
  std::mutex mutex_;    ///< of everything below that is not atomic
  std::condition_variable begin_, end_;
  const Body* body_ = nullptr;  ///< null: no loop to join
  std::uint64_t count_ = 0;
  std::uint64_t loop_ = 0;  ///< number of the loop, so that no member takes part twice
  int working_ = 0;         ///< members in the loop, but for the caller
  bool stop_ = false;
  std::exception_ptr error_;
  std::atomic<std::uint64_t> next_{0};
  std::vector<std::thread> team_;
};

}  // namespace foreweave
