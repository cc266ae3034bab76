#include "state/pack_catalog.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>

#include "foreweave/core/log.hpp"
#include "state/pack_reader.hpp"

namespace foreweave::state_detail {

const PackCatalog::Place* PackCatalog::find(const Digest128& digest) const {
  const auto place = places_.find(digest);
  return place == places_.end() ? nullptr : &place->second;
}

void PackCatalog::refresh() {
  std::map<Digest128, SnapshotFileName> now;
  for (const auto& file : folder_->snapshot_files()) {
    if (file.pack) now.emplace(*file.pack, file);
  }
  complete_ = true;
  bool lost = false, gained = false;
  std::erase_if(listed_, [&](const auto& known) {
    const bool gone = !now.contains(known.first);
    lost = lost || gone;
    return gone;
  });
  for (const auto& [identity, file] : now) {
    if (listed_.contains(identity)) continue;
    const std::string entry = format(file);
    try {
      const auto pack = open_pack_file(*folder_, entry);
      if (!pack) continue;
      listed_.emplace(identity, read_pack_index(pack->view(), file.id, identity, folder_->file(entry)));
      gained = true;
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::format) throw;
      log::debug(error.what());
      complete_ = false;
    }
  }
  if (!lost && !gained) return;
  places_.clear();
  for (const auto& [identity, index] : listed_) {
    for (const auto& object : index.objects) {
      places_.try_emplace(object.digest, Place{object.source == 0 ? identity : index.sources[object.source - 1], object});
    }
  }
}

void PackCatalog::collect() {
  refresh();
  if (!complete_) return;
  std::map<Digest128, Ranges> needed;  // in packs that are not listed
  for (const auto& [identity, index] : listed_) {
    for (const auto& source : index.sources) needed[source];
    for (const auto& object : index.objects) {
      if (object.source == 0) continue;
      auto& end = needed[index.sources[object.source - 1]][object.offset];
      end = std::max(end, object.offset + object.stored);
    }
  }
  for (const auto& entry : folder_->entries()) {
    const auto kept = parse_objects_name(entry);
    if (!kept) continue;
    const auto ranges = needed.find(*kept);
    // A listed pack with the same content has the objects as well.
    if (ranges == needed.end() || listed_.contains(*kept)) {
      folder_->remove(entry);
      punched_.erase(*kept);
    } else {
      punch(*kept, ranges->second);
    }
  }
}

void PackCatalog::punch(const Digest128& pack, const Ranges& needed) {
  const auto before = punched_.find(pack);
  if (before != punched_.end() && before->second == needed) return;
  const std::string entry = format_objects_name(pack);
  const FileDescriptor fd(::openat(folder_->fd(), entry.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  // Who reads from it, or is about to refer to it, holds a shared lock.
  if (!fd || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return;
  const auto size = folder_->size_of(entry);
  if (!size) return;
  std::uint64_t at = 0;
  const auto give_back = [&](std::uint64_t end) {
    // Only room is lost where the file system cannot.
    if (end > at) {
      (void)::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at),
                        static_cast<off_t>(end - at));
    }
  };
  for (const auto& [begin, end] : needed) {
    give_back(begin);
    at = std::max(at, end);
  }
  give_back(*size);
  punched_[pack] = needed;
}

void PackCatalog::retire(const SnapshotFileName& name) {
  const std::string entry = format(name);
  if (name.pack) {
    refresh();
    bool needed = !complete_, elsewhere = false;
    for (const auto& [identity, index] : listed_) {
      needed = needed || (identity != *name.pack &&
                          std::find(index.sources.begin(), index.sources.end(), *name.pack) != index.sources.end());
    }
    for (const auto& other : folder_->snapshot_files()) {
      elsewhere = elsewhere || (other.pack == name.pack && format(other) != entry);
    }
    if (needed && !elsewhere) {
      const std::string kept = format_objects_name(*name.pack);
      if (::renameat(folder_->fd(), entry.c_str(), folder_->fd(), kept.c_str()) != 0 && errno != ENOENT) {
        throw_io("keep the objects of " + folder_->file(entry));
      }
      return;
    }
  }
  folder_->remove(entry);
}

}  // namespace foreweave::state_detail
