// runs: 2000  max_len: 3000
// A store's folder as somebody else may have left it: snapshot files with any content, files with any names, a damaged
// marker. It is listed, read, folded and cleaned up, or refused by an Error; never more.
#include "foreweave/state/chain.hpp"
#include "fuzz/folder.hpp"
#include "fuzz/snapshot_bytes.hpp"
#include "state/snapshot_file_name.hpp"

namespace foreweave::fuzz {
namespace {

constexpr std::uint8_t repair = 1, repair_check_words = 2, whole_marker = 4, give_key = 8;
constexpr Rank rank = 1;
constexpr auto any = {ErrorCategory::format, ErrorCategory::security, ErrorCategory::absent, ErrorCategory::io,
                      ErrorCategory::argument};

std::string text_of(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

/// A file's name, as the input has it; none for what no file can be called.
std::string name_from(Input& input) {
  const std::string name = text_of(input.take(input.byte()));
  const bool possible = !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
                        name.find('\0') == name.npos;
  if (const auto parsed = state_detail::parse_snapshot_file_name(name)) {
    require(state_detail::format(*parsed) == name, "a file's name says one thing");
  }
  if (const auto parsed = state_detail::parse_objects_name(name)) {
    require(state_detail::format_objects_name(*parsed) == name, "a file's name says one thing");
  }
  return possible ? name : std::string();
}

/// The marker, one file with any name, and versions 1 and 2 of the rank.
void fill(const Folder& folder, std::uint8_t mode, Input& input) {
  const Bytes marker = copy_of(input.take(input.byte()));
  if ((mode & whole_marker) != 0) {
    std::string number = text_of(marker).substr(0, 24);
    number.resize(std::min(number.size(), number.find_first_not_of("0123456789")));
    const std::string text = "foreweave committed version " + number + " " +
                             std::to_string(digest64(std::as_bytes(std::span(number)))) + "\n";
    folder.write("committed", std::as_bytes(std::span(text)));
  } else if (!marker.empty()) {
    folder.write("committed", marker);
  }
  if (const auto foreign = name_from(input); !foreign.empty()) folder.write(foreign, marker);
  for (const Version version : {1, 2}) {
    const auto content = input.take(version == 1 ? input.get<std::uint16_t>() : input.rest().size());
    const Bytes bytes = (mode & repair) != 0
                            ? repaired(content, {(mode & repair_check_words) != 0, (mode & give_key) != 0, 2})
                            : copy_of(content);
    folder.write(state_detail::format({{rank, version}, version - 1, version, std::nullopt}), bytes);
  }
}

/// The first segments of the version's first regions.
void read_chain(Store& store, Version version, const Key* key) {
  allow(any, [&] {
    const Chain chain = Chain::open(store, {rank, version}, key);
    for (std::size_t r = 0; r < std::min<std::size_t>(chain.manifest().regions.size(), 8); ++r) {
      const std::uint64_t bytes = chain.manifest().regions[r].bytes;
      if (bytes == 0) continue;
      ExactBuffer data(segment_length(bytes, 0), 0);
      chain.read_segment(r, 0, data.data(), data.view().size());
    }
  });
}

/// Folding reads every segment there may be of a region: only of sizes that this process can go through.
bool is_small(Store& store, const Key* key) {
  bool small = true;
  for (const Version version : {1, 2}) {
    allow(any, [&] {
      const auto bytes = store.open({rank, version});
      if (!bytes) return;
      const auto snapshot = Snapshot::parse(bytes, key, "input");
      for (const auto& region : snapshot->manifest().regions) small = small && region.bytes <= 4 * segment_bytes;
    });
  }
  return small;
}

}  // namespace

void run(Input input) {
  static Folder folder;
  folder.clear();
  const std::uint8_t mode = input.byte();
  const std::shared_ptr<const Key> shared_key = (mode & give_key) != 0 ? fuzz_key() : nullptr;
  const Key* const key = shared_key.get();
  fill(folder, mode, input);

  std::unique_ptr<Store> store;
  // Foreign names may be in the way (a file called .lock, say): then the store cannot be opened.
  if (!allow(any, [&] { store = make_directory_store({folder.path(), Durability::memory, 0}); })) return;
  allow({ErrorCategory::format, ErrorCategory::io}, [&] {
    const Version committed = store->committed();
    store->set_committed(committed);
    require(store->committed() == committed, "the marker does not go back");
  });
  std::uint64_t sum = 0;
  for (const auto& stored : store->list()) {
    const auto bytes = store->open(stored.id);
    require(bytes != nullptr && bytes->view().size() == stored.bytes, "what is listed is there");
    sum += stored.bytes;
  }
  require(store->bytes() == sum, "the sizes add up");
  read_chain(*store, 1, key);
  read_chain(*store, 2, key);
  std::vector<std::string> problems;
  allow(any, [&] { newest_restorable(*store, rank, key, ~Version{0}, &problems); });
  if (!is_small(*store, key)) return;
  allow(any, [&] {
    fold(*store, {rank, 2}, shared_key);
    require(Chain::open(*store, {rank, 2}, key).length() == 1, "a folded chain has one link");
  });
  read_chain(*store, 2, key);
  allow(any, [&] { retain(*store, rank, 2, 4, shared_key); });
  allow({ErrorCategory::io}, [&] { store->clear(); });
  require(store->list().empty() && store->committed() == 0, "a cleared store is empty");
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> all;
  const Bytes full = [] {
    test::MemoryStore store;
    write_sample(store, 1, 0, {});
    return *store.find({1, 1});
  }();
  const Bytes delta = sample_snapshot(true);
  for (const std::uint8_t mode : {0, 1, 3, 4, 5, 7, 1 | 8, 3 | 8}) {
    for (const std::string name : {"r000002-v000000000003-b000000000000-s0001.fwsnap", ".tmp-1-1", "notes"}) {
      ByteWriter seed;
      seed.put(mode);
      const std::string marker = (mode & whole_marker) != 0 ? "1" : "foreweave committed version 1 0\n";
      seed.put(static_cast<std::uint8_t>(marker.size()));
      seed.put_bytes(std::as_bytes(std::span(marker)));
      seed.put(static_cast<std::uint8_t>(name.size()));
      seed.put_bytes(std::as_bytes(std::span(name)));
      seed.put(static_cast<std::uint16_t>(full.size()));
      seed.put_bytes(full);
      seed.put_bytes(delta);
      all.push_back(seed.take());
    }
  }
  return all;
}

}  // namespace foreweave::fuzz
