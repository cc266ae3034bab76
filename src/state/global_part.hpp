#pragma once
// Boxes of elements, and which of them a region is: what a restore on another number of ranks computes with.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "foreweave/state/region.hpp"

namespace foreweave::state_detail {

/// Elements begin[d] to end[d] - 1 along each dimension d, slowest first. Never empty.
struct Box {
  std::vector<std::uint64_t> begin, end;
  bool operator==(const Box&) const = default;
};

/// What is wrong with the part that a region of `elements` elements claims to be; empty when nothing is.
/// `extents` as in RegionSpec.
std::string part_problem(const GlobalPart& part, const std::vector<std::uint64_t>& extents, std::uint64_t elements);

/// The extents of a region with a part: those given, or one dimension.
std::vector<std::uint64_t> dimensions_of(const std::vector<std::uint64_t>& extents, std::uint64_t elements);

/// The elements of the array that the region owns; none when it owns no element. `part` has no problem.
std::optional<Box> owned_box(const GlobalPart& part, const std::vector<std::uint64_t>& dimensions);
/// The same with those ghost layers that lie in the array.
std::optional<Box> held_box(const GlobalPart& part, const std::vector<std::uint64_t>& dimensions);

/// Both of the same number of dimensions.
std::optional<Box> intersect(const Box& a, const Box& b);
/// What is left of `from` without `cut`, as disjoint boxes (at most two a dimension).
std::vector<Box> subtract(const Box& from, const Box& cut);

std::string to_string(const Box& box);  ///< "[0, 4) x [16, 32)"

}  // namespace foreweave::state_detail
