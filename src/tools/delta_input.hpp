#pragma once
// The two raw files that `foreweave delta` compares, and what they hold.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "foreweave/state/types.hpp"
#include "state/file_descriptor.hpp"

namespace foreweave::tools {

/// "f64", "f32", "i64", "i32", "u64", "u32", "u8". Error(argument) names the accepted ones.
ElementType parse_element_type(const std::string& text);
/// "256x256x256", slowest first. Error(argument) for anything but positive numbers with x between.
std::vector<std::uint64_t> parse_extents(const std::string& text);

/// Two regular files of one size, opened.
class DeltaInput {
 public:
  /// Error(absent) where a file is missing; Error(argument) when their sizes differ, are 0, are no multiple of the
  /// type's or (extents not empty) not what the extents say; Error(io) for all else.
  DeltaInput(std::filesystem::path old_file, std::filesystem::path new_file, ElementType type,
             const std::vector<std::uint64_t>& extents);
  std::uint64_t bytes() const { return bytes_; }
  /// Reads `bytes` at `offset` of each. Error(io) when a file has become shorter.
  void read(std::uint64_t offset, std::uint64_t bytes, std::byte* old_data, std::byte* new_data) const;

 private:
  struct File {
    std::string name;
    state_detail::FileDescriptor fd;
    std::uint64_t bytes = 0;
    explicit File(const std::filesystem::path& path);
    void read(std::uint64_t offset, std::uint64_t bytes, std::byte* data) const;
  };
  File old_, new_;
  std::uint64_t bytes_ = 0;
};

}  // namespace foreweave::tools
