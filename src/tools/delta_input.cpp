#include "tools/delta_input.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "foreweave/core/error.hpp"

namespace foreweave::tools {
namespace {

constexpr std::array<std::pair<const char*, ElementType>, 7> type_names{{{"f64", ElementType::f64},
                                                                         {"f32", ElementType::f32},
                                                                         {"i64", ElementType::i64},
                                                                         {"i32", ElementType::i32},
                                                                         {"u64", ElementType::u64},
                                                                         {"u32", ElementType::u32},
                                                                         {"u8", ElementType::bytes}}};

[[noreturn]] void refuse(const std::string& what, const std::string& why) {
  throw Error(ErrorCategory::argument, "delta " + what, why);
}

}  // namespace

ElementType parse_element_type(const std::string& text) {
  std::string names;
  for (const auto& [name, type] : type_names) {
    if (text == name) return type;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  refuse("--type " + text, "no such type; there are " + names);
}

std::vector<std::uint64_t> parse_extents(const std::string& text) {
  std::vector<std::uint64_t> extents;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;;) {
    std::uint64_t extent = 0;
    const auto [next, error] = std::from_chars(at, end, extent);
    if (error != std::errc() || extent == 0 || (next != end && *next != 'x')) {
      refuse("--extents " + text, "extents are positive numbers with x between them, slowest first: 256x256x256");
    }
    extents.push_back(extent);
    if (next == end) return extents;
    at = next + 1;
  }
}

DeltaInput::File::File(const std::filesystem::path& path) : name(path.string()) {
  fd = state_detail::FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const int code = errno;
  if (!fd && (code == ENOENT || code == ENOTDIR)) {
    throw Error(ErrorCategory::absent, "delta " + name, "there is no such file", code);
  }
  if (!fd) state_detail::throw_io("delta " + name, code);
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) state_detail::throw_io("delta " + name);
  if (!S_ISREG(status.st_mode)) refuse(name, "is not a regular file");
  bytes = static_cast<std::uint64_t>(status.st_size);
}

void DeltaInput::File::read(std::uint64_t offset, std::uint64_t count, std::byte* data) const {
  while (count != 0) {
    // Linux reads at most 2 GiB in one call.
    const ssize_t got =
        ::pread(fd.get(), data, std::min<std::uint64_t>(count, std::uint64_t{1} << 30), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) state_detail::throw_io("delta " + name);
    if (got == 0) throw Error(ErrorCategory::io, "delta " + name, "has become shorter while it was read");
    data += got;
    offset += static_cast<std::uint64_t>(got);
    count -= static_cast<std::uint64_t>(got);
  }
}

DeltaInput::DeltaInput(std::filesystem::path old_file, std::filesystem::path new_file, ElementType type,
                       const std::vector<std::uint64_t>& extents)
    : old_(old_file), new_(new_file), bytes_(old_.bytes) {
  if (old_.bytes != new_.bytes) {
    refuse(old_.name + " " + new_.name,
           "the sizes differ: " + std::to_string(old_.bytes) + " and " + std::to_string(new_.bytes) + " bytes");
  }
  if (bytes_ == 0) refuse(old_.name, "is empty");
  const std::uint64_t width = element_width(type);
  if (bytes_ % width != 0) {
    refuse(old_.name, std::to_string(bytes_) + " bytes are no multiple of the type's " + std::to_string(width));
  }
  if (extents.empty()) return;
  const std::uint64_t elements = bytes_ / width;
  std::uint64_t product = 1;
  bool fits = true;
  std::string text;
  for (const std::uint64_t extent : extents) {
    fits = fits && !__builtin_mul_overflow(product, extent, &product);
    text += (text.empty() ? "" : "x") + std::to_string(extent);
  }
  if (!fits || product != elements) {
    const std::string found = fits ? std::to_string(product) : "more than 64 bits";
    refuse("--extents " + text, "their product is " + found + ", but the files have " + std::to_string(elements) +
                                    " elements of " + std::to_string(width) + " bytes");
  }
}

void DeltaInput::read(std::uint64_t offset, std::uint64_t bytes, std::byte* old_data, std::byte* new_data) const {
  old_.read(offset, bytes, old_data);
  new_.read(offset, bytes, new_data);
}

}  // namespace foreweave::tools
