#include "tools/stores.hpp"

#include <algorithm>
#include <system_error>

#include "foreweave/core/error.hpp"
#include "state/snapshot_file_name.hpp"

namespace foreweave::tools {
namespace fs = std::filesystem;
namespace {

bool is_store(const fs::path& folder, std::error_code& code) {
  for (auto at = fs::directory_iterator(folder, code); !code && at != fs::directory_iterator(); at.increment(code)) {
    const auto name = at->path().filename().string();
    if (name == state_detail::committed_file || state_detail::parse_snapshot_file_name(name)) return true;
  }
  return false;
}

void collect(const fs::path& folder, int levels, std::vector<fs::path>& found) {
  std::error_code code;
  if (is_store(folder, code)) {
    found.push_back(folder);
    if (is_store(folder / "parity", code)) found.push_back(folder / "parity");
    return;
  }
  for (auto at = fs::directory_iterator(folder, code); !code && at != fs::directory_iterator(); at.increment(code)) {
    std::error_code ignored;
    if (levels > 0 && at->is_directory(ignored) && !at->is_symlink(ignored)) collect(at->path(), levels - 1, found);
  }
  if (code) throw Error(ErrorCategory::io, "list " + folder.string(), code.message(), code.value());
}

}  // namespace

std::vector<FoundStore> find_stores(const fs::path& folder) {
  std::vector<fs::path> folders;
  collect(folder, 3, folders);
  if (folders.empty()) {
    throw Error(ErrorCategory::absent, "look into " + folder.string(), "there is no store in it, nor below it");
  }
  std::sort(folders.begin(), folders.end());
  std::vector<FoundStore> stores;
  for (auto& one : folders) {
    auto store = make_packed_store({.folder = one, .durability = Durability::memory, .read_only = true});
    const bool parity = one.filename() == "parity";
    stores.push_back({std::move(one), std::move(store), parity});
  }
  return stores;
}

}  // namespace foreweave::tools
