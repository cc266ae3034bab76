// The emulated CUDA runtime: devices, memory, streams, events, launches. One lock for all of it; kernels run under
// it, on the host thread that waits for them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "emulator/api.hpp"
#include "emulator/control.hpp"
#include "machine.hpp"
#include "memory_registry.hpp"

using foreweave::emulator::Allocation;
using foreweave::emulator::MemoryRegistry;
using foreweave::emulator::Report;
using foreweave::emulator::Schedule;

namespace {

/// Work in order, done when somebody waits. Kept alive by the events that were recorded in it.
struct Queue {
  int device = 0;
  bool blocking = true;  ///< takes turns with the default stream
  std::deque<std::function<cudaError_t()>> pending;
  std::uint64_t queued = 0, done = 0;
  cudaError_t error = cudaSuccess;  ///< what its work failed with; told once

  bool idle() const { return pending.empty(); }
  void run_one() {
    auto work = std::move(pending.front());
    pending.pop_front();
    // After a failure nothing else of the stream runs, as on a device whose context is lost.
    const cudaError_t code = error == cudaSuccess ? work() : error;
    if (error == cudaSuccess) error = code;
    ++done;
  }
  void run_to(std::uint64_t target) {
    while (done < target && !pending.empty()) run_one();
  }
  void drain() {
    while (!pending.empty()) run_one();
  }
  cudaError_t take_error() { return std::exchange(error, cudaSuccess); }
};

}  // namespace

struct CUgraph_st {
  int device = 0;
  std::vector<std::function<cudaError_t()>> work;
};
struct CUgraphExec_st {
  std::shared_ptr<const CUgraph_st> graph;
};
struct CUstream_st {
  std::shared_ptr<Queue> queue;
  std::unique_ptr<CUgraph_st> recording;  ///< while work is recorded and not run
  std::thread::id recorder;
  bool recording_void = false;
};
struct CUevent_st {
  std::shared_ptr<Queue> queue;
  std::uint64_t position = 0;
};

namespace {

struct Runtime {
  std::recursive_mutex lock;
  MemoryRegistry memory;
  std::set<CUstream_st*> streams;
  std::set<CUevent_st*> events;
  std::set<CUgraph_st*> graphs;
  std::set<CUgraphExec_st*> executables;
  std::uint64_t graphs_instantiated = 0, graphs_launched = 0;
  std::map<int, std::shared_ptr<Queue>> default_queues;
  std::map<const void*, std::size_t> dynamic_limits;
  Schedule schedule;
  Report report;
  bool print = true;
  std::uint64_t kernels = 0;
  std::uint64_t device_memory = 64ull << 30;
  bool driver = true;
  int devices = 2;
  cudaError_t planned_failure = cudaSuccess;
  unsigned planned_after = 0;

