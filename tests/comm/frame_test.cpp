#include "foreweave/comm/frame.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "foreweave/core/error.hpp"

namespace foreweave::comm {
namespace {

Bytes pattern(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 131 + seed * 17 + i / 251) & 0xff);
  return bytes;
}

Frame sample(const Bytes& body, const Bytes& payload) {
  Frame frame;
  frame.type = FrameType::snapshot_chunk;
  frame.source = 7;
  frame.epoch = 3;
  frame.sequence = 0x123456789abull;
  frame.body = body;
  frame.payload = payload;
  return frame;
}

bool refused(ByteView head, ByteView payload) {
  try {
    decode_frame(head, payload);
  } catch (const Error& error) {
    return error.category() == ErrorCategory::format;
  }
  return false;
}

TEST(Frame, ComesBackAsItWent) {
  for (const std::size_t body_bytes : {0, 1, 39, 40, 1000, 4056})
    for (const std::size_t payload_bytes : {std::size_t{0}, std::size_t{1}, std::size_t{4097}, max_payload_bytes}) {
      const Bytes body = pattern(body_bytes, 1), payload = pattern(payload_bytes, 2);
      const Frame sent = sample(body, payload);
      const Bytes head = encode_frame(sent);
      EXPECT_LE(head.size(), max_head_bytes);
      const Frame got = decode_frame(head, payload);
      EXPECT_EQ(got.type, sent.type);
      EXPECT_EQ(got.source, sent.source);
      EXPECT_EQ(got.epoch, sent.epoch);
      EXPECT_EQ(got.sequence, sent.sequence);
      EXPECT_EQ(Bytes(got.body.begin(), got.body.end()), body);
      EXPECT_EQ(got.payload.data(), payload.data());
      EXPECT_EQ(got.payload.size(), payload.size());
    }
}

TEST(Frame, EveryFlippedBitIsRefused) {
  const Bytes body = pattern(33, 1), payload = pattern(70, 2);
  const Bytes head = encode_frame(sample(body, payload));
  for (std::size_t bit = 0; bit < head.size() * 8; ++bit) {
    Bytes damaged = head;
    damaged[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_TRUE(refused(damaged, payload)) << "bit " << bit << " of the head";
  }
  for (std::size_t bit = 0; bit < payload.size() * 8; ++bit) {
    Bytes damaged = payload;
    damaged[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_TRUE(refused(head, damaged)) << "bit " << bit << " of the payload";
  }
  EXPECT_FALSE(refused(head, payload));
}

TEST(Frame, EveryTruncationIsRefused) {
  const Bytes body = pattern(33, 1), payload = pattern(70, 2);
  const Bytes head = encode_frame(sample(body, payload));
  for (std::size_t size = 0; size < head.size(); ++size) EXPECT_TRUE(refused(ByteView(head).first(size), payload));
  for (std::size_t size = 0; size < payload.size(); ++size) EXPECT_TRUE(refused(head, ByteView(payload).first(size)));
  Bytes longer = head;
  longer.push_back(std::byte{0});
  EXPECT_TRUE(refused(longer, payload));
  Bytes more = payload;
  more.push_back(std::byte{0});
  EXPECT_TRUE(refused(head, more));
}

TEST(Frame, PayloadOfAnotherFrameIsRefused) {
  const Bytes body = pattern(33, 1), payload = pattern(70, 2), other = pattern(70, 3);
  EXPECT_TRUE(refused(encode_frame(sample(body, payload)), other));
}

TEST(Frame, ForeignVersionIsNamed) {
  Bytes head = encode_frame(sample({}, {}));
  head[4] = std::byte{9};
  try {
    decode_frame(head, {});
    FAIL() << "was accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("version 9"), std::string::npos) << error.what();
  }
}

TEST(Frame, TooLargeIsAnArgumentError) {
  const Bytes body = pattern(4057, 1), payload = pattern(max_payload_bytes + 1, 2);
  EXPECT_THROW(encode_frame(sample(body, {})), Error);
  EXPECT_THROW(encode_frame(sample({}, payload)), Error);
  EXPECT_TRUE(refused(pattern(5000, 1), {}));
}

}  // namespace
}  // namespace foreweave::comm
