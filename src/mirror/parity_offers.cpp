#include "mirror/parity_offers.hpp"

#include <algorithm>

namespace foreweave::mirror {

using comm::FrameType;

void ParityOffers::offer(HubId to, const ParityOffer& offer, Nanoseconds now) {
  offers_[{to, offer.id}] = {offer, now, now, std::max<Nanoseconds>(options_.retry_after / 16, 1)};
  outbox_.send(to, FrameType::parity_offer, offer.encode(), {}, nullptr);
}

void ParityOffers::on_stored(HubId from, const ParityStored& stored, Nanoseconds now) {
  const auto found = offers_.find({from, stored.id});
  if (found == offers_.end()) return;
  const auto offered = found->second;
  offers_.erase(found);
  outbox_.notice({MirrorEvent::Kind::sent, stored.id, from, offered.offer.bytes, offered.began, now, "into parity"});
  arrived_(from, stored.id, now);
}

void ParityOffers::forget(Version version) {
  std::erase_if(offers_, [&](const auto& entry) { return entry.first.second.version <= version; });
}

void ParityOffers::tick(Nanoseconds now) {
  for (auto& [key, offered] : offers_) {
    if (now - offered.waiting_since < offered.patience) continue;
    offered.waiting_since = now;
    offered.patience = std::min(offered.patience * 2, options_.retry_after);
    outbox_.send(key.first, FrameType::parity_offer, offered.offer.encode(), {}, nullptr);
  }
}

}  // namespace foreweave::mirror
