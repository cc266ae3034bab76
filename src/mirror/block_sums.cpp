#include "mirror/block_sums.hpp"

#include <algorithm>

#include "foreweave/core/error.hpp"

namespace foreweave::mirror {

using comm::FrameType;

struct BlockSums::Stretch {
  std::uint64_t offset = 0, bytes = 0;
  std::vector<std::optional<Bytes>> parts;   // by source; as many bytes as the source has there
};

struct BlockSums::Sum {
  explicit Sum(BlockSumJob of) : job(std::move(of)) {}
  BlockSumJob job;
  std::deque<Stretch> ahead;
  std::uint64_t asked = 0;   // up to here
  std::vector<StreamDigest> digests;
  Nanoseconds heard = 0, waiting_since = 0, patience = 0;

  std::uint64_t share(const Stretch& stretch, std::size_t source) const {
    const auto all = job.sources[source].bytes;
    return all <= stretch.offset ? 0 : std::min(stretch.bytes, all - stretch.offset);
  }
};

BlockSums::BlockSums(const MirrorOptions& options, BlockServer& own, Outbox& outbox)
    : options_(options), own_(own), outbox_(outbox) {}

BlockSums::~BlockSums() = default;

void BlockSums::clear() { sums_.clear(); }

std::uint64_t BlockSums::start(BlockSumJob job, Nanoseconds now) {
  const auto number = ++last_number_;
  auto& sum = sums_.emplace(number, Sum(std::move(job))).first->second;
  sum.digests.resize(sum.job.sources.size());
  sum.heard = sum.waiting_since = now;
  sum.patience = std::max<Nanoseconds>(options_.retry_after / 16, 1);
  // What lies in the own stores needs no frames, so a sum could be over at once: not before the caller has its number.
  while (extend(sums_.find(number))) {
  }
  return number;
}

void BlockSums::cancel(std::uint64_t number) { sums_.erase(number); }

void BlockSums::ask(std::uint64_t number, const Sum& sum, const Stretch& stretch, std::size_t source) const {
  const auto& from = sum.job.sources[source];
  const BlockFetch fetch{number,     static_cast<std::uint32_t>(source), from.parity, from.id, from.bytes,
                         stretch.offset, static_cast<std::uint32_t>(sum.share(stretch, source))};
  outbox_.send(from.hub, FrameType::block_fetch, fetch.encode(), {}, nullptr);
}

/// Asks for one stretch more, where there is one and the window has room.
bool BlockSums::extend(Entry entry) {
  auto& [number, sum] = *entry;
  const auto window = std::clamp<std::uint64_t>(options_.window_bytes / options_.chunk_bytes / 2, 1, most_ahead);
  if (sum.asked == sum.job.bytes || sum.ahead.size() >= window) return false;
  auto& stretch = sum.ahead.emplace_back();
  stretch.offset = sum.asked;
  stretch.bytes = std::min<std::uint64_t>(options_.chunk_bytes, sum.job.bytes - sum.asked);
  stretch.parts.resize(sum.job.sources.size());
  sum.asked += stretch.bytes;
  for (std::size_t i = 0; i < stretch.parts.size(); ++i) {
    if (sum.share(stretch, i) == 0) {
      stretch.parts[i].emplace();
    } else if (sum.job.sources[i].hub != options_.self) {
      ask(number, sum, stretch, i);
    }
  }
  return true;
}

/// Sums what is complete, and asks for more; calls done() or failed() when it is over.
void BlockSums::advance(Entry entry, Nanoseconds now) {
  auto& sum = entry->second;
  std::optional<std::size_t> blamed;
  try {
    for (;;) {
      while (extend(entry)) {
      }
      if (sum.ahead.empty()) break;
      auto& stretch = sum.ahead.front();
      std::vector<ByteView> parts;
      for (std::size_t i = 0; i < stretch.parts.size(); ++i) {
        if (!stretch.parts[i] && sum.job.sources[i].hub == options_.self) {
          const auto& from = sum.job.sources[i];
          blamed = i;
          const auto part = own_.read({entry->first, static_cast<std::uint32_t>(i), from.parity, from.id, from.bytes,
                                       stretch.offset, static_cast<std::uint32_t>(sum.share(stretch, i))});
          if (!part) return fail(entry, i, "it is not in the own store any more", now);
          stretch.parts[i].emplace(part->bytes.begin(), part->bytes.end());
          blamed.reset();
        }
        if (!stretch.parts[i]) return;   // to come
        parts.emplace_back(*stretch.parts[i]);
      }
      Bytes made(stretch.bytes);
      std::byte* const to[] = {made.data()};
      sum.job.sum.apply(parts, to, stretch.bytes);
      for (std::size_t i = 0; i < parts.size(); ++i) sum.digests[i].update(parts[i]);
      sum.job.write(made);
      sum.ahead.pop_front();
    }
    std::vector<Digest128> digests;
    for (std::size_t i = 0; i < sum.digests.size(); ++i) {
      digests.push_back(sum.digests[i].value());
      const auto& expected = sum.job.sources[i].content;
      if (expected && *expected != digests.back()) {
        return fail(entry, i, "its content does not match its digest", now);
      }
    }
    const auto job = std::move(sum.job);
    sums_.erase(entry);
    try {
      job.done(digests, now);
    } catch (const Error& error) {
      job.failed(std::nullopt, error.what(), now);
    }
  } catch (const Error& error) {
    fail(entry, blamed, error.what(), now);
  }
}

void BlockSums::fail(Entry entry, std::optional<std::size_t> source, const std::string& why, Nanoseconds now) {
  const auto job = std::move(entry->second.job);
  sums_.erase(entry);
  job.failed(source, why, now);
}

void BlockSums::on_block(HubId from, const BlockPiece& piece, ByteView payload, Nanoseconds now) {
  const auto entry = sums_.find(piece.number);
  if (entry == sums_.end()) return;
  auto& sum = entry->second;
  if (piece.source >= sum.job.sources.size() || sum.job.sources[piece.source].hub != from) return;
  const auto stretch = std::find_if(sum.ahead.begin(), sum.ahead.end(),
                                    [&](const Stretch& one) { return one.offset == piece.offset; });
  if (stretch == sum.ahead.end() || stretch->parts[piece.source]) return;   // a repetition
  if (payload.size() != sum.share(*stretch, piece.source)) return;
  stretch->parts[piece.source].emplace(payload.begin(), payload.end());
  sum.heard = sum.waiting_since = now;
  sum.patience = std::max<Nanoseconds>(options_.retry_after / 4, 1);
  advance(entry, now);
}

void BlockSums::on_absent(HubId from, const BlockPiece& piece, Nanoseconds now) {
  const auto entry = sums_.find(piece.number);
  if (entry == sums_.end()) return;
  const auto& sources = entry->second.job.sources;
  if (piece.source >= sources.size() || sources[piece.source].hub != from) return;
  fail(entry, piece.source, "hub " + std::to_string(from) + " has no such block", now);
}

void BlockSums::peer_lost(HubId peer, Nanoseconds now) {
  for (auto entry = sums_.begin(); entry != sums_.end();) {
    const auto here = entry++;   // failed() may add sums, and adding to a map keeps its iterators
    const auto& sources = here->second.job.sources;
    const auto lost = std::find_if(sources.begin(), sources.end(), [&](const auto& one) { return one.hub == peer; });
    if (lost == sources.end()) continue;
    fail(here, static_cast<std::size_t>(lost - sources.begin()), "hub " + std::to_string(peer) + " was lost", now);
  }
}

void BlockSums::tick(Nanoseconds now) {
  std::vector<std::uint64_t> numbers;
  for (const auto& [number, sum] : sums_) numbers.push_back(number);
  for (const auto number : numbers) {
    auto entry = sums_.find(number);
    if (entry == sums_.end()) continue;
    advance(entry, now);   // what needs no frames
    entry = sums_.find(number);
    if (entry == sums_.end()) continue;
    auto& sum = entry->second;
    if (now - sum.heard >= silent_retries * options_.retry_after) {
      const auto& parts = sum.ahead.front().parts;
      const auto silent = std::find_if(parts.begin(), parts.end(), [](const auto& part) { return !part.has_value(); });
      fail(entry, static_cast<std::size_t>(silent - parts.begin()), "it does not come", now);
      continue;
    }
    if (now - sum.waiting_since < sum.patience) continue;
    sum.waiting_since = now;
    sum.patience = std::min(sum.patience * 2, options_.retry_after);
    for (const auto& stretch : sum.ahead) {
      for (std::size_t i = 0; i < stretch.parts.size(); ++i) {
        if (!stretch.parts[i] && sum.job.sources[i].hub != options_.self) ask(number, sum, stretch, i);
      }
    }
  }
}

}  // namespace foreweave::mirror
