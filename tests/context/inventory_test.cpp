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
  one.ranks_of = {{3, 5}, {4, 2}};
  one.address = {std::byte{1}, std::byte{0}, std::byte{255}};
  one.file[1] = {4};
  one.loose = {{5, 3}, {6, 5}};
  one.newest = 11;
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
  EXPECT_EQ(back.ranks_of, one.ranks_of);
  EXPECT_EQ(back.address, one.address);
  EXPECT_EQ(back.host, one.host);
  EXPECT_EQ(back.file, one.file);
  EXPECT_EQ(back.loose, one.loose);
  EXPECT_EQ(back.newest, one.newest);
  EXPECT_EQ(back.failed, one.failed);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(Inventory::decode(ByteView(bytes).first(size)), Error) << size;
  }
}

/// As a job of so many ranks wrote them.
std::vector<Inventory> written_by(Rank ranks, std::vector<Inventory> all) {
  for (auto& one : all) {
    for (const auto* held : {&one.host, &one.file}) {
      for (const auto& [rank, versions] : *held) {
        for (const auto version : versions) one.ranks_of[version] = ranks;
      }
    }
  }
  return all;
}

TEST(Inventory, AVersionIsCommonWhenEveryRankThatWroteItHasItSomewhere) {
  // Ring of three; hub 1 is gone, its rank's snapshots are on hub 2.
  const std::vector<Inventory> all{holding(0, {{0, {4, 5, 6}}, {2, {5, 6}}}), holding(2, {{2, {4, 5, 6}}, {1, {4, 5}}})};
  EXPECT_THAT(common_versions(written_by(3, all)), ElementsAre(4, 5));
  EXPECT_THAT(common_versions(written_by(4, all)), IsEmpty());
  EXPECT_THAT(common_versions(all), IsEmpty());   // nothing there could be parsed
  EXPECT_THAT(common_versions({}), IsEmpty());
}

TEST(Inventory, LinksInFilesCountOnWhatAnotherHubsMemoryHas) {
  // Rank 0 sees 5 and 6 in its files, which stand on 4; 4 stands in the memory of hub 1 alone. 8 stands on nothing.
  auto own = holding(0, {{1, {4, 5, 6, 8}}});
  own.loose = {{5, 4}, {6, 5}, {8, 7}};
  const auto other = holding(1, {{0, {4}}});
  EXPECT_THAT(common_versions(written_by(2, {own, other})), ElementsAre(4, 5, 6));
  own.rank = 1;   // they are of whom sees them
  EXPECT_THAT(common_versions(written_by(2, {own, other})), ElementsAre(4));
}

TEST(Inventory, WhatEveryRankHasInFilesWasCommitted) {
  auto first = holding(0, {{0, {7, 8}}}), second = holding(1, {{1, {7, 8}}});
  EXPECT_EQ(newest_in_files(written_by(2, {first, second})), 0u);
  first.file[0] = {2, 4, 6};
  second.file[1] = {4, 5};
  EXPECT_EQ(newest_in_files(written_by(2, {first, second})), 4u);
}

TEST(Inventory, FilesCountAsWellAndFailedVersionsDoNot) {
  std::vector<Inventory> all{holding(0, {{0, {1, 2}}}), holding(1, {})};
  all[1].file[1] = {1, 2};
  all = written_by(2, all);
  EXPECT_THAT(common_versions(all), ElementsAre(1, 2));
  all[0].failed = {2};
  EXPECT_THAT(common_versions(all), ElementsAre(1));
}

TEST(Inventory, EachVersionNeedsTheRanksOfItsOwnJob) {
  // Three ranks wrote up to version 4, two from version 5 on; rank 1 of version 6 is missing.
  std::vector<Inventory> all{holding(0, {{0, {3, 4, 5, 6}}, {2, {3, 4}}}), holding(1, {{1, {4, 5}}})};
  for (const Version version : {3, 4}) all[0].ranks_of[version] = 3;
  for (const Version version : {5, 6}) all[0].ranks_of[version] = 2;
  all[1].ranks_of = {{4, 3}, {5, 2}};
  EXPECT_THAT(common_versions(all), ElementsAre(4, 5));
  EXPECT_EQ(ranks_of(all, 4), 3);
  EXPECT_EQ(ranks_of(all, 6), 2);
  EXPECT_EQ(ranks_of(all, 7), 0);
  all[1].ranks_of[5] = 3;
  EXPECT_EQ(ranks_of(all, 5), 0);
  EXPECT_THAT(common_versions(all), ElementsAre(4));
}

TEST(Inventory, RanksBeyondTheJobDoNotCount) {
  EXPECT_THAT(common_versions(written_by(1, {holding(0, {{0, {1}}, {7, {1, 2}}})})), ElementsAre(1));
}

}  // namespace
}  // namespace foreweave::context
