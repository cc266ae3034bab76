#include "comm/arrival_order.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace foreweave::comm {
namespace {

using Item = std::unique_ptr<std::uint64_t>;  // move-only, as real arrivals are

std::vector<std::uint64_t> values(const std::deque<Item>& ready) {
  std::vector<std::uint64_t> out;
  for (const auto& item : ready) out.push_back(*item);
  return out;
}

TEST(ArrivalOrder, AnyPermutationComesOutInOrder) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::vector<std::uint64_t> numbers(seed % 17), due(seed % 17);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = due[i] = i;
    std::shuffle(numbers.begin(), numbers.end(), std::mt19937(seed));
    ArrivalOrder<Item> order;
    std::deque<Item> ready;
    for (const auto number : numbers) {
      order.arrive(3, 1, number, std::make_unique<std::uint64_t>(number), ready);
      order.arrive(3, 1, number, std::make_unique<std::uint64_t>(999), ready);  // once more: dropped
    }
    EXPECT_EQ(values(ready), due) << "seed " << seed;
  }
}

TEST(ArrivalOrder, SourcesDoNotWaitForEachOther) {
  ArrivalOrder<Item> order;
  std::deque<Item> ready;
  order.arrive(1, 1, 1, std::make_unique<std::uint64_t>(11), ready);
  order.arrive(2, 1, 0, std::make_unique<std::uint64_t>(20), ready);
  EXPECT_EQ(values(ready), (std::vector<std::uint64_t>{20}));
  order.arrive(1, 1, 0, std::make_unique<std::uint64_t>(10), ready);
  EXPECT_EQ(values(ready), (std::vector<std::uint64_t>{20, 10, 11}));
}

TEST(ArrivalOrder, ANewConnectionMakesTheOldOneVoid) {
  ArrivalOrder<Item> order;
  std::deque<Item> ready;
  order.arrive(1, 1, 0, std::make_unique<std::uint64_t>(10), ready);
  order.arrive(1, 1, 2, std::make_unique<std::uint64_t>(12), ready);  // 1 was lost with the connection
  order.arrive(1, 2, 1, std::make_unique<std::uint64_t>(21), ready);
  order.arrive(1, 1, 1, std::make_unique<std::uint64_t>(11), ready);  // too late
  order.arrive(1, 2, 0, std::make_unique<std::uint64_t>(20), ready);
  EXPECT_EQ(values(ready), (std::vector<std::uint64_t>{10, 20, 21}));
}

}  // namespace
}  // namespace foreweave::comm
