// Shared memory that is checked: bounds, reads of what was never written, and races.
//
// A race is two accesses of the same bytes by different threads, one of them a write, with no barrier between them:
// no
// __syncthreads, and, when both are of one warp, no __syncwarp either. What was noted is one writer and one reader
// (or "several") a byte, so some races escape; none is reported that is none, when memory is used as one type.
#include <cstdint>
#include <string>
#include <vector>

#include "machine.hpp"

namespace foreweave::emulator {
namespace {
constexpr std::uint16_t nobody = 0xFFFF;
constexpr std::uint16_t several = 0xFFFE;     ///< threads of one warp
constexpr std::uint16_t everywhere = 0xFFFD;  ///< threads of several warps

struct Mark {
  std::uint32_t epoch = 0, warp_epoch = 0;
  std::uint16_t thread = nobody, warp = 0;
};
}  // namespace

class SharedStorage {
 public:
  SharedStorage(const char* name, std::size_t size)
      : name(name),
        bytes((size + 15) / 8),
        size(size),
        written(size, 0),
        writers(size),
        readers(size),
        atomic(size, 0) {}
  std::string name;
  std::vector<std::uint64_t> bytes;  // of words, so that it is aligned
  std::size_t size;
  std::vector<std::uint8_t> written;
  std::vector<Mark> writers, readers;
  std::vector<std::uint8_t> atomic;  ///< the last write was an atomic
};

SharedStorage* make_storage(const char* name, std::size_t bytes) { return new SharedStorage(name, bytes); }
void drop_storage(SharedStorage* storage) { delete storage; }
std::size_t storage_bytes(const SharedStorage& storage) { return storage.size; }

SharedStorage& static_shared(const void* key, const char* name, std::size_t bytes) {
  Block& block = *current_thread()->block;
  for (auto& entry : block.statics)
    if (entry.key == key) return *entry.storage;
  std::size_t total = bytes;
  for (auto& entry : block.statics) total += entry.storage->size;
  if (total > 48u << 10)
    give_up(*current_thread(), Report::Kind::shared_bounds,
            "static shared memory of " + std::to_string(total) + " bytes is more than the 48 KiB a block may have");
  block.statics.push_back({key, {make_storage(name, bytes), &drop_storage}});
  return *block.statics.back().storage;
}

SharedStorage& dynamic_shared(const char*) { return *current_thread()->block->dynamic; }

void* access_shared(SharedStorage& storage, std::ptrdiff_t offset, std::size_t bytes, SharedAccess kind,
                    Where where) {
  Thread& thread = *current_thread();
  Block& block = *thread.block;
  const auto place = [&] {
    return "element " + std::to_string(offset / static_cast<std::ptrdiff_t>(bytes)) + " of shared array '" +
           storage.name + "' (" + std::to_string(storage.size / bytes) + " elements) at " + describe(where);
  };
  if (offset < 0 || static_cast<std::size_t>(offset) + bytes > storage.size)
    give_up(thread, Report::Kind::shared_bounds, "out of bounds: " + place());

  const auto first = static_cast<std::size_t>(offset);
  const auto warp_index = static_cast<std::uint16_t>(thread.linear / 32);
  const Warp& warp = block.warps[warp_index];
  const bool writes = kind != SharedAccess::read;
  // Ordered when a barrier lies between, or when it is the same thread, or the same warp with a __syncwarp between.
  const auto ordered = [&](const Mark& mark) {
    if (mark.thread == nobody || mark.epoch != block.epoch || mark.thread == thread.linear) return true;
    return mark.thread != everywhere && mark.warp == warp_index && mark.warp_epoch < warp.epoch;
  };
  const auto other = [&](const Mark& mark) {
    return mark.thread < everywhere ? "thread " + std::to_string(mark.thread) + " of the block"
                                    : std::string("several threads of the block");
  };
  if (kind != SharedAccess::write)
    for (std::size_t i = first; i < first + bytes; ++i)
      if (storage.written[i] == 0)
        give_up(thread, Report::Kind::unwritten_shared, "reads what was never written: " + place());

  Mark& writer = storage.writers[first];
  Mark& reader = storage.readers[first];
  const bool both_atomic = kind == SharedAccess::atomic && storage.atomic[first] != 0;
  if (!both_atomic && !ordered(writer))
    give_up(thread, Report::Kind::shared_race,
            std::string("race: ") + (writes ? "writes " : "reads ") + place() + ", which " + other(writer) +
                " wrote with no barrier between");
  if (writes && !ordered(reader))
    give_up(thread, Report::Kind::shared_race,
            "race: writes " + place() + ", which " + other(reader) + " read with no barrier between");

  const Mark now{block.epoch, warp.epoch, static_cast<std::uint16_t>(thread.linear), warp_index};
  if (writes) {
    writer = now;
    storage.atomic[first] = kind == SharedAccess::atomic;
    for (std::size_t i = first; i < first + bytes; ++i) storage.written[i] = 1;
  } else if (reader.thread == nobody || reader.epoch != block.epoch || reader.thread == thread.linear) {
    reader = now;
  } else if (reader.warp != warp_index || reader.thread == everywhere) {
    reader.thread = everywhere;
  } else {
    // The newest reader's epoch is what a later writer must have waited for.
    reader = now;
    reader.thread = several;
  }
  return reinterpret_cast<std::byte*>(storage.bytes.data()) + first;
}

}  // namespace foreweave::emulator
