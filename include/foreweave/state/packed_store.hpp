#pragma once
// PackedStore: snapshots in a folder on a disk, taken apart into segments, each content kept once. For file tiers.
//
// A snapshot is one file with the segments that the folder did not have, and a table of where the others stand. Equal
// segments (by their XXH3-128) are shared across versions, ranks and regions of the folder; new ones are archived where
// that is asked for. Opening gives back the snapshot's bytes as they were, so that all that checks them still holds.
// Sealed snapshots, which share nothing, and bytes that are no snapshot of that id are kept as they are, as a
// DirectoryStore keeps them; what such a store wrote is read. The format is docs/format.md, "Packs".

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "foreweave/state/store.hpp"

namespace foreweave {

struct PackedStoreOptions {
  std::filesystem::path folder;  ///< created with mode 0700 where missing; foreign files in it are left alone
  Durability durability = Durability::disk;
  bool archive = false;  ///< archive new segments; what was archived is read in any case
  bool read_only = false;  ///< the folder must be there, may belong to anybody, and stays as it is: writing is Error(state)
  /// Called with the number of bytes before that many are written, at most about 1 MiB: it may wait (a bandwidth cap), or
  /// throw (which ends the write and leaves nothing). Must not use this store.
  std::function<void(std::uint64_t bytes)> pace = {};
};

/// What became of a snapshot's bytes.
struct PackedSize {
  std::uint64_t snapshot = 0;  ///< bytes of the snapshot
  std::uint64_t unique = 0;    ///< of them, those that the folder did not have: new segments, header, manifest, footer
  std::uint64_t stored = 0;    ///< bytes of the file: these, archived where that is so, and the table
};

/// Thread safe; several processes may use one folder. Erasing a snapshot keeps those of its objects that others need,
/// until nobody does; the room of the rest is given back at once where the file system can punch holes. list() and
/// StoredSnapshot::bytes tell the files' sizes; bytes() counts kept objects, too.
/// A damaged or missing file costs the snapshots that have objects in it, and no other; they are errors, Error(format),
/// that name it.
class PackedStore : public Store {
 public:
  /// Stores a snapshot that lies elsewhere: create, append and commit in one, without a copy of it on the way. Each
  /// segment is checked against the manifest first: Error(format) when it is damaged.
  virtual PackedSize put(SnapshotId id, Version base, const SnapshotBytes& bytes) = 0;
  /// Absent, or kept as it is: nothing. Error(format) when it is damaged.
  virtual std::optional<PackedSize> packed_size(SnapshotId id) const = 0;
};
std::unique_ptr<PackedStore> make_packed_store(PackedStoreOptions options);

}  // namespace foreweave
