#include "state/write_tracker.hpp"

#if defined(__linux__)

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>

#include "foreweave/core/clock.hpp"

namespace foreweave::state_detail {
namespace {

// From Linux's <linux/fs.h> and <linux/userfaultfd.h> (6.7); the headers of Debian 12 are older.
struct ScanRange {
  std::uint64_t start = 0, end = 0, categories = 0;
};
struct ScanRequest {
  std::uint64_t size = sizeof(ScanRequest);
  std::uint64_t flags = 0;
  std::uint64_t start = 0, end = 0, walk_end = 0;
  std::uint64_t ranges = 0, range_count = 0, max_pages = 0;
  std::uint64_t inverted = 0, all_of = 0, any_of = 0, told = 0;
};
static_assert(sizeof(ScanRequest) == 96 && sizeof(ScanRange) == 24);
constexpr unsigned long scan_request = _IOWR('f', 16, ScanRequest);
constexpr std::uint64_t scan_protects = 1 << 0, scan_demands_watched = 1 << 1;
constexpr std::uint64_t page_written = 1 << 1, page_present = 1 << 3;
constexpr std::uint64_t feature_unpopulated = 1 << 13, feature_async = 1 << 15;
constexpr int user_mode_only = 1;

/// Ranges that one call of the kernel can tell. More are asked for again.
constexpr std::size_t ranges_a_call = 512;

std::string text_of(int code) { return std::strerror(code); }

/// A userfaultfd with what is needed; -1: `why`. No privilege is asked for: with asynchronous protection nothing ever
/// waits for user space, which is what privilege is about.
int open_watcher(std::string& why) {
  const int descriptor = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | user_mode_only));
  if (descriptor < 0) {
    why = "userfaultfd: " + text_of(errno);
    return -1;
  }
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = feature_unpopulated | feature_async;
  if (::ioctl(descriptor, UFFDIO_API, &api) != 0) {
    why = "this kernel has no asynchronous write protection (Linux 6.7 has): " + text_of(errno);
    ::close(descriptor);
    return -1;
  }
  return descriptor;
}

/// Whether all of `from` … `to` is private anonymous memory that can be written; else `why`.
bool is_private_anonymous(std::uintptr_t from, std::uintptr_t to, std::string& why) {
  std::ifstream maps("/proc/self/maps");
  std::uintptr_t covered = from;
  for (std::string line; covered < to && std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    std::array<char, 5> rights{};
    unsigned long inode = 0;
    int name_at = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %lu %n", &begin, &end, rights.data(), &inode,
                    &name_at) != 4) {
      continue;
    }
    if (end <= covered) continue;
    if (begin > covered) break;
    const std::string name = line.substr(std::min<std::size_t>(static_cast<std::size_t>(name_at), line.size()));
    const bool anonymous = inode == 0 && (name.empty() || name == "[heap]" || name.starts_with("[anon:"));
    if (!anonymous || rights[1] != 'w' || rights[3] != 'p') {
      why = "the memory is not private and anonymous: " + line;
      return false;
    }
    covered = end;
  }
  if (covered < to) why = "not all of the memory is mapped, or /proc/self/maps cannot be read";
  return covered >= to;
}

int register_range(int watcher, std::uintptr_t from, std::uintptr_t to) {
  uffdio_register request{};
  request.range = {from, to - from};
  request.mode = UFFDIO_REGISTER_MODE_WP;
  return ::ioctl(watcher, UFFDIO_REGISTER, &request) == 0 ? 0 : errno;
}

}  // namespace

WriteTracker::WriteTracker(std::uintptr_t data, std::uint64_t begin, std::uint64_t end, int watcher, int pagemap)
    : data_(data), begin_(begin), end_(end), watcher_(watcher), pagemap_(pagemap), process_(::getpid()) {}

std::uint64_t WriteTracker::page() {
  static const auto size = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

std::unique_ptr<WriteTracker> WriteTracker::watch(const void* data, std::uint64_t bytes, std::string& why) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t size = page();
  const std::uintptr_t from = (address + size - 1) / size * size, to = (address + bytes) / size * size;
  if (from >= to) {
    why = "it has no whole page";
    return nullptr;
  }
  if (!is_private_anonymous(from, to, why)) return nullptr;
  const int watcher = open_watcher(why);
  if (watcher < 0) return nullptr;
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) {
    why = "/proc/self/pagemap: " + text_of(errno);
    ::close(watcher);
    return nullptr;
  }
  std::unique_ptr<WriteTracker> tracker(new WriteTracker(address, from - address, to - address, watcher, pagemap));
  if (const int code = register_range(watcher, from, to); code != 0) {
    why = code == EBUSY ? "some of it is watched already (regions that overlap, or a userfaultfd of the program)"
                        : "userfaultfd register: " + text_of(code);
    return nullptr;
  }
  // A kernel that has the protection has the scan as well; still, try it while nothing depends on it.
  if (!tracker->collect(tracker->begin(), tracker->begin() + size, [](auto, auto) {}) ||
      !tracker->release(tracker->begin(), tracker->begin() + size)) {
    why = "ioctl(PAGEMAP_SCAN): " + text_of(errno);
    return nullptr;
  }
  return tracker;
}

