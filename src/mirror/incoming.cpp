#include "mirror/incoming.hpp"

#include <algorithm>

#include "foreweave/core/digest.hpp"
#include "foreweave/core/error.hpp"
#include "foreweave/state/chain.hpp"

namespace foreweave::mirror {

using comm::FrameType;

struct Incoming::Transfer {
  SnapshotBegin head;                      // of the newest transfer seen
  std::unique_ptr<SnapshotWriter> writer;  // null: that transfer is over
  StreamDigest digest;
  Nanoseconds began = 0;
};

Incoming::Incoming(Store& store, Outbox& outbox, Wanted wanted, Have have, Heard heard, Arrived arrived)
    : store_(store),
      outbox_(outbox),
      wanted_(std::move(wanted)),
      have_(std::move(have)),
      heard_(std::move(heard)),
      arrived_(std::move(arrived)) {}

Incoming::~Incoming() = default;

void Incoming::clear() { transfers_.clear(); }

bool holds(const Store& store, SnapshotId id) {
  const auto all = store.list();
  return std::any_of(all.begin(), all.end(), [&](const StoredSnapshot& stored) { return stored.id == id; });
}

void Incoming::refuse(HubId to, TransferId transfer, SnapshotId id, Refusal reason, std::string text) {
  outbox_.send(to, FrameType::snapshot_refused, SnapshotRefused{transfer, id, reason, std::move(text)}.encode(), {},
               nullptr);
}

void Incoming::accept(HubId to, TransferId transfer, SnapshotId id) {
  outbox_.send(to, FrameType::snapshot_stored, SnapshotStored{transfer, id}.encode(), {}, nullptr);
}

void Incoming::abandon(HubId from, Transfer& transfer, Refusal reason, std::string text, Nanoseconds now) {
  const auto written = transfer.writer->written();
  transfer.writer.reset();
  outbox_.notice({MirrorEvent::Kind::refused, transfer.head.id, from, written, transfer.began, now, text});
  refuse(from, transfer.head.transfer, transfer.head.id, reason, std::move(text));
}

void Incoming::on_begin(HubId from, const SnapshotBegin& begin, Nanoseconds now) {
  if (!wanted_(from, begin.id.rank)) {
    refuse(from, begin.transfer, begin.id, Refusal::unwanted,
           "this hub neither mirrors rank " + std::to_string(begin.id.rank) + " for hub " + std::to_string(from) +
               " nor asked it for that");
    return;
  }
  auto& transfer = transfers_[{from, begin.id.rank}];
  if (begin.transfer <= transfer.head.transfer) return;  // a repetition, or late
  transfer.head = begin;
  transfer.writer.reset();
  transfer.digest = StreamDigest();
  transfer.began = now;
  heard_(from, begin.id.rank, 0, now);

  if (begin.offer) {
    if (have_(from, begin.id)) {
      accept(from, begin.transfer, begin.id);
      arrived_(from, begin.id, now);
    } else {
      refuse(from, begin.transfer, begin.id, Refusal::absent, to_string(begin.id) + " is not here");
    }
    return;
  }
  if (begin.base != 0 && !stands(store_, {begin.id.rank, begin.base})) {
    const auto text = to_string(begin.id) + " is a delta against version " + std::to_string(begin.base) +
                      ", which is not here down to a full snapshot";
    outbox_.notice({MirrorEvent::Kind::refused, begin.id, from, 0, now, now, text});
    refuse(from, begin.transfer, begin.id, Refusal::base_missing, text);
    return;
  }
  try {
    transfer.writer = store_.create(begin.id);
  } catch (const Error& error) {
    refuse(from, begin.transfer, begin.id, Refusal::store, error.what());
    outbox_.notice({MirrorEvent::Kind::refused, begin.id, from, 0, now, now, error.what()});
  }
}

void Incoming::on_chunk(HubId from, const SnapshotChunk& chunk, ByteView payload, Nanoseconds now) {
  const auto found = transfers_.find({from, chunk.rank});
  if (found == transfers_.end()) return;
  auto& transfer = found->second;
  if (chunk.transfer != transfer.head.transfer || !transfer.writer) return;  // refused, replaced or over
  const auto written = transfer.writer->written();
  if (chunk.offset < written) return;  // a repetition
  if (chunk.offset > written || payload.size() > transfer.head.bytes - written) {
    abandon(from, transfer, Refusal::broken,
            "a chunk at " + std::to_string(chunk.offset) + " of " + std::to_string(payload.size()) +
                " bytes came after " + std::to_string(written) + " of " + std::to_string(transfer.head.bytes) +
                " bytes",
            now);
    return;
  }
  try {
    transfer.writer->append(payload);
    transfer.digest.update(payload);
  } catch (const Error& error) {
    abandon(from, transfer, Refusal::store, error.what(), now);
    return;
  }
  heard_(from, chunk.rank, payload.size(), now);
}

void Incoming::on_end(HubId from, const SnapshotEnd& end, Nanoseconds now) {
  if (!wanted_(from, end.id.rank)) return;
  auto& transfer = transfers_[{from, end.id.rank}];
  if (end.transfer > transfer.head.transfer) {  // its beginning never came
    transfer.head = {end.transfer, end.id, 0, 0, false};
    transfer.writer.reset();
    refuse(from, end.transfer, end.id, Refusal::broken, "the end came without the beginning");
    return;
  }
  if (end.transfer != transfer.head.transfer || !transfer.writer) return;
  const auto& head = transfer.head;
  const auto written = transfer.writer->written();
  if (written != head.bytes || end.bytes != head.bytes || end.id != head.id) {
    abandon(from, transfer, Refusal::broken,
            std::to_string(written) + " of " + std::to_string(head.bytes) + " bytes had come at the end", now);
    return;
  }
  if (transfer.digest.value() != end.content) {
    abandon(from, transfer, Refusal::broken, "the content does not match its digest", now);
    return;
  }
  if (head.base != 0 && !stands(store_, {head.id.rank, head.base})) {  // erased while this came
    abandon(from, transfer, Refusal::base_missing, "the base, version " + std::to_string(head.base) + ", is gone",
            now);
    return;
  }
  try {
    transfer.writer->commit(head.base);
  } catch (const Error& error) {
    abandon(from, transfer, Refusal::store, error.what(), now);
    return;
  }
  transfer.writer.reset();
  outbox_.notice({MirrorEvent::Kind::received, head.id, from, written, transfer.began, now, ""});
  accept(from, head.transfer, head.id);
  arrived_(from, head.id, now);
}

void Incoming::peer_lost(HubId peer) {
  for (auto& [key, transfer] : transfers_) {
    if (key.first == peer) transfer.writer.reset();
  }
}

}  // namespace foreweave::mirror
