#pragma once
// What the classes of this layer need of CUDA: implemented in src/device/cuda (nvcc or the emulator) and, for builds
// without CUDA, in kernels/stub/device_backend.cpp. Plain C++: included by .cu files.
//
// Functions that throw do so with Error(cuda) or Error(resource), with the operation in its name; the release functions
// return and log nothing (destructors call them, and a context that is gone has freed everything already).

#include <cstddef>
#include <cstdint>

#include "foreweave/device/device.hpp"
#include "foreweave/device/memory_space.hpp"

namespace foreweave::device_backend {

/// Devices that can be used; never throws. Asked once, the answer is kept.
int count();
DeviceReport report();
int current();
void set_current(int device);

struct Location {
  MemorySpace space = MemorySpace::host;
  int device = -1;
};
/// Only called when count() > 0.
Location locate(const void* pointer);

void* allocate_device(std::uint64_t bytes);
void release_device(void* data) noexcept;
void* allocate_pinned(std::uint64_t bytes);
void release_pinned(void* data) noexcept;
void copy_async(void* to, const void* from, std::uint64_t bytes, void* stream);
void fill_async(void* to, unsigned char value, std::uint64_t bytes, void* stream);

void* create_stream();
void release_stream(void* stream) noexcept;
void synchronize_stream(void* stream);

void* create_event();
void release_event(void* event) noexcept;
void record_event(void* event, void* stream);
void wait_event(void* event, void* stream);
void synchronize_event(void* event);
bool event_done(void* event);

void begin_recording(void* stream);
void drop_recording(void* stream) noexcept;
/// What was recorded, ready to be launched.
void* end_recording(void* stream);
void launch_graph(void* graph, void* stream);
void release_graph(void* graph) noexcept;

}  // namespace foreweave::device_backend