WriteTracker::~WriteTracker() {
  // Closing ends the protection and the registration, wherever the memory is by now.
  ::close(watcher_);
  ::close(pagemap_);
}

bool WriteTracker::collect(std::uint64_t from, std::uint64_t to, const Written& written) {
  if (::getpid() != process_) return false;
  std::array<ScanRange, ranges_a_call> ranges;
  std::uint64_t at = data_ + from;
  const std::uint64_t end = data_ + to;
  while (at < end) {
    ScanRequest request;
    request.flags = scan_protects | scan_demands_watched;
    request.start = at;
    request.end = end;
    request.ranges = reinterpret_cast<std::uintptr_t>(ranges.data());
    request.range_count = ranges.size();
    // Written, or not present: a page that was dropped reads as zeros without ever having been written. (Pages that
    // are swapped out are told along with them, and compared.)
    request.inverted = page_present;
    request.any_of = page_written | page_present;
    const long told = ::ioctl(pagemap_, scan_request, &request);
    if (told < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    for (long i = 0; i < told; ++i) {
      const ScanRange& range = ranges[static_cast<std::size_t>(i)];
      written(range.start - data_, range.end - data_);
    }
    if (request.walk_end <= at) return false;
    at = request.walk_end;
  }
  return true;
}

bool WriteTracker::release(std::uint64_t from, std::uint64_t to) {
  if (::getpid() != process_) return false;
  uffdio_writeprotect request{};
  request.range = {data_ + from, to - from};
  request.mode = 0;
  while (::ioctl(watcher_, UFFDIO_WRITEPROTECT, &request) != 0) {
    if (errno != EAGAIN && errno != EINTR) return false;
  }
  return true;
}

double fault_nanoseconds() {
  static const double measured = [] {
    constexpr std::uint64_t pages = 64;
    const std::uint64_t page = WriteTracker::page(), bytes = pages * page;
    void* const raw = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return 0.0;
    double least = 0;
    std::string why;
    if (const auto tracker = WriteTracker::watch(raw, bytes, why)) {
      auto* const memory = static_cast<volatile std::byte*>(raw);
      // The least of a few: a measurement on a busy machine is only ever too long.
      for (int turn = 0; turn < 4; ++turn) {
        for (std::uint64_t i = 0; i < bytes; i += page) memory[i] = std::byte{1};
        if (!tracker->collect(0, bytes, [](auto, auto) {})) break;
        const auto begin = monotonic_now();
        for (std::uint64_t i = 0; i < bytes; i += page) memory[i] = std::byte{2};
        const double each = static_cast<double>(monotonic_now() - begin) / pages;
        least = turn == 0 ? each : std::min(least, each);
      }
    }
    ::munmap(raw, bytes);
    return least;
  }();
  return measured;
}

bool pinned_memory() {
  const int file = ::open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (file < 0) return true;
  std::array<char, 8192> text;
  const auto count = ::read(file, text.data(), text.size() - 1);
  ::close(file);
  if (count <= 0) return true;
  text[static_cast<std::size_t>(count)] = '\0';
  const char* const line = std::strstr(text.data(), "\nVmPin:");
  return line == nullptr || std::strtoull(line + 7, nullptr, 10) != 0;
}

}  // namespace foreweave::state_detail

#else  // no such thing elsewhere

namespace foreweave::state_detail {

std::unique_ptr<WriteTracker> WriteTracker::watch(const void*, std::uint64_t, std::string& why) {
  why = "this system has no userfaultfd";
  return nullptr;
}
WriteTracker::~WriteTracker() = default;
std::uint64_t WriteTracker::page() { return 4096; }
bool WriteTracker::collect(std::uint64_t, std::uint64_t, const Written&) { return false; }
bool WriteTracker::release(std::uint64_t, std::uint64_t) { return false; }
double fault_nanoseconds() { return 0; }
bool pinned_memory() { return true; }

}  // namespace foreweave::state_detail

#endif
