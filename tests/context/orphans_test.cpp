#include "context/orphans.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "../state/support.hpp"
#include "context/status_page.hpp"
#include "context/stores.hpp"

namespace foreweave::context {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

class OrphansTest : public ::testing::Test {
 protected:
  OrphansTest() {
    options_.store = folder_.path().string();
    options_.job = "test";
  }
  std::vector<comm::HubId> hubs_found(const std::vector<comm::HubId>& living) {
    std::vector<comm::HubId> hubs;
    for (const auto& orphan : find_orphans(options_, living)) hubs.push_back(orphan.hub);
    std::sort(hubs.begin(), hubs.end());
    return hubs;
  }
  test::TemporaryFolder folder_;
  Options options_;
};

TEST_F(OrphansTest, AreTheFoldersOfHubsThatDoNotLive) {
  EXPECT_THAT(hubs_found({0}), ElementsAre());
  for (const comm::HubId hub : {0, 1, 7, 12}) open_host_store(options_, hub);
  fs::create_directories(folder_.path() / "test" / "hub-x3");
  fs::create_directories(folder_.path() / "test" / "hub-4b");
  std::ofstream(folder_.path() / "test" / "outcome-0") << "finished";
  EXPECT_THAT(hubs_found({0, 1}), ElementsAre(7, 12));
  {
    StatusPage page(host_folder(options_, 7) / "status");
    page.set_joined(5);
    page.set_active(4);
  }
  const auto orphans = find_orphans(options_, {0, 1, 12});
  ASSERT_EQ(orphans.size(), 1u);
  EXPECT_EQ(orphans[0].joined, 5u);
  EXPECT_EQ(orphans[0].active, 4u);
}

TEST_F(OrphansTest, WhatTheyHeldIsTakenOverOnce) {
  const auto orphan = open_host_store(options_, 3), own = open_host_store(options_, 0);
  const auto bytes = [](Version version) { return test::random_bytes(100, version); };
  test::put(*orphan, {3, 5}, bytes(5));
  test::put(*orphan, {3, 6}, bytes(6), 5);
  test::put(*orphan, {2, 6}, bytes(26));
  test::put(*own, {2, 6}, bytes(99));   // a copy of its own
  orphan->set_committed(6);
  own->set_committed(5);
  adopt(options_, 3, *own, nullptr);
  EXPECT_EQ(own->committed(), 6u);
  EXPECT_TRUE(test::stored_bytes(*own, {3, 5}) == bytes(5));
  EXPECT_TRUE(test::stored_bytes(*own, {3, 6}) == bytes(6));
  EXPECT_TRUE(test::stored_bytes(*own, {2, 6}) == bytes(99));
  EXPECT_EQ(own->list().size(), 3u);
  EXPECT_FALSE(fs::exists(host_folder(options_, 3)));
  EXPECT_THAT(hubs_found({0}), ElementsAre());
}

TEST(LeftBehind, AHubThatTheJobWentOnWithoutIsAndAnEmptyOneIsNot) {
  EXPECT_TRUE(left_behind(2, 4));
  EXPECT_FALSE(left_behind(4, 4));
  EXPECT_FALSE(left_behind(4, 3));   // nobody worked in epoch 4 yet
  EXPECT_FALSE(left_behind(0, 4));
}

}  // namespace
}  // namespace foreweave::context
