// The bodies of the frames, byte for byte as docs/format.md has them.
#include "mirror/bodies.hpp"

#include <gtest/gtest.h>

namespace foreweave::mirror {
namespace {

std::string hex(ByteView bytes) {
  std::string text;
  for (const auto byte : bytes) {
    constexpr auto digits = "0123456789abcdef";
    text += digits[std::to_integer<int>(byte) >> 4];
    text += digits[std::to_integer<int>(byte) & 15];
  }
  return text;
}

/// Truncated anywhere, or longer, it is refused.
template <class Body>
void expect_strict(const Body& body) {
  auto bytes = body.encode();
  EXPECT_EQ(hex(Body::decode(bytes).encode()), hex(bytes));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(Body::decode(ByteView(bytes).first(size)), Error) << size;
  }
  bytes.push_back(std::byte{0});
  EXPECT_THROW(Body::decode(bytes), Error);
}

TEST(Bodies, AreAsWrittenDown) {
  const SnapshotId id{2, 0x0b0a};
  const std::string transfer = "0807060504030201", rank = "02000000", version = "0a0b000000000000";
  constexpr TransferId number = 0x0102030405060708;

  const SnapshotBegin begin{number, id, 9, 0x1000, true};
  EXPECT_EQ(hex(begin.encode()), transfer + rank + version + "0900000000000000" + "0010000000000000" + "01");
  expect_strict(begin);

  const SnapshotChunk chunk{number, -1, 0x30};
  EXPECT_EQ(hex(chunk.encode()), transfer + "ffffffff" + "3000000000000000");
  expect_strict(chunk);

  const SnapshotEnd end{number, id, 0x1000, {0x11, 0x22}};
  EXPECT_EQ(hex(end.encode()),
            transfer + rank + version + "0010000000000000" + "1100000000000000" + "2200000000000000");
  expect_strict(end);

  const SnapshotStored stored{number, id};
  EXPECT_EQ(hex(stored.encode()), transfer + rank + version);
  expect_strict(stored);

  const SnapshotRefused refused{number, id, Refusal::broken, "ab"};
  EXPECT_EQ(hex(refused.encode()), transfer + rank + version + "03" + "02000000" + "6162");
  expect_strict(refused);

  const VersionStored told{2, {1, 2}};
  EXPECT_EQ(hex(told.encode()), rank + "02000000" + "0100000000000000" + "0200000000000000");
  expect_strict(told);

  const VersionCommitted committed{0x0b0a};
  EXPECT_EQ(hex(committed.encode()), version);
  expect_strict(committed);

  const Fetch fetch{number, id};
  EXPECT_EQ(hex(fetch.encode()), transfer + rank + version);
  expect_strict(fetch);
}

TEST(Bodies, OfParityAreAsWrittenDown) {
  const SnapshotId id{2, 0x0b0a};
  const std::string rank = "02000000", version = "0a0b000000000000", number = "0807060504030201";

  const ParityOffer offer{id, 9, 0x1000};
  EXPECT_EQ(hex(offer.encode()), rank + version + "0900000000000000" + "0010000000000000");
  expect_strict(offer);

  const ParityStored stored{id};
  EXPECT_EQ(hex(stored.encode()), rank + version);
  expect_strict(stored);

  const BlockFetch fetch{0x0102030405060708, 3, true, id, 0x1000, 0x30, 0x40};
  EXPECT_EQ(hex(fetch.encode()), number + "03000000" + "01" + rank + version + "0010000000000000" + "3000000000000000" +
                                     "40000000");
  expect_strict(fetch);

  const BlockPiece piece{0x0102030405060708, 3, 0x30};
  EXPECT_EQ(hex(piece.encode()), number + "03000000" + "3000000000000000");
  expect_strict(piece);

  EXPECT_THROW(ParityOffer::decode(ParityOffer{id, 0x0b0a, 1}.encode()), Error);
  EXPECT_THROW(BlockFetch::decode(BlockFetch{1, 0, false, id, 10, 5, 6}.encode()), Error);
  EXPECT_THROW(BlockFetch::decode(BlockFetch{1, 0, false, id, 10, 11, 0}.encode()), Error);
  EXPECT_THROW(BlockFetch::decode(BlockFetch{1, 0, false, id, ~0ULL, 0, 5 << 20}.encode()), Error);
}

TEST(Bodies, WhatCannotBeIsRefused) {
  EXPECT_THROW(SnapshotBegin::decode(SnapshotBegin{1, {0, 5}, 5, 0, false}.encode()), Error);  // its own base
  EXPECT_THROW(SnapshotBegin::decode(SnapshotBegin{1, {0, 0}, 0, 0, false}.encode()), Error);  // version 0 is none
  Bytes offer = SnapshotBegin{1, {0, 5}, 4, 0, true}.encode();
  offer.back() = std::byte{2};
  EXPECT_THROW(SnapshotBegin::decode(offer), Error);  // 0 or 1
  Bytes fetch = BlockFetch{1, 0, true, {0, 5}, 10, 0, 10}.encode();
  fetch[12] = std::byte{2};
  EXPECT_THROW(BlockFetch::decode(fetch), Error);  // 0 or 1
  EXPECT_THROW(SnapshotRefused::decode(SnapshotRefused{1, {0, 5}, Refusal{0}, ""}.encode()), Error);
  EXPECT_THROW(SnapshotRefused::decode(SnapshotRefused{1, {0, 5}, Refusal{6}, ""}.encode()), Error);
  VersionStored many{0, std::vector<Version>(VersionStored::max_versions + 1, 1)};
  EXPECT_THROW(VersionStored::decode(many.encode()), Error);
  // A long text is cut, so that the frame's head stays below its limit.
  const auto refused = SnapshotRefused{1, {0, 5}, Refusal::store, std::string(5'000, 'x')}.encode();
  EXPECT_EQ(SnapshotRefused::decode(refused).text.size(), 1'000U);
}

}  // namespace
}  // namespace foreweave::mirror