  Runtime() {
    if (const char* text = std::getenv("FOREWEAVE_EMULATED_DEVICES")) {
      driver = std::strcmp(text, "none") != 0;  // "none": as on a machine without a driver
      devices = std::atoi(text);
    }
    if (const char* text = std::getenv("FOREWEAVE_EMULATOR_SEED")) schedule.seed = std::strtoull(text, nullptr, 10);
  }
};

Runtime& runtime() {
  // Never destroyed: buffers of static life may be released after it would be.
  static Runtime* const instance = new Runtime;
  return *instance;
}

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t fail(cudaError_t code) {
  if (code != cudaSuccess) last_error = code;
  return code;
}

/// Begins a runtime call: takes the lock, and lets planned failures and a missing driver speak first.
struct Call {
  std::unique_lock<std::recursive_mutex> lock{runtime().lock};
  cudaError_t refused = cudaSuccess;
  Call() {
    Runtime& rt = runtime();
    if (!rt.driver)
      refused = cudaErrorInsufficientDriver;
    else if (rt.devices == 0)
      refused = cudaErrorNoDevice;
    else if (rt.planned_failure != cudaSuccess && rt.planned_after-- == 0)
      refused = std::exchange(rt.planned_failure, cudaSuccess);
  }
};
#define BEGIN_CALL()       \
  Call call;               \
  Runtime& rt = runtime(); \
  (void)rt;                \
  if (call.refused != cudaSuccess) return fail(call.refused)

std::shared_ptr<Queue> default_queue(int device) {
  auto& queue = runtime().default_queues[device];
  if (queue == nullptr) {
    queue = std::make_shared<Queue>();
    queue->device = device;
  }
  return queue;
}

std::shared_ptr<Queue> queue_of(cudaStream_t stream) {
  if (stream == nullptr) return default_queue(current_device);
  return runtime().streams.count(stream) > 0 ? stream->queue : nullptr;
}

void drain_blocking(int device) {
  for (CUstream_st* stream : runtime().streams)
    if (stream->queue->blocking && stream->queue->device == device) stream->queue->drain();
}

void drain_device(int device) {
  for (CUstream_st* stream : runtime().streams)
    if (stream->queue->device == device) stream->queue->drain();
  default_queue(device)->drain();
}

/// What may not be done with a stream that is being recorded: makes the recording void.
cudaError_t refuse_recording(cudaStream_t stream) {
  if (stream == nullptr || runtime().streams.count(stream) == 0 || stream->recording == nullptr) return cudaSuccess;
  stream->recording_void = true;
  return cudaErrorStreamCaptureUnsupported;
}

/// What may not be done by a thread that records, in any stream.
cudaError_t refuse_while_recording() {
  for (CUstream_st* stream : runtime().streams)
    if (stream->recording != nullptr && stream->recorder == std::this_thread::get_id()) return refuse_recording(stream);
  return cudaSuccess;
}

cudaError_t add_work(cudaStream_t stream, std::function<cudaError_t()> work) {
  const auto queue = queue_of(stream);
  if (queue == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream != nullptr && stream->recording != nullptr) {
    stream->recording->work.push_back(std::move(work));
    return cudaSuccess;
  }
  // The default stream and blocking streams wait for each other.
  if (stream == nullptr)
    drain_blocking(queue->device);
  else if (queue->blocking)
    default_queue(queue->device)->drain();
  queue->pending.push_back(std::move(work));
  ++queue->queued;
  return cudaSuccess;
}

/// True when [pointer, pointer + bytes) lies in one allocation, or in none.
bool in_range(const void* pointer, std::size_t bytes) {
  const Allocation* allocation = runtime().memory.find(pointer);
  return allocation == nullptr ||
         static_cast<const std::byte*>(pointer) + bytes <= allocation->data + allocation->bytes;
}

bool matches(cudaMemcpyKind kind, const void* to, const void* from) {
  const auto on_device = [](const void* pointer) {
    const Allocation* allocation = runtime().memory.find(pointer);
    return allocation != nullptr && allocation->type != cudaMemoryTypeHost;
  };
  const auto managed = [](const void* pointer) {
    const Allocation* allocation = runtime().memory.find(pointer);
    return allocation != nullptr && allocation->type == cudaMemoryTypeManaged;
  };
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return kind == cudaMemcpyDefault ||
         ((on_device(to) == to_device || managed(to)) && (on_device(from) == from_device || managed(from)));
}

class OpenMemory {
 public:
  explicit OpenMemory(const void* pointer) : allocation_(runtime().memory.find(pointer)) {
    if (allocation_ != nullptr) runtime().memory.open(*allocation_);
  }
  ~OpenMemory() {
    if (allocation_ != nullptr) runtime().memory.close(*allocation_);
  }
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;

