#pragma once
// Work of a stream, recorded once and launched again as a whole (a CUDA graph).

#include <functional>

#include "foreweave/device/stream.hpp"

namespace foreweave {

/// Owns a recording. What was recorded keeps the pointers and sizes it was queued with: they must be valid, and mean the
/// same, at every launch. Move-only.
class Graph {
 public:
  Graph() = default;  ///< empty
  /// Records what `work` queues in `stream` (copies and fills between device and pinned memory, and kernels; it may not
  /// wait). Nothing of it runs. Error(cuda) when something cannot be recorded; what `work` throws goes through. `stream`
  /// is not the default stream.
  static Graph record(StreamHandle stream, const std::function<void()>& work);
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;
  ~Graph();

  explicit operator bool() const { return handle_ != nullptr; }
  /// Queues all of it in `stream`, with one call. Error(state) when empty, Error(cuda).
  void launch(StreamHandle stream) const;

 private:
  void* handle_ = nullptr;
};

}  // namespace foreweave
