#include "mirror/bodies.hpp"

#include <string>
#include <string_view>

#include "foreweave/comm/transport.hpp"

namespace foreweave::mirror {
namespace {
constexpr std::size_t max_text = 1000;

void put(ByteWriter& writer, const SnapshotId& id) {
  writer.put(id.rank);
  writer.put(id.version);
}

SnapshotId get_id(ByteReader& reader) {
  SnapshotId id;
  id.rank = reader.get<Rank>();
  id.version = reader.get<Version>();
  return id;
}

/// A byte that is 0 or 1.
bool get_flag(ByteReader& reader, const std::string& body, const std::string& name) {
  const auto value = reader.get<std::uint8_t>();
  if (value > 1) {
    throw Error(ErrorCategory::format, "read " + body, name + " " + std::to_string(value) + " is neither 0 nor 1");
  }
  return value != 0;
}
}  // namespace

Bytes SnapshotBegin::encode() const {
  ByteWriter writer;
  writer.put(transfer);
  put(writer, id);
  writer.put(base);
  writer.put(bytes);
  writer.put(static_cast<std::uint8_t>(offer));
  return writer.take();
}

SnapshotBegin SnapshotBegin::decode(ByteView body) {
  ByteReader reader(body, "snapshot_begin");
  SnapshotBegin begin;
  begin.transfer = reader.get<TransferId>();
  begin.id = get_id(reader);
  begin.base = reader.get<Version>();
  begin.bytes = reader.get<std::uint64_t>();
  begin.offer = get_flag(reader, "snapshot_begin", "offer");
  reader.expect_end();
  if (begin.id.version == 0 || begin.base >= begin.id.version) {
    throw Error(ErrorCategory::format, "read snapshot_begin",
                to_string(begin.id) + " cannot be a delta against version " + std::to_string(begin.base));
  }
  return begin;
}

Bytes SnapshotChunk::encode() const {
  ByteWriter writer;
  writer.put(transfer);
  writer.put(rank);
  writer.put(offset);
  return writer.take();
}

SnapshotChunk SnapshotChunk::decode(ByteView body) {
  ByteReader reader(body, "snapshot_chunk");
  SnapshotChunk chunk;
  chunk.transfer = reader.get<TransferId>();
  chunk.rank = reader.get<Rank>();
  chunk.offset = reader.get<std::uint64_t>();
  reader.expect_end();
  return chunk;
}

Bytes SnapshotEnd::encode() const {
  ByteWriter writer;
  writer.put(transfer);
  put(writer, id);
  writer.put(bytes);
  writer.put(content.low);
  writer.put(content.high);
  return writer.take();
}

SnapshotEnd SnapshotEnd::decode(ByteView body) {
  ByteReader reader(body, "snapshot_end");
  SnapshotEnd end;
  end.transfer = reader.get<TransferId>();
  end.id = get_id(reader);
  end.bytes = reader.get<std::uint64_t>();
  end.content.low = reader.get<std::uint64_t>();
  end.content.high = reader.get<std::uint64_t>();
  reader.expect_end();
  return end;
}

Bytes SnapshotStored::encode() const {
  ByteWriter writer;
  writer.put(transfer);
  put(writer, id);
  return writer.take();
}

SnapshotStored SnapshotStored::decode(ByteView body) {
  ByteReader reader(body, "snapshot_stored");
  SnapshotStored stored;
  stored.transfer = reader.get<TransferId>();
  stored.id = get_id(reader);
  reader.expect_end();
  return stored;
}

Bytes SnapshotRefused::encode() const {
  ByteWriter writer;
  writer.put(transfer);
  put(writer, id);
  writer.put(reason);
  writer.put_string(std::string_view(text).substr(0, max_text));
  return writer.take();
}

SnapshotRefused SnapshotRefused::decode(ByteView body) {
  ByteReader reader(body, "snapshot_refused");
  SnapshotRefused refused;
  refused.transfer = reader.get<TransferId>();
  refused.id = get_id(reader);
  refused.reason = reader.get<Refusal>();
  refused.text = reader.get_string(max_text);
  reader.expect_end();
  if (refused.reason < Refusal::absent || refused.reason > Refusal::unwanted) {
    throw Error(ErrorCategory::format, "read snapshot_refused",
                "reason " + std::to_string(static_cast<int>(refused.reason)) + " is not known");
  }
  return refused;
}

Bytes VersionStored::encode() const {
  ByteWriter writer;
  writer.put(rank);
  writer.put(static_cast<std::uint32_t>(versions.size()));
  for (const auto version : versions) writer.put(version);
  return writer.take();
}

VersionStored VersionStored::decode(ByteView body) {
  ByteReader reader(body, "version_stored");
  VersionStored stored;
  stored.rank = reader.get<Rank>();
  const auto count = reader.get<std::uint32_t>();
  if (count > max_versions) {
    throw Error(ErrorCategory::format, "read version_stored", std::to_string(count) + " versions are too many");
  }
  for (std::uint32_t i = 0; i < count; ++i) stored.versions.push_back(reader.get<Version>());
  reader.expect_end();
  return stored;
}

Bytes VersionCommitted::encode() const {
  ByteWriter writer;
  writer.put(version);
  return writer.take();
}

VersionCommitted VersionCommitted::decode(ByteView body) {
  ByteReader reader(body, "version_committed");
  const VersionCommitted committed{reader.get<Version>()};
  reader.expect_end();
  return committed;
}

Bytes Fetch::encode() const {
  ByteWriter writer;
  writer.put(number);
  put(writer, id);
  return writer.take();
}

Fetch Fetch::decode(ByteView body) {
  ByteReader reader(body, "fetch");
  Fetch fetch;
  fetch.number = reader.get<std::uint64_t>();
  fetch.id = get_id(reader);
  reader.expect_end();
  return fetch;
}

Bytes ParityOffer::encode() const {
  ByteWriter writer;
  put(writer, id);
  writer.put(base);
  writer.put(bytes);
  return writer.take();
}

ParityOffer ParityOffer::decode(ByteView body) {
  ByteReader reader(body, "parity_offer");
  ParityOffer offer;
  offer.id = get_id(reader);
  offer.base = reader.get<Version>();
  offer.bytes = reader.get<std::uint64_t>();
  reader.expect_end();
  if (offer.id.version == 0 || offer.base >= offer.id.version) {
    throw Error(ErrorCategory::format, "read parity_offer",
                to_string(offer.id) + " cannot be a delta against version " + std::to_string(offer.base));
  }
  return offer;
}

Bytes ParityStored::encode() const {
  ByteWriter writer;
  put(writer, id);
  return writer.take();
}

ParityStored ParityStored::decode(ByteView body) {
  ByteReader reader(body, "parity_stored");
  const ParityStored stored{get_id(reader)};
  reader.expect_end();
  return stored;
}

Bytes BlockFetch::encode() const {
  ByteWriter writer;
  writer.put(number);
  writer.put(source);
  writer.put(static_cast<std::uint8_t>(parity));
  put(writer, id);
  writer.put(whole);
  writer.put(offset);
  writer.put(bytes);
  return writer.take();
}

BlockFetch BlockFetch::decode(ByteView body) {
  ByteReader reader(body, "block_fetch");
  BlockFetch fetch;
  fetch.number = reader.get<std::uint64_t>();
  fetch.source = reader.get<std::uint32_t>();
  fetch.parity = get_flag(reader, "block_fetch", "kind");
  fetch.id = get_id(reader);
  fetch.whole = reader.get<std::uint64_t>();
  fetch.offset = reader.get<std::uint64_t>();
  fetch.bytes = reader.get<std::uint32_t>();
  reader.expect_end();
  if (fetch.offset > fetch.whole || fetch.bytes > fetch.whole - fetch.offset || fetch.bytes > comm::max_payload_bytes) {
    throw Error(ErrorCategory::format, "read block_fetch",
                std::to_string(fetch.bytes) + " bytes from " + std::to_string(fetch.offset) + " on cannot be had of " +
                    std::to_string(fetch.whole));
  }
  return fetch;
}

Bytes BlockPiece::encode() const {
  ByteWriter writer;
  writer.put(number);
  writer.put(source);
  writer.put(offset);
  return writer.take();
}

BlockPiece BlockPiece::decode(ByteView body) {
  ByteReader reader(body, "block");
  BlockPiece piece;
  piece.number = reader.get<std::uint64_t>();
  piece.source = reader.get<std::uint32_t>();
  piece.offset = reader.get<std::uint64_t>();
  reader.expect_end();
  return piece;
}

}  // namespace foreweave::mirror
