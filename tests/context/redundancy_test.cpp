#include "context/redundancy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mirror/memory_store.hpp"

namespace foreweave::context {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string less_than_asked(const std::string& redundancy, std::uint32_t copies, std::vector<std::uint32_t> nodes,
                            mirror::View* out = nullptr) {
  Options options;
  options.redundancy = redundancy;
  options.copies = copies;
  mirror::View view;
  for (std::size_t h = 0; h < nodes.size(); ++h) view.hub_of_rank.push_back(static_cast<comm::HubId>(h));
  const auto less = choose_redundancy(view, options, nodes);
  if (out != nullptr) *out = view;
  return less;
}

TEST(Redundancy, WhatIsLessThanAskedForIsSaid) {
  EXPECT_THAT(less_than_asked("copies", 1, {0, 0, 0}), IsEmpty());
  EXPECT_THAT(less_than_asked("copies", 2, {0, 1, 2}), IsEmpty());
  EXPECT_THAT(less_than_asked("copies", 1, {0}), IsEmpty());
  EXPECT_THAT(less_than_asked("copies", 3, {0, 0, 0}), HasSubstr("with 3 ranks each snapshot stands in 2 other places"));
  EXPECT_THAT(less_than_asked("copies", 2, {0, 0, 1, 1}), HasSubstr("on 2 nodes some copies share a node"));
  EXPECT_THAT(less_than_asked("rs:2+1", 1, {0, 1, 2}), IsEmpty());
  EXPECT_THAT(less_than_asked("rs:4+2", 1, {0, 0, 0}), HasSubstr("with 3 ranks groups are 1+2"));
  EXPECT_THAT(less_than_asked("rs:2+1", 1, {0, 0, 1, 1}), HasSubstr("a node holds several blocks"));
  EXPECT_THAT(less_than_asked("rs:2+1", 1, {0}), HasSubstr("with 1 rank groups are 1+0"));
  mirror::View view;
  less_than_asked("rs:2+1", 1, {0, 0, 0, 0}, &view);
  EXPECT_EQ(view.groups.size(), 2U);
  EXPECT_EQ(view.mirrored_by[0], view.groups[0].holders);
}

/// Ranks 0, 1, 2 in one group with two parity blocks on hubs 3 and 4; version 2 is a delta, but of rank 1.
struct Job {
  Job() {
    for (comm::HubId h = 0; h < 5; ++h) {
      Inventory one;
      one.hub = h;
      one.ranks_of = {{1, 3}, {2, 3}};
      if (h < 3) one.host[static_cast<Rank>(h)] = {1, 2};
      if (h >= 3) one.parity = {record(1, static_cast<int>(h) - 3), record(2, static_cast<int>(h) - 3)};
      all.push_back(one);
    }
  }
  static ParityRecord record(Version version, int row) {
    ParityRecord made{version, 2, row, {}, 30, {7, version}};
    for (Rank r = 0; r < 3; ++r) {
      const Version base = version == 2 && r != 1 ? 1 : 0;
      made.members.push_back({r, base, static_cast<std::uint64_t>(10 * (r + 1)), {static_cast<std::uint64_t>(r), version}});
    }
    return made;
  }
  void lose(comm::HubId h) {
    all[h].host.clear();
    all[h].parity.clear();
  }
  std::vector<Inventory> all;
};

TEST(Redundancy, AsManyLossesAsThereAreParityBlocksCanBeMadeGood) {
  for (comm::HubId a = 0; a < 5; ++a) {
    for (comm::HubId b = 0; b < 5; ++b) {
      Job job;
      job.lose(a);
      job.lose(b);
      EXPECT_THAT(common_versions(job.all), ::testing::ElementsAre(1, 2)) << a << " and " << b;
      for (comm::HubId c = 0; c < 5; ++c) {
        auto third = job;
        third.lose(c);
        const bool three = a != b && b != c && a != c;
        const bool data = a < 3 || b < 3 || c < 3;
        EXPECT_EQ(common_versions(third.all).empty(), three && data) << a << ", " << b << " and " << c;
      }
    }
  }
}

TEST(Redundancy, ThePlanNamesTheWholeChain) {
  Job job;
  job.lose(0);
  auto plans = plan_rebuild(job.all, {0, 2});
  ASSERT_TRUE(plans);
  ASSERT_EQ(plans->size(), 2U);
  EXPECT_EQ((*plans)[0].id, (SnapshotId{0, 1}));
  EXPECT_EQ((*plans)[1].id, (SnapshotId{0, 2}));
  EXPECT_EQ((*plans)[1].base, 1U);
  EXPECT_EQ((*plans)[1].bytes, 10U);
  ASSERT_EQ((*plans)[1].sources.size(), 3U);
  EXPECT_FALSE((*plans)[1].sources[0].parity);
  EXPECT_TRUE((*plans)[1].sources[2].parity);
  // Rank 1 is full at version 2, but rank 0's parity of version 1 needs its snapshot of that.
  job = {};
  job.lose(1);
  plans = plan_rebuild(job.all, {1, 2});
  ASSERT_TRUE(plans);
  EXPECT_EQ(plans->size(), 2U);
  // Without the older version its own can still be had.
  for (auto& one : job.all) std::erase_if(one.parity, [](const ParityRecord& r) { return r.version == 1; });
  plans = plan_rebuild(job.all, {1, 2});
  ASSERT_TRUE(plans);
  EXPECT_EQ(plans->size(), 1U);
  EXPECT_FALSE(plan_rebuild(job.all, {0, 2}, {0}));
}

TEST(Redundancy, AHubThatIsToBlameIsPassedOver) {
  Job job;
  job.lose(0);
  const auto plans = plan_rebuild(job.all, {0, 1}, {1});
  ASSERT_TRUE(plans);
  for (const auto& source : plans->front().sources) EXPECT_NE(source.hub, 1U);
  EXPECT_FALSE(plan_rebuild(job.all, {0, 1}, {1, 3}));
}

TEST(Redundancy, BlocksOfDifferentContentDoNotMix) {
  Job job;
  job.lose(0);
  job.lose(1);
  job.all[4].parity[0].members[2].content = {9, 9};
  EXPECT_FALSE(plan_rebuild(job.all, {0, 1}));
}

TEST(Redundancy, FullSnapshotsComeAtTheSameVersionsAndWhatIsOlderGoes) {
  EXPECT_EQ(needed_from(0, 10, 3), 0U);
  EXPECT_EQ(needed_from(5, 4, 3), 0U);
  std::vector<Version> full;
  for (Version v = 5; v < 15; ++v) {
    if (full_is_due(5, v, 3)) full.push_back(v);
    EXPECT_EQ(needed_from(5, v, 3), full.back()) << v;
  }
  EXPECT_THAT(full, ::testing::ElementsAre(5, 8, 11, 14));
  test::MemoryStore store;
  for (Version v = 1; v < 6; ++v) store.put({0, v}, v - 1, {});
  erase_below(store, 4);
  EXPECT_EQ(store.list().size(), 2U);
}

}  // namespace
}  // namespace foreweave::context
