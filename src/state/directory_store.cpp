// Store in a folder: shared memory (host tier) or a disk (file tier).
//
// The folder is the only truth: every question is answered by reading it, so that several processes may share it and
// nothing has to be rebuilt after a kill. Writing goes through pwrite and never through a mapping, because a full
// disk must be an error code and not a SIGBUS. A temporary file is locked (flock) while its writer lives; whoever
// opens the store removes those that nobody holds any more.

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "foreweave/core/error.hpp"
#include "foreweave/state/store.hpp"
#include "state/file_descriptor.hpp"
#include "state/snapshot_file_name.hpp"

namespace foreweave {
namespace {

using state_detail::committed_file;
using state_detail::FileDescriptor;
using state_detail::lock_file;
using state_detail::parse_snapshot_file_name;
using state_detail::SnapshotFileName;
using state_detail::temporary_prefix;
using state_detail::throw_io;

/// The folder of a store: its path for messages, its descriptor for every call.
struct Folder {
  std::string path;
  std::string name;  ///< the store's name, for messages
  FileDescriptor fd;
  Durability durability = Durability::memory;
  std::uint64_t budget = 0;

  std::mutex budget_mutex;
  std::uint64_t used = 0;     ///< bytes of finished snapshots when last looked at
  std::uint64_t pending = 0;  ///< bytes of this process's unfinished writes
  std::atomic<std::uint64_t> next_temporary{0};

