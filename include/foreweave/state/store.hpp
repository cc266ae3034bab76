#pragma once
// Store: where snapshots stand, by rank and version. One implementation serves two tiers: a folder in shared memory
// (the host tier, which outlives the job) and a folder on a node-local disk (the file tier).

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "foreweave/core/bytes.hpp"
#include "foreweave/core/digest.hpp"
#include "foreweave/state/types.hpp"

namespace foreweave {

struct StoredSnapshot {
  SnapshotId id;
  Version base = 0;            ///< the version this is a delta against; 0: full
  std::uint64_t bytes = 0;
};

/// Read access to a stored snapshot's bytes; valid while the object lives, even when the snapshot is erased. Thread safe.
class SnapshotBytes {
 public:
  virtual ~SnapshotBytes() = default;
  /// All of them in one place: mapped, or put together in memory at the first call.
  virtual ByteView view() const = 0;
  virtual std::uint64_t size() const { return view().size(); }
  /// Bytes [offset, offset + count), which must be there: where they lie, or put into `scratch`. Valid while both are,
  /// and until scratch is used again. Error(format) where they are found damaged.
  virtual ByteView read(std::uint64_t offset, std::uint64_t count, Bytes& scratch) const {
    (void)scratch;
    return view().subspan(offset, count);
  }
};

/// Writes one snapshot. Nothing of it is visible in the store before commit(); destroying it uncommitted leaves nothing.
class SnapshotWriter {
 public:
  virtual ~SnapshotWriter() = default;
  /// Appends. Throws Error(io) when the tier is full ("No space left…"), Error(resource) when over the tier's budget.
  virtual void append(ByteView bytes) = 0;
  virtual std::uint64_t written() const = 0;
  /// Makes it visible, whole, under its name: flush (fsync on the file tier), then rename. `base` as in StoredSnapshot.
  virtual void commit(Version base) = 0;
};

/// Keyed, versioned snapshot storage. Thread safe. Two processes may use one folder when their holders differ.
class Store {
 public:
  virtual ~Store() = default;
  virtual std::string name() const = 0;                       ///< "host /dev/shm/…", "file /scratch/…"
  /// A snapshot of that id that exists is replaced atomically at commit.
  virtual std::unique_ptr<SnapshotWriter> create(SnapshotId id) = 0;
  /// Absent: null.
  virtual std::shared_ptr<const SnapshotBytes> open(SnapshotId id) const = 0;
  /// Ascending by rank, then version. Unfinished writes are not listed.
  virtual std::vector<StoredSnapshot> list() const = 0;
  virtual void erase(SnapshotId id) = 0;                      ///< absent: no effect
  virtual std::uint64_t bytes() const = 0;                    ///< of all that it lists

  /// The newest version known to be committed, kept beside the snapshots; never goes back. 0: none.
  virtual void set_committed(Version version) = 0;
  virtual Version committed() const = 0;
  /// Erases all it lists, then the marker: the only way in which a marker goes back. For a store that is of no use any
  /// more, because the job went on without it.
  virtual void clear() = 0;
};

enum class Durability {
  memory,   ///< survives the process, not the node: no fsync
  disk,     ///< survives the node: fsync of the file and of its folder
};

struct DirectoryStoreOptions {
  std::filesystem::path folder;               ///< created with mode 0700 where missing; foreign files in it are left alone
  Durability durability = Durability::memory;
  std::uint64_t budget_bytes = 0;             ///< 0: no limit but the device's own
};
std::unique_ptr<Store> make_directory_store(DirectoryStoreOptions options);

}  // namespace foreweave
