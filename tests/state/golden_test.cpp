// Snapshots written once and kept (tests/format): they are still read, and still written alike.
// FOREWEAVE_WRITE_GOLDEN=1 writes them anew: only when the format's number changes.
#include <fstream>

#include "model.hpp"

namespace foreweave {
namespace {

using namespace test;

const std::string folder = FOREWEAVE_GOLDEN_DIR "/";
const std::string hex_key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// `format` 1 knew no parts.
ModelRank golden_state(Version version, int format) {
  ModelRegion field{"field", ElementType::f64, {4, 8, 96}, Bytes(4 * 8 * 96 * 8)};
  for (std::uint64_t i = 0; i < 4 * 8 * 96; ++i) {
    const std::uint64_t value = 1000000 + 3 * i + (i % 7) * version;
    std::memcpy(field.content.data() + 8 * i, &value, 8);
  }
  ModelRegion flags{"flags", ElementType::bytes, {}, Bytes(100)};
  flags.content[50 + version] = std::byte{1};
  if (format >= 2) {
    field.part = GlobalPart{{16, 20, 200}, {4, 7, 104}, {0, 1, 0}};
    flags.part = GlobalPart::replicated({100});
  }
  return {field, flags, ModelRegion{"empty", ElementType::i32, {}, {}}};
}

Bytes read_file(const std::string& name) {
  std::ifstream file(folder + name, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// Of format 1 the names have no number.
std::string suffix_of(int format) { return format == 1 ? ".fwsnap" : "_" + std::to_string(format) + ".fwsnap"; }

class GoldenTest : public testing::Test {
 protected:
  static constexpr int newest_format = 2;
  /// Full version 1 and delta version 2 in a store, as this program writes them.
  std::unique_ptr<Store> write(const TemporaryFolder& where, std::shared_ptr<const Key> key) {
    auto store = memory_store(where);
    const ModelRank first = golden_state(1, newest_format), second = golden_state(2, newest_format);
    const auto written = write_snapshot(*store, manifest_of(first, {3, 1}), first, nullptr, key);
    write_snapshot(*store, manifest_of(second, {3, 2}, 1, written.state), second, &first, key);
    return store;
  }
  void expect_golden(int format, const std::string& sealed, const Key* key) {
    SCOPED_TRACE("format " + std::to_string(format));
    const TemporaryFolder where;
    const auto store = memory_store(where);
    put(*store, {3, 1}, read_file("snapshot_full" + sealed + suffix_of(format)), 0);
    put(*store, {3, 2}, read_file("snapshot_delta" + sealed + suffix_of(format)), 1);
    for (const Version version : {1, 2}) {
      const Chain chain = Chain::open(*store, {3, version}, key);
      EXPECT_EQ(chain.length(), version);
      EXPECT_EQ(chain.manifest().job, "model");
      const auto expected = golden_state(version, format);
      expect_state(chain, expected);
      for (std::size_t r = 0; r < expected.size(); ++r) {
        EXPECT_EQ(chain.manifest().regions[r].part, expected[r].part);
      }
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
    save(*store, 1, "snapshot_full" + suffix_of(newest_format));
    save(*store, 2, "snapshot_delta" + suffix_of(newest_format));
    save(*sealed, 1, "snapshot_full_sealed" + suffix_of(newest_format));
    save(*sealed, 2, "snapshot_delta_sealed" + suffix_of(newest_format));
  }
  EXPECT_TRUE(stored_bytes(*store, {3, 1}) == read_file("snapshot_full" + suffix_of(newest_format)));
  EXPECT_TRUE(stored_bytes(*store, {3, 2}) == read_file("snapshot_delta" + suffix_of(newest_format)));
}

TEST_F(GoldenTest, StillRead) {
  for (int format = 1; format <= newest_format; ++format) expect_golden(format, "", nullptr);
}

TEST_F(GoldenTest, SealedOnesStillRead) {
  for (int format = 1; format <= newest_format; ++format) expect_golden(format, "_sealed", Key::from_hex(hex_key).get());
}

}  // namespace
}  // namespace foreweave
