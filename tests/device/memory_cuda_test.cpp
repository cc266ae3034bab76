// The device layer on whatever CUDA there is: the emulator in every run, a GPU on a machine that has one.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "foreweave/core/error.hpp"
#include "foreweave/device/device.hpp"
#include "foreweave/device/graph.hpp"
#include "foreweave/device/memory.hpp"

namespace foreweave {
namespace {

std::vector<std::byte> pattern(std::size_t bytes, unsigned seed) {
  std::vector<std::byte> data(bytes);
  for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>(i * 31 + seed + (i >> 8));
  return data;
}

TEST(Device, ReportNamesEveryDevice) {
  const DeviceReport report = device_report();
  ASSERT_EQ(static_cast<int>(report.devices.size()), device_count());
  ASSERT_GT(device_count(), 0) << report.reason;
  EXPECT_TRUE(report.reason.empty());
  EXPECT_FALSE(report.driver_version.empty());
  EXPECT_EQ(report.runtime_version.substr(0, 3), "13.");
  for (const auto& device : report.devices) {
    EXPECT_FALSE(device.name.empty());
    EXPECT_EQ(device.pci.size(), std::string("0000:01:00.0").size());
    EXPECT_GE(device.total_bytes, device.free_bytes);
  }
}

TEST(Device, GuardPutsTheDeviceBack) {
  const int before = current_device();
  {
    const DeviceGuard guard(device_count() - 1);
    EXPECT_EQ(current_device(), device_count() - 1);
  }
  EXPECT_EQ(current_device(), before);
  try {
    const DeviceGuard guard(device_count());
    FAIL() << "a device that is not there was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.category(), ErrorCategory::resource);
  }
}

TEST(Memory, SpaceOfEachKind) {
  DeviceBuffer device(1000, device_count() - 1);
  PinnedBuffer pinned(1000);
  std::vector<char> host(1000);
  EXPECT_EQ(memory_space_of(device.data()), MemorySpace::device);
  EXPECT_EQ(memory_space_of(device.data() + 999), MemorySpace::device);
  EXPECT_EQ(device_of(device.data() + 999), device_count() - 1);
  EXPECT_EQ(memory_space_of(pinned.data() + 500), MemorySpace::pinned);
  EXPECT_EQ(device_of(pinned.data()), -1);
  EXPECT_EQ(memory_space_of(host.data()), MemorySpace::host);
  EXPECT_EQ(memory_space_of(nullptr), MemorySpace::host);
  EXPECT_EQ(device_of(nullptr), -1);
}

TEST(Memory, CopiesBetweenAllSpaces) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{513}, std::size_t{1} << 20}) {
    const auto data = pattern(bytes, 7);
    Stream stream = Stream::create();
    DeviceBuffer first(bytes), second(bytes);
    PinnedBuffer up(bytes), down(bytes);
    std::memcpy(up.data(), data.data(), bytes);
    copy_async(first.data(), up.data(), bytes, stream.handle());
    copy_async(second.data(), first.data(), bytes, stream.handle());
    copy_async(down.data(), second.data(), bytes, stream.handle());
    stream.synchronize();
    EXPECT_EQ(std::memcmp(down.data(), data.data(), bytes), 0);
    std::vector<std::byte> back(bytes);
    copy_and_wait(back.data(), second.data(), bytes);
    EXPECT_EQ(back, data);
    fill_async(second.data(), 0x5A, bytes, stream.handle());
    copy_and_wait(back.data(), second.data(), bytes, stream.handle());
    EXPECT_EQ(back, std::vector<std::byte>(bytes, std::byte{0x5A}));
  }
}

TEST(Memory, HostCopiesNeedNoDevice) {
  const auto data = pattern(100, 3);
  std::vector<std::byte> back(100);
  copy_and_wait(back.data(), data.data(), 100);
  EXPECT_EQ(back, data);
  copy_and_wait(nullptr, nullptr, 0);
}

TEST(Memory, BuffersMove) {
  DeviceBuffer first(64);
  std::byte* const data = first.data();
  DeviceBuffer second = std::move(first);
  EXPECT_EQ(second.data(), data);
  EXPECT_EQ(first.data(), nullptr);
  first = std::move(second);
  EXPECT_EQ(first.data(), data);
  EXPECT_EQ(first.size(), 64u);
  EXPECT_FALSE(DeviceBuffer(0));
  PinnedBuffer pinned(10);
  PinnedBuffer other = std::move(pinned);
  EXPECT_TRUE(other);
  EXPECT_FALSE(pinned);
}

