#include "state/store_folder.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "foreweave/core/digest.hpp"

namespace foreweave::state_detail {
namespace {

constexpr const char* marker_head = "foreweave committed version ";

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

}  // namespace

StoreFolder::StoreFolder(const std::filesystem::path& folder, Durability durability, Access access)
    : path_(folder.string()),
      name_((durability == Durability::memory ? "host " : "file ") + path_),
      durability_(durability),
      access_(access) {
  if (folder.empty()) throw Error(ErrorCategory::argument, "open store", "the folder's name is empty");
  if (access_ == Access::write) make_folders(folder);
  fd_ = FileDescriptor(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd_) throw_io("open store " + name_);
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) throw_io("open store " + name_);
  // Shared memory is writable by everybody: a folder that somebody else put there first is not to be trusted.
  if (access_ == Access::write && durability_ == Durability::memory && status.st_uid != ::geteuid()) {
    throw Error(ErrorCategory::security, "open store " + name_,
                "the folder belongs to user " + std::to_string(status.st_uid) + ", not to this process's user " +
                    std::to_string(::geteuid()) + ": choose another folder");
  }
}

void StoreFolder::require_writable() const {
  if (access_ == Access::write) return;
  throw Error(ErrorCategory::state, "change " + name_, "it was opened to be read only");
}

std::vector<std::string> StoreFolder::entries() const {
  // A new description, so that readers in several threads do not share a position.
  const int fd = ::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw_io("list " + name_);
  DIR* const raw = ::fdopendir(fd);
  if (raw == nullptr) {
    const int code = errno;
    ::close(fd);
    throw_io("list " + name_, code);
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(raw, ::closedir);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(entries.get());
    if (entry == nullptr) {
      if (errno != 0) throw_io("list " + name_);
      return names;
    }
    names.emplace_back(entry->d_name);
  }
}

std::vector<SnapshotFileName> StoreFolder::snapshot_files() const {
  std::vector<SnapshotFileName> files;
  for (const auto& entry : entries()) {
    if (const auto name = parse_snapshot_file_name(entry)) files.push_back(*name);
  }
  std::sort(files.begin(), files.end(),
            [](const auto& a, const auto& b) { return a.id != b.id ? a.id < b.id : a.sequence < b.sequence; });
  return files;
}

std::optional<SnapshotFileName> StoreFolder::newest_file(SnapshotId id) const {
  std::optional<SnapshotFileName> newest;
  for (const auto& entry : entries()) {
    const auto name = parse_snapshot_file_name(entry);
    if (name && name->id == id && (!newest || name->sequence > newest->sequence)) newest = name;
  }
  return newest;
}

FileDescriptor StoreFolder::open_to_read(const std::string& entry) const {
  FileDescriptor fd(::openat(fd_.get(), entry.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd && errno != ENOENT) throw_io("open " + file(entry));
  return fd;
}

std::optional<std::uint64_t> StoreFolder::size_of(const std::string& entry) const {
  struct stat status {};
  if (::fstatat(fd_.get(), entry.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
    return static_cast<std::uint64_t>(status.st_size);
  }
  if (errno != ENOENT) throw_io("list " + file(entry));
  return std::nullopt;
}

std::uint64_t StoreFolder::allocated(const std::string& entry) const {
  struct stat status {};
  if (::fstatat(fd_.get(), entry.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  if (errno != ENOENT) throw_io("list " + file(entry));
  return 0;
}

void StoreFolder::remove(const std::string& entry) const {
  if (::unlinkat(fd_.get(), entry.c_str(), 0) != 0 && errno != ENOENT) throw_io("erase " + file(entry));
}

void StoreFolder::flush() const {
  if (durability_ == Durability::disk && ::fsync(fd_.get()) != 0) throw_io("flush " + name_);
}

void StoreFolder::remove_abandoned() {
  const FolderLock lock(*this);
  for (const auto& entry : entries()) {
    if (!entry.starts_with(temporary_prefix)) continue;
    const FileDescriptor fd(::openat(fd_.get(), entry.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) remove(entry);
  }
}

void StoreFolder::set_committed(Version version) {
  const FolderLock lock(*this);
  if (version <= committed()) return;
  const std::string number = std::to_string(version);
  const std::string text =
      marker_head + number + " " + std::to_string(digest64(std::as_bytes(std::span(number)))) + "\n";
  TemporaryFile file(shared_from_this());
  write_all(file.fd(), std::as_bytes(std::span(text)), 0, "write " + this->file(committed_file));
  file.flush();
  file.rename(std::string(committed_file));
  flush();
}

Version StoreFolder::committed() const {
  const std::string operation = "read " + file(committed_file);
  const FileDescriptor fd(::openat(fd_.get(), committed_file.data(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
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
                "remove the file to go on with what the other ranks know, or with the newest version that all have");
  }
  return std::strtoull(number, nullptr, 10);
}

void StoreFolder::remove_marker() {
  const FolderLock lock(*this);
  remove(std::string(committed_file));
  flush();
}

FolderLock::FolderLock(const StoreFolder& folder) {
  folder.require_writable();
  fd_ = FileDescriptor(::openat(folder.fd(), lock_file.data(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd_) throw_io("lock " + folder.name());
  while (::flock(fd_.get(), LOCK_EX) != 0) {
    if (errno != EINTR) throw_io("lock " + folder.name());
  }
}

TemporaryFile::TemporaryFile(std::shared_ptr<StoreFolder> folder) : folder_(std::move(folder)) {
  folder_->require_writable();
  for (;;) {
    name_ = std::string(temporary_prefix) + std::to_string(::getpid()) + "-" + std::to_string(folder_->next_number());
    FileDescriptor fd(::openat(folder_->fd(), name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) {
      if (errno == EEXIST) continue;  // of a dead process that had this number
      throw_io("create " + folder_->file(name_));
    }
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno != EWOULDBLOCK) {
      const int code = errno;
      ::unlinkat(folder_->fd(), name_.c_str(), 0);
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

TemporaryFile::~TemporaryFile() {
  if (!renamed_) ::unlinkat(folder_->fd(), name_.c_str(), 0);
}

void TemporaryFile::flush() {
  if (folder_->durability() == Durability::disk && ::fsync(fd_.get()) != 0) throw_io("flush " + path());
}

void TemporaryFile::rename(const std::string& to) {
  if (::renameat(folder_->fd(), name_.c_str(), folder_->fd(), to.c_str()) != 0) {
    throw_io("rename " + path() + " to " + to);
  }
  renamed_ = true;
  ::flock(fd_.get(), LOCK_UN);   // it is anybody's from here on
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

MappedFile::MappedFile(int fd, const std::string& operation, Ahead ahead) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw_io(operation);
  bytes_ = static_cast<std::uint64_t>(status.st_size);
  if (bytes_ == 0) return;
  data_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, 0);
  if (data_ == MAP_FAILED) throw_io(operation);
  // Only advice: nothing is lost where it is refused.
  if (ahead == Ahead::yes) ::madvise(data_, bytes_, MADV_WILLNEED);
}

MappedFile::~MappedFile() {
  if (bytes_ != 0) ::munmap(data_, bytes_);
}

void check_id(SnapshotId id, const std::string& store) {
  if (id.rank >= 0 && id.version != 0) return;
  throw Error(ErrorCategory::argument, "write " + to_string(id) + " to " + store,
              "ranks start at 0 and versions at 1");
}

}  // namespace foreweave::state_detail
