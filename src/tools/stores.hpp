#pragma once
// Finding the stores below a folder.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "foreweave/state/packed_store.hpp"

namespace foreweave::tools {

struct FoundStore {
  std::filesystem::path folder;
  std::unique_ptr<PackedStore> store;   ///< reads every form
  bool parity = false;                  ///< holds parity blocks, not snapshots
};

/// Every store at `folder` and up to three levels below it (STORE/JOB/hub-N and its parity), by name. Throws Error(absent) when
/// there is none.
std::vector<FoundStore> find_stores(const std::filesystem::path& folder);

}  // namespace foreweave::tools
