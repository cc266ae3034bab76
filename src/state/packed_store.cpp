#include "foreweave/state/packed_store.hpp"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "foreweave/core/error.hpp"
#include "foreweave/state/snapshot.hpp"
#include "state/pack_catalog.hpp"
#include "state/pack_reader.hpp"
#include "state/store_folder.hpp"

namespace foreweave {
namespace {

using namespace state_detail;

constexpr std::size_t write_bytes = std::size_t{1} << 20;    // at most at once
constexpr std::size_t gather_bytes = std::size_t{32} << 10;  // pieces smaller than this are written together

struct Shared {
  explicit Shared(PackedStoreOptions given)
      : options(std::move(given)),
        folder(std::make_shared<StoreFolder>(options.folder, options.durability,
                                             options.read_only ? Access::read : Access::write)),
        archivers(std::make_shared<ArchiverPool>()),
        catalog(folder) {}

  void pace(std::uint64_t bytes) const {
    if (options.pace) options.pace(bytes);
  }

  PackedStoreOptions options;
  std::shared_ptr<StoreFolder> folder;
  std::shared_ptr<ArchiverPool> archivers;
  std::mutex mutex;  ///< of the catalog; taken before the FolderLock
  PackCatalog catalog;
};

/// A file that is written from its begin to its end, in large pieces.
class Output {
 public:
  Output(Shared& shared, std::string operation)
      : shared_(shared), operation_(std::move(operation)), file_(shared.folder) {}

  void append(ByteView bytes) {
    if (buffer_.empty() && bytes.size() >= gather_bytes) return write(bytes);
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    if (buffer_.size() >= gather_bytes) write_out();
  }
  std::uint64_t size() const { return written_ + buffer_.size(); }
  /// Forgets what stands behind `size`.
  void truncate(std::uint64_t size) {
    write_out();
    if (::ftruncate(file_.fd(), static_cast<off_t>(size)) != 0) throw_io(operation_);
    written_ = size;
  }
  void flush() {
    write_out();
    file_.flush();
  }
  TemporaryFile& file() { return file_; }

 private:
  void write_out() {
    write(buffer_);
    buffer_.clear();
  }
  void write(ByteView bytes) {
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), write_bytes));
      shared_.pace(piece.size());
      write_all(file_.fd(), piece, written_, operation_);
      written_ += piece.size();
      bytes = bytes.subspan(piece.size());
    }
  }

  Shared& shared_;
  std::string operation_;
  TemporaryFile file_;
  Bytes buffer_;
  std::uint64_t written_ = 0;
};

/// Puts a finished file in the place of what stands under its id. The locks are held.
void publish(Shared& shared, TemporaryFile& file, SnapshotFileName name) {
  std::vector<SnapshotFileName> replaced;
  for (const auto& other : shared.folder->snapshot_files()) {
    if (other.id != name.id) continue;
    name.sequence = std::max(name.sequence, other.sequence + 1);
    replaced.push_back(other);
  }
  file.rename(format(name));
  shared.folder->flush();
  for (const auto& old : replaced) shared.catalog.retire(old);
  if (!replaced.empty()) shared.catalog.collect();
}

/// Takes one snapshot apart, into a pack.
class Packer {
 public:
  Packer(Shared& shared, SnapshotId id, Version base, const SnapshotBytes& bytes, const Snapshot& snapshot)
      : shared_(shared),
        id_(id),
        base_(base),
        bytes_(bytes),
        snapshot_(snapshot),
        output_(shared, "write " + to_string(id) + " to " + shared.folder->name()) {}

  PackedSize run() {
    {
      const std::lock_guard lock(shared_.mutex);
      const FolderLock names(*shared_.folder);
      shared_.catalog.refresh();
    }
    Header header;
    header.format = pack_format_version;
    header.rank = id_.rank;
    header.version = id_.version;
    header.base = base_;
    output_.append(write_header(header, pack_kind));
    size_.snapshot = index_.snapshot_bytes = bytes_.size();
    for (const auto& region : snapshot_.manifest().regions) {
      for (const auto& segment : region.segments) add(region, segment);
    }
    while (!finish()) {
    }
    return size_;
  }

