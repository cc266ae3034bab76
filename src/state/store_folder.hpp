#pragma once
// A folder that a store keeps its files in: what stores in folders share.
//
// The folder is the only truth: every question is answered by reading it, so that several processes may share it and
// nothing has to be rebuilt after a kill. Writing goes through pwrite and never through a mapping, because a full
// disk must be an error code and not a SIGBUS. A temporary file is locked (flock) while its writer lives; whoever
// opens the store removes those that nobody holds any more.

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "foreweave/state/store.hpp"
#include "state/file_descriptor.hpp"
#include "state/snapshot_file_name.hpp"

namespace foreweave::state_detail {

enum class Access { write, read };

/// The descriptor serves every call, the path messages. Thread safe. Lives in a shared_ptr: writers outlive their store.
class StoreFolder : public std::enable_shared_from_this<StoreFolder> {
 public:
  /// Creates what is missing of the path, for its owner alone. Error(security) for a folder in shared memory that
  /// belongs to somebody else. To be read (by tools) it must be there, may be anybody's, and nothing in it is changed.
  StoreFolder(const std::filesystem::path& folder, Durability durability, Access access = Access::write);

  const std::string& name() const { return name_; }  ///< of the store, for messages
  int fd() const { return fd_.get(); }
  Durability durability() const { return durability_; }
  void require_writable() const;   ///< Error(state) where it was opened to be read
  std::string file(std::string_view entry) const { return path_ + "/" + std::string(entry); }
  std::uint64_t next_number() { return next_.fetch_add(1); }

  /// Names of all files, in no order.
  std::vector<std::string> entries() const;
  /// All snapshot files of either form, also those that a newer one replaces: by id, then by sequence.
  std::vector<SnapshotFileName> snapshot_files() const;
  /// The file of `id` that counts.
  std::optional<SnapshotFileName> newest_file(SnapshotId id) const;

  /// Closed where there is no such file.
  FileDescriptor open_to_read(const std::string& entry) const;
  /// What fstatat says of it; nothing where it is not there (any more).
  std::optional<std::uint64_t> size_of(const std::string& entry) const;
  /// Bytes that the file takes on its device; 0 where it is not there.
  std::uint64_t allocated(const std::string& entry) const;
  void remove(const std::string& entry) const;  ///< absent: no effect
  void flush() const;                           ///< makes renames last, on a disk

  /// Removes unfinished files that nobody holds.
  void remove_abandoned();

  void set_committed(Version version);
  Version committed() const;
  void remove_marker();

 private:
  std::string path_, name_;
  FileDescriptor fd_;
  Durability durability_;
  Access access_;
  std::atomic<std::uint64_t> next_{0};
};

/// Held while names in the folder change, by any process or thread. Error(state) for a folder that was opened to be read.
class FolderLock {
 public:
  explicit FolderLock(const StoreFolder& folder);

 private:
  FileDescriptor fd_;
};

/// A file under a temporary name, locked while this object lives. Removed unless it was renamed.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::shared_ptr<StoreFolder> folder);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int fd() const { return fd_.get(); }
  std::string path() const { return folder_->file(name_); }
  void flush();
  void rename(const std::string& to);

 private:
  std::shared_ptr<StoreFolder> folder_;
  std::string name_;
  FileDescriptor fd_;
  bool renamed_ = false;
};

/// Error(io) under `operation` when not all could be written.
void write_all(int fd, ByteView bytes, std::uint64_t offset, const std::string& operation);

/// A file as it is, mapped to be read; valid when it is removed, too.
class MappedFile final : public SnapshotBytes {
 public:
  enum class Ahead { yes, no };  ///< whether all of it will be read soon
  MappedFile(int fd, const std::string& operation, Ahead ahead = Ahead::yes);
  ~MappedFile() override;
  ByteView view() const override { return {static_cast<const std::byte*>(data_), bytes_}; }

 private:
  void* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

/// Calls visit(file, is the one that counts).
template <class Visit>
void for_each_file(const std::vector<SnapshotFileName>& files, Visit visit) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    visit(files[i], i + 1 == files.size() || files[i + 1].id != files[i].id);
  }
}

/// Error(argument) for ids that cannot be.
void check_id(SnapshotId id, const std::string& store);

}  // namespace foreweave::state_detail