  std::string file(std::string_view entry) const { return path + "/" + std::string(entry); }
};

/// Held while names in the folder change, by any process or thread.
class FolderLock {
 public:
  explicit FolderLock(const Folder& folder)
      : fd_(::openat(folder.fd.get(), lock_file.data(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) {
    if (!fd_) throw_io("lock " + folder.name);
    while (::flock(fd_.get(), LOCK_EX) != 0) {
      if (errno != EINTR) throw_io("lock " + folder.name);
    }
  }

 private:
  FileDescriptor fd_;
};

template <class Visit>
void for_each_entry(const Folder& folder, Visit visit) {
  // A new description, so that readers in several threads do not share a position.
  const int fd = ::openat(folder.fd.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw_io("list " + folder.name);
  DIR* const raw = ::fdopendir(fd);
  if (raw == nullptr) {
    const int code = errno;
    ::close(fd);
    throw_io("list " + folder.name, code);
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(raw, ::closedir);
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(entries.get());
    if (entry == nullptr) {
      if (errno != 0) throw_io("list " + folder.name);
      return;
    }
    visit(std::string_view(entry->d_name));
  }
}

/// All snapshot files, also those that a newer one replaces.
std::vector<SnapshotFileName> snapshot_files(const Folder& folder) {
  std::vector<SnapshotFileName> files;
  for_each_entry(folder, [&](std::string_view entry) {
    if (const auto name = parse_snapshot_file_name(entry)) files.push_back(*name);
  });
  std::sort(files.begin(), files.end(),
            [](const auto& a, const auto& b) { return a.id != b.id ? a.id < b.id : a.sequence < b.sequence; });
  return files;
}

/// Calls visit(file, is the one that counts).
template <class Visit>
void for_each_file(const std::vector<SnapshotFileName>& files, Visit visit) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    visit(files[i], i + 1 == files.size() || files[i + 1].id != files[i].id);
  }
}

void remove_file(const Folder& folder, const std::string& entry) {
  if (::unlinkat(folder.fd.get(), entry.c_str(), 0) != 0 && errno != ENOENT) {
    throw_io("erase " + folder.file(entry));
  }
}

void flush_folder(const Folder& folder) {
  if (folder.durability == Durability::disk && ::fsync(folder.fd.get()) != 0) throw_io("flush " + folder.name);
}

void write_all(int fd, ByteView bytes, std::uint64_t offset, const std::string& operation) {
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0) {
      if (errno == EINTR) continue;
      throw_io(operation);
    }
    if (done == 0) throw_io(operation, ENOSPC);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
}

std::vector<StoredSnapshot> list_snapshots(const Folder& folder) {
  std::vector<StoredSnapshot> found;
  for_each_file(snapshot_files(folder), [&](const SnapshotFileName& file, bool current) {
    if (!current) return;
    struct stat status {};
    const std::string entry = format(file);
    if (::fstatat(folder.fd.get(), entry.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return;  // erased meanwhile
      throw_io("list " + folder.file(entry));
    }
    found.push_back({file.id, file.base, static_cast<std::uint64_t>(status.st_size)});
  });
  return found;
}

std::uint64_t sum_bytes(const std::vector<StoredSnapshot>& snapshots) {
  std::uint64_t sum = 0;
  for (const auto& snapshot : snapshots) sum += snapshot.bytes;
  return sum;
}

void refresh_used(Folder& folder) {
  if (folder.budget == 0) return;
  const std::uint64_t used = sum_bytes(list_snapshots(folder));
  const std::lock_guard lock(folder.budget_mutex);
  folder.used = used;
}

/// A file under a temporary name, locked while this object lives. Removed unless it was renamed.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::shared_ptr<Folder> folder) : folder_(std::move(folder)) {
    for (;;) {
      name_ = std::string(temporary_prefix) + std::to_string(::getpid()) + "-" +
              std::to_string(folder_->next_temporary.fetch_add(1));
      FileDescriptor fd(::openat(folder_->fd.get(), name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (!fd) {
        if (errno == EEXIST) continue;  // of a dead process that had this number
        throw_io("create " + folder_->file(name_));
      }
      if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno != EWOULDBLOCK) {
        const int code = errno;
        ::unlinkat(folder_->fd.get(), name_.c_str(), 0);
        throw_io("lock " + folder_->file(name_), code);
      }
      // Somebody who opened the store between the two calls may have taken it for abandoned.
      struct stat status {};
      if (::fstat(fd.get(), &status) != 0) throw_io("create " + folder_->file(name_));
      if (status.st_nlink == 0) continue;
      fd_ = std::move(fd);
      return;
    }
  }
  ~TemporaryFile() {
    if (!renamed_) ::unlinkat(folder_->fd.get(), name_.c_str(), 0);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int fd() const { return fd_.get(); }
  std::string path() const { return folder_->file(name_); }
  void flush() {
    if (folder_->durability == Durability::disk && ::fsync(fd_.get()) != 0) throw_io("flush " + path());
  }
  void rename(const std::string& to) {
    if (::renameat(folder_->fd.get(), name_.c_str(), folder_->fd.get(), to.c_str()) != 0) {
      throw_io("rename " + path() + " to " + to);
    }
    renamed_ = true;
  }

 private:
  std::shared_ptr<Folder> folder_;
  std::string name_;
  FileDescriptor fd_;
  bool renamed_ = false;
};

class FileWriter final : public SnapshotWriter {
 public:
  FileWriter(std::shared_ptr<Folder> folder, SnapshotId id)
      : folder_(std::move(folder)),
        id_(id),
        operation_("write " + to_string(id) + " to " + folder_->name),
        file_(folder_) {}

  ~FileWriter() override { release(); }

  void append(ByteView bytes) override {
    if (closed_) throw Error(ErrorCategory::state, operation_, "the snapshot was already committed, or failed");
    reserve(bytes.size());
    try {
      write_all(file_.fd(), bytes, written_, operation_);
    } catch (...) {
      closed_ = true;
      throw;
    }
    written_ += bytes.size();
  }

  std::uint64_t written() const override { return written_; }

  void commit(Version base) override {
    if (closed_) throw Error(ErrorCategory::state, operation_, "the snapshot was already committed, or failed");
    closed_ = true;
    file_.flush();
    {
      const FolderLock lock(*folder_);
      SnapshotFileName name{id_, base, 0};
      std::vector<std::string> replaced;
      for (const auto& other : snapshot_files(*folder_)) {
        if (other.id != id_) continue;
        name.sequence = std::max(name.sequence, other.sequence + 1);
        replaced.push_back(format(other));
      }
      file_.rename(format(name));
      flush_folder(*folder_);
      for (const auto& old : replaced) remove_file(*folder_, old);
    }
    release();
    refresh_used(*folder_);
  }

 private:
  void reserve(std::uint64_t bytes) {
    const std::lock_guard lock(folder_->budget_mutex);
    if (folder_->budget != 0 && folder_->used + folder_->pending + bytes > folder_->budget) {
      closed_ = true;
      throw Error(ErrorCategory::resource, operation_,
                  "over the tier's budget of " + std::to_string(folder_->budget) + " bytes (" +
                      std::to_string(folder_->used) + " stored, " + std::to_string(folder_->pending + bytes) +
                      " being written): raise the budget or keep fewer versions");
    }
    folder_->pending += bytes;
    reserved_ += bytes;
  }
  void release() {
    const std::lock_guard lock(folder_->budget_mutex);
    folder_->pending -= reserved_;
    reserved_ = 0;
  }

  std::shared_ptr<Folder> folder_;
  SnapshotId id_;
  std::string operation_;
  TemporaryFile file_;
  std::uint64_t written_ = 0, reserved_ = 0;
  bool closed_ = false;
};

class MappedBytes final : public SnapshotBytes {
 public:
  MappedBytes(int fd, std::uint64_t bytes, const std::string& operation) : bytes_(bytes) {
    if (bytes_ == 0) return;
    data_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, 0);
    if (data_ == MAP_FAILED) throw_io(operation);
    ::madvise(data_, bytes_, MADV_WILLNEED);  // only advice: nothing is lost where it is refused
  }
  ~MappedBytes() override {
    if (bytes_ != 0) ::munmap(data_, bytes_);
  }
  ByteView view() const override { return {static_cast<const std::byte*>(data_), bytes_}; }

 private:
  void* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

/// Creates what is missing of a path, each folder for its owner alone.
void make_folders(const std::filesystem::path& folder) {
  std::filesystem::path so_far;
  for (const auto& part : folder) {
    so_far /= part;
    if (::mkdir(so_far.c_str(), 0700) != 0 && errno != EEXIST) {
      const int code = errno;
      struct stat status {
      };  // what stands on a read-only or foreign file system says EROFS or EACCES though it exists
      if (::stat(so_far.c_str(), &status) != 0) throw_io("create folder " + so_far.string(), code);
    }
  }
}

class DirectoryStore final : public Store {
 public:
  explicit DirectoryStore(DirectoryStoreOptions options) : folder_(std::make_shared<Folder>()) {
    if (options.folder.empty()) throw Error(ErrorCategory::argument, "open store", "the folder's name is empty");
    folder_->path = options.folder.string();
    folder_->name = (options.durability == Durability::memory ? "host " : "file ") + folder_->path;
    folder_->durability = options.durability;
    folder_->budget = options.budget_bytes;
    make_folders(options.folder);
    folder_->fd = FileDescriptor(::open(folder_->path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder_->fd) throw_io("open store " + folder_->name);
    check_owner();
    remove_abandoned();
    refresh_used(*folder_);
  }

  std::string name() const override { return folder_->name; }

  std::unique_ptr<SnapshotWriter> create(SnapshotId id) override {
    if (id.rank < 0 || id.version == 0) {
      throw Error(ErrorCategory::argument, "write " + to_string(id) + " to " + folder_->name,
                  "ranks start at 0 and versions at 1");
    }
    refresh_used(*folder_);
    return std::make_unique<FileWriter>(folder_, id);
  }

  std::shared_ptr<const SnapshotBytes> open(SnapshotId id) const override {
    const std::string operation = "open " + to_string(id) + " in " + folder_->name;
    // A replacement may remove the file between finding its name and opening it.
    for (;;) {
      std::optional<SnapshotFileName> newest;
      for_each_entry(*folder_, [&](std::string_view entry) {
        const auto name = parse_snapshot_file_name(entry);
        if (name && name->id == id && (!newest || name->sequence > newest->sequence)) newest = name;
      });
      if (!newest) return nullptr;
      const FileDescriptor fd(
          ::openat(folder_->fd.get(), format(*newest).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
      if (!fd) {
        if (errno == ENOENT) continue;
        throw_io(operation);
      }
      struct stat status {};
      if (::fstat(fd.get(), &status) != 0) throw_io(operation);
      return std::make_shared<MappedBytes>(fd.get(), static_cast<std::uint64_t>(status.st_size), operation);
    }
  }

  std::vector<StoredSnapshot> list() const override { return list_snapshots(*folder_); }

  void erase(SnapshotId id) override {
    {
      const FolderLock lock(*folder_);
      // Oldest first: a kill half way must not bring a replaced file back.
      for (const auto& file : snapshot_files(*folder_)) {
        if (file.id == id) remove_file(*folder_, format(file));
      }
    }
    refresh_used(*folder_);
  }

  std::uint64_t bytes() const override { return sum_bytes(list_snapshots(*folder_)); }

  void set_committed(Version version) override {
    const FolderLock lock(*folder_);
    if (version <= committed()) return;
    const std::string number = std::to_string(version);
    const std::string text =
        marker_head + number + " " + std::to_string(digest64(std::as_bytes(std::span(number)))) + "\n";
    TemporaryFile file(folder_);
    write_all(file.fd(), std::as_bytes(std::span(text)), 0, "write " + folder_->file(committed_file));
    file.flush();
    file.rename(std::string(committed_file));
    flush_folder(*folder_);
  }

  Version committed() const override {
    const std::string operation = "read " + folder_->file(committed_file);
    const FileDescriptor fd(::openat(folder_->fd.get(), committed_file.data(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) {
      if (errno == ENOENT) return 0;
      throw_io(operation);
    }
    char text[128] = {};
    const ssize_t size = ::pread(fd.get(), text, sizeof text - 1, 0);
    if (size < 0) throw_io(operation);
    char number[32] = {};
    unsigned long long digest = 0;
    const std::string pattern = std::string(marker_head) + "%31[0-9] %llu";
    if (std::sscanf(text, pattern.c_str(), number, &digest) != 2 ||
        digest64(std::as_bytes(std::span(number, std::strlen(number)))) != digest) {
      throw Error(ErrorCategory::format, operation,
                  "damaged: the marker of the newest committed version does not verify. Snapshots are not touched; "
                  "remove the file to go on with what the other ranks know");
    }
    return std::strtoull(number, nullptr, 10);
  }

  void clear() override {
    for (const auto& stored : list()) erase(stored.id);
    const FolderLock lock(*folder_);
    if (::unlinkat(folder_->fd.get(), committed_file.data(), 0) != 0 && errno != ENOENT) {
      throw_io("remove " + folder_->file(committed_file));
    }
    flush_folder(*folder_);
  }

 private:
  static constexpr const char* marker_head = "foreweave committed version ";

  void check_owner() const {
    struct stat status {};
    if (::fstat(folder_->fd.get(), &status) != 0) throw_io("open store " + folder_->name);
    // Shared memory is writable by everybody: a folder that somebody else put there first is not to be trusted.
    if (folder_->durability == Durability::memory && status.st_uid != ::geteuid()) {
      throw Error(ErrorCategory::security, "open store " + folder_->name,
                  "the folder belongs to user " + std::to_string(status.st_uid) + ", not to this process's user " +
                      std::to_string(::geteuid()) + ": choose another folder");
    }
  }

  /// Removes what killed processes left: unfinished files nobody holds, and files that a newer one replaces.
  void remove_abandoned() {
    const FolderLock lock(*folder_);
    std::vector<std::string> temporary;
    for_each_entry(*folder_, [&](std::string_view entry) {
      if (entry.starts_with(temporary_prefix)) temporary.emplace_back(entry);
    });
    for (const auto& entry : temporary) {
      const FileDescriptor fd(::openat(folder_->fd.get(), entry.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
      if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) remove_file(*folder_, entry);
    }
    for_each_file(snapshot_files(*folder_), [&](const SnapshotFileName& file, bool current) {
      if (!current) remove_file(*folder_, format(file));
    });
  }

  std::shared_ptr<Folder> folder_;
};

}  // namespace

std::unique_ptr<Store> make_directory_store(DirectoryStoreOptions options) {
  return std::make_unique<DirectoryStore>(std::move(options));
}

}  // namespace foreweave