 private:
  void add(const RegionRecord& region, const SegmentRecord& record) {
    const ByteView segment = bytes_.read(record.offset, record.bytes, scratch_);
    if (digest64(segment) != record.digest) {
      throw Error(ErrorCategory::format, "pack " + to_string(id_),
                  "damaged in segment " + std::to_string(record.index) + " of region '" + region.name + "'");
    }
    const auto digest = digest128(segment);
    auto known = object_of_.find(digest);
    if (known == object_of_.end()) {
      known = object_of_.emplace(digest, static_cast<std::uint32_t>(index_.objects.size())).first;
      if (const auto place = find(digest, record.bytes)) {
        PackObject object = place->object;
        object.source = source(place->pack);
        index_.objects.push_back(object);
      } else {
        store(segment, digest);
      }
    }
    index_.pieces.push_back(known->second);
  }

  /// A place of the content in a pack that is open from now on: so nobody takes the object away.
  std::optional<PackCatalog::Place> find(const Digest128& digest, std::uint64_t bytes) {
    const std::lock_guard lock(shared_.mutex);
    const auto look = [&]() -> const PackCatalog::Place* {
      const auto* place = shared_.catalog.find(digest);
      return place != nullptr && place->object.bytes == bytes ? place : nullptr;
    };
    const auto* place = look();
    if (place == nullptr) return std::nullopt;
    if (!open_.contains(place->pack)) {
      const FolderLock names(*shared_.folder);
      shared_.catalog.refresh();
      if ((place = look()) == nullptr) return std::nullopt;
      auto pack = open_pack(*shared_.folder, place->pack);
      if (!pack) return std::nullopt;
      open_.emplace(place->pack, std::move(pack));
    }
    return *place;
  }

  /// The number of a pack in the index.
  std::uint32_t source(const Digest128& pack) {
    const auto at = std::find(index_.sources.begin(), index_.sources.end(), pack);
    if (at == index_.sources.end()) index_.sources.push_back(pack);
    return static_cast<std::uint32_t>(std::find(index_.sources.begin(), index_.sources.end(), pack) -
                                      index_.sources.begin() + 1);
  }

  void store(ByteView segment, const Digest128& digest) {
    PackObject object;
    object.digest = digest;
    object.bytes = static_cast<std::uint32_t>(segment.size());
    size_.unique += segment.size();
    archived_.clear();
    if (shared_.options.archive) {
      shared_.archivers->with([&](Archiver& archiver) { archiver.archive(segment, archived_); });
      if (archived_.size() < segment.size()) {
        object.form = ObjectForm::archived;
        segment = archived_;
      }
    }
    object.offset = output_.size();
    object.stored = static_cast<std::uint32_t>(segment.size());
    output_.append(segment);
    index_.objects.push_back(object);
  }

  /// Writes what follows the objects and gives the file its name. False: a pack was removed meanwhile that has some of
  /// the objects, so that they were put into this one.
  bool finish() {
    const std::uint64_t end = output_.size();
    const std::uint64_t segments_end = header_bytes + bytes_.size() - index_.frame_bytes();
    output_.append(bytes_.read(0, header_bytes, scratch_));
    output_.append(bytes_.read(segments_end, bytes_.size() - segments_end, scratch_));
    const Bytes index = write_index(index_);
    Footer footer{output_.size(), index.size(), digest128(index)};
    output_.append(index);
    output_.append(write_footer(footer, pack_kind));
    output_.flush();
    std::vector<std::uint32_t> gone;
    {
      const std::lock_guard lock(shared_.mutex);
      const FolderLock names(*shared_.folder);
      for (std::uint32_t i = 0; i < index_.sources.size(); ++i) {
        if (!open_pack(*shared_.folder, index_.sources[i])) gone.push_back(i + 1);
      }
      if (gone.empty()) {
        publish(shared_, output_.file(), {id_, base_, 0, footer.manifest_digest});
        shared_.catalog.refresh();
      }
    }
    if (gone.empty()) {
      size_.unique += index_.frame_bytes();
      size_.stored = output_.size();
      return true;
    }
    output_.truncate(end);
    for (auto& object : index_.objects) {
      if (std::find(gone.begin(), gone.end(), object.source) == gone.end()) continue;
      const auto& pack = open_.at(index_.sources[object.source - 1]);
      const ByteView stored = pack->view().subspan(object.offset, object.stored);
      object.offset = output_.size();
      output_.append(stored);
      size_.unique += object.bytes;
      object.source = 0;
    }
    drop_unused_sources();
    return false;
  }

