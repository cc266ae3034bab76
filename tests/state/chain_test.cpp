// Chains, folding, retention: against a naive model that remembers every version whole.
#include "foreweave/state/chain.hpp"

#include <gmock/gmock.h>

#include <array>
#include <fstream>

#include "foreweave/state/packed_store.hpp"
#include "model.hpp"
#include "state/snapshot_file_name.hpp"

namespace foreweave {
namespace {

using namespace test;

/// A store and, apart from it, every version's content.
class History {
 public:
  explicit History(std::uint64_t seed, std::shared_ptr<const Key> key = nullptr)
      : random_(seed), key_(std::move(key)) {
    now_ = {random_region("u", 2 * segment_bytes + 777, seed, ElementType::bytes),
            random_region("v", 40 * 4096, seed + 1, ElementType::f32), random_region("none", 0, 0),
            ModelRegion{"zeros", ElementType::f64, {1024, 33}, Bytes(1024 * 33 * 8)}};
  }

  /// Writes `version` as a delta against `base`, or full (0).
  void write(Version version, Version base) {
    if (base != 0) now_ = states_.at(base);
    scribble(now_, random_);
    const auto result = write_snapshot(
        *store, manifest_of(now_, {rank, version}, base, base != 0 ? identities_.at(base) : Digest128{}), now_,
        base != 0 ? &states_.at(base) : nullptr, key_);
    states_[version] = now_;
    identities_[version] = result.state;
  }
  void write_run(Version first, Version last) {
    for (Version version = first; version <= last; ++version) write(version, version == first ? 0 : version - 1);
  }
  void expect(Version version) const {
    SCOPED_TRACE("version " + std::to_string(version));
    expect_state(Chain::open(*store, {rank, version}, key()), states_.at(version));
  }
  std::vector<Version> versions() const {
    std::vector<Version> found;
    for (const auto& stored : store->list()) found.push_back(stored.id.version);
    return found;
  }
  const Key* key() const { return key_.get(); }
  std::shared_ptr<const Key> shared_key() const { return key_; }
  const ModelRank& state(Version version) const { return states_.at(version); }
  Digest128 identity(Version version) const { return identities_.at(version); }
  /// The file of a version, to damage it.
  std::filesystem::path file(Version version) const {
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      const auto name = state_detail::parse_snapshot_file_name(entry.path().filename().string());
      if (name && name->id.version == version) return entry.path();
    }
    throw std::runtime_error("no file of version " + std::to_string(version));
  }
  void damage(Version version, std::size_t from_end = 5000) const {
    const auto path = file(version);
    std::fstream stream(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto at = static_cast<std::streamoff>(std::filesystem::file_size(path) - from_end);
    stream.seekg(at);
    const char byte = static_cast<char>(stream.get() ^ 1);
    stream.seekp(at);
    stream.put(byte);
  }

  static constexpr Rank rank = 3;
  TemporaryFolder folder;
  std::unique_ptr<Store> store = memory_store(folder);

 private:
  std::mt19937_64 random_;
  std::shared_ptr<const Key> key_;
  ModelRank now_;
  std::map<Version, ModelRank> states_;
  std::map<Version, Digest128> identities_;
};

TEST(Chain, ReadsEveryVersionOfARun) {
  for (const bool sealed : {false, true}) {
    History history(1, sealed ? Key::random() : nullptr);
    history.write_run(1, 6);
    for (Version version = 1; version <= 6; ++version) history.expect(version);
    EXPECT_EQ(Chain::open(*history.store, {3, 6}, history.key()).length(), 6u);
  }
}

TEST(Chain, AVersionThatIsNotThereIsNamedWithThoseThatAre) {
  History history(2);
  history.write_run(1, 4);
  expect_error(ErrorCategory::absent, {"rank 3 version 9", "versions there: 1 (full), 2, 3, 4"}, [&] {
    Chain::open(*history.store, {3, 9}, nullptr);
  });
  expect_error(ErrorCategory::absent, {"rank 5 version 1", "none of this rank"}, [&] {
    Chain::open(*history.store, {5, 1}, nullptr);
  });
  history.store->erase({3, 2});
  expect_error(ErrorCategory::absent, {"version 2 is not there", "version 3 is a delta against it"}, [&] {
    Chain::open(*history.store, {3, 4}, nullptr);
  });
}

TEST(Chain, ADeltaFitsItsBaseOnly) {
  History history(3);
  history.write_run(1, 3);
  // Another state under the same number: what a rank that went back and computed on would write.
  History other(4);
  other.write(2, 0);
  put(*history.store, {3, 2}, stored_bytes(*other.store, {3, 2}), 0);
  expect_error(ErrorCategory::format, {"version 3", "does not fit the stored version 2"}, [&] {
    Chain::open(*history.store, {3, 3}, nullptr);
  });
}

TEST(Chain, ASnapshotUnderAWrongNameIsFound) {
  History history(5);
  history.write_run(1, 2);
  put(*history.store, {3, 8}, stored_bytes(*history.store, {3, 1}), 0);
  put(*history.store, {4, 1}, stored_bytes(*history.store, {3, 1}), 0);
  expect_error(ErrorCategory::format, {"rank 3 version 8", "is of rank 3 version 1"}, [&] {
    Chain::open(*history.store, {3, 8}, nullptr);
  });
  expect_error(ErrorCategory::format, {"rank 4 version 1", "is of rank 3 version 1"}, [&] {
    Chain::open(*history.store, {4, 1}, nullptr);
  });
}

TEST(Fold, KeepsTheStateItsIdentityAndWhatIsBuiltOnIt) {
  for (const bool sealed : {false, true}) {
    History history(6, sealed ? Key::random() : nullptr);
    history.write_run(1, 7);
    fold(*history.store, {3, 4}, history.shared_key());
    EXPECT_EQ(history.versions(), (std::vector<Version>{1, 2, 3, 4, 5, 6, 7}));
    const auto folded = Chain::open(*history.store, {3, 4}, history.key());
    EXPECT_EQ(folded.length(), 1u);
    EXPECT_EQ(folded.manifest().state, history.identity(4));
    EXPECT_EQ(folded.manifest().wall_time_ns, 1004);
    for (Version version = 1; version <= 3; ++version) history.store->erase({3, version});
    for (Version version = 4; version <= 7; ++version) history.expect(version);
    EXPECT_EQ(Chain::open(*history.store, {3, 7}, history.key()).length(), 4u);
    fold(*history.store, {3, 4}, history.shared_key());  // a full one stays as it is
    history.expect(7);
  }
}

TEST(Fold, TwoHoldersFoldAlike) {
  History history(7);
  history.write_run(1, 5);
  const TemporaryFolder other_folder;
  const auto other = memory_store(other_folder);
  for (const auto& stored : history.store->list()) {
    put(*other, stored.id, stored_bytes(*history.store, stored.id), stored.base);
  }
  // One goes in two steps, the other in one.
  fold(*history.store, {3, 3}, nullptr);
  fold(*history.store, {3, 5}, nullptr);
  fold(*other, {3, 5}, nullptr);
  EXPECT_EQ(stored_bytes(*history.store, {3, 5}), stored_bytes(*other, {3, 5}));
}

TEST(Fold, ADamagedChainIsLeftAsItIs) {
  History history(8);
  history.write_run(1, 3);
  history.damage(2);
  const auto files = history.folder.files();
  expect_error(ErrorCategory::format, {"rank 3 version 2"}, [&] { fold(*history.store, {3, 3}, nullptr); });
  EXPECT_EQ(history.folder.files(), files);
  history.expect(1);
}

TEST(NewestRestorable, PassesOverWhatIsDamagedAndNamesIt) {
  History history(9);
  history.write_run(1, 4);
  history.write_run(5, 8);
  const auto newest = [&](Version limit = ~Version{0}, std::vector<std::string>* problems = nullptr) {
    return newest_restorable(*history.store, 3, nullptr, limit, problems);
  };
  EXPECT_EQ(newest(), 8u);
  EXPECT_EQ(newest(7), 7u);
  EXPECT_EQ(newest(4), 4u);
  EXPECT_EQ(newest(0), std::nullopt);
  history.damage(7);
  std::vector<std::string> problems;
  EXPECT_EQ(newest(~Version{0}, &problems), 6u);
  ASSERT_EQ(problems.size(), 1u) << "the damaged link is named once";
  EXPECT_NE(problems[0].find("rank 3 version 7"), std::string::npos) << problems[0];
  history.store->erase({3, 5});
  problems.clear();
  EXPECT_EQ(newest(~Version{0}, &problems), 4u);
  EXPECT_FALSE(problems.empty());
  history.damage(1);
  EXPECT_EQ(newest(), std::nullopt);
  EXPECT_EQ(newest_restorable(*history.store, 77, nullptr), std::nullopt);
}

TEST(NewestRestorable, WithAWrongKeyThereIsNoneAndItSaysWhy) {
  History history(10, Key::random());
  history.write_run(1, 2);
  std::vector<std::string> problems;
  EXPECT_EQ(newest_restorable(*history.store, 3, Key::random().get(), ~Version{0}, &problems), std::nullopt);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_NE(problems[0].find("wrong key"), std::string::npos) << problems[0];
  problems.clear();
  EXPECT_EQ(newest_restorable(*history.store, 3, nullptr, ~Version{0}, &problems), std::nullopt);
  EXPECT_NE(problems.at(0).find("no key"), std::string::npos) << problems[0];
  EXPECT_EQ(newest_restorable(*history.store, 3, history.key()), 2u);
}

TEST(Retain, KeepsWhatIsNeededOnly) {
  History history(11);
  history.write_run(1, 4);
  history.write_run(5, 8);
  put(*history.store, {9, 1}, random_bytes(100, 1));  // another rank's
  const auto before = history.store->bytes();
  const auto freed = retain(*history.store, 3, 7, 10, nullptr);
  EXPECT_EQ(history.versions(), (std::vector<Version>{5, 6, 7, 8, 1}));
  EXPECT_EQ(history.store->bytes(), before - freed);
  for (Version version = 5; version <= 8; ++version) history.expect(version);
}

TEST(Retain, FoldsLongChains) {
  for (const bool sealed : {false, true}) {
    History history(12, sealed ? Key::random() : nullptr);
    history.write_run(1, 9);
    retain(*history.store, 3, 4, 3, history.shared_key());
    EXPECT_EQ(history.versions().size(), 9u) << "three links before are allowed";
    retain(*history.store, 3, 5, 3, history.shared_key());
    EXPECT_EQ(history.versions(), (std::vector<Version>{5, 6, 7, 8, 9}));
    for (Version version = 5; version <= 9; ++version) history.expect(version);
    retain(*history.store, 3, 9, 0, history.shared_key());
    EXPECT_EQ(history.versions(), (std::vector<Version>{9}));
    history.expect(9);
  }
}

TEST(Retain, NeverTakesTheNewest) {
  History history(13);
  history.write_run(1, 3);
  retain(*history.store, 3, 1000, 0, nullptr);
  EXPECT_EQ(history.versions(), (std::vector<Version>{3}));
  history.expect(3);
  EXPECT_EQ(retain(*history.store, 8, 1000, 0, nullptr), 0u);
}

TEST(Retain, AFailedFoldErasesNothing) {
  History history(14);
  history.write_run(1, 6);
  history.damage(3);
  const auto files = history.folder.files();
  expect_error(ErrorCategory::format, {"rank 3 version 3"}, [&] { retain(*history.store, 3, 5, 1, nullptr); });
  EXPECT_EQ(history.folder.files(), files);
}

TEST(Retain, ForksKeepTheirBases) {
  History history(15);
  history.write_run(1, 5);
  history.write(8, 2);  // went back to 2 and computed on
  history.write(9, 8);
  retain(*history.store, 3, 5, 10, nullptr);
  for (const Version version : {5, 8, 9}) history.expect(version);
  retain(*history.store, 3, 8, 10, nullptr);
  EXPECT_EQ(history.versions(), (std::vector<Version>{1, 2, 8, 9}));
  retain(*history.store, 3, 8, 1, nullptr);
  EXPECT_EQ(history.versions(), (std::vector<Version>{8, 9}));
  history.expect(9);
}

TEST(Retain, KeepsSingleVersionsBesides) {
  History history(21);
  history.write_run(1, 12);
  retain(*history.store, 3, 11, {3, 7}, 2, nullptr);
  EXPECT_THAT(history.versions(), ::testing::IsSupersetOf({Version{3}, Version{7}, Version{11}, Version{12}}));
  // 7 stands on 3 by more than two links that nobody keeps, 11 on 7 as well: folded.
  EXPECT_THAT(history.versions(), ::testing::Not(::testing::Contains(Version{5})));
  for (const Version version : {3, 7, 11, 12}) history.expect(version);
}

/// Copies of a history in three tiers.
struct Tiers {
  explicit Tiers(const History& history)
      : local(make_packed_store({.folder = folders[0].path()})),
        shared(make_packed_store({.folder = folders[1].path(), .archive = true})) {
    for (const auto& stored : history.store->list()) {
      const auto bytes = history.store->open(stored.id);
      for (auto* tier : {local.get(), shared.get()}) tier->put(stored.id, stored.base, *bytes);
    }
    all = {history.store.get(), local.get(), shared.get()};
  }
  std::array<TemporaryFolder, 2> folders{TemporaryFolder("/tmp"), TemporaryFolder("/tmp")};
  std::unique_ptr<PackedStore> local, shared;
  std::vector<Store*> all;