 private:
  const Allocation* allocation_;
};

cudaError_t copy_now(void* to, const void* from, std::size_t bytes) {
  if (!in_range(to, bytes) || !in_range(from, bytes)) return cudaErrorIllegalAddress;  // freed meanwhile
  const OpenMemory open_to(to), open_from(from);
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t fill_now(void* to, int value, std::size_t bytes) {
  if (!in_range(to, bytes)) return cudaErrorIllegalAddress;
  const OpenMemory open_to(to);
  std::memset(to, value, bytes);
  return cudaSuccess;
}

void keep(Report report) {
  Runtime& rt = runtime();
  if (rt.print) std::fprintf(stderr, "foreweave emulator: %s\n", report.text.c_str());
  rt.report = std::move(report);
}

cudaError_t allocate(void** data, std::size_t bytes, cudaMemoryType type) {
  Runtime& rt = runtime();
  *data = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (const cudaError_t code = refuse_while_recording(); code != cudaSuccess) return fail(code);
  if (type != cudaMemoryTypeHost && rt.memory.bytes_in_use(current_device) + bytes > rt.device_memory)
    return fail(cudaErrorMemoryAllocation);
  *data = rt.memory.allocate(bytes, type, current_device);
  return *data == nullptr ? fail(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t release(void* data, bool device) {
  if (data == nullptr) return cudaSuccess;
  if (const cudaError_t code = refuse_while_recording(); code != cudaSuccess) return fail(code);
  std::string damage;
  if (!runtime().memory.release(data, device, damage)) return fail(cudaErrorInvalidValue);
  if (!damage.empty()) keep({Report::Kind::global_bounds, "found when memory was freed: " + damage});
  return cudaSuccess;
}

struct ErrorText {
  cudaError_t code;
  const char* name;
  const char* text;
};
constexpr ErrorText error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources", "too many resources requested for launch"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
};

}  // namespace

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorString(cudaError_t code) {
  for (const auto& entry : error_texts)
    if (entry.code == code) return entry.text;
  return "unrecognized error code";
}
const char* cudaGetErrorName(cudaError_t code) {
  for (const auto& entry : error_texts)
    if (entry.code == code) return entry.name;
  return "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  BEGIN_CALL();
  *count = rt.devices;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  BEGIN_CALL();
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  BEGIN_CALL();
  if (device < 0 || device >= rt.devices) return fail(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  BEGIN_CALL();
  if (device < 0 || device >= rt.devices) return fail(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "Foreweave emulator (CPU fibres)");
  properties->totalGlobalMem = rt.device_memory;
  properties->sharedMemPerBlock = 48 << 10;
  properties->sharedMemPerBlockOptin = 227 << 10;
  properties->major = 9;
  properties->multiProcessorCount = static_cast<int>(rt.schedule.resident_blocks);
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->pciBusID = device + 1;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  BEGIN_CALL();
  if (device < 0 || device >= rt.devices) return fail(cudaErrorInvalidDevice);
  if (attribute != cudaDevAttrMultiProcessorCount) return fail(cudaErrorInvalidValue);
  *value = static_cast<int>(rt.schedule.resident_blocks);
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  const std::lock_guard lock(runtime().lock);
  *version = runtime().driver ? 13000 : 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  BEGIN_CALL();
  *total_bytes = rt.device_memory;
  *free_bytes = rt.device_memory - std::min<std::uint64_t>(rt.device_memory, rt.memory.bytes_in_use(current_device));
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  BEGIN_CALL();
  drain_device(current_device);
  cudaError_t code = default_queue(current_device)->take_error();
  for (CUstream_st* stream : rt.streams)
    if (stream->queue->device == current_device)
      if (const cudaError_t found = stream->queue->take_error(); code == cudaSuccess) code = found;
  return fail(code);
}

cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  BEGIN_CALL();
  return allocate(data, bytes, cudaMemoryTypeDevice);
}
cudaError_t cudaMallocManaged(void** data, std::size_t bytes, unsigned) {
  BEGIN_CALL();
  return allocate(data, bytes, cudaMemoryTypeManaged);
}
cudaError_t cudaFree(void* data) {
  BEGIN_CALL();
  if (const Allocation* allocation = rt.memory.find(data)) drain_device(allocation->device);
  return release(data, true);
}
cudaError_t cudaMallocAsync(void** data, std::size_t bytes, cudaStream_t stream) {
  BEGIN_CALL();
  if (queue_of(stream) == nullptr) return fail(cudaErrorInvalidResourceHandle);
  return allocate(data, bytes, cudaMemoryTypeDevice);
}
cudaError_t cudaFreeAsync(void* data, cudaStream_t stream) {
  BEGIN_CALL();
  return fail(add_work(stream, [data] { return release(data, true); }));
}
cudaError_t cudaMallocHost(void** data, std::size_t bytes) {
  return cudaHostAlloc(data, bytes, cudaHostAllocDefault);
}
cudaError_t cudaHostAlloc(void** data, std::size_t bytes, unsigned) {
  BEGIN_CALL();
  return allocate(data, bytes, cudaMemoryTypeHost);
}
cudaError_t cudaFreeHost(void* data) {
  BEGIN_CALL();
  for (int device = 0; device < rt.devices; ++device) drain_device(device);
  return release(data, false);
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  BEGIN_CALL();
  *attributes = {cudaMemoryTypeUnregistered, -2, nullptr, nullptr};
  const Allocation* allocation = rt.memory.find(pointer);
  if (allocation == nullptr) {
    attributes->hostPointer = const_cast<void*>(pointer);
    return cudaSuccess;
  }
  attributes->type = allocation->type;
  attributes->device = allocation->device;
  attributes->devicePointer = const_cast<void*>(pointer);
  if (allocation->type != cudaMemoryTypeDevice) attributes->hostPointer = const_cast<void*>(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  BEGIN_CALL();
  if (bytes == 0) return cudaSuccess;
  if (!in_range(to, bytes) || !in_range(from, bytes) || !matches(kind, to, from)) return fail(cudaErrorInvalidValue);
  const auto queue = queue_of(stream);
  if (!rt.memory.knows(to) || !rt.memory.knows(from))
    if (const cudaError_t code = refuse_recording(stream); code != cudaSuccess) return fail(code);
  const cudaError_t code = add_work(stream, [=] { return copy_now(to, from, bytes); });
  // Pageable host memory is staged: the call may return only when it has been read, or written.
  if (code == cudaSuccess && (!rt.memory.knows(to) || !rt.memory.knows(from))) queue->drain();
  return fail(code);
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t code = cudaMemcpyAsync(to, from, bytes, kind, nullptr); code != cudaSuccess) return code;
  return cudaStreamSynchronize(nullptr);
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  BEGIN_CALL();
  if (bytes == 0) return cudaSuccess;
  if (!rt.memory.knows(to) || !in_range(to, bytes)) return fail(cudaErrorInvalidValue);
  return fail(add_work(stream, [=] { return fill_now(to, value, bytes); }));
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  if (const cudaError_t code = cudaMemsetAsync(to, value, bytes, nullptr); code != cudaSuccess) return code;
  return cudaStreamSynchronize(nullptr);
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  BEGIN_CALL();
  auto queue = std::make_shared<Queue>();
  queue->device = current_device;
  queue->blocking = (flags & cudaStreamNonBlocking) == 0;
  *stream = new CUstream_st;
  (*stream)->queue = std::move(queue);
  rt.streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  BEGIN_CALL();
  if (rt.streams.count(stream) == 0) return fail(cudaErrorInvalidResourceHandle);
  stream->queue->drain();
  rt.streams.erase(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  BEGIN_CALL();
  if (const cudaError_t code = refuse_recording(stream); code != cudaSuccess) return fail(code);
  const auto queue = queue_of(stream);
  if (queue == nullptr) return fail(cudaErrorInvalidResourceHandle);
  queue->drain();
  return fail(queue->take_error());
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  BEGIN_CALL();
  if (const cudaError_t code = refuse_recording(stream); code != cudaSuccess) return fail(code);
  const auto queue = queue_of(stream);
  if (queue == nullptr) return fail(cudaErrorInvalidResourceHandle);
  if (queue->idle()) return fail(queue->take_error());
  queue->run_one();
  return fail(cudaErrorNotReady);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  BEGIN_CALL();
  if (const cudaError_t code = refuse_recording(stream); code != cudaSuccess) return fail(code);
  if (rt.events.count(event) == 0) return fail(cudaErrorInvalidResourceHandle);
  if (event->queue == nullptr) return cudaSuccess;  // never recorded: nothing to wait for
  return fail(add_work(stream, [queue = event->queue, position = event->position] {
    queue->run_to(position);
    return queue->error;
  }));
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*function)(void*), void* argument) {
  BEGIN_CALL();
  return fail(add_work(stream, [=] {
    function(argument);
    return cudaSuccess;
  }));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  BEGIN_CALL();
  if (stream == nullptr || rt.streams.count(stream) == 0 || stream->recording != nullptr)
    return fail(cudaErrorStreamCaptureUnsupported);
  stream->recording = std::make_unique<CUgraph_st>();
  stream->recording->device = stream->queue->device;
  stream->recorder = std::this_thread::get_id();
  stream->recording_void = false;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  BEGIN_CALL();
  if (stream == nullptr || rt.streams.count(stream) == 0 || stream->recording == nullptr)
    return fail(cudaErrorInvalidValue);
  const auto recording = std::exchange(stream->recording, nullptr);
  if (stream->recording_void) return fail(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st(std::move(*recording));
  rt.graphs.insert(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  BEGIN_CALL();
  if (rt.graphs.count(graph) == 0) return fail(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{std::make_shared<CUgraph_st>(*graph)};
  rt.executables.insert(*executable);
  ++rt.graphs_instantiated;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  BEGIN_CALL();
  if (rt.graphs.erase(graph) == 0) return fail(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  BEGIN_CALL();
  if (rt.executables.erase(executable) == 0) return fail(cudaErrorInvalidValue);
  delete executable;  // what was launched goes on: it holds the work
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  BEGIN_CALL();
  if (rt.executables.count(executable) == 0) return fail(cudaErrorInvalidValue);
  const auto queue = queue_of(stream);
  if (queue == nullptr || queue->device != executable->graph->device) return fail(cudaErrorInvalidResourceHandle);
  ++rt.graphs_launched;
  return fail(add_work(stream, [graph = executable->graph] {
    for (const auto& work : graph->work)
      if (const cudaError_t code = work(); code != cudaSuccess) return code;
    return cudaSuccess;
  }));
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  BEGIN_CALL();
  *event = new CUevent_st;
  rt.events.insert(*event);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  BEGIN_CALL();
  if (rt.events.erase(event) == 0) return fail(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  BEGIN_CALL();
  if (const cudaError_t code = refuse_recording(stream); code != cudaSuccess) return fail(code);
  const auto queue = queue_of(stream);
  if (queue == nullptr || rt.events.count(event) == 0) return fail(cudaErrorInvalidResourceHandle);
  event->queue = queue;
  event->position = queue->queued;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  BEGIN_CALL();
  if (rt.events.count(event) == 0) return fail(cudaErrorInvalidResourceHandle);
  if (event->queue == nullptr) return cudaSuccess;
  event->queue->run_to(event->position);
  return fail(event->queue->error);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  BEGIN_CALL();
  if (rt.events.count(event) == 0) return fail(cudaErrorInvalidResourceHandle);
  if (event->queue == nullptr || event->queue->done >= event->position)
    return fail(event->queue == nullptr ? cudaSuccess : event->queue->error);
  event->queue->run_one();
  return fail(cudaErrorNotReady);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  BEGIN_CALL();
  if (rt.events.count(start) == 0 || rt.events.count(end) == 0) return fail(cudaErrorInvalidResourceHandle);
  *milliseconds = 0;  // time on the emulator means nothing
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  BEGIN_CALL();
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > 227 << 10)
    return fail(cudaErrorInvalidValue);
  rt.dynamic_limits[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

namespace foreweave::emulator {

void set_schedule(const Schedule& schedule) {
  const std::lock_guard lock(runtime().lock);
  runtime().schedule = schedule;
}
Schedule schedule() {
  const std::lock_guard lock(runtime().lock);
  return runtime().schedule;
}
Report take_report() {
  const std::lock_guard lock(runtime().lock);
  return std::exchange(runtime().report, {});
}
void print_reports(bool yes) {
  const std::lock_guard lock(runtime().lock);
  runtime().print = yes;
}
void set_device_memory(std::uint64_t bytes) {
  const std::lock_guard lock(runtime().lock);
  runtime().device_memory = bytes == 0 ? 64ull << 30 : bytes;
}
std::uint64_t device_bytes_in_use() {
  const std::lock_guard lock(runtime().lock);
  std::uint64_t bytes = 0;
  for (int device = 0; device < runtime().devices; ++device) bytes += runtime().memory.bytes_in_use(device);
  return bytes;
}
std::uint64_t device_allocations() {
  const std::lock_guard lock(runtime().lock);
  return runtime().memory.device_allocations();
}
std::uint64_t kernels_run() {
  const std::lock_guard lock(runtime().lock);
  return runtime().kernels;
}
std::uint64_t graphs_instantiated() {
  const std::lock_guard lock(runtime().lock);
  return runtime().graphs_instantiated;
}
std::uint64_t graphs_launched() {
  const std::lock_guard lock(runtime().lock);
  return runtime().graphs_launched;
}
void fail_call(cudaError_t code, unsigned after) {
  const std::lock_guard lock(runtime().lock);
  runtime().planned_failure = code;
  runtime().planned_after = after;
}

cudaError_t launch(const char* name, const void* kernel, dim3 grid, dim3 block, std::size_t dynamic_shared,
                   cudaStream_t stream, std::function<void()> body) {
  BEGIN_CALL();
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535)
    return fail(cudaErrorInvalidConfiguration);
  const auto allowed = rt.dynamic_limits.find(kernel);
  if (dynamic_shared >
      (allowed == rt.dynamic_limits.end() ? 48u << 10 : std::max<std::size_t>(allowed->second, 48u << 10)))
    return fail(cudaErrorInvalidValue);
  const auto queue = queue_of(stream);
  if (queue == nullptr || queue->device != current_device) return fail(cudaErrorInvalidResourceHandle);
  const auto wanted = std::make_shared<Launch>();
  wanted->name = name;
  wanted->grid = grid;
  wanted->block_size = block;
  wanted->dynamic_shared = dynamic_shared;
  wanted->body = std::move(body);
  return fail(add_work(stream, [wanted, device = queue->device]() -> cudaError_t {
    Runtime& rt = runtime();
    ++rt.kernels;
    Launch kernel_launch = *wanted;  // a graph runs it again
    rt.memory.open(device);
    kernel_launch.run(rt.schedule);
    rt.memory.close(device);
    if (std::string damage = rt.memory.damage(); !kernel_launch.failed() && !damage.empty())
      kernel_launch.report = {Report::Kind::global_bounds, "kernel '" + kernel_launch.name + "': " + damage};
    if (!kernel_launch.failed()) return cudaSuccess;
    keep(std::move(kernel_launch.report));
    return cudaErrorLaunchFailure;
  }));
}

}  // namespace foreweave::emulator