  void drop_unused_sources() {
    const auto before = std::move(index_.sources);
    index_.sources.clear();
    for (auto& object : index_.objects) {
      if (object.source != 0) object.source = source(before[object.source - 1]);
    }
  }

  Shared& shared_;
  SnapshotId id_;
  Version base_;
  const SnapshotBytes& bytes_;
  const Snapshot& snapshot_;
  Output output_;
  PackIndex index_;
  std::map<Digest128, std::uint32_t> object_of_;                      ///< number in the index
  std::map<Digest128, std::shared_ptr<const PackFile>> open_;         ///< by identity
  Bytes scratch_, archived_;
  PackedSize size_;
};

/// Views bytes that somebody else keeps.
class BorrowedBytes final : public SnapshotBytes {
 public:
  explicit BorrowedBytes(const SnapshotBytes& bytes) : bytes_(bytes) {}
  ByteView view() const override { return bytes_.view(); }
  std::uint64_t size() const override { return bytes_.size(); }
  ByteView read(std::uint64_t offset, std::uint64_t count, Bytes& scratch) const override {
    return bytes_.read(offset, count, scratch);
  }

 private:
  const SnapshotBytes& bytes_;
};

/// What can be taken apart; null for what is kept as it is: sealed, or a snapshot of another id. Error(format) for what is
/// none.
std::shared_ptr<const Snapshot> parse_plain(SnapshotId id, Version base, const SnapshotBytes& bytes) {
  try {
    auto snapshot = Snapshot::parse(std::make_shared<BorrowedBytes>(bytes), nullptr, to_string(id));
    const auto& manifest = snapshot->manifest();
    if (SnapshotId{manifest.rank, manifest.version} != id || manifest.base != base) return nullptr;
    return snapshot;
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::security) throw;
    return nullptr;
  }
}

/// Collects the snapshot in a temporary file first, because what it consists of stands at its end.
class Writer final : public SnapshotWriter {
 public:
  Writer(std::shared_ptr<Shared> shared, SnapshotId id)
      : shared_(std::move(shared)),
        id_(id),
        operation_("write " + to_string(id) + " to " + shared_->folder->name()),
        output_(*shared_, operation_) {}

  void append(ByteView bytes) override {
    check_open();
    closed_ = true;
    output_.append(bytes);
    closed_ = false;
  }
  std::uint64_t written() const override { return output_.size(); }

  void commit(Version base) override {
    check_open();
    closed_ = true;
    output_.flush();
    if (pack(base)) return;
    const std::lock_guard lock(shared_->mutex);
    const FolderLock names(*shared_->folder);
    publish(*shared_, output_.file(), {id_, base, 0, {}});
  }

 private:
  /// False: these bytes are kept as they are.
  bool pack(Version base) {
    const MappedFile bytes(output_.file().fd(), operation_, MappedFile::Ahead::no);
    std::shared_ptr<const Snapshot> snapshot;
    try {
      snapshot = parse_plain(id_, base, bytes);
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::format) throw;
    }
    if (!snapshot) return false;
    Packer(*shared_, id_, base, bytes, *snapshot).run();
    return true;
  }
  void check_open() const {
    if (closed_) throw Error(ErrorCategory::state, operation_, "the snapshot was already committed, or failed");
  }

  std::shared_ptr<Shared> shared_;
  SnapshotId id_;
  std::string operation_;
  Output output_;
  bool closed_ = false;
};

