#pragma once
// Which parts of a range of memory were written, told by the kernel: userfaultfd write protection without a handler
// (UFFD_FEATURE_WP_ASYNC) and ioctl(PAGEMAP_SCAN), Linux 6.7 or newer.
//
// A page is protected when it is collected. The first write to it afterwards traps into the kernel, which takes the
// protection off and goes on (about 1 us, measured by fault_nanoseconds()); the next collection finds it without.
//
// Writes that go through page tables are seen, whoever makes them: this process, read() into the memory, ptrace, another
// process by process_vm_writev. Not seen are writes past them: by a device into memory that was pinned before the
// collection (RDMA, cudaHostRegister, io_uring's fixed buffers), by another mapping of shared memory. So only private
// anonymous memory is tracked, and callers must ask pinned_memory() at each collection.
//
// Memory that was unmapped, mapped anew or moved in between has lost its protection; collect() then says so. Memory
// that was dropped (MADV_DONTNEED) counts as written. A forked child is told that tracking is lost: both descriptors
// belong to the parent's memory.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace foreweave::state_detail {

class WriteTracker {
 public:
  /// Readies the whole system pages within `data` … `data + bytes` for being tracked; none is protected yet. The memory
  /// before the first and after the last whole page is the caller's to compare: begin() and end() say where.
  /// Null when it cannot be; `why` says so then, for the log. Not an error.
  static std::unique_ptr<WriteTracker> watch(const void* data, std::uint64_t bytes, std::string& why);
  ~WriteTracker();
  WriteTracker(const WriteTracker&) = delete;
  WriteTracker& operator=(const WriteTracker&) = delete;

  /// Bytes of a system page, the unit of tracking.
  static std::uint64_t page();
  /// The tracked part, as offsets from `data`.
  std::uint64_t begin() const { return begin_; }
  std::uint64_t end() const { return end_; }

  using Written = std::function<void(std::uint64_t from, std::uint64_t to)>;
  /// Calls written(from, to) for the runs of pages within `from` … `to` (offsets, multiples of the page from begin())
  /// that are not protected, and protects them, in one step: a write on another thread is either told now or next time.
  /// False: the memory is no longer what it was. Nothing is known of it then, and the tracker is of no use any more.
  [[nodiscard]] bool collect(std::uint64_t from, std::uint64_t to, const Written& written);
  /// Takes the protection off `from` … `to`, so that writing there costs nothing. False: as for collect().
  [[nodiscard]] bool release(std::uint64_t from, std::uint64_t to);

 private:
  WriteTracker(std::uintptr_t data, std::uint64_t begin, std::uint64_t end, int watcher, int pagemap);

  std::uintptr_t data_;
  std::uint64_t begin_, end_;
  int watcher_;  ///< userfaultfd; one for each tracker, so that the kernel refuses memory that another one has
  int pagemap_;
  int process_;  ///< whose memory it is
};

/// What the first write to a protected page costs in this process, measured once. 0 where nothing can be tracked.
double fault_nanoseconds();

/// True when this process has memory pinned for devices now (VmPin of /proc/self/status), or when that cannot be told.
/// Drivers that pin without accounting for it (CUDA's) are not seen here.
bool pinned_memory();

}  // namespace foreweave::state_detail
