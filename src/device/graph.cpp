#include "foreweave/device/graph.hpp"

#include <utility>

#include "device/backend.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave {

Graph Graph::record(StreamHandle stream, const std::function<void()>& work) {
  device_backend::begin_recording(stream);
  try {
    work();
  } catch (...) {
    device_backend::drop_recording(stream);
    throw;
  }
  Graph graph;
  graph.handle_ = device_backend::end_recording(stream);
  return graph;
}

Graph::Graph(Graph&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}

Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

Graph::~Graph() {
  if (handle_ != nullptr) device_backend::release_graph(handle_);
}

void Graph::launch(StreamHandle stream) const {
  if (handle_ == nullptr) throw Error(ErrorCategory::state, "launch a graph", "nothing was recorded");
  device_backend::launch_graph(handle_, stream);
}

}  // namespace foreweave
