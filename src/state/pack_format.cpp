#include "state/pack_format.hpp"

#include <algorithm>

#include "foreweave/state/archive.hpp"

namespace foreweave::state_detail {
namespace {

constexpr std::uint64_t index_head_bytes = 24;

std::uint64_t record_bytes(std::uint64_t sources, std::uint64_t objects, std::uint64_t pieces) {
  return sources * 16 + objects * 40 + pieces * 4;
}

[[noreturn]] void damaged(const std::string& what, const std::string& why) {
  throw Error(ErrorCategory::format, "read index of " + what, why);
}

}  // namespace

std::uint64_t PackIndex::bytes() const {
  return index_head_bytes + record_bytes(sources.size(), objects.size(), pieces.size());
}

std::uint64_t PackIndex::frame_bytes() const {
  std::uint64_t bytes = snapshot_bytes;
  for (const auto piece : pieces) bytes -= objects[piece].bytes;
  return bytes;
}

std::uint64_t PackIndex::own_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& object : objects) bytes += object.source == 0 ? object.stored : 0;
  return bytes;
}

Bytes write_index(const PackIndex& index) {
  ByteWriter writer;
  writer.put(index.snapshot_bytes);
  writer.put(static_cast<std::uint32_t>(index.sources.size()));
  writer.put(static_cast<std::uint32_t>(index.objects.size()));
  writer.put(static_cast<std::uint32_t>(index.pieces.size()));
  writer.put(std::uint32_t{0});
  for (const auto& source : index.sources) put_digest(writer, source);
  for (const auto& object : index.objects) {
    put_digest(writer, object.digest);
    writer.put(object.offset);
    writer.put(object.stored);
    writer.put(object.bytes);
    writer.put(object.source);
    writer.put(object.form);
  }
  for (const auto piece : index.pieces) writer.put(piece);
  return writer.take();
}

PackIndex read_index(ByteView bytes, std::uint64_t offset, const std::string& what) {
  ByteReader reader(bytes, "index of " + what);
  PackIndex index;
  index.snapshot_bytes = reader.get<std::uint64_t>();
  const std::uint64_t sources = reader.get<std::uint32_t>(), objects = reader.get<std::uint32_t>(),
                      pieces = reader.get<std::uint32_t>();
  if (reader.get<std::uint32_t>() != 0) damaged(what, "it asks for things unknown here");
  if (record_bytes(sources, objects, pieces) != reader.remaining()) {
    damaged(what, "its size is not that of what it says to have");
  }
  for (std::uint64_t i = 0; i < sources; ++i) index.sources.push_back(get_digest(reader));
  std::vector<std::pair<std::uint64_t, std::uint64_t>> own;  // where objects stand here
  for (std::uint64_t i = 0; i < objects; ++i) {
    PackObject object;
    object.digest = get_digest(reader);
    object.offset = reader.get<std::uint64_t>();
    object.stored = reader.get<std::uint32_t>();
    object.bytes = reader.get<std::uint32_t>();
    object.source = reader.get<std::uint32_t>();
    object.form = reader.get<ObjectForm>();
    const bool sizes_fit = object.form == ObjectForm::as_is ? object.stored == object.bytes
                                                            : object.form == ObjectForm::archived && object.stored > 0;
    if (!sizes_fit || object.bytes == 0 || object.bytes > max_segment_plain_bytes ||
        object.stored > max_segment_plain_bytes + archive_head_bytes || object.source > sources ||
        object.offset < header_bytes || object.offset > ~std::uint64_t{0} - object.stored) {
      damaged(what, "object " + std::to_string(i) + " cannot be");
    }
    if (object.source == 0) own.emplace_back(object.offset, object.offset + object.stored);
    index.objects.push_back(object);
  }
  std::uint64_t segments = 0;
  for (std::uint64_t i = 0; i < pieces; ++i) {
    const auto piece = reader.get<std::uint32_t>();
    if (piece >= objects) damaged(what, "segment " + std::to_string(i) + " is of an object that is not there");
    segments += index.objects[piece].bytes;
    index.pieces.push_back(piece);
  }
  reader.expect_end();
  if (index.snapshot_bytes < segments || index.snapshot_bytes - segments < header_bytes + footer_bytes) {
    damaged(what, "its segments are more than the snapshot");
  }
  const std::uint64_t frame = index.snapshot_bytes - segments;
  if (frame > offset - header_bytes) damaged(what, "header and manifest of the snapshot are not there");
  std::sort(own.begin(), own.end());
  std::uint64_t at = header_bytes;
  for (const auto& [begin, end] : own) {
    if (begin < at || end > offset - frame) damaged(what, "objects stand where they cannot");
    at = end;
  }
  return index;
}

}  // namespace foreweave::state_detail
