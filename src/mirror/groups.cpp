#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "foreweave/core/error.hpp"
#include "foreweave/mirror/mirror_protocol.hpp"

namespace foreweave::mirror {
namespace {

/// Ranks into groups of equal size, give or take one, each of as many nodes as can be: a group takes its members from
/// the nodes that have most left.
std::vector<ParityGroup> gather_members(Rank ranks, int data, const std::vector<std::uint32_t>& node_of_rank) {
  std::map<std::uint32_t, std::vector<Rank>> left;   // by node, descending
  for (Rank rank = ranks; rank-- > 0;) left[node_of_rank.empty() ? 0 : node_of_rank[static_cast<std::size_t>(rank)]].push_back(rank);
  std::set<std::tuple<std::ptrdiff_t, std::uint32_t>> fullest;   // (-ranks left, node)
  for (const auto& [node, of] : left) fullest.insert({-static_cast<std::ptrdiff_t>(of.size()), node});
  const auto count = (static_cast<std::size_t>(ranks) + static_cast<std::size_t>(data) - 1) / static_cast<std::size_t>(data);
  std::vector<ParityGroup> groups(count);
  for (std::size_t g = 0; g < count; ++g) {
    const auto size = static_cast<std::size_t>(ranks) * (g + 1) / count - static_cast<std::size_t>(ranks) * g / count;
    auto& members = groups[g].members;
    while (members.size() < size) {
      std::vector<std::tuple<std::ptrdiff_t, std::uint32_t>> taken;   // each node once, then again if need be
      while (members.size() < size && !fullest.empty()) {
        const auto [negative, node] = *fullest.begin();
        fullest.erase(fullest.begin());
        members.push_back(left[node].back());
        left[node].pop_back();
        if (negative + 1 < 0) taken.emplace_back(negative + 1, node);
      }
      fullest.insert(taken.begin(), taken.end());
    }
    std::sort(members.begin(), members.end());
  }
  return groups;
}

}  // namespace

// Any `parity` hubs that are lost cost a group at most as many blocks, because no hub holds two of a group's: a member's
// own store has its snapshot, and holders are no members. Holders are dealt out in rounds, as partners are.
std::vector<ParityGroup> choose_groups(Rank ranks, int data, int parity, const std::vector<std::uint32_t>& node_of_rank) {
  if (ranks < 1 || data < 1 || parity < 0 ||
      (!node_of_rank.empty() && node_of_rank.size() != static_cast<std::size_t>(ranks))) {
    throw Error(ErrorCategory::argument, "choose groups",
                std::to_string(ranks) + " ranks, groups of " + std::to_string(data) + "+" + std::to_string(parity) +
                    ": at least 1, 1 and 0 are needed, and a node for each rank or for none");
  }
  parity = std::min(parity, static_cast<int>(ranks) - 1);
  data = std::min(data, static_cast<int>(ranks) - parity);
  auto groups = gather_members(ranks, data, node_of_rank);
  const auto node = [&](Rank rank) { return node_of_rank.empty() ? 0U : node_of_rank[static_cast<std::size_t>(rank)]; };
  const auto nodes = std::set<std::uint32_t>(node_of_rank.begin(), node_of_rank.end()).size();
  std::vector<std::size_t> load(static_cast<std::size_t>(ranks), 0);
  std::size_t dealt = 0;
  for (int round = 0; round < parity; ++round) {
    for (auto& group : groups) {
      std::set<std::uint32_t> member_nodes, holder_nodes;
      for (const auto rank : group.members) member_nodes.insert(node(rank));
      for (const auto rank : group.holders) holder_nodes.insert(node(rank));
      std::set<std::uint32_t> all_nodes = member_nodes;
      all_nodes.insert(holder_nodes.begin(), holder_nodes.end());
      const int best_kind = all_nodes.size() < nodes ? 0 : member_nodes.size() < nodes ? 1 : 2;
      const auto share = dealt / static_cast<std::size_t>(ranks);
      // (0: a new node, 1: another holder's, 2: a member's; load; distance from the last member), least first
      std::tuple<int, std::size_t, Rank> best{3, 0, 0};
      const auto from = group.members.back();
      for (Rank distance = 1; distance < ranks; ++distance) {
        const auto candidate = static_cast<Rank>((static_cast<std::int64_t>(from) + distance) % ranks);
        if (std::binary_search(group.members.begin(), group.members.end(), candidate)) continue;
        if (std::find(group.holders.begin(), group.holders.end(), candidate) != group.holders.end()) continue;
        const int kind = member_nodes.contains(node(candidate)) ? 2 : holder_nodes.contains(node(candidate)) ? 1 : 0;
        const auto carried = load[static_cast<std::size_t>(candidate)];
        best = std::min(best, {kind, carried, distance});
        if (kind <= best_kind && carried <= share) break;   // no other can be better by more than one
      }
      const auto holder = static_cast<Rank>((static_cast<std::int64_t>(from) + std::get<2>(best)) % ranks);
      group.holders.push_back(holder);
      ++load[static_cast<std::size_t>(holder)];
      ++dealt;
    }
  }
  return groups;
}

void use_groups(View& view, std::vector<ParityGroup> groups) {
  view.mirrored_by.assign(view.hub_of_rank.size(), {});
  for (const auto& group : groups) {
    for (const auto rank : group.members) view.mirrored_by.at(static_cast<std::size_t>(rank)) = group.holders;
  }
  view.groups = std::move(groups);
}

}  // namespace foreweave::mirror
