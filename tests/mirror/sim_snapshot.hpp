#pragma once
// Snapshots of the simulation: small, and what every byte of them must be follows from their first bytes, so that any
// damage, mix-up or staleness is seen.

#include <cstdint>
#include <cstring>
#include <optional>

#include "foreweave/core/bytes.hpp"
#include "foreweave/state/types.hpp"

namespace foreweave::test {

/// Seeded, the same everywhere (splitmix64).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    auto z = state_ += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  /// From low to high, both included.
  template <class T>
  T between(T low, T high) {
    return low + static_cast<T>(next() % (static_cast<std::uint64_t>(high - low) + 1));
  }
  bool happens(double probability) { return static_cast<double>(next() >> 11) * 0x1p-53 < probability; }

 private:
  std::uint64_t state_;
};

struct SimSnapshot {
  Rank rank = 0;
  std::uint32_t timeline = 0;       ///< the epoch in which the version was captured
  std::uint32_t base_timeline = 0;  ///< that of the base
  std::uint32_t filler = 0;         ///< bytes that follow
  Version version = 0, base = 0;
  std::uint64_t seed = 0;

  Bytes bytes() const {
    Bytes all(sizeof *this + filler);
    std::memcpy(all.data(), this, sizeof *this);
    Random random(seed ^ version * 1'000'003 ^ static_cast<std::uint64_t>(rank) * 7919 ^ timeline * 104'729ULL ^
                  base << 32);
    for (std::uint32_t i = 0; i < filler; ++i) {
      all[sizeof *this + i] = static_cast<std::byte>(random.next() >> 56);
    }
    return all;
  }
  /// None unless every byte is right.
  static std::optional<SimSnapshot> parse(const Bytes& bytes, std::uint64_t seed) {
    SimSnapshot snapshot;
    if (bytes.size() < sizeof snapshot) return std::nullopt;
    std::memcpy(&snapshot, bytes.data(), sizeof snapshot);
    if (snapshot.seed != seed || bytes.size() != sizeof snapshot + snapshot.filler || snapshot.bytes() != bytes) {
      return std::nullopt;
    }
    return snapshot;
  }
  /// The first bytes alone, of a snapshot that was parsed before.
  static SimSnapshot head(const Bytes& bytes) {
    SimSnapshot snapshot;
    std::memcpy(&snapshot, bytes.data(), sizeof snapshot);
    return snapshot;
  }
};
static_assert(sizeof(SimSnapshot) == 40);

}  // namespace foreweave::test
