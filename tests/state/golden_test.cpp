// Snapshots written once and kept (tests/format): they are still read, and still written alike.
// FOREWEAVE_WRITE_GOLDEN=1 writes them anew: only when the format's number changes.
#include <fstream>

#include "model.hpp"

namespace foreweave {
namespace {

using namespace test;

const std::string folder = FOREWEAVE_GOLDEN_DIR "/";
const std::string hex_key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

ModelRank golden_state(Version version) {
  ModelRegion field{"field", ElementType::f64, {4, 8, 96}, Bytes(4 * 8 * 96 * 8)};
  for (std::uint64_t i = 0; i < 4 * 8 * 96; ++i) {
    const std::uint64_t value = 1000000 + 3 * i + (i % 7) * version;
    std::memcpy(field.content.data() + 8 * i, &value, 8);
  }
  ModelRegion flags{"flags", ElementType::bytes, {}, Bytes(100)};
  flags.content[50 + version] = std::byte{1};
  return {field, flags, ModelRegion{"empty", ElementType::i32, {}, {}}};
}

Bytes read_file(const std::string& name) {
  std::ifstream file(folder + name, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

class GoldenTest : public testing::Test {
 protected:
  /// Full version 1 and delta version 2 in a store, as this program writes them.
  std::unique_ptr<Store> write(const TemporaryFolder& where, std::shared_ptr<const Key> key) {
    auto store = memory_store(where);
    const ModelRank first = golden_state(1), second = golden_state(2);
    const auto written = write_snapshot(*store, manifest_of(first, {3, 1}), first, nullptr, key);
    write_snapshot(*store, manifest_of(second, {3, 2}, 1, written.state), second, &first, key);
    return store;
  }
  void expect_golden(const std::string& suffix, const Key* key) {
    const TemporaryFolder where;
    const auto store = memory_store(where);
    put(*store, {3, 1}, read_file("snapshot_full" + suffix), 0);
    put(*store, {3, 2}, read_file("snapshot_delta" + suffix), 1);
    for (const Version version : {1, 2}) {
      const Chain chain = Chain::open(*store, {3, version}, key);
      EXPECT_EQ(chain.length(), version);
      EXPECT_EQ(chain.manifest().job, "model");
      expect_state(chain, golden_state(version));
    }
  }
};

TEST_F(GoldenTest, WrittenAlike) {
  const TemporaryFolder where;
  const auto store = write(where, nullptr);
  if (std::getenv("FOREWEAVE_WRITE_GOLDEN") != nullptr) {
    const TemporaryFolder sealed_where;
    const auto sealed = write(sealed_where, Key::from_hex(hex_key));
    const auto save = [](const Store& from, Version version, const std::string& name) {
      const auto bytes = stored_bytes(from, {3, version});
      std::ofstream(folder + name, std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    };
    save(*store, 1, "snapshot_full.fwsnap");
    save(*store, 2, "snapshot_delta.fwsnap");
    save(*sealed, 1, "snapshot_full_sealed.fwsnap");
    save(*sealed, 2, "snapshot_delta_sealed.fwsnap");
  }
  EXPECT_TRUE(stored_bytes(*store, {3, 1}) == read_file("snapshot_full.fwsnap"));
  EXPECT_TRUE(stored_bytes(*store, {3, 2}) == read_file("snapshot_delta.fwsnap"));
}

TEST_F(GoldenTest, StillRead) { expect_golden(".fwsnap", nullptr); }

TEST_F(GoldenTest, SealedOnesStillRead) { expect_golden("_sealed.fwsnap", Key::from_hex(hex_key).get()); }

}  // namespace
}  // namespace foreweave
