#include "state/huge_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "foreweave/core/error.hpp"

namespace foreweave::state_detail {
namespace {

constexpr std::uint64_t huge_page = std::uint64_t{2} << 20;

std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

/// Touches every page. Advice and population may be refused by older kernels; touching never is.
void populate(std::byte* data, std::uint64_t bytes, std::uint64_t page) {
#ifdef MADV_POPULATE_WRITE
  if (::madvise(data, bytes, MADV_POPULATE_WRITE) == 0) return;
#endif
  for (std::uint64_t at = 0; at < bytes; at += page) *static_cast<volatile std::byte*>(data + at) = std::byte{0};
}

}  // namespace

HugeMemory::HugeMemory(std::uint64_t bytes) {
  if (bytes == 0) return;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const bool huge = bytes >= huge_page;
  mapped_ = round_up(bytes, page);
  // Huge pages start at their own multiples: map one more and give back what sticks out on both sides.
  const std::uint64_t asked = mapped_ + (huge ? huge_page : 0);
  void* const raw = ::mmap(nullptr, asked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) {
    const int code = errno;
    mapped_ = 0;
    throw Error(ErrorCategory::resource, "allocate " + std::to_string(bytes) + " bytes for bases and staging",
                "the system has not so much memory: protect less, or lower the staging size", code);
  }
  auto* const begin = static_cast<std::byte*>(raw);
  data_ = begin;
  if (huge) {
    const auto address = reinterpret_cast<std::uintptr_t>(begin);
    const std::uint64_t skip = round_up(address, huge_page) - address;
    data_ = begin + skip;
    if (skip != 0) ::munmap(begin, skip);
    const std::uint64_t rest = asked - skip - mapped_;
    if (rest != 0) ::munmap(data_ + mapped_, rest);
    ::madvise(data_, mapped_, MADV_HUGEPAGE);
  }
  mapping_ = data_;
  populate(data_, mapped_, page);
}

HugeMemory::~HugeMemory() {
  if (mapping_ != nullptr) ::munmap(mapping_, mapped_);
}

}  // namespace foreweave::state_detail
