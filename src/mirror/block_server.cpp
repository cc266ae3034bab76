#include "mirror/block_server.hpp"

#include "foreweave/core/error.hpp"
#include "foreweave/state/parity.hpp"

namespace foreweave::mirror {

using comm::FrameType;

std::optional<BlockServer::Stretch> BlockServer::read(const BlockFetch& fetch) {
  const bool same = opened_ && opened_->parity == fetch.parity && opened_->id == fetch.id && opened_->bytes == fetch.whole;
  if (!same) {
    opened_.reset();
    const Store* from = fetch.parity ? parity_ : &store_;
    auto file = from == nullptr ? nullptr : from->open(fetch.id);
    if (!file) return std::nullopt;
    const auto bytes = fetch.parity ? ParityRecord::decode(file->view()).bytes : file->view().size();
    if (bytes != fetch.whole) return std::nullopt;
    opened_ = Opened{fetch.parity, fetch.id, bytes, std::move(file)};
  }
  return Stretch{opened_->file->view().subspan(fetch.offset, fetch.bytes), opened_->file};
}

void BlockServer::on_fetch(HubId from, const BlockFetch& fetch) {
  if (outbox_.pending_bytes(from) >= options_.window_bytes) return;   // it will ask again
  const BlockPiece piece{fetch.number, fetch.source, fetch.offset};
  std::optional<Stretch> stretch;
  try {
    stretch = read(fetch);
  } catch (const Error&) {
    // Damaged, or the store fails: not to be had from here.
  }
  if (stretch) {
    outbox_.send(from, FrameType::block, piece.encode(), stretch->bytes, stretch->owner);
  } else {
    outbox_.send(from, FrameType::block_absent, piece.encode(), {}, nullptr);
  }
}

}  // namespace foreweave::mirror
