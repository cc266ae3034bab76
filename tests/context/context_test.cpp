// One process: the whole path from protect() to restore(), without MPI.
// threads
#include "foreweave/context/context.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>

#include "context/stores.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave {
namespace {

using ::testing::HasSubstr;

class ContextTest : public ::testing::Test {
 protected:
  ContextTest() {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("foreweave-context-" + std::to_string(::getpid()) + "-" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    options_.store = (folder_ / "host").string();
    options_.job = "test";
    options_.copies = 0;
    values_.resize(100'000);
    std::iota(values_.begin(), values_.end(), 0.5);
  }
  ~ContextTest() override { std::filesystem::remove_all(folder_); }

  template <class Action>
  static Error refusal(Action action) {
    try {
      action();
    } catch (const Error& error) {
      return error;
    }
    throw std::logic_error("nothing was thrown");
  }

  std::filesystem::path folder_;
  Options options_;
  std::vector<double> values_;
};

TEST_F(ContextTest, RestoresInTheSameProcess) {
  Context context(options_);
  context.protect("values", values_);
  EXPECT_FALSE(context.restore().has_value());
  const auto original = values_;
  EXPECT_EQ(context.checkpoint(), 1u);
  values_[77] = -1;
  EXPECT_EQ(context.checkpoint(), 2u);
  values_.assign(values_.size(), 0);
  EXPECT_EQ(context.restore(), 2u);
  EXPECT_EQ(values_[77], -1);
  values_[77] = original[77];
  EXPECT_EQ(values_, original);
}

TEST_F(ContextTest, ANewProcessFindsTheNewestVersion) {
  const auto original = values_;
  {
    Context context(options_);
    context.protect("values", values_);
    context.checkpoint();
    values_[3] = 42;
    for (int i = 0; i < 30; ++i) {
      values_[static_cast<std::size_t>(i) * 1000] += 1;
      context.checkpoint();
    }
  }
  const auto expected = values_;
  values_.assign(values_.size(), 0);
  Context context(options_);
  context.protect("values", values_);
  EXPECT_EQ(context.restore(), 31u);
  EXPECT_EQ(values_, expected);
  EXPECT_EQ(context.checkpoint(), 32u);
}

TEST_F(ContextTest, ANamedVersionIsRestoredAndBecomesTheNewest) {
  options_.keep = 100;
  Context context(options_);
  context.protect("values", values_);
  for (int i = 1; i <= 5; ++i) {
    values_[0] = i;
    context.checkpoint();
  }
  context.restore(2);
  EXPECT_EQ(values_[0], 2);
  const auto error = refusal([&] { context.restore(99); });
  EXPECT_EQ(error.category(), ErrorCategory::absent);
  EXPECT_THAT(error.what(), HasSubstr("version 99"));
  EXPECT_THAT(error.what(), HasSubstr("1, 2, 3, 4, 5"));
  values_[0] = -1;
  context.restore();
  EXPECT_EQ(values_[0], 2);
}

TEST_F(ContextTest, ARegionThatChangedSizeIsRefusedAndNothingIsLost) {
  {
    Context context(options_);
    context.protect("values", values_);
    context.checkpoint();
  }
  const auto original = values_;
  std::vector<double> smaller(99'000, 7);
  {
    Context context(options_);
    context.protect("values", smaller);
    const auto error = refusal([&] { context.restore(); });
    EXPECT_EQ(error.category(), ErrorCategory::argument);
    EXPECT_THAT(error.what(), HasSubstr("values"));
    EXPECT_EQ(smaller, std::vector<double>(99'000, 7));
  }
  values_.assign(values_.size(), 0);
  Context context(options_);
  context.protect("values", values_);
  EXPECT_EQ(context.restore(), 1u);
  EXPECT_EQ(values_, original);
}

TEST_F(ContextTest, FewerRanksThanBeforeNeedToKnowTheParts) {
  const auto original = values_;
  const std::uint64_t quarter = values_.size() / 4;
  const auto whole = std::vector<std::uint64_t>{values_.size()};
  std::uint64_t steps = 12;
  auto store = context::open_host_store(options_, 0);
  for (Rank rank = 0; rank < 4; ++rank) {
    CaptureEngine engine(CaptureOptions{rank, 4, "test", nullptr, 0});
    const auto begin = quarter * static_cast<std::uint64_t>(rank);
    engine.add({.name = "foreweave.steps", .data = &steps, .bytes = 8, .type = ElementType::u64,
                .part = GlobalPart::replicated()});
    engine.add({.name = "values", .data = values_.data() + begin, .bytes = quarter * 8, .type = ElementType::f64,
                .part = GlobalPart{whole, {begin}, {}}});
    engine.begin(1);
    engine.finish(*store);
  }
  store->set_committed(1);
  values_.assign(values_.size(), 0);
  {
    Context context(options_);
    context.protect("values", values_);
    const auto error = refusal([&] { context.restore(); });
    EXPECT_EQ(error.category(), ErrorCategory::argument);
    EXPECT_THAT(error.what(), HasSubstr("'values'"));
    EXPECT_THAT(error.what(), HasSubstr("4 ranks"));
  }
  Context context(options_);
  context.protect("values", values_, {}, GlobalPart{whole, {0}, {}});
  EXPECT_EQ(context.restore(), 1u);
  EXPECT_EQ(values_, original);
  EXPECT_EQ(context.steps(), 12u);
  context.flush();
  EXPECT_EQ(context.committed(), 2u);   // of one rank
}

TEST_F(ContextTest, WrongKeyOrNoneIsRefusedAndTheRightOneStillWorks) {
  options_.key = std::string(64, 'a');
  const auto original = values_;
  {
    Context context(options_);
    context.protect("values", values_);
    context.checkpoint();
  }
  values_.assign(values_.size(), 0);
  for (const auto& key : {std::string(64, 'b'), std::string()}) {
    options_.key = key;
    Context context(options_);
    context.protect("values", values_);
    EXPECT_EQ(refusal([&] { context.restore(); }).category(), ErrorCategory::security);
  }
  options_.key = std::string(64, 'a');
  Context context(options_);
  context.protect("values", values_);
  EXPECT_EQ(context.restore(), 1u);
  EXPECT_EQ(values_, original);
}

TEST_F(ContextTest, ADamagedMarkerIsAnErrorThatNamesItAndWithoutItTheNewestIsThere) {
  const auto original = values_;
  {
    Context context(options_);
    context.protect("values", values_);
    context.checkpoint();
    context.checkpoint();
  }
  const auto marker = context::host_folder(options_, 0) / "committed";
  std::ofstream(marker) << "foreweave committed version 7 7\n";
  EXPECT_THAT(refusal([&] { Context context(options_); }).what(), HasSubstr(marker.string()));
  std::filesystem::remove(marker);
  values_.assign(values_.size(), 0);
  Context context(options_);
  context.protect("values", values_);
  EXPECT_EQ(context.restore(), 2u);
  EXPECT_EQ(values_, original);
}

TEST_F(ContextTest, ADamagedCommittedVersionIsAnErrorThatNamesIt) {
  {
    Context context(options_);
    context.protect("values", values_);
    context.checkpoint();
  }
  std::filesystem::path largest;
  for (const auto& entry : std::filesystem::directory_iterator(context::host_folder(options_, 0))) {
    if (entry.path().filename() == "status") continue;
    if (largest.empty() || entry.file_size() > std::filesystem::file_size(largest)) largest = entry.path();
  }
  std::fstream file(largest, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(largest) / 2));
  file << "\x55\xAA\x11 not what was written";
  file.close();
  Context context(options_);
  context.protect("values", values_);
  const auto error = refusal([&] { context.restore(); });
  EXPECT_EQ(error.category(), ErrorCategory::format);
  EXPECT_THAT(error.what(), HasSubstr("version 1"));
}

TEST_F(ContextTest, TheFileTierStandsInWhenMemoryIsGone) {
  options_.file_store = (folder_ / "file").string();
  {
    Context context(options_);
    context.protect("values", values_);
    for (int i = 0; i < 20; ++i) {
      values_[static_cast<std::size_t>(i)] = -i;
      context.checkpoint();
    }
    context.flush();
  }
  const auto expected = values_;
  std::filesystem::remove_all(options_.store);
  values_.assign(values_.size(), 0);
  Context context(options_);
  context.protect("values", values_);
  EXPECT_EQ(context.restore(), 20u);
  EXPECT_EQ(values_, expected);
}

TEST_F(ContextTest, RestoresFromAnyMixtureOfWhatIsLeft) {
  for (unsigned seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    options_.job = "mixture-" + std::to_string(seed);
    options_.file_store = (folder_ / "file").string();
    options_.shared_store = (folder_ / "shared").string();
    options_.keep = 10;   // so that every tier has the whole chain
    {
      Context context(options_);
      context.protect("values", values_);
      for (int i = 0; i < 7; ++i) {
        values_[random() % values_.size()] = i + seed;
        context.checkpoint();
      }
    }
    const auto expected = values_;
    std::vector<std::unique_ptr<Store>> tiers;
    tiers.push_back(context::open_host_store(options_, 0));
    tiers.push_back(context::open_file_tier(options_, trace::FileTier::local, 0));
    tiers.push_back(context::open_file_tier(options_, trace::FileTier::shared, 0));
    for (Version version = 1; version <= 7; ++version) {
      ASSERT_TRUE(tiers[0]->open({0, version}) && tiers[1]->open({0, version}) && tiers[2]->open({0, version})) << version;
      const auto stays = random() % 3;
      for (std::size_t tier = 0; tier < 3; ++tier) {
        if (tier != stays && random() % 3 != 0) tiers[tier]->erase({0, version});
      }
    }
    values_.assign(values_.size(), 0);
    Context context(options_);
    context.protect("values", values_);
    EXPECT_EQ(context.restore(), 7u);
    EXPECT_EQ(values_, expected);
  }
}

TEST_F(ContextTest, StepsCountTriggerAndComeBack) {
  options_.every = 4;
  {
    Context context(options_);
    context.protect("values", values_);
    for (int i = 0; i < 10; ++i) context.step();
    context.flush();
    EXPECT_EQ(context.committed(), 2u);
    EXPECT_EQ(context.statistics().captures, 2u);
    EXPECT_EQ(context.statistics().blocked.count(), 2u);
    EXPECT_GT(context.statistics().blocked.least(), 0);
  }
  Context context(options_);
  context.protect("values", values_);
  EXPECT_EQ(context.restore(), 2u);
  EXPECT_EQ(context.steps(), 8u);
}

TEST_F(ContextTest, StoreStaysBoundedOverManyVersions) {
  Context context(options_);
  context.protect("values", values_);
  std::uint64_t most_before = 0, most_after = 0;
  for (int i = 0; i < 200; ++i) {
    for (auto& value : values_) value += 1e-3;
    context.checkpoint();
    context.flush();
    auto& most = i < 100 ? most_before : most_after;
    most = std::max(most, context::open_host_store(options_, 0)->bytes());
  }
  EXPECT_GT(most_before, 0u);
  EXPECT_LE(most_after, most_before + most_before / 2);   // without retention it would double
}

TEST_F(ContextTest, SwitchedOffItDoesNothing) {
  options_.enabled = false;
  Context context(options_);
  context.protect("values", values_);
  EXPECT_EQ(context.checkpoint(), 0u);
  EXPECT_FALSE(context.restore().has_value());
  int runs = 0;
  context.run([&] { ++runs; });
  EXPECT_EQ(runs, 1);
  EXPECT_FALSE(std::filesystem::exists(options_.store));
}

TEST_F(ContextTest, RunSaysHowItEnded) {
  const auto outcome = [&] {
    std::ifstream file(folder_ / "host" / "test" / "outcome-0");
    std::string line;
    std::getline(file, line);
    return line;
  };
  {
    Context context(options_);
    EXPECT_THROW(context.run([] { throw std::runtime_error("broken input"); }), std::runtime_error);
  }
  EXPECT_EQ(outcome(), "error: broken input");
  Context context(options_);
  context.run([] {});
  EXPECT_EQ(outcome(), "finished");
}

}  // namespace
}  // namespace foreweave