  Chain open(Version version, const Key* key) const {
    const std::vector<const Store*> stores(all.begin(), all.end());
    return Chain::open(stores, {History::rank, version}, key);
  }
};

TEST(Mixture, AnyChainWhoseLinksStandSomewhereIsRead) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    History history(seed, seed % 3 == 0 ? Key::random() : nullptr);
    history.write_run(1, 5);
    history.write_run(6, 9);
    const Tiers tiers(history);
    // One tier was folded: other forms of the same states.
    fold(*tiers.all[random() % 3], {History::rank, 2 + random() % 3}, history.shared_key());
    for (Version version = 1; version <= 9; ++version) {
      const auto stays = random() % 3;
      for (std::size_t tier = 0; tier < 3; ++tier) {
        if (tier != stays && random() % 3 != 0) tiers.all[tier]->erase({History::rank, version});
      }
      if (stays != 0 && random() % 2 == 0 && history.store->open({History::rank, version})) {
        history.damage(version, 100 + random() % 1000);
      }
    }
    // A tier that lacks links may have one in a form that stands on what is nowhere: another has it, then.
    for (Version version = 1; version <= 9; ++version) {
      expect_state(tiers.open(version, history.key()), history.state(version));
    }
  }
}

TEST(Mixture, WhatIsMissingOrDamagedIsNamed) {
  History history(1);
  history.write_run(1, 4);
  const Tiers tiers(history);
  for (auto* tier : tiers.all) tier->erase({History::rank, 2});
  expect_error(ErrorCategory::absent, {"rank 3 version 4", "version 2 is not there", "version 3 is a delta against it"},
               [&] { tiers.open(4, nullptr); });
  expect_state(tiers.open(1, nullptr), history.state(1));
  tiers.local->erase({History::rank, 1});
  tiers.shared->erase({History::rank, 1});
  history.damage(1);
  expect_error(ErrorCategory::format, {"rank 3 version 1", "damaged", history.folder.path().string()},
               [&] { tiers.open(1, nullptr); });
  expect_error(ErrorCategory::absent, {"rank 3 version 9", "not there"}, [&] { tiers.open(9, nullptr); });
}

