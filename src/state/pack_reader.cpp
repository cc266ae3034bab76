#include "state/pack_reader.hpp"

#include <sys/file.h>

#include <algorithm>
#include <cstring>

namespace foreweave::state_detail {
namespace {

class PackedBytes final : public SnapshotBytes {
 public:
  /// `packs`: this one, then those of index.sources.
  PackedBytes(PackIndex index, std::vector<std::shared_ptr<const PackFile>> packs, std::uint64_t frame_offset,
              std::shared_ptr<ArchiverPool> archivers, std::string what)
      : index_(std::move(index)),
        packs_(std::move(packs)),
        frame_offset_(frame_offset),
        archivers_(std::move(archivers)),
        what_(std::move(what)) {
    std::uint64_t at = header_bytes;
    for (const auto piece : index_.pieces) {
      starts_.push_back(at);
      at += index_.objects[piece].bytes;
    }
    segments_end_ = at;
  }

  std::uint64_t size() const override { return index_.snapshot_bytes; }

  ByteView view() const override {
    const std::lock_guard lock(mutex_);
    if (whole_.empty()) {
      Bytes whole, scratch;
      whole.reserve(size());
      for_each_part(0, size(), scratch, [&](ByteView part) { whole.insert(whole.end(), part.begin(), part.end()); });
      whole_ = std::move(whole);
    }
    return whole_;
  }

  ByteView read(std::uint64_t offset, std::uint64_t count, Bytes& scratch) const override {
    // What is asked for is mostly one segment.
    const auto piece = std::lower_bound(starts_.begin(), starts_.end(), offset);
    if (piece != starts_.end() && *piece == offset) {
      const auto& object = object_of(piece);
      if (object.bytes == count) return segment(piece, scratch);
    }
    Bytes gathered, other;
    gathered.reserve(count);
    for_each_part(offset, count, other,
                  [&](ByteView part) { gathered.insert(gathered.end(), part.begin(), part.end()); });
    scratch = std::move(gathered);
    return scratch;
  }

 private:
  using Piece = std::vector<std::uint64_t>::const_iterator;

  const PackObject& object_of(Piece piece) const {
    return index_.objects[index_.pieces[static_cast<std::size_t>(piece - starts_.begin())]];
  }

  ByteView segment(Piece piece, Bytes& scratch) const {
    const auto& object = object_of(piece);
    return read_object(object, *packs_[object.source], *archivers_, scratch,
                       "read segment " + std::to_string(piece - starts_.begin()) + " of " + what_);
  }

  template <class Visit>
  void for_each_part(std::uint64_t offset, std::uint64_t count, Bytes& scratch, Visit visit) const {
    // Header and what follows the segments stand one behind the other in the pack.
    const auto frame = [&](std::uint64_t from, std::uint64_t to, std::uint64_t place) {
      const std::uint64_t begin = std::max(offset, from), end = std::min(offset + count, to);
      if (begin < end) visit(packs_[0]->view().subspan(frame_offset_ + place + (begin - from), end - begin));
    };
    frame(0, header_bytes, 0);
    auto piece = std::upper_bound(starts_.begin(), starts_.end(), offset);
    if (piece != starts_.begin()) --piece;
    for (; piece != starts_.end() && *piece < offset + count; ++piece) {
      const std::uint64_t begin = std::max(offset, *piece), end = std::min(offset + count, *piece + object_of(piece).bytes);
      if (begin < end) visit(segment(piece, scratch).subspan(begin - *piece, end - begin));
    }
    frame(segments_end_, size(), header_bytes);
  }

