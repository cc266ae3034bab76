#include "foreweave/device/stream.hpp"

#include <utility>

#include "device/backend.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave {
namespace {
void demand_device(const char* operation) {
  if (device_backend::count() > 0) return;
  throw Error(ErrorCategory::resource, operation, "there is no CUDA device: " + device_report().reason);
}
void demand_event(const void* handle, const char* operation) {
  if (handle == nullptr)
    throw Error(ErrorCategory::state, operation, "the event is empty: make it with Event::create");
}
}  // namespace

void synchronize(StreamHandle stream) { device_backend::synchronize_stream(stream); }

Stream Stream::create(int device) {
  demand_device("create a stream");
  const DeviceGuard guard(device);
  Stream stream;
  stream.handle_ = device_backend::create_stream();
  stream.device_ = device_backend::current();
  return stream;
}

Stream::Stream(Stream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)), device_(other.device_) {}

Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(device_, other.device_);
  return *this;
}

Stream::~Stream() {
  if (handle_ != nullptr) device_backend::release_stream(handle_);
}

Event Event::create(int device) {
  demand_device("create an event");
  const DeviceGuard guard(device);
  Event event;
  event.handle_ = device_backend::create_event();
  event.device_ = device_backend::current();
  return event;
}

Event::Event(Event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)), device_(other.device_) {}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(device_, other.device_);
  return *this;
}

Event::~Event() {
  if (handle_ != nullptr) device_backend::release_event(handle_);
}

void Event::record(StreamHandle stream) {
  demand_event(handle_, "record an event");
  device_backend::record_event(handle_, stream);
}

void Event::wait_in(StreamHandle stream) const {
  demand_event(handle_, "wait for an event in a stream");
  device_backend::wait_event(handle_, stream);
}

void Event::synchronize() const {
  demand_event(handle_, "wait for an event");
  device_backend::synchronize_event(handle_);
}

bool Event::done() const {
  demand_event(handle_, "ask an event");
  return device_backend::event_done(handle_);
}

}  // namespace foreweave