TEST(Mixture, AnotherPastUnderTheSameNumberIsNotTaken) {
  History history(1), other(2);
  history.write_run(1, 3);
  other.write_run(1, 3);
  history.store->erase({History::rank, 2});
  const Tiers tiers(history);
  const std::vector<const Store*> stores{other.store.get(), history.store.get()};
  // 3 of `other` comes first, and its own 2.
  expect_state(Chain::open(stores, {History::rank, 3}, nullptr), other.state(3));
  other.store->erase({History::rank, 3});
  expect_error(ErrorCategory::absent, {"does not fit"}, [&] { Chain::open(stores, {History::rank, 3}, nullptr); });
}

TEST(ChainProperty, AnySeriesOfWritesFoldsAndRetentionsKeepsEveryVersionThatIsPromised) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    History history(100 + seed, seed % 2 == 0 ? Key::random() : nullptr);
    std::mt19937_64 random(seed);
    Version next = 1, oldest = 1;
    for (int step = 0; step < 25; ++step) {
      const auto versions = history.versions();
      switch (versions.empty() ? 0 : random() % 4) {
        case 0:
          history.write(next++, 0);
          break;
        case 1: {
          std::vector<Version> bases;
          for (const auto version : versions) {
            if (version >= oldest) bases.push_back(version);
          }
          history.write(next++, bases[random() % bases.size()]);
          break;
        }
        case 2: {
          const auto version = versions[random() % versions.size()];
          if (version >= oldest) fold(*history.store, {3, version}, history.shared_key());
          break;
        }
        case 3:
          oldest = std::max(oldest, versions[random() % versions.size()]);
          retain(*history.store, 3, oldest, random() % 4, history.shared_key());
          break;
      }
      std::size_t promised = 0;
      for (const auto version : history.versions()) {
        if (version < oldest) continue;
        history.expect(version);
        ++promised;
      }
      EXPECT_GE(promised, 1u);
      EXPECT_EQ(newest_restorable(*history.store, 3, history.key()), next - 1);
    }
  }
}

TEST(CompleteVersions, CountOnlyCompleteChains) {
  const std::vector<StoredSnapshot> list{
      {{0, 1}, 0, 10}, {{0, 2}, 1, 5}, {{0, 4}, 3, 5}, {{0, 5}, 4, 5}, {{0, 6}, 0, 5}, {{0, 7}, 6, 5}, {{1, 3}, 2, 5}};
  EXPECT_THAT(complete_versions(list, 0), ::testing::ElementsAre(1, 2, 6, 7));   // 3 is missing, so 4 and 5 cannot be read
  EXPECT_THAT(complete_versions(list, 1), ::testing::IsEmpty());
  EXPECT_THAT(complete_versions(list, 2), ::testing::IsEmpty());
}

}  // namespace
}  // namespace foreweave
