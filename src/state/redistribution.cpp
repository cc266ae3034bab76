#include "foreweave/state/redistribution.hpp"

#include <algorithm>
#include <cstring>

#include "foreweave/core/error.hpp"
#include "foreweave/device/memory.hpp"
#include "state/global_part.hpp"

namespace foreweave {

using namespace state_detail;

namespace {

/// Reads any bytes of a region of a chain; neighbouring reads share the decoded segment.
class Window {
 public:
  Window(const Chain& chain, std::size_t region)
      : chain_(chain), region_(region), bytes_(chain.manifest().regions[region].bytes) {}

  void read(std::uint64_t at, std::byte* to, std::uint64_t count) {
    while (count > 0) {
      const std::uint64_t segment = at / segment_bytes, inside = at % segment_bytes;
      const std::uint64_t length = segment_length(bytes_, segment);
      if (segment != held_) {
        data_.resize(segment_bytes);
        held_ = none;  // should the next line throw
        chain_.read_segment(region_, segment, data_.data(), length);
        held_ = segment;
      }
      const std::uint64_t piece = std::min(count, length - inside);
      std::memcpy(to, data_.data() + inside, piece);
      at += piece;
      to += piece;
      count -= piece;
    }
  }

 private:
  static constexpr std::uint64_t none = ~std::uint64_t{0};
  const Chain& chain_;
  std::size_t region_;
  std::uint64_t bytes_, held_ = none;
  Bytes data_;
};

/// Number, in a region that is the part `part` with `dimensions`, of the array's element `at`.
std::uint64_t element_number(const GlobalPart& part, const std::vector<std::uint64_t>& dimensions,
                             const std::vector<std::uint64_t>& at) {
  std::uint64_t number = 0;
  for (std::size_t d = 0; d < dimensions.size(); ++d) {
    const std::uint64_t ghost = part.ghost.empty() ? 0 : part.ghost[d];
    number = number * dimensions[d] + (at[d] + ghost - part.offset[d]);
  }
  return number;
}

/// Calls visit(first element) for each row (along the last dimension) of a box, in memory order.
template <class Visit>
void for_each_row(const Box& box, Visit visit) {
  auto at = box.begin;
  for (;;) {
    visit(at);
    std::size_t d = at.size() - 1;
    do {
      if (d == 0) return;
      --d;
      if (++at[d] < box.end[d]) break;
      at[d] = box.begin[d];
    } while (true);
  }
}

}  // namespace

struct Redistribution::Target {
  RegionSpec spec;
  std::vector<std::uint64_t> dimensions;
  std::vector<Box> missing;
  Bytes staged;  ///< the region's content, when it lies on a device

  std::byte* memory() { return staged.empty() ? static_cast<std::byte*>(spec.data) : staged.data(); }
};

Redistribution::Redistribution(std::vector<RegionSpec> regions) {
  for (auto& spec : regions) {
    if (!spec.part) {
      throw Error(ErrorCategory::argument, "restore region '" + spec.name + "' on another number of ranks",
                  "it does not say which part of the whole it is (RegionSpec::part); start as many ranks as before");
    }
    Target& target = targets_.emplace_back();
    target.dimensions = dimensions_of(spec.extents, spec.bytes / element_width(spec.type));
    if (const auto problem = part_problem(*spec.part, spec.extents, spec.bytes / element_width(spec.type));
        !problem.empty()) {
      throw Error(ErrorCategory::argument, "restore region '" + spec.name + "' on another number of ranks", problem);
    }
    if (auto box = held_box(*spec.part, target.dimensions)) target.missing.push_back(std::move(*box));
    if (spec.space == MemorySpace::device && spec.bytes != 0) {
      target.staged.resize(spec.bytes);
      copy_and_wait(target.staged.data(), spec.data, spec.bytes, spec.stream);  // ghosts outside the array stay
    }
    target.spec = std::move(spec);
  }
}

Redistribution::~Redistribution() = default;

std::uint64_t Redistribution::take(const Chain& chain) {
  const Manifest& manifest = chain.manifest();
  std::uint64_t taken = 0;
  for (Target& target : targets_) {
    const RegionSpec& spec = target.spec;
    const auto refuse = [&](const std::string& why) {
      throw Error(ErrorCategory::argument,
                  "restore region '" + spec.name + "' from " + to_string(SnapshotId{manifest.rank, manifest.version}),
                  why);
    };
    const auto found = std::find_if(manifest.regions.begin(), manifest.regions.end(),
                                    [&](const RegionRecord& region) { return region.name == spec.name; });
    if (found == manifest.regions.end()) refuse("it is protected, but not in that snapshot");
    if (found->type != spec.type) {
      refuse("it is of type " + to_string(spec.type) + ", but was captured as " + to_string(found->type));
    }
    if (!found->part) refuse("it was captured without its part of the whole, which only as many ranks as then can use");
    if (found->part->whole != spec.part->whole) refuse("it is part of an array of other extents than it was");
    if (target.missing.empty()) continue;
    const std::uint64_t width = element_width(spec.type);
    const auto dimensions = dimensions_of(found->extents, found->bytes / width);
    const auto source = owned_box(*found->part, dimensions);
    if (!source) continue;
    Window window(chain, static_cast<std::size_t>(found - manifest.regions.begin()));
    std::vector<Box> rest;
    for (const Box& wanted : target.missing) {
      if (const auto common = intersect(wanted, *source)) {
        const std::uint64_t row = (common->end.back() - common->begin.back()) * width;
        for_each_row(*common, [&](const std::vector<std::uint64_t>& at) {
          window.read(element_number(*found->part, dimensions, at) * width,
                      target.memory() + element_number(*spec.part, target.dimensions, at) * width, row);
          taken += row;
        });
      }
      for (auto& box : subtract(wanted, *source)) rest.push_back(std::move(box));
    }
    target.missing = std::move(rest);
  }
  return taken;
}

bool Redistribution::complete() const {
  return std::all_of(targets_.begin(), targets_.end(), [](const Target& target) { return target.missing.empty(); });
}

std::string Redistribution::missing() const {
  for (const Target& target : targets_) {
    if (!target.missing.empty()) {
      return "region '" + target.spec.name + "', elements " + to_string(target.missing.front());
    }
  }
  return {};
}

void Redistribution::finish() {
  if (!complete()) throw Error(ErrorCategory::state, "finish a restore on another number of ranks", missing() + " are missing");
  for (Target& target : targets_) {
    if (!target.staged.empty()) {
      copy_and_wait(target.spec.data, target.staged.data(), target.spec.bytes, target.spec.stream);
    }
  }
}

}  // namespace foreweave
