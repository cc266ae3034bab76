#include <algorithm>
#include <string>
#include <tuple>

#include "foreweave/core/error.hpp"
#include "foreweave/mirror/mirror_protocol.hpp"

namespace foreweave::mirror {

// Copies are dealt out in rounds, so that every rank gets its first partner before any gets its second, and the load
// stays even: of the ranks on a node that has no copy yet, the next one in the ring that carries no more than its
// share.
std::vector<std::vector<Rank>> choose_partners(Rank ranks, int copies,
                                               const std::vector<std::uint32_t>& node_of_rank) {
  if (ranks < 1 || copies < 0) {
    throw Error(
        ErrorCategory::argument, "choose partners",
        std::to_string(ranks) + " ranks and " + std::to_string(copies) + " copies: at least 1 and 0 are needed");
  }
  if (!node_of_rank.empty() && node_of_rank.size() != static_cast<std::size_t>(ranks)) {
    throw Error(ErrorCategory::argument, "choose partners",
                "nodes of " + std::to_string(node_of_rank.size()) + " ranks were given for " + std::to_string(ranks));
  }
  const auto node = [&](Rank rank) {
    return node_of_rank.empty() ? 0U : node_of_rank[static_cast<std::size_t>(rank)];
  };
  std::vector<std::vector<Rank>> partners(static_cast<std::size_t>(ranks));
  std::vector<int> load(static_cast<std::size_t>(ranks), 0);
  auto sorted = node_of_rank;
  std::sort(sorted.begin(), sorted.end());
  const auto nodes = std::max<std::ptrdiff_t>(1, std::unique(sorted.begin(), sorted.end()) - sorted.begin());
  const int rounds = std::min(copies, static_cast<int>(ranks) - 1);
  for (int round = 0; round < rounds; ++round) {
    const int best_kind = round + 1 < nodes ? 0 : nodes > 1 ? 1 : 2;
    for (Rank rank = 0; rank < ranks; ++rank) {
      auto& chosen = partners[static_cast<std::size_t>(rank)];
      // (0: a new node, 1: not the rank's own node, 2: the rank's own; load; distance in the ring), least first
      std::tuple<int, int, Rank> best{3, 0, 0};
      for (Rank distance = 1; distance < ranks; ++distance) {
        const auto candidate = static_cast<Rank>((static_cast<std::int64_t>(rank) + distance) % ranks);
        if (std::find(chosen.begin(), chosen.end(), candidate) != chosen.end()) continue;
        int kind = 0;
        if (node(candidate) == node(rank)) {
          kind = 2;
        } else if (std::any_of(chosen.begin(), chosen.end(), [&](Rank r) { return node(r) == node(candidate); })) {
          kind = 1;
        }
        const int carried = load[static_cast<std::size_t>(candidate)];
        best = std::min(best, {kind, carried, distance});
        if (kind <= best_kind && carried <= round) break;  // no other can be better
      }
      const auto partner = static_cast<Rank>((static_cast<std::int64_t>(rank) + std::get<2>(best)) % ranks);
      chosen.push_back(partner);
      ++load[static_cast<std::size_t>(partner)];
    }
  }
  return partners;
}

}  // namespace foreweave::mirror
