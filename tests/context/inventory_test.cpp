#include "context/inventory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "foreweave/core/error.hpp"

namespace foreweave::context {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Inventory holding(comm::HubId hub, std::map<Rank, std::vector<Version>> host) {
  Inventory one;
  one.hub = hub;
  one.rank = static_cast<Rank>(hub);
  one.host = std::move(host);
  return one;
}

TEST(Inventory, SurvivesTheWire) {
  auto one = holding(3, {{0, {1, 2}}, {2, {9}}});
  one.node = 7;
  one.epoch = 4;
  one.joined = 6;
  one.active = 5;
  one.committed = 9;
  one.step = 123456789012;
  one.snapshot_ranks = 5;
  one.address = {std::byte{1}, std::byte{0}, std::byte{255}};
  one.file[1] = {4};
  one.failed = {8, 9};
  const auto bytes = one.encode();
  const auto back = Inventory::decode(bytes);
  EXPECT_EQ(back.hub, one.hub);
  EXPECT_EQ(back.node, one.node);
  EXPECT_EQ(back.rank, one.rank);
  EXPECT_EQ(back.epoch, one.epoch);
  EXPECT_EQ(back.joined, one.joined);
  EXPECT_EQ(back.active, one.active);
  EXPECT_EQ(back.committed, one.committed);
  EXPECT_EQ(back.step, one.step);
  EXPECT_EQ(back.snapshot_ranks, one.snapshot_ranks);
  EXPECT_EQ(back.address, one.address);
  EXPECT_EQ(back.host, one.host);
  EXPECT_EQ(back.file, one.file);
  EXPECT_EQ(back.failed, one.failed);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(Inventory::decode(ByteView(bytes).first(size)), Error) << size;
  }
}

TEST(Inventory, AVersionIsCommonWhenEveryRankHasItSomewhere) {
  // Ring of three; hub 1 is gone, its rank's snapshots are on hub 2.
  const std::vector<Inventory> all{holding(0, {{0, {4, 5, 6}}, {2, {5, 6}}}), holding(2, {{2, {4, 5, 6}}, {1, {4, 5}}})};
  EXPECT_THAT(common_versions(all, 3), ElementsAre(4, 5));
  EXPECT_THAT(common_versions(all, 4), IsEmpty());
  EXPECT_THAT(common_versions({}, 1), IsEmpty());
}

TEST(Inventory, FilesCountAsWellAndFailedVersionsDoNot) {
  std::vector<Inventory> all{holding(0, {{0, {1, 2}}}), holding(1, {})};
  all[1].file[1] = {1, 2};
  EXPECT_THAT(common_versions(all, 2), ElementsAre(1, 2));
  all[0].failed = {2};
  EXPECT_THAT(common_versions(all, 2), ElementsAre(1));
}

TEST(Inventory, AHubThatTheJobWentOnWithoutDoesNotCount) {
  // Hub 1 died in epoch 2; the others repaired the group twice; then the whole job was started again.
  std::vector<Inventory> all{holding(0, {{0, {7, 8}}}), holding(1, {{1, {7, 8}}}), holding(2, {{1, {7}}})};
  all[0].joined = all[0].active = all[2].joined = 4;
  all[2].active = 3;   // it was killed between joining and working
  all[1].joined = all[1].active = 2;
  all[1].committed = 9;   // told nobody
  EXPECT_THAT(drop_stale(all), ElementsAre(1));
  EXPECT_EQ(all[1].committed, 0u);
  EXPECT_THAT(common_versions(all, 2), ElementsAre(7));
  EXPECT_THAT(drop_stale(all), ElementsAre(1));   // nothing new until it has joined again

  all[0].active = 3;   // nobody worked in epoch 4
  all[1].joined = 3;
  EXPECT_THAT(drop_stale(all), IsEmpty());
  all[1].joined = 0;   // a new, empty memory
  EXPECT_THAT(drop_stale(all), IsEmpty());
}

TEST(Inventory, RanksBeyondTheJobDoNotCount) {
  EXPECT_THAT(common_versions({holding(0, {{0, {1}}, {7, {1, 2}}})}, 1), ElementsAre(1));
}

}  // namespace
}  // namespace foreweave::context
