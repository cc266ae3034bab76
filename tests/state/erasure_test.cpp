// The erasure code: every choice of losses for small groups, against arithmetic written apart from ISA-L.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "foreweave/core/digest.hpp"
#include "foreweave/core/error.hpp"
#include "foreweave/state/erasure.hpp"
#include "mirror/sim_snapshot.hpp"

namespace foreweave {
namespace {

using test::Random;

/// Multiplication in GF(2⁸) modulo x⁸+x⁴+x³+x²+1, bit by bit.
std::uint8_t multiply(std::uint8_t a, std::uint8_t b) {
  unsigned product = 0;
  for (unsigned i = 0; i < 8; ++i) {
    if ((b >> i & 1) != 0) product ^= static_cast<unsigned>(a) << i;
  }
  for (unsigned i = 15; i >= 8; --i) {
    if ((product >> i & 1) != 0) product ^= 0x11Du << (i - 8);
  }
  return static_cast<std::uint8_t>(product);
}

Bytes random_block(Random& random, std::size_t size) {
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random.next() >> 56);
  return bytes;
}

std::vector<int> numbers(int first, int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), first);
  return all;
}

std::vector<Bytes> apply(const BlockSum& sum, const std::vector<Bytes>& from, std::uint64_t bytes) {
  std::vector<Bytes> made(sum.outputs(), Bytes(bytes, std::byte{0xAA}));
  std::vector<ByteView> views(from.begin(), from.end());
  std::vector<std::byte*> to;
  for (auto& block : made) to.push_back(block.data());
  sum.apply(views, to, bytes);
  return made;
}

/// Data blocks of unequal lengths, and their parity blocks as long as the longest.
std::vector<Bytes> encoded(const ErasureCode& code, const std::vector<std::size_t>& lengths, Random& random) {
  std::vector<Bytes> blocks;
  for (const auto length : lengths) blocks.push_back(random_block(random, length));
  const auto longest = *std::max_element(lengths.begin(), lengths.end());
  const auto parity = apply(code.sum(numbers(code.data(), code.parity()), numbers(0, code.data())), blocks, longest);
  blocks.insert(blocks.end(), parity.begin(), parity.end());
  return blocks;
}

TEST(Erasure, SumsAreThoseOfTheField) {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    const auto inputs = random.between<std::size_t>(1, 9), outputs = random.between<std::size_t>(0, 5);
    std::vector<std::uint8_t> coefficients(inputs * outputs);
    for (auto& c : coefficients) c = static_cast<std::uint8_t>(random.next());
    const auto bytes = random.between<std::uint64_t>(0, 300);
    std::vector<Bytes> from;
    for (std::size_t i = 0; i < inputs; ++i) from.push_back(random_block(random, random.between<std::size_t>(0, 350)));
    const auto made = apply(BlockSum(inputs, outputs, coefficients), from, bytes);
    for (std::size_t o = 0; o < outputs; ++o) {
      for (std::size_t at = 0; at < bytes; ++at) {
        std::uint8_t sum = 0;
        for (std::size_t i = 0; i < inputs; ++i) {
          if (at < from[i].size()) sum ^= multiply(coefficients[o * inputs + i], static_cast<std::uint8_t>(from[i][at]));
        }
        ASSERT_EQ(static_cast<std::uint8_t>(made[o][at]), sum) << "round " << round << " output " << o << " byte " << at;
      }
    }
  }
}

