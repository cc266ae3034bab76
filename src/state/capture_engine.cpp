#include <algorithm>
#include <limits>
#include <utility>

#include "foreweave/core/clock.hpp"
#include "foreweave/core/error.hpp"
#include "foreweave/state/capture.hpp"
#include "state/global_part.hpp"
#include "state/link_fit.hpp"
#include "state/region_capture.hpp"

namespace foreweave {

using namespace state_detail;

namespace {

/// What finish() holds besides bases and staging: an encoded segment, and the builder's buffers.
constexpr std::uint64_t finish_scratch_bytes = 4 * segment_bytes;

RegionRecord record_of(const RegionSpec& spec) {
  RegionRecord record{spec.name, spec.type, spec.bytes, spec.extents, spec.part, {}};
  // "No ghosts" is said in one way, here and by the reader of a manifest.
  auto& part = record.part;
  if (part && std::all_of(part->ghost.begin(), part->ghost.end(), [](auto layers) { return layers == 0; })) {
    part->ghost.clear();
  }
  return record;
}

/// Error(argument) for a description of memory that cannot be.
void check(const RegionSpec& spec) {
  const std::string operation = "protect region '" + spec.name + "'";
  const auto refuse = [&](const std::string& why) { throw Error(ErrorCategory::argument, operation, why); };
  if (spec.name.empty()) refuse("a region needs a name");
  if (spec.name.size() > 255) refuse("its name is longer than 255 bytes");
  const std::uint64_t width = element_width(spec.type);
  if (width == 0) refuse("its element type is unknown");
  if (spec.data == nullptr && spec.bytes != 0) refuse("its pointer is null");
  if (spec.bytes % width != 0) {
    refuse(std::to_string(spec.bytes) + " bytes are not a whole number of " + to_string(spec.type) + " elements");
  }
  if (spec.extents.size() > 16) refuse("it has more than 16 extents");
  std::uint64_t product = 1;
  for (const auto extent : spec.extents) {
    if (extent != 0 && product > std::numeric_limits<std::uint64_t>::max() / extent) refuse("its extents overflow");
    product *= extent;
  }
  if (!spec.extents.empty() && product != spec.bytes / width) {
    refuse("its extents multiply to " + std::to_string(product) + " elements, but it has " +
           std::to_string(spec.bytes / width));
  }
  if (!spec.part) return;
  const auto problem = part_problem(*spec.part, spec.extents, spec.bytes / width);
  if (!problem.empty()) refuse(problem);
}

/// What a restore would have to read: the snapshots since the last full one.
struct ChainCost {
  std::size_t links = 0;
  std::uint64_t full_bytes = 0, delta_bytes = 0;

  void add(bool full, std::uint64_t bytes) {
    if (full) *this = {.links = 0, .full_bytes = bytes, .delta_bytes = 0};
    if (!full) delta_bytes += bytes;
    ++links;
  }
  bool too_long(std::size_t limit) const { return limit != 0 && links >= limit && delta_bytes >= full_bytes; }
};

}  // namespace

struct CaptureEngine::State {
  explicit State(CaptureOptions given)
      : options(std::move(given)), staging(options.staging_bytes), team(options.threads) {}

  CaptureOptions options;
  Staging staging;
  DeviceCaptures device_captures;
  SegmentTeam team;
  std::vector<std::unique_ptr<RegionCapture>> captures;
  std::vector<RegionSpec> specs;  ///< as in `captures`

  bool base_good = false;  ///< the bases hold exactly the state `base_state`
  Version base_version = 0;
  Digest128 base_state;
  std::vector<RegionRecord> base_regions;  ///< of that state
  Version newest = 0;                      ///< captured or restored last
  ChainCost chain;                         ///< that ends in `base_version`

  bool pending = false;
  CaptureReport report;
  std::int64_t wall_time = 0;
  std::uint64_t peak = 0;

  std::uint64_t held() const {
    std::uint64_t sum = staging.held_bytes() + team.held_bytes();
    for (const auto& capture : captures) sum += capture->held_bytes();
    return sum;
  }
  /// Whether a new host region gets a base.
  bool room_for_base(const RegionSpec& spec) const {
    std::uint64_t given = 0;
    for (std::size_t i = 0; i < specs.size(); ++i) {
      if (specs[i].space != MemorySpace::device && captures[i]->has_base()) given += specs[i].bytes;
    }
    return spec.base && (options.base_bytes == 0 || given + spec.bytes <= options.base_bytes);
  }
  void note_peak() { peak = std::max(peak, held()); }

  void require_idle(const std::string& operation) const {
    if (pending) {
      throw Error(ErrorCategory::state, operation,
                  "the capture of version " + std::to_string(report.version) + " is not finished");
    }
  }

