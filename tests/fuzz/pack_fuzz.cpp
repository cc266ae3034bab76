// runs: 2500  max_len: 3000
// A pack, damaged anywhere, in a file tier's folder beside a whole one that may share its objects. It is read, or
// refused by Error(format) or Error(io); whatever it is, the good one is stored and comes back.
#include "fuzz/pack_bytes.hpp"
#include "state/snapshot_file_name.hpp"

namespace foreweave::fuzz {
namespace {

constexpr std::uint8_t repair = 1, archive = 2;
constexpr auto refused = {ErrorCategory::format, ErrorCategory::io};

Digest128 identity_of(ByteView pack) {
  if (pack.size() < state_detail::footer_bytes) return {};
  const ByteView footer = pack.last(state_detail::footer_bytes);
  return {word_at(footer, 16), word_at(footer, 24)};
}

/// Reads it in parts and as a whole.
void read(const Store& store) {
  const auto found = store.open(pack_id);
  require(found != nullptr, "what is listed is there");
  Bytes scratch;
  const std::uint64_t size = found->size(), some = std::min<std::uint64_t>(size, 2000);
  allow(refused, [&] { (void)found->read(0, some, scratch); });
  allow(refused, [&] { (void)found->read(size - some, some, scratch); });
  if (size > (std::uint64_t{16} << 20)) return;
  const ByteView whole = found->view();
  require(whole.size() == size, "a snapshot has its size");
  for (std::uint64_t at = 0; at < size; at += 700) {
    const std::uint64_t count = std::min<std::uint64_t>(size - at, 700);
    require(same(found->read(at, count, scratch), whole.subspan(at, count)), "a part is that part of the whole");
  }
  allow({ErrorCategory::format, ErrorCategory::security}, [&] { Snapshot::parse(found, nullptr, "input")->verify(); });
}

}  // namespace

void run(Input input) {
  static Folder folder;
  static const Bytes good = [] {
    test::MemoryStore store;
    write_sample(store, 1, 0, {});
    return *store.find({1, 1});
  }();
  constexpr SnapshotId good_id{1, 3};
  const std::uint8_t mode = input.byte();
  const Bytes pack = (mode & repair) != 0 ? repaired_pack(input.rest()) : copy_of(input.rest());

  folder.clear();
  folder.write(state_detail::format({pack_id, 1, 1, identity_of(pack)}), pack);
  const auto store = make_packed_store({folder.path(), Durability::memory, (mode & archive) != 0, {}});
  put(*store, good_id, 0, good);
  allow(refused, [&] { (void)store->packed_size(pack_id); });
  allow(refused, [&] { read(*store); });
  const auto found = store->open(good_id);
  require(found != nullptr && same(found->view(), good), "a good snapshot beside a damaged pack comes back");
  allow(refused, [&] { store->erase(pack_id); });
  allow(refused, [&] { store->erase(good_id); });
  (void)store->list();
  (void)store->bytes();
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> all;
  for (const Bytes& pack : sample_packs()) {
    for (std::uint8_t mode = 0; mode < 4; ++mode) {
      ByteWriter seed;
      seed.put(mode);
      seed.put_bytes(pack);
      all.push_back(seed.take());
    }
  }
  return all;
}

}  // namespace foreweave::fuzz
