#include "state/global_part.hpp"

#include <algorithm>

namespace foreweave::state_detail {
namespace {

std::uint64_t ghost_of(const GlobalPart& part, std::size_t dimension) {
  return part.ghost.empty() ? 0 : part.ghost[dimension];
}

std::optional<Box> box_or_none(Box box) {
  for (std::size_t d = 0; d < box.begin.size(); ++d) {
    if (box.begin[d] >= box.end[d]) return std::nullopt;
  }
  return box;
}

}  // namespace

std::string part_problem(const GlobalPart& part, const std::vector<std::uint64_t>& extents, std::uint64_t elements) {
  const auto dimensions = dimensions_of(extents, elements);
  const std::size_t count = dimensions.size();
  const auto wrong = [&](const char* what, std::size_t given) {
    return "its part has " + std::to_string(given) + " " + what + " for " + std::to_string(count) + " dimensions";
  };
  if (part.whole.size() != count) return wrong("extents of the whole", part.whole.size());
  if (part.offset.size() != count) return wrong("offsets", part.offset.size());
  if (!part.ghost.empty() && part.ghost.size() != count) return wrong("numbers of ghost layers", part.ghost.size());
  for (std::size_t d = 0; d < count; ++d) {
    const std::string where = "along dimension " + std::to_string(d) + " its part ";
    const std::uint64_t ghost = ghost_of(part, d);
    if (ghost > dimensions[d] / 2) {
      return where + "has " + std::to_string(ghost) + " ghost layers on each side of a region of " +
             std::to_string(dimensions[d]);
    }
    const std::uint64_t owned = dimensions[d] - 2 * ghost;
    if (owned > part.whole[d] || part.offset[d] > part.whole[d] - owned) {
      return where + "ends beyond the whole: " + std::to_string(owned) + " elements from " +
             std::to_string(part.offset[d]) + " in " + std::to_string(part.whole[d]);
    }
  }
  return {};
}

std::vector<std::uint64_t> dimensions_of(const std::vector<std::uint64_t>& extents, std::uint64_t elements) {
  return extents.empty() ? std::vector<std::uint64_t>{elements} : extents;
}

std::optional<Box> owned_box(const GlobalPart& part, const std::vector<std::uint64_t>& dimensions) {
  Box box{part.offset, part.offset};
  for (std::size_t d = 0; d < dimensions.size(); ++d) box.end[d] += dimensions[d] - 2 * ghost_of(part, d);
  return box_or_none(std::move(box));
}

std::optional<Box> held_box(const GlobalPart& part, const std::vector<std::uint64_t>& dimensions) {
  auto box = owned_box(part, dimensions);
  if (!box) return box;
  for (std::size_t d = 0; d < dimensions.size(); ++d) {
    box->begin[d] -= std::min(box->begin[d], ghost_of(part, d));
    box->end[d] += std::min(part.whole[d] - box->end[d], ghost_of(part, d));
  }
  return box;
}

std::optional<Box> intersect(const Box& a, const Box& b) {
  Box both = a;
  for (std::size_t d = 0; d < a.begin.size(); ++d) {
    both.begin[d] = std::max(a.begin[d], b.begin[d]);
    both.end[d] = std::min(a.end[d], b.end[d]);
  }
  return box_or_none(std::move(both));
}

std::vector<Box> subtract(const Box& from, const Box& cut) {
  const auto common = intersect(from, cut);
  if (!common) return {from};
  std::vector<Box> rest;
  Box core = from;
  for (std::size_t d = 0; d < from.begin.size(); ++d) {
    if (core.begin[d] < common->begin[d]) {
      rest.push_back(core);
      rest.back().end[d] = core.begin[d] = common->begin[d];
    }
    if (core.end[d] > common->end[d]) {
      rest.push_back(core);
      rest.back().begin[d] = core.end[d] = common->end[d];
    }
  }
  return rest;
}

std::string to_string(const Box& box) {
  std::string text;
  for (std::size_t d = 0; d < box.begin.size(); ++d) {
    text += (d == 0 ? "[" : " x [") + std::to_string(box.begin[d]) + ", " + std::to_string(box.end[d]) + ")";
  }
  return text;
}

}  // namespace foreweave::state_detail
