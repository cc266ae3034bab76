#pragma once
// Sealing with AES-256-GCM (OpenSSL): what is sealed cannot be read without the job's key, nor changed unnoticed.

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "foreweave/core/bytes.hpp"

namespace foreweave {

/// A 256-bit secret of one job. Wiped from memory when the last owner goes.
class Key {
 public:
  /// 64 hexadecimal digits (surrounding white space is ignored); anything else throws Error(security).
  static std::shared_ptr<const Key> from_hex(std::string_view hex);
  /// A file of 64 hex digits that only its owner can read (mode 0600 or 0400, this process's user), else Error(security)
  /// says so; Error(absent) when there is no such file.
  static std::shared_ptr<const Key> from_file(const std::filesystem::path& file);
  static std::shared_ptr<const Key> from_bytes(const std::array<std::uint8_t, 32>& bytes);
  static std::shared_ptr<const Key> random();
  ~Key();
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;
  const std::array<std::uint8_t, 32>& bytes() const { return bytes_; }

 private:
  Key() = default;
  std::array<std::uint8_t, 32> bytes_{};
};

inline constexpr std::size_t seal_tag_bytes = 16;
inline constexpr std::size_t seal_salt_bytes = 16;
using SealSalt = std::array<std::uint8_t, seal_salt_bytes>;

/// Seals the pieces of one object (a snapshot): its own key comes from the job key and a random salt (HKDF-SHA256), the
/// nonce of a piece is its number, so no nonce is ever used twice. One thread at a time.
class Sealer {
 public:
  Sealer(const Key& key, const SealSalt& salt);
  ~Sealer();
  Sealer(const Sealer&) = delete;
  Sealer& operator=(const Sealer&) = delete;
  static SealSalt random_salt();

  /// Appends the sealed `plain` (same size) and its tag to `out`. `associated` is authenticated, not stored. Pieces are
  /// sealed in ascending order (gaps are fine): Error(state) otherwise, since a number used twice would give all away.
  void seal(std::uint64_t piece, ByteView plain, ByteView associated, Bytes& out);
  /// The same into memory with room for plain.size() + seal_tag_bytes, which must not overlap `plain`.
  void seal_to(std::uint64_t piece, ByteView plain, ByteView associated, std::byte* out);
  /// The reverse: `out` holds exactly the plain bytes. Throws Error(security) naming `what` when it does not verify:
  /// wrong key, or damaged (`out` is empty then). In any order.
  void open(std::uint64_t piece, ByteView sealed, ByteView associated, Bytes& out, std::string_view what);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace foreweave