  PackIndex index_;
  std::vector<std::shared_ptr<const PackFile>> packs_;
  std::uint64_t frame_offset_;
  std::shared_ptr<ArchiverPool> archivers_;
  std::string what_;
  std::vector<std::uint64_t> starts_;  ///< of the segments in the snapshot
  std::uint64_t segments_end_ = 0;
  mutable std::mutex mutex_;
  mutable Bytes whole_;
};

}  // namespace

PackFile::PackFile(FileDescriptor fd, std::string path)
    : fd_(std::move(fd)), path_(std::move(path)), map_(fd_.get(), "map " + path_, MappedFile::Ahead::no) {}

std::shared_ptr<const PackFile> open_pack_file(const StoreFolder& folder, const std::string& entry) {
  auto fd = folder.open_to_read(entry);
  if (!fd) return nullptr;
  // Against who punches out what nobody needs. Where there are no locks, nobody punches.
  while (::flock(fd.get(), LOCK_SH) != 0 && errno == EINTR) {
  }
  return std::make_shared<PackFile>(std::move(fd), folder.file(entry));
}

std::shared_ptr<const PackFile> open_pack(const StoreFolder& folder, const Digest128& identity) {
  for (;;) {
    bool seen = false;
    for (const auto& entry : folder.entries()) {
      const auto name = parse_snapshot_file_name(entry);
      const auto found = name ? name->pack : parse_objects_name(entry);
      if (found != identity) continue;
      seen = true;
      if (auto pack = open_pack_file(folder, entry)) return pack;
    }
    if (!seen) return nullptr;
  }
}

PackIndex read_pack_index(ByteView pack, SnapshotId id, const Digest128& identity, const std::string& what) {
  const Header header = read_header(pack.first(std::min(pack.size(), header_bytes)), pack.size(), what, pack_kind);
  const Footer footer = read_footer(pack.last(footer_bytes), pack.size(), what, pack_kind);
  const ByteView index = pack.subspan(footer.manifest_offset, footer.manifest_bytes);
  if (digest128(index) != footer.manifest_digest) throw Error(ErrorCategory::format, "read " + what, "its index is damaged");
  if (footer.manifest_digest != identity || SnapshotId{header.rank, header.version} != id) {
    throw Error(ErrorCategory::format, "read " + what, "it is another than its name says");
  }
  return read_index(index, footer.manifest_offset, what);
}

ByteView read_object(const PackObject& object, const PackFile& pack, ArchiverPool& archivers, Bytes& scratch,
                     const std::string& what) {
  const ByteView file = pack.view();
  if (object.offset > file.size() || object.stored > file.size() - object.offset) {
    throw Error(ErrorCategory::format, what, "truncated: " + pack.path());
  }
  ByteView segment = file.subspan(object.offset, object.stored);
  if (object.form == ObjectForm::archived) {
    scratch.clear();
    archivers.with([&](Archiver& archiver) { archiver.unarchive(segment, scratch, what + " in " + pack.path()); });
    segment = scratch;
  }
  if (segment.size() != object.bytes || digest128(segment) != object.digest) {
    throw Error(ErrorCategory::format, what, "damaged in " + pack.path());
  }
  return segment;
}

std::shared_ptr<const SnapshotBytes> open_packed(const std::shared_ptr<StoreFolder>& folder,
                                                 const SnapshotFileName& name,
                                                 std::shared_ptr<ArchiverPool> archivers) {
  const std::string entry = format(name);
  auto own = open_pack_file(*folder, entry);
  if (!own) return nullptr;
  const std::string what = to_string(name.id) + " in " + own->path();
  PackIndex index = read_pack_index(own->view(), name.id, *name.pack, what);
  const std::uint64_t frame_offset = own->view().size() - footer_bytes - index.bytes() - index.frame_bytes();
  std::vector<std::shared_ptr<const PackFile>> packs{own};
  for (std::size_t i = 0; i < index.sources.size(); ++i) {
    packs.push_back(open_pack(*folder, index.sources[i]));
    if (packs.back()) continue;
    if (!folder->size_of(entry)) return nullptr;
    const auto missing = std::count_if(index.pieces.begin(), index.pieces.end(), [&](const auto piece) {
      return index.objects[piece].source == i + 1;
    });
    throw Error(ErrorCategory::format, "open " + what,
                std::to_string(missing) + " of its segments are in the pack " + to_string(index.sources[i]) +
                    ", which is not there");
  }
  // Still listed, with all its packs open: nothing that it needs was punched out before, and nothing will be.
  if (!folder->size_of(entry)) return nullptr;
  return std::make_shared<PackedBytes>(std::move(index), std::move(packs), frame_offset, std::move(archivers), what);
}

}  // namespace foreweave::state_detail
