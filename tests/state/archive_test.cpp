// The archive stage: what went in comes out, never larger than the bound; damage is an error and never more.
// FOREWEAVE_WRITE_GOLDEN=1 writes the golden file anew: only when the format changes.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>

#include "foreweave/core/digest.hpp"
#include "foreweave/state/archive.hpp"
#include "foreweave/state/snapshot.hpp"
#include "kernels/page_codec_data.hpp"
#include "state/plane_order.hpp"
#include "state/segment_head.hpp"
#include "state/support.hpp"

namespace foreweave {
namespace {

using namespace test;
using kernels::PageEntry;
using kernels::PageShape;

/// The bytes of one segment as a snapshot stores it; empty when all its pages are clean.
Bytes segment_of(const PagePair& pair, const PageShape& shape) {
  Bytes bodies(kernels::encode_bound(pair.current.size()));
  std::array<PageEntry, pages_per_segment> entries{};
  Bytes base(pair.base.size());
  std::memcpy(base.data(), pair.base.data(), base.size());
  bodies.resize(kernels::host::encode_pages({.current = reinterpret_cast<const std::byte*>(pair.current.data()),
                                             .base = base.data(),
                                             .bytes = pair.current.size(),
                                             .shape = shape,
                                             .update_base = false,
                                             .out = bodies.data(),
                                             .entries = entries.data()}));
  Bytes segment(state_detail::max_segment_head_bytes);
  segment.resize(state_detail::write_segment_head(entries, segment.data()));
  if (segment.empty()) return segment;
  const auto head = static_cast<std::ptrdiff_t>(segment.size());
  segment.resize(segment.size() + bodies.size());  // GCC 14 takes insert() for an overflow
  std::copy(bodies.begin(), bodies.end(), segment.begin() + head);
  return segment;
}

Bytes segment_of(Pattern pattern, std::size_t bytes, const PageShape& shape, std::uint64_t seed = 1) {
  return segment_of(make_pages(pattern, bytes, shape.width, shape.row, shape.plane, seed), shape);
}

Bytes archived(Archiver& archiver, ByteView segment) {
  Bytes out;
  archiver.archive(segment, out);
  return out;
}

void expect_round_trip(Archiver& archiver, const Bytes& segment) {
  // Both append.
  Bytes out{std::byte{7}}, back{std::byte{9}};
  archiver.archive(segment, out);
  ASSERT_LE(out.size(), 1 + segment.size() + archive_head_bytes);
  archiver.unarchive(ByteView(out).subspan(1), back, "round trip");
  ASSERT_EQ(out[0], std::byte{7});
  ASSERT_EQ(back[0], std::byte{9});
  ASSERT_TRUE(std::equal(segment.begin(), segment.end(), back.begin() + 1, back.end()));
}

TEST(Archive, GivesEverySegmentBack) {
  Archiver archiver;
  const PageShape shapes[] = {{8, 16, 256}, {8, 0, 0}, {4, 32, 1024}, {1, 0, 0}};
  for (const Pattern pattern : all_patterns) {
    for (const PageShape& shape : shapes) {
      for (const std::size_t bytes : {1ul, 511ul, 513ul, 16384ul, 16385ul, 5 * 16384ul + 100, segment_bytes}) {
        SCOPED_TRACE(name_of(pattern) + " width " + std::to_string(shape.width) + " bytes " + std::to_string(bytes));
        expect_round_trip(archiver, segment_of(pattern, bytes, shape, bytes));
      }
    }
  }
}

TEST(Archive, GivesEverythingElseBackToo) {
  Archiver archiver;
  for (const std::size_t size : {0, 1, 7, 8, 9, 16, 24, 1000, 100000}) {
    expect_round_trip(archiver, random_bytes(size, size));
    expect_round_trip(archiver, Bytes(size));
    expect_round_trip(archiver, Bytes(size, std::byte{0xFF}));
  }
  // Segments that do not hold together: some of their bits are others.
  std::mt19937_64 random(5);
  const Bytes good = segment_of(Pattern::field, 3 * 16384, {8, 16, 256});
  for (int trial = 0; trial < 2000; ++trial) {
    Bytes segment = good;
    const std::size_t near_head = trial % 2 == 0 ? 64 : segment.size();
    segment[random() % near_head] ^= static_cast<std::byte>(1u << random() % 8);
    if (trial % 3 == 0) segment.resize(random() % segment.size());
    expect_round_trip(archiver, segment);
  }
}

TEST(Archive, NeverLargerThanTheBound) {
  Archiver archiver;
  const Bytes noise = segment_of(Pattern::random, segment_bytes, {8, 0, 0});
  EXPECT_GT(noise.size(), segment_bytes) << "pages of noise are raw: the largest segment there is";
  EXPECT_LE(archived(archiver, noise).size(), noise.size() + archive_head_bytes);
  expect_round_trip(archiver, noise);
  expect_error(ErrorCategory::argument, {"more than a segment"},
               [&] { archived(archiver, Bytes(2 * segment_bytes)); });
}

TEST(Archive, MakesSmoothDataSmaller) {
  Archiver archiver;
  for (const Pattern pattern : {Pattern::drift, Pattern::field, Pattern::flags}) {
    const Bytes segment = segment_of(pattern, segment_bytes, {8, 16, 256});
    // Noise of eleven bits that are not uniform, planes that are nearly empty, …: some percent at least.
    EXPECT_LT(archived(archiver, segment).size(), segment.size() * 97 / 100) << name_of(pattern);
  }
}

TEST(Archive, DamageIsAnErrorOrAnotherSegmentOfThatSize) {
  Archiver archiver;
  const Bytes segment = segment_of(Pattern::field, 2 * 16384, {8, 16, 256});
  const Bytes good = archived(archiver, segment);
  ASSERT_LT(good.size(), segment.size()) << "the method that compresses";
  std::mt19937_64 random(11);
  std::size_t refused = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    // An allocation of exactly the size: reading beyond it is found by ASan.
    const auto damaged = std::make_unique<Bytes>(good);
    const std::size_t at = trial % 4 == 0 ? random() % 16 : random() % damaged->size();
    (*damaged)[at] ^= static_cast<std::byte>(1 + random() % 255);
    Bytes out{std::byte{1}};
    try {
      archiver.unarchive(*damaged, out, "segment 3 of region 'u'");
      EXPECT_EQ(out.size(), 1 + segment.size());
    } catch (const Error& error) {
      ++refused;
      EXPECT_EQ(error.category(), ErrorCategory::format);
      EXPECT_EQ(std::string(error.what()).rfind("segment 3 of region 'u'", 0), 0u) << error.what();
      EXPECT_EQ(out, Bytes{std::byte{1}});
    }
  }
  EXPECT_GT(refused, 500u);
}

TEST(Archive, RefusesWhatIsCutShortOrTooLong) {
  Archiver archiver;
  for (const Bytes& segment : {segment_of(Pattern::field, 16384, {8, 16, 256}), random_bytes(100, 3)}) {
    const Bytes good = archived(archiver, segment);
    Bytes out;
    for (std::size_t size = 0; size < good.size(); ++size) {
      const Bytes cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
      expect_error(ErrorCategory::format, {"cut"}, [&] { archiver.unarchive(cut, out, "cut"); });
    }
    Bytes longer = good;
    longer.push_back({});
    expect_error(ErrorCategory::format, {"long"}, [&] { archiver.unarchive(longer, out, "long"); });
    EXPECT_TRUE(out.empty());
  }
}

TEST(Archive, RefusesOtherMethodsAndSizes) {
  Archiver archiver;
  const Bytes good = archived(archiver, segment_of(Pattern::field, 16384, {8, 16, 256}));
  Bytes out;
  for (const std::size_t at : {0, 1, 2, 3, 6, 7}) {
    Bytes damaged = good;
    damaged[at] |= std::byte{0x80};
    expect_error(ErrorCategory::format, {"no archived segment"}, [&] { archiver.unarchive(damaged, out, "it"); });
  }
  for (const int change : {-8, -1, 1, 8}) {
    Bytes damaged = good;
    std::uint32_t size;
    std::memcpy(&size, damaged.data() + 4, 4);
    size += static_cast<std::uint32_t>(change);
    std::memcpy(damaged.data() + 4, &size, 4);
    expect_error(ErrorCategory::format, {"it"}, [&] { archiver.unarchive(damaged, out, "it"); });
  }
}

TEST(PlaneOrder, IsTheSameWordsInAnotherOrder) {
  const Bytes segment = segment_of(Pattern::steps, 10 * 16384 + 5000, {4, 64, 1024});
  Bytes ordered(segment.size()), back(segment.size());
  ASSERT_TRUE(state_detail::to_plane_order(segment, ordered.data()));
  EXPECT_NE(ordered, segment);
  ASSERT_EQ(state_detail::from_plane_order(ordered, back.data()), nullptr);
  EXPECT_EQ(back, segment);
  std::sort(ordered.begin(), ordered.end());
  std::sort(back.begin(), back.end());
  EXPECT_EQ(ordered, back);
}

TEST(PlaneOrder, WhatIsNoOrderIsFoundOrIsOne) {
  std::mt19937_64 random(17);
  for (const Pattern pattern : {Pattern::field, Pattern::random, Pattern::sparse, Pattern::lone_byte}) {
    const Bytes segment = segment_of(pattern, 4 * 16384, {8, 16, 256}, 3);
    Bytes ordered(segment.size());
    ASSERT_TRUE(state_detail::to_plane_order(segment, ordered.data()));
    for (int trial = 0; trial < 1000; ++trial) {
      Bytes damaged = ordered;
      for (std::uint64_t changes = 1 + random() % 3; changes != 0; --changes) {
        damaged[random() % (trial % 2 == 0 ? 48 : damaged.size())] = static_cast<std::byte>(random());
      }
      if (trial % 5 == 0) damaged.resize(random() % damaged.size());
      damaged.shrink_to_fit();
      const auto back = std::make_unique<std::byte[]>(damaged.size());  // exactly as large: ASan sees one byte more
      if (state_detail::from_plane_order(damaged, back.get()) != nullptr) continue;
      Bytes again(damaged.size());
      ASSERT_TRUE(state_detail::to_plane_order({back.get(), damaged.size()}, again.data()));
      ASSERT_EQ(again, damaged) << "from and to are inverse on all that is accepted";
    }
  }
}

// The golden segment, made without the codec: 33 pages, one of them raw, sectors of all numbers of planes. Its
// archived form was written once (zstd 1.5.4).
Bytes golden_segment() {
  std::mt19937_64 random(42);
  ByteWriter head, bodies;
  head.put(std::uint64_t{0x1'8000'7FFF'FFFF} << 2);
  for (std::uint32_t page = 0; page < 33; ++page) {
    const std::size_t begin = bodies.size();
    const std::uint32_t sectors = 0xFFFFFFFFu >> (22 + random() % 10);
    const bool raw = page == 5;
    bodies.put(sectors);
    bodies.put(static_cast<std::uint32_t>(random()));
    for (std::uint32_t left = sectors; left != 0; left >>= 1) {
      std::uint64_t mask = ~std::uint64_t{0} >> (1 + random() % 63);
      if (!raw) bodies.put(mask);
      for (; mask != 0; mask >>= 1) bodies.put(mask < 256 ? random() & random() & random() & random() : random());
    }
    head.put(kernels::make_entry(static_cast<std::uint32_t>(bodies.size() - begin),
                                 static_cast<kernels::Transform>(raw ? 0 : 1 + page % 4)));
  }
  head.put(PageEntry{0});
  head.put_bytes(bodies.bytes());
  return head.take();
}

TEST(Golden, TheArchivedSegmentIsStillRead) {
  const std::string file = FOREWEAVE_GOLDEN_DIR "/segment.archived";
  const Bytes segment = golden_segment();
  Archiver archiver;
  if (std::getenv("FOREWEAVE_WRITE_GOLDEN") != nullptr) {
    const Bytes bytes = archived(archiver, segment);
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  std::ifstream in(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  ASSERT_FALSE(text.empty());
  ASSERT_EQ(text[0], 1) << "the method that compresses";
  Bytes out;
  archiver.unarchive(std::as_bytes(std::span(text)), out, file);
  EXPECT_TRUE(out == segment);
}

TEST(Golden, ThePlaneOrderStays) {
  const Bytes segment = golden_segment();
  Bytes ordered(segment.size());
  ASSERT_TRUE(state_detail::to_plane_order(segment, ordered.data()));
  // What zstd makes of it may differ between its versions; what it is given must not.
  EXPECT_EQ(to_string(digest128(ordered)), "8ba486b4b4939b1a816f13e73b2d8009");
}

}  // namespace
}  // namespace foreweave
