#pragma once
// A copy past the caches, for memory that is not read again soon.

#include <cstddef>
#include <cstdint>

namespace foreweave::state_detail {

/// As std::memcpy, but with stores that do not first read what they overwrite: a quarter to a half less memory traffic.
/// The C library does so only for single copies above a threshold (tens of MB); a capture copies in smaller pieces
/// and comes out as large. Any alignment. What was copied can be read by other threads that synchronize with the caller
/// as usual.
void copy_streaming(std::byte* to, const std::byte* from, std::uint64_t bytes);

}  // namespace foreweave::state_detail
