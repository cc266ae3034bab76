#pragma once
// Frame: the versioned head of every message between hubs. docs/format.md, "Frames".

#include <cstdint>

#include "foreweave/comm/transport.hpp"

namespace foreweave::comm {

/// A view of the group; grows with every repair. Frames of another epoch are refused.
using Epoch = std::uint32_t;

enum class FrameType : std::uint16_t {
  heartbeat = 1,
  snapshot_begin = 2,
  snapshot_chunk = 3,
  snapshot_end = 4,
  snapshot_stored = 5,
  snapshot_refused = 6,
  version_stored = 7,      ///< a rank's snapshot stands in enough places
  version_committed = 8,
  fetch = 9,               ///< send me a rank's chain
  fetch_absent = 10,
  goodbye = 11,            ///< leaving in order: silence is no failure
  parity_offer = 12,       ///< a member's snapshot stands: make parity of it
  parity_stored = 13,      ///< the parity of a version stands
  block_fetch = 14,        ///< send me a stretch of a snapshot or parity block
  block = 15,
  block_absent = 16,
  flush_order = 17,        ///< bring a version to a file tier
  flush_done = 18,
};

struct Frame {
  FrameType type{};
  HubId source = 0;
  Epoch epoch = 0;
  std::uint64_t sequence = 0;   ///< per source and destination, from 1
  ByteView body;                ///< type-specific
  ByteView payload;             ///< bulk, from the message's payload
};

/// Head of a message: magic, format version, type, source, epoch, sequence, lengths of body and payload, XXH3-64 over
/// head, body and payload.
Bytes encode_frame(const Frame& frame);
/// Throws Error(format) for anything damaged or foreign. The result views its arguments.
Frame decode_frame(ByteView head, ByteView payload);

}  // namespace foreweave::comm
