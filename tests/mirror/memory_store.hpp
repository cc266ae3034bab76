#pragma once
// A Store in memory, for tests and simulations: quick, and it can be made to fail. One thread.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "foreweave/core/error.hpp"
#include "foreweave/state/store.hpp"

namespace foreweave::test {

class MemoryStore final : public Store {
 public:
  struct Held final : SnapshotBytes {
    explicit Held(Bytes given) : bytes(std::move(given)) {}
    ByteView view() const override { return bytes; }
    Bytes bytes;
  };

  std::string name() const override { return "memory"; }

  std::unique_ptr<SnapshotWriter> create(SnapshotId id) override {
    ++open_writers;
    return std::make_unique<Writer>(*this, id);
  }

  std::shared_ptr<const SnapshotBytes> open(SnapshotId id) const override {
    const auto found = snapshots_.find(id);
    return found == snapshots_.end() ? nullptr : found->second.bytes;
  }

  std::vector<StoredSnapshot> list() const override {
    if (on_list) on_list();
    std::vector<StoredSnapshot> all;
    for (const auto& [id, entry] : snapshots_) all.push_back({id, entry.base, entry.bytes->bytes.size()});
    return all;
  }

  void erase(SnapshotId id) override {
    if (snapshots_.erase(id) > 0) ++changes;
  }

  std::uint64_t bytes() const override {
    std::uint64_t sum = 0;
    for (const auto& [id, entry] : snapshots_) sum += entry.bytes->bytes.size();
    return sum;
  }

  void set_committed(Version version) override {
    if (marker_fails) throw Error(ErrorCategory::io, "write the committed marker", "No space left on device", 28);
    committed_ = std::max(committed_, version);
    ++changes;
  }
  Version committed() const override { return committed_; }
  void clear() override {
    snapshots_.clear();
    committed_ = 0;
    ++changes;
  }

  /// As a capture or a fold does.
  void put(SnapshotId id, Version base, Bytes bytes) {
    snapshots_[id] = {base, std::make_shared<const Held>(std::move(bytes))};
    ++changes;
  }
  const Bytes* find(SnapshotId id) const {
    const auto found = snapshots_.find(id);
    return found == snapshots_.end() ? nullptr : &found->second.bytes->bytes;
  }
  Version base_of(SnapshotId id) const { return snapshots_.at(id).base; }

  std::uint64_t budget = ~std::uint64_t{0};  ///< of one snapshot being written, for failing in the middle
  bool marker_fails = false;
  int open_writers = 0;
  std::uint64_t changes = 0;  ///< counts everything that changes what can be restored
  std::function<void(SnapshotId, Version base, const Bytes&)> on_commit;  ///< a received snapshot becomes visible
  std::function<void()> on_list;

 private:
  struct Writer final : SnapshotWriter {
    Writer(MemoryStore& in, SnapshotId of) : store(in), id(of) {}
    ~Writer() override { --store.open_writers; }
    void append(ByteView more) override {
      if (bytes.size() + more.size() > store.budget) {
        throw Error(ErrorCategory::io, "write " + to_string(id), "No space left on device", 28);
      }
      bytes.insert(bytes.end(), more.begin(), more.end());
    }
    std::uint64_t written() const override { return bytes.size(); }
    void commit(Version base) override {
      if (store.on_commit) store.on_commit(id, base, bytes);
      store.put(id, base, std::move(bytes));
    }
    MemoryStore& store;
    SnapshotId id;
    Bytes bytes;
  };
  struct Entry {
    Version base = 0;
    std::shared_ptr<const Held> bytes;
  };
  std::map<SnapshotId, Entry> snapshots_;
  Version committed_ = 0;
};

}  // namespace foreweave::test