/// Every choice of up to `parity` losses among all blocks is rebuilt, with each choice of survivors to do it from.
TEST(Erasure, EveryChoiceOfLossesIsRebuilt) {
  std::uint64_t choices = 0;
  Random random(2);
  for (int data = 1; data <= 6; ++data) {
    for (int parity = 0; parity <= 4; ++parity) {
      const ErasureCode code(data, parity);
      std::vector<std::size_t> lengths;
      for (int i = 0; i < data; ++i) lengths.push_back(random.between<std::size_t>(0, 200));
      lengths[random.between<std::size_t>(0, lengths.size() - 1)] = 200;
      const auto blocks = encoded(code, lengths, random);
      const int all = data + parity;
      for (unsigned kept = 0; kept < 1U << all; ++kept) {
        if (__builtin_popcount(kept) != data) continue;
        std::vector<int> survivors, lost;
        std::vector<Bytes> from;
        for (int b = 0; b < all; ++b) {
          if ((kept >> b & 1) == 0) {
            lost.push_back(b);
          } else {
            survivors.push_back(b);
            from.push_back(blocks[static_cast<std::size_t>(b)]);
          }
        }
        const auto made = apply(code.sum(lost, survivors), from, 200);
        for (std::size_t i = 0; i < lost.size(); ++i) {
          const auto& original = blocks[static_cast<std::size_t>(lost[i])];
          ASSERT_EQ(digest128(ByteView(made[i]).first(original.size())), digest128(original))
              << data << "+" << parity << ", block " << lost[i] << " from the set " << kept;
          ASSERT_TRUE(std::all_of(made[i].begin() + static_cast<std::ptrdiff_t>(original.size()), made[i].end(),
                                  [](std::byte b) { return b == std::byte{0}; }));
        }
        ++choices;
      }
    }
  }
  std::cout << choices << " choices of losses\n";
}

/// The largest groups, whose choices are too many to try all.
TEST(Erasure, RandomLossesOfLargeGroups) {
  Random random(3);
  for (const auto& [data, parity] : {std::pair{200, 56}, {32, 8}, {1, 255}, {255, 1}, {16, 240}}) {
    const ErasureCode code(data, parity);
    std::vector<std::size_t> lengths(static_cast<std::size_t>(data), 40);
    const auto blocks = encoded(code, lengths, random);
    for (int round = 0; round < 5; ++round) {
      auto order = numbers(0, data + parity);
      for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.next() % i]);
      const std::vector<int> survivors(order.begin(), order.begin() + data), lost(order.begin() + data, order.end());
      std::vector<Bytes> from;
      for (const auto b : survivors) from.push_back(blocks[static_cast<std::size_t>(b)]);
      const auto made = apply(code.sum(lost, survivors), from, 40);
      for (std::size_t i = 0; i < lost.size(); ++i) ASSERT_EQ(made[i], blocks[static_cast<std::size_t>(lost[i])]);
    }
  }
}

TEST(Erasure, OneParityBlockIsExclusiveOr) {
  for (int data = 1; data < 30; ++data) {
    const ErasureCode code(data, 1);
    const auto sum = code.sum(numbers(data, 1), numbers(0, data));
    for (const auto c : sum.coefficients()) EXPECT_EQ(c, 1);
  }
  // As docs/format.md has it: row i, column j is (K ⊕ j) / ((K + i) ⊕ j).
  const ErasureCode five(5, 4);
  const auto rows = five.sum(numbers(5, 4), numbers(0, 5));
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 5; ++j) {
      const auto element = rows.coefficients()[static_cast<std::size_t>(5 * i + j)];
      EXPECT_EQ(multiply(element, static_cast<std::uint8_t>((5 + i) ^ j)), 5 ^ j);
    }
  }
  Random random(4);
  const ErasureCode code(3, 1);
  const auto blocks = encoded(code, {100, 70, 33}, random);
  for (std::size_t i = 0; i < 100; ++i) {
    auto sum = blocks[0][i];
    if (i < 70) sum ^= blocks[1][i];
    if (i < 33) sum ^= blocks[2][i];
    EXPECT_EQ(blocks[3][i], sum);
  }
}