class FolderOfPacks final : public PackedStore {
 public:
  explicit FolderOfPacks(PackedStoreOptions options) : shared_(std::make_shared<Shared>(std::move(options))) {
    if (shared_->options.read_only) return;
    folder().remove_abandoned();
    const FolderLock names(folder());
    for_each_file(folder().snapshot_files(), [&](const SnapshotFileName& file, bool current) {
      if (!current) shared_->catalog.retire(file);
    });
  }

  std::string name() const override { return folder().name(); }

  std::unique_ptr<SnapshotWriter> create(SnapshotId id) override {
    check_id(id, name());
    return std::make_unique<Writer>(shared_, id);
  }

  PackedSize put(SnapshotId id, Version base, const SnapshotBytes& bytes) override {
    check_id(id, name());
    if (const auto snapshot = parse_plain(id, base, bytes)) return Packer(*shared_, id, base, bytes, *snapshot).run();
    const auto writer = create(id);
    Bytes scratch;
    for (std::uint64_t at = 0; at < bytes.size(); at += write_bytes) {
      writer->append(bytes.read(at, std::min<std::uint64_t>(write_bytes, bytes.size() - at), scratch));
    }
    writer->commit(base);
    return {bytes.size(), bytes.size(), bytes.size()};
  }

  std::shared_ptr<const SnapshotBytes> open(SnapshotId id) const override {
    // A replacement may remove the file between finding its name and opening it.
    for (;;) {
      const auto newest = folder().newest_file(id);
      if (!newest) return nullptr;
      if (newest->pack) {
        if (auto bytes = open_packed(shared_->folder, *newest, shared_->archivers)) return bytes;
      } else if (const auto fd = folder().open_to_read(format(*newest))) {
        return std::make_shared<MappedFile>(fd.get(), "open " + to_string(id) + " in " + name());
      }
    }
  }

  std::vector<StoredSnapshot> list() const override {
    std::vector<StoredSnapshot> found;
    for_each_file(folder().snapshot_files(), [&](const SnapshotFileName& file, bool current) {
      if (!current) return;
      if (const auto bytes = folder().size_of(format(file))) found.push_back({file.id, file.base, *bytes});
    });
    return found;
  }

  std::optional<PackedSize> packed_size(SnapshotId id) const override {
    for (;;) {
      const auto file = folder().newest_file(id);
      if (!file || !file->pack) return std::nullopt;
      const auto pack = open_pack_file(folder(), format(*file));
      if (!pack) continue;
      const auto index = read_pack_index(pack->view(), id, *file->pack, to_string(id) + " in " + pack->path());
      PackedSize size{index.snapshot_bytes, index.frame_bytes(), pack->view().size()};
      for (const auto& object : index.objects) size.unique += object.source == 0 ? object.bytes : 0;
      return size;
    }
  }

  void erase(SnapshotId id) override {
    const std::lock_guard lock(shared_->mutex);
    const FolderLock names(folder());
    bool any = false;
    // Oldest first: a kill half way must not bring a replaced file back.
    for (const auto& file : folder().snapshot_files()) {
      if (file.id != id) continue;
      shared_->catalog.retire(file);
      any = true;
    }
    if (any) shared_->catalog.collect();
  }

  std::uint64_t bytes() const override {
    std::uint64_t sum = 0;
    for (const auto& stored : list()) sum += stored.bytes;
    for (const auto& entry : folder().entries()) {
      if (parse_objects_name(entry)) sum += folder().allocated(entry);
    }
    return sum;
  }

  void set_committed(Version version) override { folder().set_committed(version); }
  Version committed() const override { return folder().committed(); }

  void clear() override {
    for (const auto& stored : list()) erase(stored.id);
    folder().remove_marker();
  }

 private:
  StoreFolder& folder() const { return *shared_->folder; }

  std::shared_ptr<Shared> shared_;
};

}  // namespace

std::unique_ptr<PackedStore> make_packed_store(PackedStoreOptions options) {
  return std::make_unique<FolderOfPacks>(std::move(options));
}

}  // namespace foreweave