  std::vector<RegionRecord> records() const {
    std::vector<RegionRecord> records;
    for (const auto& spec : specs) records.push_back(record_of(spec));
    return records;
  }

  /// A delta needs a base of the same regions in the same order.
  bool fits_base() const {
    if (!base_good || base_regions.size() != specs.size()) return false;
    for (std::size_t i = 0; i < specs.size(); ++i) {
      if (!region_difference(base_regions[i], record_of(specs[i])).empty()) return false;
    }
    return true;
  }

  void drop_pending() {
    for (auto& capture : captures) {
      if (capture->base_moved()) base_good = false;
      capture->discard();
    }
    staging.clear();
    pending = false;
  }
};

CaptureEngine::CaptureEngine(CaptureOptions options) : state_(std::make_unique<State>(std::move(options))) {
  const CaptureOptions& given = state_->options;
  if (given.rank < 0 || given.rank >= given.ranks) {
    throw Error(ErrorCategory::argument, "make a capture engine",
                "rank " + std::to_string(given.rank) + " of " + std::to_string(given.ranks) + " cannot be");
  }
}

CaptureEngine::~CaptureEngine() = default;

void CaptureEngine::add(const RegionSpec& spec) {
  State& s = *state_;
  s.require_idle("protect region '" + spec.name + "'");
  check(spec);
  for (std::size_t i = 0; i < s.specs.size(); ++i) {
    const RegionSpec& known = s.specs[i];
    if (known.name != spec.name) continue;
    const auto refuse = [&](const std::string& why) {
      throw Error(ErrorCategory::argument, "protect region '" + spec.name + "'",
                  "it is protected already, with " + why + "; remove it first, or give the new one another name");
    };
    if (known.bytes != spec.bytes) {
      refuse(std::to_string(known.bytes) + " bytes and not " + std::to_string(spec.bytes));
    }
    if (known.type != spec.type) refuse("element type " + to_string(known.type) + " and not " + to_string(spec.type));
    if (known.space != spec.space) {
      refuse(std::string(to_string(known.space)) + " memory and not " + std::string(to_string(spec.space)));
    }
    s.captures[i]->repoint(spec);
    s.specs[i] = spec;
    return;
  }
  const bool on_device = spec.space == MemorySpace::device;
  auto capture = on_device ? make_device_region(spec, s.device_captures)
                           : make_host_region(spec, s.room_for_base(spec), s.options.tracking);
  s.staging.add_chunk(on_device ? 0 : kernels::page_count(spec.bytes));
  s.captures.push_back(std::move(capture));
  s.specs.push_back(spec);
  s.note_peak();
}

void CaptureEngine::remove(const std::string& name) {
  State& s = *state_;
  s.require_idle("remove region '" + name + "'");
  const auto found =
      std::find_if(s.specs.begin(), s.specs.end(), [&](const RegionSpec& spec) { return spec.name == name; });
  if (found == s.specs.end()) {
    throw Error(ErrorCategory::absent, "remove region '" + name + "'", "no region of that name is protected");
  }
  const auto index = found - s.specs.begin();
  s.specs.erase(found);
  s.captures.erase(s.captures.begin() + index);
  s.staging.remove_chunk(static_cast<std::size_t>(index));
}

const std::vector<RegionSpec>& CaptureEngine::regions() const { return state_->specs; }

void CaptureEngine::begin(Version version) {
  State& s = *state_;
  const std::string operation = "capture version " + std::to_string(version);
  s.require_idle(operation);
  if (version <= s.newest) {
    throw Error(ErrorCategory::argument, operation,
                "versions ascend, and version " + std::to_string(s.newest) + " was captured or restored last");
  }
  const auto started = monotonic_now();
  const bool full = !s.fits_base() || s.chain.too_long(s.options.max_chain);
  s.report = {};
  s.report.version = version;
  s.report.base = full ? 0 : s.base_version;
  s.pending = true;
  CaptureMoment moment(full);
  try {
    for (auto& capture : s.captures) {
      s.report.region_bytes += capture->spec().bytes;
      s.report.pages += kernels::page_count(capture->spec().bytes);
      capture->stage(moment, s.staging, s.report);
    }
  } catch (...) {
    s.note_peak();
    // A region whose stage() threw half way may have moved its base without being able to say so.
    s.base_good = false;
    s.drop_pending();
    throw;
  }
  s.note_peak();
  s.wall_time = wall_now();
  s.report.hold_ns = s.report.blocked_ns = monotonic_now() - started;
}

CaptureReport CaptureEngine::finish(Store& store) {
  State& s = *state_;
  if (!s.pending) throw Error(ErrorCategory::state, "finish a capture", "none was begun");
  const auto started = monotonic_now();
  const SnapshotId id{s.options.rank, s.report.version};
  Manifest header;
  header.rank = id.rank;
  header.ranks = s.options.ranks;
  header.version = id.version;
  header.base = s.report.base;
  header.base_state = s.report.base == 0 ? Digest128{} : s.base_state;
  header.wall_time_ns = s.wall_time;
  header.job = s.options.job;
  header.regions = s.records();
  // Until the snapshot stands in the store the bases are of no known state: whatever fails here, the next capture is
  // full.
  s.base_good = false;
  SnapshotBuilder::Result result;
  s.peak = std::max(s.peak, s.held() + finish_scratch_bytes);
  try {
    // A store that lost the base (another store, a cleared folder) gets the whole state.
    const bool whole = header.base != 0 && !store.open({id.rank, header.base});
    if (whole) {
      header.base = s.report.base = 0;
      header.base_state = {};
    }
    SnapshotBuilder builder(store, header, s.options.key);
    for (std::size_t i = 0; i < s.captures.size(); ++i) {
      whole ? s.captures[i]->encode_whole(builder, i, s.team) : s.captures[i]->encode(builder, i, s.team);
    }
    result = builder.finish();
  } catch (...) {
    s.drop_pending();
    throw;
  }
  s.drop_pending();
  s.base_good = true;
  s.base_version = id.version;
  s.base_state = result.state;
  s.base_regions = std::move(header.regions);
  s.newest = id.version;
  s.chain.add(header.base == 0, result.bytes);
  s.report.dirty_pages = result.dirty_pages;
  s.report.snapshot_bytes = result.bytes;
  s.report.pages_by_transform = result.pages_by_transform;
  s.report.encode_ns = monotonic_now() - started;
  return s.report;
}

void CaptureEngine::abandon() {
  if (state_->pending) state_->drop_pending();
}

void CaptureEngine::forget() {
  abandon();
  state_->base_good = false;
  state_->newest = 0;
}

void CaptureEngine::restore(const Chain& chain) {
  State& s = *state_;
  const Manifest& manifest = chain.manifest();
  const std::string operation = "restore " + to_string(SnapshotId{manifest.rank, manifest.version});
  s.require_idle(operation);
  const auto refuse = [&](const std::string& why) { throw Error(ErrorCategory::argument, operation, why); };
  // Which region of the snapshot is which of the program's; all of them, before anything is written.
  std::vector<std::size_t> stored_as(s.specs.size());
  for (std::size_t i = 0; i < s.specs.size(); ++i) {
    const RegionSpec& spec = s.specs[i];
    const auto found = std::find_if(manifest.regions.begin(), manifest.regions.end(),
                                    [&](const RegionRecord& region) { return region.name == spec.name; });
    if (found == manifest.regions.end()) refuse("region '" + spec.name + "' is protected, but not in the snapshot");
    if (found->bytes != spec.bytes) {
      refuse("region '" + spec.name + "' has " + std::to_string(spec.bytes) + " bytes, but was captured with " +
             std::to_string(found->bytes));
    }
    if (found->type != spec.type) {
      refuse("region '" + spec.name + "' is of type " + to_string(spec.type) + ", but was captured as " +
             to_string(found->type));
    }
    if (found->part != record_of(spec).part) {
      refuse("region '" + spec.name + "' is another part of the whole than was captured");
    }
    stored_as[i] = static_cast<std::size_t>(found - manifest.regions.begin());
  }
  for (const auto& region : manifest.regions) {
    const auto known = [&](const RegionSpec& spec) { return spec.name == region.name; };
    if (std::none_of(s.specs.begin(), s.specs.end(), known)) {
      refuse("region '" + region.name + "' is in the snapshot, but not protected");
    }
  }
  // First every base: damage that shows up here leaves the program's memory as it is.
  s.base_good = false;
  for (std::size_t i = 0; i < s.captures.size(); ++i) s.captures[i]->load_base(chain, stored_as[i]);
  for (std::size_t i = 0; i < s.captures.size(); ++i) s.captures[i]->restore(chain, stored_as[i]);
  // Where a base is missing, nothing but a new full version can follow should the store at hand not hold this one.
  s.base_good = std::all_of(s.captures.begin(), s.captures.end(), [](const auto& one) { return one->has_base(); });
  s.base_version = manifest.version;
  s.base_state = manifest.state;
  s.base_regions = manifest.regions;
  for (auto& region : s.base_regions) region.segments.clear();
  s.newest = manifest.version;
  for (const auto& link : chain.links()) s.chain.add(link->manifest().base == 0, link->bytes());
}

std::uint64_t CaptureEngine::held_bytes() const { return state_->held(); }
std::uint64_t CaptureEngine::peak_held_bytes() const { return state_->peak; }

}  // namespace foreweave
