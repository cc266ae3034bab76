// Sealing: round trips, every changed byte found, key files refused when others could read them.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "foreweave/core/seal.hpp"
#include "state/support.hpp"

namespace foreweave {
namespace {

using test::expect_error;
using test::random_bytes;
using test::TemporaryFolder;

const std::string hex_key = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

ByteView view(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(Seal, OpensWhatItSealed) {
  const auto key = Key::random();
  const auto salt = Sealer::random_salt();
  for (const std::size_t size : {0, 1, 15, 16, 17, 100000}) {
    const auto plain = random_bytes(size, size);
    Sealer sealer(*key, salt);
    Bytes sealed{std::byte{42}}, opened;
    sealer.seal(7, plain, view("header"), sealed);
    ASSERT_EQ(sealed.size(), 1 + size + seal_tag_bytes) << "seal() appends";
    Sealer other(*key, salt);
    other.open(7, ByteView(sealed).subspan(1), view("header"), opened, "piece");
    EXPECT_EQ(opened, plain);
  }
}

TEST(Seal, EveryChangeIsFound) {
  const auto key = Key::random();
  const auto salt = Sealer::random_salt();
  Sealer sealer(*key, salt);
  const auto plain = random_bytes(40, 1);
  Bytes sealed, opened;
  sealer.seal(3, plain, view("header"), sealed);
  const auto refused = [&](Sealer& with, std::uint64_t piece, ByteView bytes, const std::string& associated) {
    expect_error(ErrorCategory::security, {"the thing"},
                 [&] { with.open(piece, bytes, view(associated), opened, "the thing"); });
    EXPECT_TRUE(opened.empty());
  };
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    auto damaged = sealed;
    damaged[i] ^= std::byte{1};
    refused(sealer, 3, damaged, "header");
    refused(sealer, 3, ByteView(sealed).first(i), "header");
  }
  refused(sealer, 2, sealed, "header");
  refused(sealer, 3, sealed, "Header");
  refused(sealer, 3, sealed, "");
  Sealer wrong_key(*Key::random(), salt), wrong_salt(*key, Sealer::random_salt());
  refused(wrong_key, 3, sealed, "header");
  refused(wrong_salt, 3, sealed, "header");
  sealer.open(3, sealed, view("header"), opened, "the thing");
  EXPECT_EQ(opened, plain);
}

TEST(Seal, NoNonceTwice) {
  Sealer sealer(*Key::random(), Sealer::random_salt());
  Bytes out;
  sealer.seal(0, {}, {}, out);
  sealer.seal(5, {}, {}, out);
  const auto size = out.size();
  for (const std::uint64_t piece : {5, 4, 0}) {
    expect_error(ErrorCategory::state, {"ascending"}, [&] { sealer.seal(piece, {}, {}, out); });
  }
  EXPECT_EQ(out.size(), size) << "a refused piece appends nothing";
  sealer.seal(~std::uint64_t{0}, {}, {}, out);
}

TEST(Seal, TheFormatStays) {
  // AES-256-GCM under HKDF-SHA256(key, salt, "foreweave seal 1"), nonce = number (LE) and zeros; computed apart from
  // this code (Python: hmac and cryptography.hazmat's AESGCM).
  SealSalt salt;
  for (std::size_t i = 0; i < salt.size(); ++i) salt[i] = static_cast<std::uint8_t>(0xA0 + i);
  Sealer sealer(*Key::from_hex(hex_key), salt);
  Bytes sealed;
  sealer.seal(0x0102030405060708, view("plain text"), view("associated"), sealed);
  std::string hex;
  for (const auto byte : sealed) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(byte));
    hex += digits;
  }
  EXPECT_EQ(hex, "bea8eb1c1d39b34f637b8eb3b2ec1923b27bcacb9e40d626129f");
}

TEST(Key, ReadsHexAndRefusesOtherThings) {
  const auto key = Key::from_hex(" \n" + hex_key + "\t\n");
  for (int i = 0; i < 32; ++i) EXPECT_EQ(key->bytes()[i], i);
  for (const std::string& bad : {std::string(), hex_key.substr(1), hex_key + "0", "g" + hex_key.substr(1),
                                 hex_key.substr(0, 63) + " ", std::string(64, ' ')}) {
    expect_error(ErrorCategory::security, {"64 hexadecimal digits"}, [&] { Key::from_hex(bad); });
  }
  EXPECT_NE(Key::random()->bytes(), Key::random()->bytes());
}

TEST(Key, NeverShowsWhatItRefuses) {
  try {
    Key::from_hex(hex_key.substr(2));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find(hex_key.substr(4, 8)), std::string::npos) << error.what();
  }
}

TEST(Key, AFileIsForItsOwnerAlone) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "job.key";
  std::ofstream(file) << hex_key << "\n";
  for (const unsigned mode : {0600u, 0400u}) {
    ASSERT_EQ(::chmod(file.c_str(), mode), 0);
    EXPECT_EQ(Key::from_file(file)->bytes(), Key::from_hex(hex_key)->bytes());
  }
  for (const unsigned mode : {0644u, 0640u, 0604u, 0660u, 0700u, 0666u}) {
    ASSERT_EQ(::chmod(file.c_str(), mode), 0);
    expect_error(ErrorCategory::security, {file.string(), "chmod 600"}, [&] { Key::from_file(file); });
  }
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  std::ofstream(file) << hex_key << hex_key;
  expect_error(ErrorCategory::security, {file.string(), "64"}, [&] { Key::from_file(file); });
  std::ofstream(file) << std::string(1000, 'a');
  expect_error(ErrorCategory::security, {file.string(), "64"}, [&] { Key::from_file(file); });
  expect_error(ErrorCategory::absent, {"nowhere.key"}, [&] { Key::from_file(folder.path() / "nowhere.key"); });
  expect_error(ErrorCategory::security, {"regular"}, [&] { Key::from_file(folder.path()); });
}

}  // namespace
}  // namespace foreweave
