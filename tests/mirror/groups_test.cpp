#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "foreweave/core/error.hpp"
#include "foreweave/mirror/mirror_protocol.hpp"

namespace foreweave::mirror {
namespace {

TEST(Groups, EveryRankIsInOneGroupAndNoHubHoldsTwoBlocksOfOne) {
  for (const Rank ranks : {1, 2, 3, 5, 8, 13, 40}) {
    for (const std::uint32_t nodes : {1U, 2U, 3U, 5U, 13U}) {
      for (const auto& [data, parity] : {std::pair{1, 1}, {2, 1}, {4, 1}, {4, 2}, {8, 3}, {3, 0}}) {
        for (const bool blocks : {false, true}) {
          std::vector<std::uint32_t> node;
          for (Rank r = 0; r < ranks; ++r) {
            const auto n = static_cast<std::uint32_t>(r);
            node.push_back(blocks ? n * nodes / static_cast<std::uint32_t>(ranks) : n % nodes);
          }
          const auto what = std::to_string(ranks) + " ranks, " + std::to_string(nodes) + " nodes, " +
                            std::to_string(data) + "+" + std::to_string(parity);
          const auto used = std::set<std::uint32_t>(node.begin(), node.end()).size();
          const auto groups = choose_groups(ranks, data, parity, node);
          const int holders = std::min(parity, ranks - 1), largest = std::min(data, ranks - holders);
          std::set<Rank> members;
          std::map<Rank, std::size_t> load;
          for (const auto& group : groups) {
            EXPECT_LE(group.members.size(), static_cast<std::size_t>(largest)) << what;
            EXPECT_EQ(group.holders.size(), static_cast<std::size_t>(holders)) << what;
            std::set<Rank> all(group.holders.begin(), group.holders.end());
            std::set<std::uint32_t> member_nodes, all_nodes;
            for (const auto rank : group.holders) {
              ++load[rank];
              all_nodes.insert(node[static_cast<std::size_t>(rank)]);
            }
            for (const auto rank : group.members) {
              EXPECT_TRUE(members.insert(rank).second) << what;
              all.insert(rank);
              member_nodes.insert(node[static_cast<std::size_t>(rank)]);
            }
            all_nodes.insert(member_nodes.begin(), member_nodes.end());
            EXPECT_EQ(all.size(), group.members.size() + group.holders.size()) << what;
            // Where nodes are equally full: as many nodes as there are.
            if (ranks % static_cast<Rank>(nodes) == 0) {
              EXPECT_EQ(all_nodes.size(), std::min(used, all.size())) << what;
            }
          }
          EXPECT_EQ(members.size(), static_cast<std::size_t>(ranks)) << what;
          EXPECT_EQ(groups.size(), static_cast<std::size_t>((ranks + largest - 1) / largest)) << what;
          if (nodes == 1) {
            const auto most = (groups.size() * static_cast<std::size_t>(holders) + static_cast<std::size_t>(ranks) - 1) /
                              static_cast<std::size_t>(ranks);
            for (const auto& [rank, carried] : load) EXPECT_LE(carried, most + 1) << what;
          }
        }
      }
    }
  }
}

TEST(Groups, TheUsualCase) {
  // Three nodes of two ranks each, 2+1: each group on two nodes, its parity on the third.
  const auto groups = choose_groups(6, 2, 1, {0, 0, 1, 1, 2, 2});
  ASSERT_EQ(groups.size(), 3U);
  View view;
  view.hub_of_rank = {0, 1, 2, 3, 4, 5};
  use_groups(view, groups);
  for (const auto& group : groups) {
    std::set<Rank> nodes;
    for (const auto rank : group.members) {
      nodes.insert(rank / 2);
      EXPECT_EQ(view.mirrored_by[static_cast<std::size_t>(rank)], group.holders);
    }
    for (const auto rank : group.holders) nodes.insert(rank / 2);
    EXPECT_EQ(nodes.size(), 3U);
  }
}

TEST(Groups, LargeJobsAreQuick) {
  std::vector<std::uint32_t> node;
  for (std::uint32_t r = 0; r < 20'000; ++r) node.push_back(r / 64);
  EXPECT_EQ(choose_groups(20'000, 8, 2, node).size(), 2'500U);
  EXPECT_EQ(choose_groups(20'000, 8, 2, {}).size(), 2'500U);
}

TEST(Groups, WrongArgumentsAreRefused) {
  EXPECT_THROW(choose_groups(0, 2, 1, {}), Error);
  EXPECT_THROW(choose_groups(2, 0, 1, {}), Error);
  EXPECT_THROW(choose_groups(2, 2, -1, {}), Error);
  EXPECT_THROW(choose_groups(2, 2, 1, {0}), Error);
}

}  // namespace
}  // namespace foreweave::mirror