/// Lengths around the stretches the sum is made in, unaligned, and made in pieces as the mirror makes them.
TEST(Erasure, LengthsAndPieces) {
  Random random(5);
  constexpr std::size_t stretch = 64 << 10;
  const ErasureCode code(4, 2);
  for (const std::size_t longest : {std::size_t{0}, std::size_t{1}, std::size_t{31}, stretch - 1, stretch, stretch + 1,
                                    3 * stretch + 77}) {
    const std::vector<std::size_t> lengths{longest, longest / 2, longest == 0 ? 0 : longest - 1, longest / 3};
    const auto blocks = encoded(code, lengths, random);
    const std::vector<int> lost{0, 2}, survivors{1, 3, 4, 5};
    const auto sum = code.sum(lost, survivors);
    std::vector<Bytes> made(2, Bytes(longest + 1));
    for (std::size_t at = 0; at < longest;) {
      const auto piece = std::min<std::size_t>(random.between<std::size_t>(1, 50'000), longest - at);
      std::vector<ByteView> from;
      for (const auto b : survivors) {
        const ByteView all = blocks[static_cast<std::size_t>(b)];
        from.push_back(all.subspan(std::min(at, all.size())));
      }
      std::byte* const to[] = {made[0].data() + 1 + at, made[1].data() + 1 + at};
      sum.apply(from, to, piece);
      at += piece;
    }
    for (const std::size_t i : {0U, 1U}) {
      const auto& original = blocks[static_cast<std::size_t>(lost[i])];
      EXPECT_TRUE(std::equal(original.begin(), original.end(), made[i].begin() + 1)) << longest;
    }
  }
}

/// A range of addresses that is one piece of memory over and over, but for its last MiB.
class LongRange {
 public:
  static constexpr std::size_t piece = 16 << 20, tail = 1 << 20;
  explicit LongRange(std::size_t pieces) : bytes_(pieces * piece + tail) {
    const int fd = ::memfd_create("foreweave-test", MFD_CLOEXEC);
    if (fd < 0 || ::ftruncate(fd, piece + tail) != 0) throw std::runtime_error("memfd");
    auto* at = static_cast<std::byte*>(::mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    data_ = at;
    for (std::size_t i = 0; i < pieces; ++i, at += piece) map(fd, at, piece, 0);
    map(fd, at, tail, piece);
    ::close(fd);
  }
  ~LongRange() { ::munmap(data_, bytes_); }
  LongRange(const LongRange&) = delete;
  LongRange& operator=(const LongRange&) = delete;
  std::span<std::byte> all() const { return {data_, bytes_}; }
  std::span<std::byte> end() const { return all().last(tail); }

 private:
  static void map(int fd, std::byte* at, std::size_t bytes, std::size_t offset) {
    if (::mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, static_cast<off_t>(offset)) != at) {
      throw std::runtime_error("mmap");
    }
  }
  std::byte* data_ = nullptr;
  std::size_t bytes_;
};

TEST(Erasure, BeyondFourGiB) {
  const LongRange in(260), out(260);
  ASSERT_GT(in.all().size(), std::uint64_t{1} << 32);
  Random random(6);
  const auto last = random_block(random, LongRange::tail);
  std::copy(last.begin(), last.end(), in.end().begin());
  const Bytes small(1000, std::byte{3});
  const ByteView from[] = {in.all(), small};
  std::byte* const to[] = {out.all().data()};
  ErasureCode(2, 1).sum(numbers(2, 1), numbers(0, 2)).apply(from, to, in.all().size());
  EXPECT_TRUE(std::equal(last.begin(), last.end(), out.end().begin()));
}

TEST(Erasure, WrongArgumentsAreRefused) {
  EXPECT_THROW(ErasureCode(0, 1), Error);
  EXPECT_THROW(ErasureCode(1, -1), Error);
  EXPECT_THROW(ErasureCode(200, 57), Error);
  const ErasureCode code(2, 1);
  EXPECT_THROW(code.sum(numbers(2, 1), numbers(0, 1)), Error);
  EXPECT_THROW(code.sum(numbers(3, 1), numbers(0, 2)), Error);
  const std::vector<int> twice{1, 1};
  EXPECT_THROW(code.sum(numbers(0, 1), twice), Error);
  EXPECT_THROW(BlockSum(2, 1, {1}), Error);
  Bytes out(4);
  std::byte* const to[] = {out.data()};
  EXPECT_THROW(code.sum(numbers(2, 1), numbers(0, 2)).apply(std::vector<ByteView>(1), to, 4), Error);
}

}  // namespace
}  // namespace foreweave
