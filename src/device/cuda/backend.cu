// The device layer on the CUDA runtime. Compiled by nvcc, and by the host compiler against tests/emulator.
#include <cuda_runtime.h>

#include <cstdio>
#include <string>

#include "kernels/cuda/check.hpp"
#include "src/device/backend.hpp"

namespace foreweave::device_backend {
using cuda_detail::check;
namespace {

#ifdef FOREWEAVE_EMULATED_CUDA
constexpr const char* backend_name = "emulated cuda";
#else
constexpr const char* backend_name = "cuda";
#endif

struct Presence {
  int devices = 0;
  std::string reason;
};

Presence look() {
  Presence found;
  const cudaError_t code = cudaGetDeviceCount(&found.devices);
  if (code == cudaSuccess) {
    if (found.devices == 0) found.reason = "the driver lists no device";
    return found;
  }
  (void)cudaGetLastError();
  found.devices = 0;
  switch (code) {
    case cudaErrorInsufficientDriver:
      found.reason = "no NVIDIA driver is loaded, or it is older than this build's CUDA " +
                     std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
      break;
    case cudaErrorNoDevice:
      found.reason = "the driver finds no CUDA device (is CUDA_VISIBLE_DEVICES empty?)";
      break;
    default:
      found.reason = std::string(cudaGetErrorString(code)) + " (" + cudaGetErrorName(code) + ")";
  }
  return found;
}

const Presence& presence() {
  static const Presence found = look();
  return found;
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

}  // namespace

int count() { return presence().devices; }

DeviceReport report() {
  DeviceReport report;
  report.backend = backend_name;
  report.reason = presence().reason;
  int version = 0;
  if (cudaDriverGetVersion(&version) == cudaSuccess && version > 0) report.driver_version = version_text(version);
  if (cudaRuntimeGetVersion(&version) == cudaSuccess) report.runtime_version = version_text(version);
  for (int index = 0; index < presence().devices; ++index) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, index), "ask device " + std::to_string(index));
    DeviceInfo info;
    info.index = index;
    info.name = properties.name;
    char pci[32];
    std::snprintf(pci, sizeof pci, "%04x:%02x:%02x.0", static_cast<unsigned>(properties.pciDomainID) & 0xFFFFu,
                  static_cast<unsigned>(properties.pciBusID) & 0xFFu,
                  static_cast<unsigned>(properties.pciDeviceID) & 0xFFu);
    info.pci = pci;
    info.compute_major = properties.major;
    info.compute_minor = properties.minor;
    info.multiprocessors = properties.multiProcessorCount;
    info.total_bytes = properties.totalGlobalMem;
    const DeviceGuard guard(index);
    std::size_t free_bytes = 0, total_bytes = 0;
    check(cudaMemGetInfo(&free_bytes, &total_bytes), "ask device " + std::to_string(index) + " for its free memory");
    info.free_bytes = free_bytes;
    report.devices.push_back(info);
  }
  return report;
}

int current() {
  int device = 0;
  check(cudaGetDevice(&device), "ask for the current device");
  return device;
}

void set_current(int device) { check(cudaSetDevice(device), "use device " + std::to_string(device)); }

Location locate(const void* pointer) {
  cudaPointerAttributes attributes{};
  check(cudaPointerGetAttributes(&attributes, pointer), "ask where a pointer lies");
  switch (attributes.type) {
    case cudaMemoryTypeDevice:
      return {MemorySpace::device, attributes.device};
    case cudaMemoryTypeHost:
      return {MemorySpace::pinned, -1};
    default:
      return {MemorySpace::host, -1};
  }
}

void* allocate_device(std::uint64_t bytes) {
  void* data = nullptr;
  check(cudaMalloc(&data, bytes), "allocate " + std::to_string(bytes) + " bytes of device memory");
  return data;
}

void release_device(void* data) noexcept { (void)cudaFree(data); }

void* allocate_pinned(std::uint64_t bytes) {
  void* data = nullptr;
  check(cudaHostAlloc(&data, bytes, cudaHostAllocPortable),
        "allocate " + std::to_string(bytes) + " bytes of pinned memory");
  return data;
}

void release_pinned(void* data) noexcept { (void)cudaFreeHost(data); }

void copy_async(void* to, const void* from, std::uint64_t bytes, void* stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream)),
        "copy " + std::to_string(bytes) + " bytes");
}

void fill_async(void* to, unsigned char value, std::uint64_t bytes, void* stream) {
  check(cudaMemsetAsync(to, value, bytes, stream_of(stream)), "fill " + std::to_string(bytes) + " bytes");
}

void* create_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "create a stream");
  return stream;
}

void release_stream(void* stream) noexcept { (void)cudaStreamDestroy(stream_of(stream)); }
void synchronize_stream(void* stream) { check(cudaStreamSynchronize(stream_of(stream)), "wait for a stream"); }

void* create_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "create an event");
  return event;
}

void release_event(void* event) noexcept { (void)cudaEventDestroy(event_of(event)); }
void record_event(void* event, void* stream) {
  check(cudaEventRecord(event_of(event), stream_of(stream)), "record an event");
}
void wait_event(void* event, void* stream) {
  check(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0), "wait for an event in a stream");
}
void synchronize_event(void* event) { check(cudaEventSynchronize(event_of(event)), "wait for an event"); }

bool event_done(void* event) {
  const cudaError_t code = cudaEventQuery(event_of(event));
  if (code == cudaErrorNotReady) {
    (void)cudaGetLastError();
    return false;
  }
  check(code, "ask an event");
  return true;
}

// Thread local: what other threads of the program call meanwhile is theirs.
void begin_recording(void* stream) {
  check(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal), "begin to record a graph");
}

void drop_recording(void* stream) noexcept {
  cudaGraph_t graph = nullptr;
  (void)cudaStreamEndCapture(stream_of(stream), &graph);
  if (graph != nullptr) (void)cudaGraphDestroy(graph);
  (void)cudaGetLastError();
}

void* end_recording(void* stream) {
  cudaGraph_t graph = nullptr;
  if (const cudaError_t code = cudaStreamEndCapture(stream_of(stream), &graph); code != cudaSuccess) {
    drop_recording(stream);  // should it still record
    check(code, "record a graph");
  }
  cudaGraphExec_t ready = nullptr;
  const cudaError_t code = cudaGraphInstantiate(&ready, graph, 0);
  (void)cudaGraphDestroy(graph);
  check(code, "make a graph ready");
  return ready;
}

void launch_graph(void* graph, void* stream) {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)), "launch a graph");
}

void release_graph(void* graph) noexcept { (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

}  // namespace foreweave::device_backend
