// The device layer's CUDA part in a build without CUDA: no device, for a reason that says what to do.
#include <string>

#include "foreweave/core/error.hpp"
#include "src/device/backend.hpp"

namespace foreweave::device_backend {
namespace {
constexpr const char* no_cuda = "this build has no CUDA: rebuild with nvcc on PATH";
[[noreturn]] void refuse(const char* operation) { throw Error(ErrorCategory::resource, operation, no_cuda); }
}  // namespace

int count() { return 0; }

DeviceReport report() {
  DeviceReport report;
  report.backend = "none";
  report.reason = no_cuda;
  return report;
}

int current() { return -1; }
void set_current(int) { refuse("choose a device"); }
Location locate(const void*) { return {}; }
void* allocate_device(std::uint64_t) { refuse("allocate device memory"); }
void release_device(void*) noexcept {}
void* allocate_pinned(std::uint64_t) { refuse("allocate pinned memory"); }
void release_pinned(void*) noexcept {}
void copy_async(void*, const void*, std::uint64_t, void*) { refuse("copy device memory"); }
void fill_async(void*, unsigned char, std::uint64_t, void*) { refuse("fill device memory"); }
void* create_stream() { refuse("create a stream"); }
void release_stream(void*) noexcept {}
void synchronize_stream(void*) { refuse("wait for a stream"); }
void* create_event() { refuse("create an event"); }
void release_event(void*) noexcept {}
void record_event(void*, void*) { refuse("record an event"); }
void wait_event(void*, void*) { refuse("wait for an event in a stream"); }
void synchronize_event(void*) { refuse("wait for an event"); }
bool event_done(void*) { refuse("ask an event"); }
void begin_recording(void*) { refuse("record a graph"); }
void drop_recording(void*) noexcept {}
void* end_recording(void*) { refuse("record a graph"); }
void launch_graph(void*, void*) { refuse("launch a graph"); }
void release_graph(void*) noexcept {}

}  // namespace foreweave::device_backend
