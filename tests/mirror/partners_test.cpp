#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "foreweave/core/error.hpp"
#include "foreweave/mirror/mirror_protocol.hpp"

namespace foreweave::mirror {
namespace {

using Partners = std::vector<std::vector<Rank>>;

TEST(Partners, OneNodeIsARing) {
  EXPECT_EQ(choose_partners(3, 1, {}), (Partners{{1}, {2}, {0}}));
  EXPECT_EQ(choose_partners(4, 2, {}), (Partners{{1, 2}, {2, 3}, {3, 0}, {0, 1}}));
  EXPECT_EQ(choose_partners(3, 0, {}), (Partners{{}, {}, {}}));
  EXPECT_EQ(choose_partners(1, 2, {}), (Partners{{}}));
  EXPECT_EQ(choose_partners(2, 5, {}), (Partners{{1}, {0}}));  // no more than there are
}

TEST(Partners, AnotherNodeIsPreferredAndTheLoadIsEven) {
  EXPECT_EQ(choose_partners(4, 1, {0, 0, 1, 1}), (Partners{{2}, {3}, {0}, {1}}));
  EXPECT_EQ(choose_partners(3, 1, {0, 0, 1}), (Partners{{2}, {2}, {0}}));  // the only rank elsewhere carries two
}

TEST(Partners, ManyShapes) {
  for (const Rank ranks : {2, 5, 12, 33, 64}) {
    for (const std::uint32_t nodes : {1U, 2U, 3U, 8U}) {
      for (const bool blocks : {false, true}) {
        std::vector<std::uint32_t> node;
        for (Rank r = 0; r < ranks; ++r) {
          const auto n = static_cast<std::uint32_t>(r);
          node.push_back(blocks ? n * nodes / static_cast<std::uint32_t>(ranks) : n % nodes);
        }
        const std::set<std::uint32_t> used(node.begin(), node.end());
        for (const int copies : {1, 2, 3}) {
          const auto partners = choose_partners(ranks, copies, node);
          for (Rank r = 0; r < ranks; ++r) {
            const auto& mine = partners[static_cast<std::size_t>(r)];
            EXPECT_EQ(mine.size(), static_cast<std::size_t>(std::min(copies, ranks - 1)));
            EXPECT_EQ(std::set<Rank>(mine.begin(), mine.end()).size(), mine.size());
            EXPECT_EQ(std::count(mine.begin(), mine.end(), r), 0);
            std::set<std::uint32_t> nodes_of{node[static_cast<std::size_t>(r)]};
            for (const auto p : mine) nodes_of.insert(node[static_cast<std::size_t>(p)]);
            EXPECT_EQ(nodes_of.size(), std::min(used.size(), mine.size() + 1)) << "as many nodes as there are";
          }
          if (static_cast<Rank>(nodes) > 0 && ranks % static_cast<Rank>(nodes) == 0) {  // equal nodes: even load
            std::map<Rank, int> load;
            for (const auto& mine : partners) {
              for (const auto p : mine) ++load[p];
            }
            for (const auto& [rank, carried] : load) EXPECT_LE(carried, copies + 1) << ranks << " ranks, " << nodes;
          }
        }
      }
    }
  }
}

TEST(Partners, LargeJobsAreQuick) {
  std::vector<std::uint32_t> node;
  for (std::uint32_t r = 0; r < 20'000; ++r) node.push_back(r / 64);
  const auto partners = choose_partners(20'000, 2, node);
  EXPECT_EQ(partners[0], (std::vector<Rank>{64, 128}));
  EXPECT_EQ(choose_partners(20'000, 1, {})[19'999], (std::vector<Rank>{0}));
}

TEST(Partners, WrongArgumentsAreRefused) {
  EXPECT_THROW(choose_partners(0, 1, {}), Error);
  EXPECT_THROW(choose_partners(2, -1, {}), Error);
  EXPECT_THROW(choose_partners(2, 1, {0}), Error);
}

}  // namespace
}  // namespace foreweave::mirror
