// Store in a folder: shared memory (host tier), or a disk, each snapshot a file as it is.

#include <algorithm>
#include <mutex>

#include "foreweave/core/error.hpp"
#include "foreweave/state/store.hpp"
#include "state/store_folder.hpp"

namespace foreweave {
namespace {

using namespace state_detail;

/// What a folder may hold.
class Budget {
 public:
  explicit Budget(std::uint64_t limit) : limit_(limit) {}
  bool limited() const { return limit_ != 0; }
  void set_used(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    used_ = bytes;
  }
  /// For an unfinished write, until release(). Error(resource) when that is more than there may be.
  void reserve(std::uint64_t bytes, const std::string& operation) {
    const std::lock_guard lock(mutex_);
    if (limited() && used_ + pending_ + bytes > limit_) {
      throw Error(ErrorCategory::resource, operation,
                  "over the tier's budget of " + std::to_string(limit_) + " bytes (" + std::to_string(used_) +
                      " stored, " + std::to_string(pending_ + bytes) +
                      " being written): raise the budget or keep fewer versions");
    }
    pending_ += bytes;
  }
  void release(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    pending_ -= bytes;
  }

 private:
  const std::uint64_t limit_;
  std::mutex mutex_;
  std::uint64_t used_ = 0;     ///< bytes of finished snapshots when last looked at
  std::uint64_t pending_ = 0;  ///< bytes of this process's unfinished writes
};

struct Place {
  Place(const DirectoryStoreOptions& options)
      : folder(std::make_shared<StoreFolder>(options.folder, options.durability)), budget(options.budget_bytes) {}

  /// Of the form that this store writes; others are left alone.
  std::vector<SnapshotFileName> files() const {
    auto files = folder->snapshot_files();
    std::erase_if(files, [](const auto& file) { return file.pack.has_value(); });
    return files;
  }

  std::vector<StoredSnapshot> list() const {
    std::vector<StoredSnapshot> found;
    for_each_file(files(), [&](const SnapshotFileName& file, bool current) {
      if (!current) return;
      if (const auto bytes = folder->size_of(format(file))) found.push_back({file.id, file.base, *bytes});
    });
    return found;
  }

  std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (const auto& snapshot : list()) sum += snapshot.bytes;
    return sum;
  }

  void refresh_used() {
    if (budget.limited()) budget.set_used(bytes());
  }

  std::shared_ptr<StoreFolder> folder;
  Budget budget;
};

class FileWriter final : public SnapshotWriter {
 public:
  FileWriter(std::shared_ptr<Place> place, SnapshotId id)
      : place_(std::move(place)),
        id_(id),
        operation_("write " + to_string(id) + " to " + place_->folder->name()),
        file_(place_->folder) {}

  ~FileWriter() override { release(); }

  void append(ByteView bytes) override {
    if (closed_) throw Error(ErrorCategory::state, operation_, "the snapshot was already committed, or failed");
    try {
      place_->budget.reserve(bytes.size(), operation_);
      reserved_ += bytes.size();
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
      const FolderLock lock(*place_->folder);
      SnapshotFileName name{id_, base, 0, {}};
      std::vector<std::string> replaced;
      for (const auto& other : place_->files()) {
        if (other.id != id_) continue;
        name.sequence = std::max(name.sequence, other.sequence + 1);
        replaced.push_back(format(other));
      }
      file_.rename(format(name));
      place_->folder->flush();
      for (const auto& old : replaced) place_->folder->remove(old);
    }
    release();
    place_->refresh_used();
  }

 private:
  void release() {
    place_->budget.release(reserved_);
    reserved_ = 0;
  }

  std::shared_ptr<Place> place_;
  SnapshotId id_;
  std::string operation_;
  TemporaryFile file_;
  std::uint64_t written_ = 0, reserved_ = 0;
  bool closed_ = false;
};

class DirectoryStore final : public Store {
 public:
  explicit DirectoryStore(const DirectoryStoreOptions& options) : place_(std::make_shared<Place>(options)) {
    folder().remove_abandoned();
    {
      const FolderLock lock(folder());
      for_each_file(place_->files(), [&](const SnapshotFileName& file, bool current) {
        if (!current) folder().remove(format(file));
      });
    }
    place_->refresh_used();
  }

  std::string name() const override { return folder().name(); }

  std::unique_ptr<SnapshotWriter> create(SnapshotId id) override {
    check_id(id, name());
    place_->refresh_used();
    return std::make_unique<FileWriter>(place_, id);
  }

  std::shared_ptr<const SnapshotBytes> open(SnapshotId id) const override {
    // A replacement may remove the file between finding its name and opening it.
    for (;;) {
      std::optional<SnapshotFileName> newest;
      for (const auto& file : place_->files()) {
        if (file.id == id) newest = file;
      }
      if (!newest) return nullptr;
      if (const auto fd = folder().open_to_read(format(*newest))) {
        return std::make_shared<MappedFile>(fd.get(), "open " + to_string(id) + " in " + name());
      }
    }
  }

  std::vector<StoredSnapshot> list() const override { return place_->list(); }

  void erase(SnapshotId id) override {
    {
      const FolderLock lock(folder());
      // Oldest first: a kill half way must not bring a replaced file back.
      for (const auto& file : place_->files()) {
        if (file.id == id) folder().remove(format(file));
      }
    }
    place_->refresh_used();
  }

  std::uint64_t bytes() const override { return place_->bytes(); }
  void set_committed(Version version) override { folder().set_committed(version); }
  Version committed() const override { return folder().committed(); }

  void clear() override {
    for (const auto& stored : list()) erase(stored.id);
    folder().remove_marker();
  }

 private:
  StoreFolder& folder() const { return *place_->folder; }

  std::shared_ptr<Place> place_;
};

}  // namespace

std::unique_ptr<Store> make_directory_store(DirectoryStoreOptions options) {
  return std::make_unique<DirectoryStore>(options);
}

}  // namespace foreweave
