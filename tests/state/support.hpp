#pragma once
// What the tests of the state layer share: a folder that goes away, bytes, and errors by category.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <random>
#include <string>

#include "foreweave/core/bytes.hpp"
#include "foreweave/core/error.hpp"
#include "foreweave/state/store.hpp"

namespace foreweave::test {

/// A fresh folder in shared memory (or where asked), removed with all that is in it.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& where = "/dev/shm") {
    std::string name = where + "/foreweave-test-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::filesystem::path path_;
};

inline std::unique_ptr<Store> memory_store(const TemporaryFolder& folder, std::uint64_t budget = 0) {
  return make_directory_store({.folder = folder.path(), .durability = Durability::memory, .budget_bytes = budget});
}

inline Bytes random_bytes(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  Bytes bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::byte>(generator());
  return bytes;
}

inline void put(Store& store, SnapshotId id, ByteView bytes, Version base = 0) {
  const auto writer = store.create(id);
  writer->append(bytes);
  writer->commit(base);
}

inline Bytes stored_bytes(const Store& store, SnapshotId id) {
  const auto bytes = store.open(id);
  if (!bytes) return {};
  return {bytes->view().begin(), bytes->view().end()};
}

/// Expects Error of that category whose text has all the words in it.
inline void expect_error(ErrorCategory category, const std::vector<std::string>& words,
                         const std::function<void()>& act) {
  try {
    act();
    ADD_FAILURE() << "no error; expected one of category " << to_string(category);
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.category()), to_string(category)) << error.what();
    for (const auto& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos)
          << "'" << word << "' not in: " << error.what();
    }
  }
}

}  // namespace foreweave::test
