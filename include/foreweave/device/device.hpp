#pragma once
// Which devices there are, and which of them the calling thread works on.
//
// One binary runs on machines with and without a driver: a missing driver or a build without CUDA is a device count
// of zero and a reason, not an error.

#include <cstdint>
#include <string>
#include <vector>

namespace foreweave {

/// What `foreweave info` says of one device.
struct DeviceInfo {
  int index = 0;
  std::string name;
  std::string pci;  ///< "0000:1b:00.0"
  int compute_major = 0;
  int compute_minor = 0;
  int multiprocessors = 0;
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;  ///< at the time of the call
};

/// What is known of CUDA in this process.
struct DeviceReport {
  std::string backend;          ///< "cuda", "emulated cuda" or "none" (a build without CUDA)
  std::string reason;           ///< why there is no device; empty when there is one
  std::string driver_version;   ///< highest CUDA version the driver serves, "13.0"; empty without a driver
  std::string runtime_version;  ///< of the runtime linked in; empty in a build without CUDA
  std::vector<DeviceInfo> devices;
};

/// Devices this process can use; 0 without a driver, a device, or CUDA in the build. Never throws for their absence.
/// Thread safe.
int device_count();

/// Everything `foreweave info` prints. Creates a context on each device (to ask for free memory). Thread safe.
DeviceReport device_report();

/// The calling thread's device; -1 where there is none.
int current_device();

/// Makes `device` the calling thread's device while it lives. Device −1 changes nothing.
/// Error(resource) when there is no such device.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_ = -1;
};

}  // namespace foreweave
