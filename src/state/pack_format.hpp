#pragma once
// The bytes of a pack: a snapshot in pieces, each piece of content once, some of it in other packs. docs/format.md,
// "Packs". Header and footer have the shape of a snapshot's (snapshot_format.hpp, pack_kind).

#include <cstdint>
#include <string>
#include <vector>

#include "foreweave/core/bytes.hpp"
#include "foreweave/core/digest.hpp"
#include "foreweave/state/types.hpp"
#include "state/snapshot_format.hpp"

namespace foreweave::state_detail {

enum class ObjectForm : std::uint32_t {
  as_is = 0,     ///< the segment
  archived = 1,  ///< what Archiver makes of it
};

/// A segment's content, and where it is stored.
struct PackObject {
  Digest128 digest;          ///< of the segment
  std::uint64_t offset = 0;  ///< of what is stored, in the pack that has it
  std::uint32_t stored = 0;  ///< bytes there
  std::uint32_t bytes = 0;   ///< of the segment
  std::uint32_t source = 0;  ///< 0: this pack; else sources[source - 1]
  ObjectForm form = ObjectForm::as_is;

  auto operator<=>(const PackObject&) const = default;
};

struct PackIndex {
  std::uint64_t snapshot_bytes = 0;
  std::vector<Digest128> sources;     ///< identities of other packs that have some of the objects
  std::vector<PackObject> objects;    ///< all that the snapshot needs, each once
  std::vector<std::uint32_t> pieces;  ///< the snapshot's segments in order: each an index into objects

  std::uint64_t bytes() const;  ///< of the index itself
  /// Of the snapshot's header, manifest and footer, which stand before the index as they are.
  std::uint64_t frame_bytes() const;
  /// Of the objects that are stored here.
  std::uint64_t own_bytes() const;
};

Bytes write_index(const PackIndex& index);
/// Checks every number on its own and against the others. `offset` is where the index stands in its file.
PackIndex read_index(ByteView bytes, std::uint64_t offset, const std::string& what);

}  // namespace foreweave::state_detail
