#include "context/flush_schedule.hpp"

#include <string>

#include "foreweave/core/error.hpp"

namespace foreweave::context {
namespace {

FileTier get_tier(ByteReader& in) {
  const auto tier = in.get<std::uint8_t>();
  if (tier >= file_tiers) throw Error(ErrorCategory::format, "read a flush frame", "there is no tier " + std::to_string(tier));
  return static_cast<FileTier>(tier);
}

}  // namespace

Bytes FlushOrder::encode() const {
  ByteWriter out;
  out.put(static_cast<std::uint8_t>(tier));
  out.put(version);
  out.put(complete);
  out.put(passed_over);
  return out.take();
}

FlushOrder FlushOrder::decode(ByteView bytes) {
  ByteReader in(bytes, "flush order");
  FlushOrder order;
  order.tier = get_tier(in);
  order.version = in.get<Version>();
  order.complete = in.get<Version>();
  order.passed_over = in.get<std::uint64_t>();
  in.expect_end();
  return order;
}

Bytes FlushDone::encode() const {
  ByteWriter out;
  out.put(static_cast<std::uint8_t>(tier));
  out.put(version);
  out.put(static_cast<std::uint8_t>(ok));
  return out.take();
}

FlushDone FlushDone::decode(ByteView bytes) {
  ByteReader in(bytes, "flush result");
  FlushDone done;
  done.tier = get_tier(in);
  done.version = in.get<Version>();
  done.ok = in.get<std::uint8_t>() != 0;
  in.expect_end();
  return done;
}

void FlushSchedule::begin(Rank ranks) {
  ranks_ = ranks;
  tiers_ = {};
}

bool FlushSchedule::due(std::size_t tier) const {
  const auto every = every_[tier];
  return every != 0 && !tiers_[tier].under_way && committed_ / every > tiers_[tier].ordered / every;
}

FlushOrder FlushSchedule::order(std::size_t tier) {
  auto& state = tiers_[tier];
  FlushOrder order{static_cast<FileTier>(tier), 0, state.complete, 0};
  if (!due(tier)) return order;
  order.version = committed_;
  // Before the first order of an epoch nothing is known that could have been passed over.
  if (state.ordered != 0) order.passed_over = committed_ / every_[tier] - state.ordered / every_[tier] - 1;
  state.ordered = committed_;
  state.under_way = true;
  state.failed = false;
  state.done.clear();
  return order;
}

std::vector<FlushOrder> FlushSchedule::committed(Version version) {
  committed_ = version;
  std::vector<FlushOrder> orders;
  for (std::size_t tier = 0; tier < file_tiers; ++tier) {
    if (due(tier)) orders.push_back(order(tier));
  }
  return orders;
}

std::vector<FlushOrder> FlushSchedule::done(Rank rank, const FlushDone& done) {
  const auto tier = static_cast<std::size_t>(done.tier);
  auto& state = tiers_[tier];
  if (!state.under_way || done.version != state.ordered || rank < 0 || rank >= ranks_) return {};
  state.failed = state.failed || !done.ok;
  state.done.insert(rank);
  if (state.done.size() < static_cast<std::size_t>(ranks_)) return {};
  state.under_way = false;
  if (!state.failed) state.complete = state.ordered;
  return {order(tier)};
}

}  // namespace foreweave::context
