#pragma once
// Streams and events as owners without CUDA in sight: the handles are cudaStream_t and cudaEvent_t as void*.

namespace foreweave {

/// A cudaStream_t that belongs to someone else; null is the legacy default stream. Passed wherever work is ordered.
using StreamHandle = void*;

/// Waits until the work that is in `stream` now has finished. Error(cuda) with what that work failed with.
void synchronize(StreamHandle stream);

/// Owns a non-blocking stream of one device. Move-only. Its methods may be called from any thread.
class Stream {
 public:
  Stream() = default;  ///< owns nothing: handle() is the default stream
  /// On `device`, or on the calling thread's device (−1). Error(resource) where there is none.
  static Stream create(int device = -1);
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();  ///< does not wait; queued work still runs

  StreamHandle handle() const { return handle_; }
  /// Blocks the calling thread until the stream is empty. Error(cuda) with what its work failed with.
  void synchronize() const { foreweave::synchronize(handle_); }

 private:
  StreamHandle handle_ = nullptr;
  int device_ = -1;
};

/// Owns an event (without timing). Move-only. Thread safe as CUDA's events are.
class Event {
 public:
  Event() = default;  ///< owns nothing; the other methods then throw Error(state)
  static Event create(int device = -1);
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;
  ~Event();

  /// Marks the end of what is in `stream` now.
  void record(StreamHandle stream);
  /// Work put into `stream` from now on starts after what was marked last.
  void wait_in(StreamHandle stream) const;
  void synchronize() const;  ///< blocks until what was marked last has finished
  bool done() const;         ///< true when it has finished (or nothing was marked)

 private:
  void* handle_ = nullptr;
  int device_ = -1;
};

}  // namespace foreweave
