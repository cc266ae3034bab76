#pragma once
// One protected region inside the CaptureEngine: its base, and what begin() found out about it. One implementation
// for host memory (with a base or with page digests in its place), one for device memory.

#include <array>
#include <cstdint>
#include <map>
#include <memory>

#include "foreweave/state/chain.hpp"
#include "foreweave/state/region.hpp"
#include "foreweave/state/capture.hpp"
#include "foreweave/state/snapshot.hpp"
#include "state/capture_moment.hpp"
#include "state/segment_team.hpp"
#include "state/staging.hpp"

namespace foreweave::state_detail {

class RegionCapture {
 public:
  explicit RegionCapture(const RegionSpec& spec) : spec_(spec), shape_(page_shape(spec.type, spec.extents)) {}
  virtual ~RegionCapture() = default;
  RegionCapture(const RegionCapture&) = delete;
  RegionCapture& operator=(const RegionCapture&) = delete;

  const RegionSpec& spec() const { return spec_; }
  /// Other memory of the same size and type.
  virtual void repoint(const RegionSpec& spec) {
    spec_ = spec;
    shape_ = page_shape(spec.type, spec.extents);
  }

  /// Takes what differs from the base (a full capture: everything), so that the program may go on. Adds what it did to
  /// `report`.
  virtual void stage(CaptureMoment& moment, Staging& staging, CaptureReport& report) = 0;
  /// True when stage() already changed the base: it then is the base of the pending capture only.
  virtual bool base_moved() const = 0;
  /// Encodes what stage() took, as region `index` of the snapshot, and moves the base on.
  virtual void encode(SnapshotBuilder& builder, std::size_t index, SegmentTeam& team) = 0;
  /// The same for a store that lacks the base: all of the region, as it was when stage() ran, as a full snapshot.
  /// Error(absent) where there is no base to take it from.
  virtual void encode_whole(SnapshotBuilder& builder, std::size_t index, SegmentTeam& team) = 0;
  /// Forgets what stage() took.
  virtual void discard() = 0;

  /// Makes the base what region `index` of the chain is. The program's memory is not touched.
  virtual void load_base(const Chain& chain, std::size_t index) = 0;
  /// Makes the region what load_base() has read.
  virtual void restore(const Chain& chain, std::size_t index) = 0;
  /// False: a whole snapshot can only be taken from the region itself, at stage().
  virtual bool has_base() const { return true; }

  /// Memory that this region takes now, but for Staging's.
  virtual std::uint64_t held_bytes() const = 0;

 protected:
  std::uint64_t segments() const { return segment_count(spec_.bytes); }
  kernels::PageShape shape() const { return shape_; }

 private:
  RegionSpec spec_;
  kernels::PageShape shape_;
};

std::unique_ptr<RegionCapture> make_host_region(const RegionSpec& spec, bool with_base, Tracking tracking);

class DeviceCapture;
/// The regions of each device are captured together. An engine has one of these.
using DeviceCaptures = std::map<int, std::weak_ptr<DeviceCapture>>;
std::unique_ptr<RegionCapture> make_device_region(const RegionSpec& spec, DeviceCaptures& together);

}  // namespace foreweave::state_detail
