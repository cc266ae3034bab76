#include "context/status_page.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "foreweave/core/error.hpp"

namespace foreweave::context {
namespace {
constexpr std::size_t page_bytes = 4096;

[[noreturn]] void fail(const std::filesystem::path& file) {
  throw Error(ErrorCategory::io, "open the status page " + file.string(), std::strerror(errno), errno);
}
}  // namespace

StatusPage::StatusPage(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) fail(file);
  // The blocks are reserved here, so that no later store can find the device full.
  const int reserved = ::posix_fallocate(descriptor, 0, page_bytes);
  void* memory = MAP_FAILED;
  if (reserved == 0) memory = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  const int problem = reserved != 0 ? reserved : errno;
  ::close(descriptor);
  if (memory == MAP_FAILED) {
    errno = problem;
    fail(file);
  }
  step_ = static_cast<std::atomic<std::uint64_t>*>(memory);
  epochs_ = reinterpret_cast<std::atomic<std::uint32_t>*>(step_ + 1);
  previous_ = step_->load();
}

StatusPage::~StatusPage() { ::munmap(step_, page_bytes); }

}  // namespace foreweave::context
