#pragma once
// What the packs of a folder hold and need: where a content stands that is there already, and what may go.

#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "state/pack_format.hpp"
#include "state/store_folder.hpp"

namespace foreweave::state_detail {

/// Reads the index of each listed pack once. Not thread safe. What is said of the folder is true while the FolderLock is
/// held under which refresh() was called; objects of a pack that is open (PackFile) stay where they are longer.
class PackCatalog {
 public:
  explicit PackCatalog(std::shared_ptr<StoreFolder> folder) : folder_(std::move(folder)) {}

  struct Place {
    Digest128 pack;
    PackObject object;  ///< its source does not matter
  };
  /// Where the content stands, if a listed snapshot needs it (else it might be gone).
  const Place* find(const Digest128& digest) const;

  /// Reads the folder. Call it under the FolderLock.
  void refresh();

  /// After names changed, under the FolderLock: removes kept objects that nobody needs any more. Nothing is removed
  /// while the index of a listed pack cannot be read, since nobody knows what it needs.
  void collect();

  /// Takes a file out of the list, under the FolderLock: removes it, or keeps it for the objects that others need.
  void retire(const SnapshotFileName& name);

 private:
  struct DigestHash {
    std::size_t operator()(const Digest128& digest) const { return digest.low; }
  };
  using Ranges = std::map<std::uint64_t, std::uint64_t>;  ///< begin, end

  void punch(const Digest128& pack, const Ranges& needed);

  std::shared_ptr<StoreFolder> folder_;
  std::map<Digest128, PackIndex> listed_;  ///< readable ones, by identity
  bool complete_ = true;                   ///< all listed ones are readable
  std::unordered_map<Digest128, Place, DigestHash> places_;
  std::map<Digest128, Ranges> punched_;  ///< what was left when a pack was punched last
};

}  // namespace foreweave::state_detail
