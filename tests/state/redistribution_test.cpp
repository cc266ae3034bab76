// Restoring on another number of ranks: random arrays, cut at random, captured by one set of ranks, restored by another.

#include "foreweave/state/capture.hpp"
#include "foreweave/state/redistribution.hpp"
#include "model.hpp"
#include "state/global_part.hpp"

namespace foreweave {
namespace {

using namespace test;
using Extents = std::vector<std::uint64_t>;

std::uint64_t product(const Extents& extents) {
  std::uint64_t result = 1;
  for (const auto extent : extents) result *= extent;
  return result;
}

/// Calls visit(place) for every place in extents, last dimension quickest.
template <class Visit>
void for_each_place(const Extents& extents, Visit visit) {
  Extents place(extents.size());
  for (std::uint64_t left = product(extents); left > 0; --left) {
    visit(place);
    for (std::size_t d = place.size(); d-- > 0;) {
      if (++place[d] < extents[d]) break;
      place[d] = 0;
    }
  }
}

std::uint64_t value_at(const Extents& place) {
  std::uint64_t value = 1;
  for (const auto x : place) value = value * 1000003 + x + 1;
  return value;
}

constexpr std::uint64_t untouched = 0xE0E0E0E0E0E0E0E0;

/// One rank's block of a u64 array, with ghost layers.
struct Piece {
  GlobalPart part;
  Extents extents;
  std::vector<std::uint64_t> content;

