// The record behind a parity block: written once and kept (tests/format/parity_block.fwsnap), and what cannot be is
// refused. FOREWEAVE_WRITE_GOLDEN=1 writes it anew: only when the format's number changes.
#include "foreweave/state/parity.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "foreweave/core/error.hpp"
#include "foreweave/state/erasure.hpp"

namespace foreweave {
namespace {

const std::string golden = FOREWEAVE_GOLDEN_DIR "/parity_block.fwsnap";

Bytes block(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>((seed = seed * 1664525U + 1013904223U) >> 24);
  return bytes;
}

/// The second parity block of ranks 2, 5 and 7 at version 9, as a file.
Bytes sample(ParityRecord* record = nullptr) {
  const std::vector<Bytes> data{block(100, 1), block(300, 2), block(0, 3)};
  ParityRecord made{9, 2, 1, {}, 300, {}};
  const Rank ranks[] = {2, 5, 7};
  const Version bases[] = {8, 0, 3};
  for (std::size_t i = 0; i < 3; ++i) made.members.push_back({ranks[i], bases[i], data[i].size(), digest128(data[i])});
  const int wanted[] = {4}, from[] = {0, 1, 2};
  Bytes file(300);
  std::byte* const to[] = {file.data()};
  ErasureCode(3, 2).sum(wanted, from).apply(std::vector<ByteView>(data.begin(), data.end()), to, 300);
  made.content = digest128(file);
  const auto tail = made.encode();
  file.insert(file.end(), tail.begin(), tail.end());
  if (record != nullptr) *record = made;
  return file;
}

TEST(Parity, IsWrittenAndReadAsEver) {
  ParityRecord made;
  const auto file = sample(&made);
  if (std::getenv("FOREWEAVE_WRITE_GOLDEN") != nullptr) {
    std::ofstream(golden, std::ios::binary)
        .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  }
  std::ifstream kept(golden, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(kept)), {});
  const auto bytes = std::as_bytes(std::span(text));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), file.begin(), file.end()));
  EXPECT_EQ(ParityRecord::decode(bytes), made);
  EXPECT_EQ(ParityRecord::decode(made.encode()), made);
  EXPECT_EQ(made.id(), (SnapshotId{ParityRecord::key({2, 5, 7}, 2, 1), 9}));
}

TEST(Parity, GroupsAndRowsHaveKeysOfTheirOwn) {
  EXPECT_NE(ParityRecord::key({0, 1}, 2, 0), ParityRecord::key({0, 1}, 2, 1));
  EXPECT_NE(ParityRecord::key({0, 1}, 2, 0), ParityRecord::key({0, 2}, 2, 0));
  EXPECT_NE(ParityRecord::key({0, 1}, 2, 0), ParityRecord::key({0, 1}, 1, 0));
  EXPECT_GE(ParityRecord::key({0, 1}, 2, 0), 0);
}

TEST(Parity, EveryTruncationAndEveryDamagedByteOfTheRecordIsRefused) {
  const auto file = sample();
  for (std::size_t size = 0; size < file.size(); ++size) {
    EXPECT_THROW(ParityRecord::decode(ByteView(file).first(size)), Error) << size;
  }
  for (std::size_t at = 300; at < file.size(); ++at) {
    auto damaged = file;
    damaged[at] ^= std::byte{0x10};
    EXPECT_THROW(ParityRecord::decode(damaged), Error) << at;
  }
  EXPECT_THROW(ParityRecord::decode(ByteView(file).subspan(1)), Error);   // a byte of the block is missing
}

TEST(Parity, NumbersThatDoNotFitAreRefused) {
  ParityRecord good;
  sample(&good);
  const auto refused = [&](auto change) {
    auto bad = good;
    change(bad);
    EXPECT_THROW(ParityRecord::decode(bad.encode()), Error);
  };
  refused([](ParityRecord& r) { r.row = 2; });
  refused([](ParityRecord& r) { r.version = 0; });
  refused([](ParityRecord& r) { r.members.clear(); });
  refused([](ParityRecord& r) { r.members[0].base = 9; });
  refused([](ParityRecord& r) { r.bytes = 299; });
  refused([](ParityRecord& r) { r.parity = 254; });
  Bytes unused = good.encode();
  unused[48 + 40 + 4] = std::byte{1};  // the second member's
  const std::size_t digested = unused.size() - 16;
  const std::uint64_t digest = digest64(ByteView(unused).first(digested));
  std::memcpy(unused.data() + digested, &digest, sizeof digest);
  EXPECT_THROW(ParityRecord::decode(unused), Error);
}

}  // namespace
}  // namespace foreweave
