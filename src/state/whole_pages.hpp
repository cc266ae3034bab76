#pragma once
// Pages that stand for themselves in a delta: all of their content, whatever the base was.

#include <cstddef>
#include <cstdint>

#include "kernels/decl/page_codec.hpp"

namespace foreweave::state_detail {

/// Writes `bytes` from `current` on as bodies with the transform raw and every sector stored, in the format of
/// kernels::host::encode_pages (docs/format.md, "Pages"), which leaves out what equals the base and so needs one.
/// Returns the bytes written to `out` (at most kernels::encode_bound(bytes)). One entry for each page; none is 0.
std::uint64_t encode_whole_pages(const std::byte* current, std::uint64_t bytes, std::byte* out,
                                 kernels::PageEntry* entries);

}  // namespace foreweave::state_detail