  RegionSpec spec() {
    return {.name = "field",
            .data = content.data(),
            .bytes = content.size() * 8,
            .type = ElementType::u64,
            .extents = extents,
            .part = part};
  }
  /// The value that each element must have after a restore: of the array where it is inside it.
  void expect_restored() const {
    std::uint64_t number = 0, wrong = 0;
    for_each_place(extents, [&](const Extents& place) {
      Extents global = place;
      bool inside = true;
      for (std::size_t d = 0; d < place.size(); ++d) {
        const auto ghost = part.ghost.empty() ? 0 : part.ghost[d];
        inside = inside && place[d] + part.offset[d] >= ghost && place[d] + part.offset[d] - ghost < part.whole[d];
        global[d] = place[d] + part.offset[d] - ghost;
      }
      wrong += content[number++] != (inside ? value_at(global) : untouched);
    });
    EXPECT_EQ(wrong, 0u);
  }
};

/// Cuts `whole` into a random grid of at most `limit` blocks.
std::vector<Piece> cut(const Extents& whole, std::size_t limit, std::mt19937_64& random, bool owned_only) {
  std::vector<Extents> cuts(whole.size());  // where blocks begin along each dimension, and the end
  std::size_t blocks = 1;
  for (std::size_t d = 0; d < whole.size(); ++d) {
    std::set<std::uint64_t> begins{0};
    const auto wanted = 1 + random() % std::max<std::size_t>(1, limit / blocks);
    while (begins.size() < std::min<std::uint64_t>(wanted, whole[d])) begins.insert(random() % whole[d]);
    cuts[d].assign(begins.begin(), begins.end());
    blocks *= cuts[d].size();
    cuts[d].push_back(whole[d]);
  }
  Extents grid;
  for (const auto& along : cuts) grid.push_back(along.size() - 1);
  const auto layers = random() % 3;
  std::vector<Piece> pieces;
  for_each_place(grid, [&](const Extents& at) {
    Piece piece;
    piece.part.whole = whole;
    for (std::size_t d = 0; d < whole.size(); ++d) {
      piece.part.offset.push_back(cuts[d][at[d]]);
      if (layers > 0) piece.part.ghost.push_back(layers);
      piece.extents.push_back(cuts[d][at[d] + 1] - cuts[d][at[d]] + 2 * layers);
    }
    piece.content.assign(product(piece.extents), untouched);
    if (owned_only) {
      std::uint64_t number = 0;
      for_each_place(piece.extents, [&](const Extents& place) {
        Extents global;
        for (std::size_t d = 0; d < place.size(); ++d) {
          if (place[d] < layers || place[d] >= piece.extents[d] - layers) break;
          global.push_back(place[d] - layers + piece.part.offset[d]);
        }
        if (global.size() == place.size()) piece.content[number] = value_at(global);  // ghosts hold anything
        ++number;
      });
    }
    pieces.push_back(std::move(piece));
  });
  return pieces;
}

TEST(Redistribution, AnyCutFromAnyCut) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    Extents whole;
    for (auto dimensions = 1 + random() % 3; dimensions > 0; --dimensions) whole.push_back(1 + random() % 40);
    if (seed % 7 == 0) whole = {300'000};  // more than a segment
    auto before = cut(whole, 6, random, true), after = cut(whole, 6, random, false);
    const TemporaryFolder folder;
    const auto store = memory_store(folder);
    std::vector<Chain> chains;
    const auto ranks = static_cast<Rank>(before.size());
    std::uint64_t counter = 7;
    for (Rank rank = 0; rank < ranks; ++rank) {
      CaptureEngine engine({.rank = rank, .ranks = ranks});
      auto& piece = before[static_cast<std::size_t>(rank)];
      engine.add(piece.spec());
      engine.add({.name = "counter", .data = &counter, .bytes = 8, .type = ElementType::u64,
                  .part = GlobalPart::replicated()});
      const auto real = piece.content;
      for (auto& value : piece.content) value ^= random() & 1;
      engine.begin(4);
      engine.finish(*store);
      piece.content = real;
      engine.begin(5);
      engine.finish(*store);
      chains.push_back(Chain::open(*store, {rank, 5}, nullptr));
    }
    std::shuffle(chains.begin(), chains.end(), random);
    for (auto& piece : after) {
      std::uint64_t restored = 0;
      Redistribution redistribution({piece.spec(), {.name = "counter", .data = &restored, .bytes = 8,
                                                    .type = ElementType::u64, .part = GlobalPart::replicated()}});
      for (const auto& chain : chains) {
        EXPECT_FALSE(redistribution.complete() && &chain == &chains.front());
        redistribution.take(chain);
      }
      EXPECT_TRUE(redistribution.complete()) << redistribution.missing();
      redistribution.finish();
      EXPECT_EQ(restored, 7u);
      piece.expect_restored();
    }
  }
}

TEST(Redistribution, NamesWhatIsMissingAndWhatCannotBe) {
  const TemporaryFolder folder;
  const auto store = memory_store(folder);
  std::vector<double> values(10);
  const auto spec = [&](std::optional<GlobalPart> part, const std::string& name = "u") {
    return RegionSpec{.name = name, .data = values.data(), .bytes = 80, .type = ElementType::f64, .part = std::move(part)};
  };
  CaptureEngine engine({.rank = 1, .ranks = 3});
  engine.add(spec(GlobalPart{{30}, {10}, {}}));
  engine.add(spec({}, "own"));
  engine.begin(1);
  engine.finish(*store);
  const auto chain = Chain::open(*store, {1, 1}, nullptr);

  Redistribution half({spec(GlobalPart{{30}, {5}, {}})});
  EXPECT_EQ(half.take(chain), 40u);
  EXPECT_FALSE(half.complete());
  EXPECT_EQ(half.missing(), "region 'u', elements [5, 10)");
  expect_error(ErrorCategory::state, {"[5, 10)"}, [&] { half.finish(); });

  expect_error(ErrorCategory::argument, {"'u'", "which part"}, [&] { Redistribution{{spec({})}}; });
  expect_error(ErrorCategory::argument, {"'own'", "without its part"},
               [&] { Redistribution({spec(GlobalPart::replicated({10}), "own")}).take(chain); });
  expect_error(ErrorCategory::argument, {"'v'", "not in that snapshot"},
               [&] { Redistribution({spec(GlobalPart{{30}, {0}, {}}, "v")}).take(chain); });
  expect_error(ErrorCategory::argument, {"'u'", "other extents"},
               [&] { Redistribution({spec(GlobalPart{{31}, {0}, {}})}).take(chain); });
  for (const auto& part : {GlobalPart{{9}, {0}, {}}, GlobalPart{{30}, {21}, {}}, GlobalPart{{30}, {0}, {6}},
                           GlobalPart{{30, 1}, {0, 0}, {}}, GlobalPart{{30}, {}, {}}, GlobalPart{{30}, {0}, {1, 1}}}) {
    CaptureEngine other({});
    expect_error(ErrorCategory::argument, {"'u'", "part"}, [&] { other.add(spec(part)); });
  }
}

TEST(Redistribution, AnotherPartOnTheSameRankIsNoPlainRestore) {
  const TemporaryFolder folder;
  const auto store = memory_store(folder);
  std::vector<double> values(10);
  RegionSpec spec{.name = "u", .data = values.data(), .bytes = 80, .type = ElementType::f64,
                  .part = GlobalPart{{30}, {10}, {0}}};
  CaptureEngine engine({});
  engine.add(spec);
  engine.begin(1);
  engine.finish(*store);
  const auto chain = Chain::open(*store, {0, 1}, nullptr);
  engine.restore(chain);
  spec.part->offset = {20};
  CaptureEngine moved({});
  moved.add(spec);
  expect_error(ErrorCategory::argument, {"'u'", "another part"}, [&] { moved.restore(chain); });
}

TEST(GlobalPartBoxes, SubtractingLeavesTheRestAndNothingTwice) {
  using namespace state_detail;
  std::mt19937_64 random(5);
  for (int round = 0; round < 500; ++round) {
    Box from, cut;
    const auto dimensions = 1 + random() % 3;
    for (std::size_t d = 0; d < dimensions; ++d) {
      for (Box* box : {&from, &cut}) {
        box->begin.push_back(random() % 5);
        box->end.push_back(box->begin.back() + 1 + random() % 5);
      }
    }
    std::map<Extents, int> count;
    for (const auto& box : subtract(from, cut)) {
      Extents size;
      for (std::size_t d = 0; d < dimensions; ++d) size.push_back(box.end[d] - box.begin[d]);
      for_each_place(size, [&](Extents place) {
        for (std::size_t d = 0; d < dimensions; ++d) place[d] += box.begin[d];
        ++count[place];
      });
    }
    for_each_place(Extents(dimensions, 10), [&](const Extents& place) {
      const auto in = [&](const Box& box) {
        for (std::size_t d = 0; d < dimensions; ++d) {
          if (place[d] < box.begin[d] || place[d] >= box.end[d]) return false;
        }
        return true;
      };
      EXPECT_EQ(count[place], in(from) && !in(cut) ? 1 : 0);
    });
  }
}

}  // namespace
}  // namespace foreweave
