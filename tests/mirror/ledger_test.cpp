#include "mirror/ledger.hpp"

#include <gtest/gtest.h>

namespace foreweave::mirror {
namespace {

TEST(Ledger, CompleteIsTheNewestVersionThatEveryRankHas) {
  Ledger ledger;
  ledger.begin(3, 4);
  EXPECT_FALSE(ledger.complete());
  ledger.note(0, {5, 6, 8});
  ledger.note(1, {6, 7, 8});
  ledger.note(1, {6, 7, 8});  // told again
  EXPECT_FALSE(ledger.complete());
  ledger.note(2, {5, 6});
  EXPECT_EQ(ledger.complete(), 6U);
  ledger.commit(6);
  EXPECT_FALSE(ledger.complete());
  ledger.note(2, {6});  // late
  EXPECT_FALSE(ledger.complete());
  ledger.note(2, {8});
  EXPECT_EQ(ledger.complete(), 8U);
}

TEST(Ledger, WhatWasCommittedBeforeAndStrangersDoNotCount) {
  Ledger ledger;
  ledger.begin(1, 4);
  ledger.note(0, {3, 4});
  ledger.note(-1, {9});
  ledger.note(1, {9});
  EXPECT_FALSE(ledger.complete());
}

TEST(Ledger, RankFarAheadOfAnotherIsBounded) {
  Ledger ledger;
  ledger.begin(2, 0);
  for (Version v = 1; v <= 10'000; ++v) ledger.note(0, {v});
  ledger.note(1, {1});  // long forgotten for rank 0
  EXPECT_FALSE(ledger.complete());
  ledger.note(1, {9'990});
  EXPECT_EQ(ledger.complete(), 9'990U);
}

}  // namespace
}  // namespace foreweave::mirror
