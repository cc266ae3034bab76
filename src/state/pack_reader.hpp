#pragma once
// Reading packs: their indices, and the snapshot that an index and objects in several files are.

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "foreweave/state/archive.hpp"
#include "state/pack_format.hpp"
#include "state/store_folder.hpp"

namespace foreweave::state_detail {

/// Archivers, each used by one thread at a time. Thread safe.
class ArchiverPool {
 public:
  template <class Use>
  void with(Use use) {
    std::unique_ptr<Archiver> archiver;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        archiver = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (!archiver) archiver = std::make_unique<Archiver>();
    use(*archiver);
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(archiver));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Archiver>> free_;
};

/// A pack open for reading. While it lives nothing in it goes away, whoever erases it (unless the file system has no
/// locks: then its unneeded objects are never punched out).
class PackFile {
 public:
  PackFile(FileDescriptor fd, std::string path);
  const std::string& path() const { return path_; }
  ByteView view() const { return map_.view(); }

 private:
  FileDescriptor fd_;
  std::string path_;
  MappedFile map_;
};

/// By identity, whether it is a snapshot's or keeps objects of an erased one. Null: not there.
std::shared_ptr<const PackFile> open_pack(const StoreFolder& folder, const Digest128& identity);
/// By name. Null: not there.
std::shared_ptr<const PackFile> open_pack_file(const StoreFolder& folder, const std::string& entry);

/// The index of a pack. `id` and `identity` are what its name says; Error(format) when it is damaged, or of another.
PackIndex read_pack_index(ByteView pack, SnapshotId id, const Digest128& identity, const std::string& what);

/// The segment that an object is, checked: in its pack, or in `scratch`. Error(format) begins with `what`.
ByteView read_object(const PackObject& object, const PackFile& pack, ArchiverPool& archivers, Bytes& scratch,
                     const std::string& what);

/// The snapshot of a pack. Null when one of the files went away meanwhile (as it does when it is erased): the caller
/// looks again. Error(format) when it is damaged, or when a pack that it needs is not there.
std::shared_ptr<const SnapshotBytes> open_packed(const std::shared_ptr<StoreFolder>& folder,
                                                 const SnapshotFileName& name,
                                                 std::shared_ptr<ArchiverPool> archivers);

}  // namespace foreweave::state_detail
