#include "foreweave/core/error.hpp"
#include "state/region_capture.hpp"
namespace foreweave::state_detail {
std::unique_ptr<RegionCapture> make_device_region(const RegionSpec& spec) {
  throw Error(ErrorCategory::resource, "protect region '" + spec.name + "'", "device regions come next");
}
}  // namespace foreweave::state_detail
