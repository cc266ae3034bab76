#pragma once
// A folder for harnesses whose code under test reads files.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "foreweave/core/bytes.hpp"

namespace foreweave::fuzz {

/// Under TMPDIR, which tests/fuzz/run clears when a harness dies.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("foreweave-fuzz-" + std::to_string(::getpid()))) { clear(); }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  void clear() {
    std::filesystem::create_directories(path_);
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) std::filesystem::remove_all(entry, ignored);
  }
  void write(const std::string& name, ByteView bytes) const {
    std::ofstream(path_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace foreweave::fuzz
