#pragma once
// Worker: one thread that does, in order, what the program should not wait for.

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace foreweave::context {

class Worker {
 public:
  /// @param done is called after each task, on the worker's thread.
  explicit Worker(std::function<void()> done);
  ~Worker();
  /// Runs what is queued to its end and ends the thread; what is posted later is ignored.
  void finish();
  void post(std::function<void()> task);
  bool idle() const;
  /// Rethrows the first error a task ended with, once.
  void rethrow();

 private:
  void work();
  std::function<void()> done_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::exception_ptr error_;
  bool busy_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace foreweave::context
