#pragma once
// The words of an encoded segment in another order: what is alike stands together, for the archive stage to compress.
// docs/format.md, "Archived segments".

#include "foreweave/core/bytes.hpp"

namespace foreweave::state_detail {

/// Writes the bytes of `segment` to `to` (segment.size() bytes, apart from `segment`) in plane order. False, with
/// `to` in any state, when the segment does not hold together: only one whose sizes, masks and entries agree has an
/// order.
bool to_plane_order(ByteView segment, std::byte* to);

/// The inverse. Null when `ordered` is the plane order of a segment, which then is in `to`; else what is wrong with
/// it.
const char* from_plane_order(ByteView ordered, std::byte* to);

}  // namespace foreweave::state_detail
