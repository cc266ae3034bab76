#include "core/parallel.hpp"

#include <pthread.h>
#include <signal.h>

#include <string>
#include <system_error>
#include <utility>

#include "foreweave/core/error.hpp"

namespace foreweave {
namespace {

/// The team whose loop this thread is in: what would wait for itself is refused instead.
thread_local const Parallel* inside = nullptr;

class Inside {
 public:
  explicit Inside(const Parallel* team) : before_(std::exchange(inside, team)) {}
  ~Inside() { inside = before_; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  const Parallel* before_;
};

}  // namespace

Parallel::Parallel(int threads) {
  const std::string operation = "start a team of " + std::to_string(threads) + " threads";
  if (threads < 1) throw Error(ErrorCategory::argument, operation, "there must be at least 1");
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited by the threads made here
  try {
    team_.reserve(static_cast<std::size_t>(threads - 1));
    for (int number = 1; number < threads; ++number) team_.emplace_back([this, number] { member(number); });
  } catch (const std::system_error& error) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    close();
    throw Error(ErrorCategory::resource, operation, error.what(), error.code().value());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Parallel::~Parallel() { close(); }

void Parallel::close() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  begin_.notify_all();
  for (std::thread& thread : team_) thread.join();
  team_.clear();
}

void Parallel::for_each(std::uint64_t count, const Body& body) {
  if (inside == this) throw Error(ErrorCategory::state, "start a loop", "this thread is in a loop of the same team");
  const Inside in(this);
  const std::lock_guard one_loop(callers_);
  {
    const std::lock_guard lock(mutex_);
    body_ = &body;
    count_ = count;
    next_ = 0;
    ++loop_;
  }
  if (count > 1) begin_.notify_all();
  work(body, count, 0);
  std::exception_ptr error;
  {
    std::unique_lock lock(mutex_);
    body_ = nullptr;  // who has not begun by now (on a busy machine) has nothing to do, and is not waited for
    end_.wait(lock, [&] { return working_ == 0; });
    error = std::exchange(error_, nullptr);
  }
  if (error) std::rethrow_exception(error);
}

void Parallel::member(int number) {
  pthread_setname_np(pthread_self(), "foreweave-team");
  const Inside in(this);
  std::uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    begin_.wait(lock, [&] { return stop_ || (loop_ != seen && body_ != nullptr); });
    if (stop_) return;
    seen = loop_;
    ++working_;
    const auto& body = *body_;
    const std::uint64_t count = count_;
    lock.unlock();
    work(body, count, number);
    lock.lock();
    if (--working_ == 0) end_.notify_one();
  }
}

void Parallel::work(const Body& body, std::uint64_t count, int number) {
  for (;;) {
    const std::uint64_t index = next_.fetch_add(1, std::memory_order_relaxed);
    if (index >= count) return;
    try {
      body(index, number);
    } catch (...) {
      next_ = count;  // nobody takes another piece
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }
}

}  // namespace foreweave
