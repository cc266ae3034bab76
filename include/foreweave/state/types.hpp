#pragma once
// The words every part of the state layer shares.

#include <compare>
#include <cstdint>
#include <string>

namespace foreweave {

/// A rank of the program (its number in the job, kept by whoever takes it over), from 0.
using Rank = std::int32_t;

/// Monotonic number of a captured state of all regions of a rank; the first is 1, 0 means "none".
using Version = std::uint64_t;

enum class ElementType : std::uint8_t { bytes = 0, f32 = 1, f64 = 2, i32 = 3, i64 = 4, u32 = 5, u64 = 6 };
std::uint8_t element_width(ElementType type);   ///< bytes of one element; 1 for bytes
std::string to_string(ElementType type);

/// Names one snapshot wherever it is stored.
struct SnapshotId {
  Rank rank = 0;
  Version version = 0;
  auto operator<=>(const SnapshotId&) const = default;
};
std::string to_string(const SnapshotId& id);   ///< "rank 2 version 7"

}  // namespace foreweave
