#include "foreweave/device/device.hpp"

#include <string>

#include "device/backend.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave {

int device_count() { return device_backend::count(); }
DeviceReport device_report() { return device_backend::report(); }
int current_device() { return device_backend::count() > 0 ? device_backend::current() : -1; }

DeviceGuard::DeviceGuard(int device) {
  if (device < 0) return;
  if (device >= device_backend::count())
    throw Error(ErrorCategory::resource, "use device " + std::to_string(device),
                device_backend::count() == 0 ? "there is no CUDA device: " + device_report().reason
                                             : "there are only " + std::to_string(device_backend::count()));
  const int now = device_backend::current();
  if (now == device) return;
  device_backend::set_current(device);
  previous_ = now;
}

DeviceGuard::~DeviceGuard() {
  if (previous_ < 0) return;
  try {
    device_backend::set_current(previous_);
  } catch (const Error&) {
    // Setting back a device that was current cannot fail but for a lost context, which the next call reports.
  }
}

}  // namespace foreweave
