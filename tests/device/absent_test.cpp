// The library where there is no CUDA: not in the build, or no driver on the machine. Nothing of it is an error until
// a device is asked for.
#include <gtest/gtest.h>

#include "foreweave/core/error.hpp"
#include "foreweave/device/device.hpp"
#include "foreweave/device/memory.hpp"

namespace foreweave {
namespace {

class Absent : public testing::Test {
 protected:
  void SetUp() override {
    if (device_count() > 0) GTEST_SKIP() << "this machine has a device";
  }
  template <class F>
  void expect_resource_error(F&& action) {
    try {
      action();
      FAIL() << "a device was used that is not there";
    } catch (const Error& error) {
      EXPECT_EQ(error.category(), ErrorCategory::resource) << error.what();
    }
  }
};

TEST_F(Absent, TheReportSaysWhy) {
  const DeviceReport report = device_report();
  EXPECT_TRUE(report.devices.empty());
  EXPECT_FALSE(report.reason.empty());
  EXPECT_EQ(current_device(), -1);
}

TEST_F(Absent, EverythingIsHostMemory) {
  int here = 0;
  EXPECT_EQ(memory_space_of(&here), MemorySpace::host);
  EXPECT_EQ(device_of(&here), -1);
  int there = 0;
  here = 5;
  copy_and_wait(&there, &here, sizeof here);
  EXPECT_EQ(there, 5);
}

TEST_F(Absent, AskingForADeviceIsRefused) {
  expect_resource_error([] { DeviceBuffer buffer(10); });
  expect_resource_error([] { PinnedBuffer buffer(10); });
  expect_resource_error([] { Stream::create(); });
  expect_resource_error([] { Event::create(); });
  expect_resource_error([] { DeviceGuard guard(0); });
  EXPECT_NO_THROW(DeviceGuard(-1));
}

}  // namespace
}  // namespace foreweave
