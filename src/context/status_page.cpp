#include "context/status_page.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "foreweave/core/error.hpp"

namespace foreweave::context {

using namespace state_detail;

namespace {

constexpr std::size_t page_bytes = 4096;
constexpr auto look_again = std::chrono::milliseconds(20);

/// A lock of the process, not of the descriptor: a child that it forked must not hold it on.
void lock(const FileDescriptor& file, const std::string& operation, std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    struct flock whole {};
    whole.l_type = F_WRLCK;
    if (::fcntl(file.get(), F_SETLK, &whole) == 0) return;
    if (errno == EINTR) continue;
    if (errno != EACCES && errno != EAGAIN) throw_io(operation);
    if (std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(look_again);
      continue;
    }
    const bool known = ::fcntl(file.get(), F_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    throw Error(ErrorCategory::state, operation,
                (known ? "process " + std::to_string(whole.l_pid) : std::string("another process")) +
                    " has it: the job is running already; give this one another name (option job)");
  }
}

}  // namespace

StatusPage::StatusPage(const std::filesystem::path& file, std::chrono::milliseconds patience) {
  const std::string operation = "open the status page " + file.string();
  file_ = FileDescriptor(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file_) throw_io(operation);
  lock(file_, operation, patience);
  // The blocks are reserved here, so that no later store can find the device full.
  if (const int code = ::posix_fallocate(file_.get(), 0, page_bytes); code != 0) throw_io(operation, code);
  void* const memory = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
  if (memory == MAP_FAILED) throw_io(operation);
  step_ = static_cast<std::atomic<std::uint64_t>*>(memory);
  epochs_ = reinterpret_cast<std::atomic<std::uint32_t>*>(step_ + 1);
  previous_ = step_->load();
}

StatusPage::~StatusPage() { ::munmap(step_, page_bytes); }

}  // namespace foreweave::context
