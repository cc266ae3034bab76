#pragma once
// The archive stage: encoded segments made smaller once more for files, on the thread that flushes them. The format is
// docs/format.md, "Archived segments".
//
// The bit planes of a segment's sectors are gathered plane by plane, so that planes alike in statistics stand together
// (the upper ones nearly empty, the lower ones noise), and zstd takes the result. docs/decisions says what that gains
// over shuffling bytes.

#include <cstddef>
#include <memory>
#include <string>

#include "foreweave/core/bytes.hpp"

namespace foreweave {

/// What an archived segment has before its data: no archived segment is larger than its segment and this.
inline constexpr std::size_t archive_head_bytes = 8;

/// Archives segments and takes them out again. Keeps its scratch between calls (about 2 MiB): one for each thread that
/// archives. Not thread safe; different objects are independent. Memory: host, any alignment.
class Archiver {
 public:
  /// Throws Error(resource) when there is no memory for zstd's state.
  Archiver();
  ~Archiver();
  Archiver(Archiver&&) noexcept;
  Archiver& operator=(Archiver&&) noexcept;

  /// Appends the archived form of `segment` to `out`: at most segment.size() + archive_head_bytes bytes, as it is when
  /// zstd gains nothing. `segment` is meant to be a segment as a snapshot stores it (bitmap, entries, bodies; not
  /// sealed: sealed bytes do not shrink); other bytes, or a segment that does not hold together, come back all the
  /// same. Throws Error(argument) when it is larger than any segment can be.
  void archive(ByteView segment, Bytes& out);

  /// Appends the segment that `archived` was made of, byte for byte, to `out`. Everything that is read is checked, and
  /// memory is bounded by the largest segment; what is damaged, cut short, too long or foreign throws Error(format)
  /// that begins with `what`, and leaves `out` as it was. Damage that yields another whole segment is left for the
  /// digest of the stored bytes to find.
  void unarchive(ByteView archived, Bytes& out, const std::string& what);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace foreweave