TEST(Memory, TooMuchIsAResourceError) {
  try {
    DeviceBuffer huge(std::uint64_t{1} << 50);
    FAIL() << "a petabyte was handed out";
  } catch (const Error& error) {
    EXPECT_EQ(error.category(), ErrorCategory::resource);
    EXPECT_NE(std::string(error.what()).find("1125899906842624 bytes of device memory"), std::string::npos);
  }
}

TEST(Streams, EventsOrderTwoStreams) {
  const std::size_t bytes = 1 << 16;
  const auto data = pattern(bytes, 11);
  Stream producer = Stream::create(), consumer = Stream::create();
  Event ready = Event::create();
  DeviceBuffer buffer(bytes);
  PinnedBuffer up(bytes), down(bytes);
  std::memcpy(up.data(), data.data(), bytes);
  copy_async(buffer.data(), up.data(), bytes, producer.handle());
  ready.record(producer.handle());
  ready.wait_in(consumer.handle());
  copy_async(down.data(), buffer.data(), bytes, consumer.handle());
  Event finished = Event::create();
  EXPECT_TRUE(finished.done());
  finished.record(consumer.handle());
  while (!finished.done()) std::this_thread::yield();
  EXPECT_TRUE(ready.done());
  EXPECT_EQ(std::memcmp(down.data(), data.data(), bytes), 0);
}

TEST(Streams, AnotherThreadMayWait) {
  const std::size_t bytes = 4096;
  const auto data = pattern(bytes, 1);
  Stream stream = Stream::create();
  DeviceBuffer buffer(bytes);
  PinnedBuffer up(bytes), down(bytes);
  std::memcpy(up.data(), data.data(), bytes);
  copy_async(buffer.data(), up.data(), bytes, stream.handle());
  copy_async(down.data(), buffer.data(), bytes, stream.handle());
  std::thread([&] { stream.synchronize(); }).join();
  EXPECT_EQ(std::memcmp(down.data(), data.data(), bytes), 0);
}

TEST(Streams, AnEmptyEventSaysSo) {
  Event event;
  try {
    event.synchronize();
    FAIL() << "an empty event was waited for";
  } catch (const Error& error) {
    EXPECT_EQ(error.category(), ErrorCategory::state);
  }
}

TEST(Graphs, WorkIsRecordedAndRunsAtEveryLaunch) {
  const auto stream = Stream::create();
  DeviceBuffer device(8);
  PinnedBuffer from(8), to(8);
  std::memset(from.data(), 1, 8);
  std::memset(to.data(), 0, 8);
  Graph graph = Graph::record(stream.handle(), [&] {
    fill_async(device.data(), 9, 8, stream.handle());
    copy_async(device.data(), from.data(), 4, stream.handle());
    copy_async(to.data(), device.data(), 8, stream.handle());
  });
  stream.synchronize();
  EXPECT_EQ(to.data()[0], std::byte{0}) << "recording runs nothing";
  const auto other = Stream::create();
  for (int launch = 1; launch < 4; ++launch) {
    std::memset(from.data(), launch, 8);
    const Graph moved = std::move(graph);  // wherever it is
    moved.launch(other.handle());
    other.synchronize();
    EXPECT_EQ(to.data()[3], static_cast<std::byte>(launch));
    EXPECT_EQ(to.data()[4], std::byte{9});
    graph = Graph::record(stream.handle(), [&] {
      copy_async(device.data(), from.data(), 4, stream.handle());
      copy_async(to.data(), device.data(), 8, stream.handle());
    });
  }
}

TEST(Graphs, WhatCannotBeRecordedIsAnErrorAndTheStreamGoesOn) {
  const auto stream = Stream::create();
  PinnedBuffer pinned(8);
  EXPECT_THROW(Graph::record(stream.handle(), [&] { stream.synchronize(); }), Error);
  EXPECT_THROW(Graph::record(stream.handle(), [&] { DeviceBuffer no(100); }), Error);
  EXPECT_THROW(Graph::record(stream.handle(), [&] { throw std::runtime_error("the program's"); }), std::runtime_error);
  EXPECT_THROW(Graph().launch(stream.handle()), Error);
  DeviceBuffer device(8);
  fill_async(device.data(), 5, 8, stream.handle());
  copy_async(pinned.data(), device.data(), 8, stream.handle());
  stream.synchronize();
  EXPECT_EQ(pinned.data()[7], std::byte{5});
}

}  // namespace
}  // namespace foreweave
