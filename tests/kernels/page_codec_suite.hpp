#pragma once
// The tests of the page codec, for any backend. A test file includes this and instantiates the suite:
//
//   INSTANTIATE_TEST_SUITE_P(Cuda, PageCodec, testing::Values(BackendParam{"Cuda", std::make_shared<MyBackend>()}),
//   backend_name);

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <ostream>
#include <set>

#include "kernels/decl/page_codec.hpp"
#include "kernels/guarded_buffer.hpp"
#include "kernels/page_codec_data.hpp"
#include "kernels/page_codec_oracle.hpp"

namespace foreweave::test {

using kernels::DecodeJob;
using kernels::DecodeResult;
using kernels::DecodeStatus;
using kernels::EncodeJob;
using kernels::PageEntry;
using kernels::PageShape;
using kernels::Transform;

/// What a backend must offer to be tested. All pointers in the jobs are host memory; the adaptor copies where the
/// backend wants other memory, and keeps the alignment of the pointers (modulo 64) and the exact sizes of the
/// buffers.
class PageCodecBackend {
 public:
  virtual ~PageCodecBackend() = default;
  /// Returns the bytes written to job.out.
  virtual std::uint64_t encode(const EncodeJob& job) = 0;
  virtual DecodeResult decode(const DecodeJob& job) = 0;
};

struct BackendParam {
  std::string name;
  std::shared_ptr<PageCodecBackend> backend;
};
inline void PrintTo(const BackendParam& param, std::ostream* out) { *out << param.name; }

/// Names the instances of the suite: pass as the last argument of INSTANTIATE_TEST_SUITE_P.
inline std::string backend_name(const testing::TestParamInfo<BackendParam>& info) { return info.param.name; }

struct CodecCase {
  Pattern pattern = Pattern::random;
  std::size_t bytes = 0;
  PageShape shape;
  std::uint64_t seed = 1;
  bool zero_base = false;  ///< no base pointer
  bool update_base = false;
  std::size_t slack = 0;  ///< shifts the buffers' alignment
};

inline std::ostream& operator<<(std::ostream& out, const CodecCase& c) {
  return out << name_of(c.pattern) << " bytes " << c.bytes << " width " << int{c.shape.width} << " row "
             << c.shape.row << " plane " << c.shape.plane << " seed " << c.seed << (c.zero_base ? " zero base" : "")
             << (c.update_base ? " update" : "") << " slack " << c.slack;
}

inline oracle::Shape oracle_shape(const PageShape& s) { return {s.width, s.row, s.plane}; }

class PageCodec : public testing::TestWithParam<BackendParam> {
 protected:
  PageCodecBackend& backend() { return *GetParam().backend; }

  static PagePair pages_of(const CodecCase& c) {
    const int width = c.shape.width == 4 || c.shape.width == 8 ? c.shape.width : 1;
    PagePair pair = make_pages(c.pattern, c.bytes, width, c.shape.row, c.shape.plane, c.seed);
    if (c.zero_base) {  // the same structure, but against zeros
      for (std::size_t i = 0; i < pair.base.size(); ++i) pair.base[i] = 0;
      if (c.pattern == Pattern::clean) pair.current = pair.base;
    }
    return pair;
  }

  /// Encodes with the backend, in guarded memory; checks what every encode must keep to.
  oracle::Encoded encode(const CodecCase& c, const PagePair& pair) {
    GuardedBuffer current(pair.current, c.slack), base(pair.base, (c.slack * 3 + 1) % 64 * (c.slack != 0));
    GuardedBuffer out(kernels::encode_bound(c.bytes), c.slack);
    std::vector<PageEntry> entries(kernels::page_count(c.bytes), 0xDEADBEEF);
    EncodeJob job;
    job.current = current.data();
    job.base = c.zero_base ? nullptr : base.data();
    job.bytes = c.bytes;
    job.shape = c.shape;
    job.update_base = c.update_base;
    job.out = out.data();
    job.entries = entries.data();
    const std::uint64_t written = backend().encode(job);
    EXPECT_LE(written, out.size()) << c;
    EXPECT_TRUE(current.intact() && base.intact() && out.intact()) << c << ": written outside a buffer";
    EXPECT_EQ(current.content(), pair.current) << c << ": current was changed";
    EXPECT_TRUE(base.content() == (c.update_base ? pair.current : pair.base)) << c << ": base is not what it must be";
    return {out.content(written), {entries.begin(), entries.end()}};
  }

  DecodeResult decode(const CodecCase& c, const oracle::Encoded& encoded, Raw& data) {
    GuardedBuffer in(encoded.bytes, c.slack), target(data, (c.slack * 3 + 1) % 64 * (c.slack != 0));
    std::vector<PageEntry> entries(encoded.entries.begin(), encoded.entries.end());
    DecodeJob job;
    job.in = in.data();
    job.in_bytes = encoded.bytes.size();
    job.entries = entries.data();
    job.data = target.data();
    job.bytes = data.size();
    job.shape = c.shape;
    const DecodeResult result = backend().decode(job);
    EXPECT_TRUE(in.intact() && target.intact()) << c << ": written outside a buffer";
    EXPECT_EQ(in.content(), encoded.bytes) << c << ": the input was changed";
    data = target.content();
    return result;
  }

  /// Byte equality with the oracle, both ways.
  void expect_as_oracle(const CodecCase& c) {
    const PagePair pair = pages_of(c);
    const oracle::Encoded expected =
        oracle::encode(pair.current, c.zero_base ? Raw() : pair.base, oracle_shape(c.shape));
    const oracle::Encoded got = encode(c, pair);
    ASSERT_EQ(got.entries, expected.entries) << c;
    ASSERT_TRUE(got.bytes == expected.bytes) << c << ": bodies differ";
    Raw data = pair.base;
    const DecodeResult result = decode(c, expected, data);
    ASSERT_EQ(result.status, DecodeStatus::ok) << c << " page " << result.page;
    ASSERT_TRUE(data == pair.current) << c << ": decoded content differs";
  }

  /// Decoding this must fail like this, and leave the bad page and all after it alone.
  void expect_refused(const CodecCase& c, const oracle::Encoded& damaged, const Raw& base, DecodeStatus status,
                      std::uint64_t page) {
    Raw data = base;
    const DecodeResult result = decode(c, damaged, data);
    EXPECT_EQ(result.status, status);
    EXPECT_EQ(result.page, page);
    expect_untouched_from(result, base, data);
  }

  static void expect_untouched_from(const DecodeResult& result, const Raw& base, const Raw& data) {
    // Sizes are checked before anything is written; a body's page before it is.
    const std::size_t from = result.status == DecodeStatus::bad_size || result.status == DecodeStatus::bad_transform
                                 ? 0
                                 : result.page * 16384;
    for (std::size_t i = from; i < base.size(); ++i) ASSERT_EQ(data[i], base[i]) << "byte " << i << " was written";
  }
};

inline std::vector<PageShape> all_shapes() {
  return {{8, 0, 0},       {8, 16, 256}, {8, 130, 0},  {8, 0, 300},  {8, 3, 5},         {8, 1, 2047},
          {8, 2047, 2047}, {8, 2048, 9}, {4, 0, 0},    {4, 20, 400}, {4, 2, 3},         {4, 4095, 4096},
          {4, 100, 100},   {1, 0, 0},    {1, 10, 100}, {2, 16, 256}, {8, 64, 1u << 20}, {4, 17, 1ull << 40}};
}

inline std::vector<std::size_t> odd_sizes() {
  return {0,    1,    3,     7,     8,     9,     63,    64,    65,    511,   512,   513,       1023,         1024,
          1025, 4097, 16376, 16383, 16384, 16385, 16391, 16895, 16896, 16897, 32767, 2 * 16384, 2 * 16384 + 1};
}

TEST_P(PageCodec, MatchesTheOracleInEveryPatternAndShape) {
  std::uint64_t seed = 0;
  for (Pattern pattern : all_patterns) {
    for (const PageShape& shape : all_shapes()) {
      CodecCase c{pattern, 3 * 16384 + 5000 + seed % 600, shape, ++seed};
      c.zero_base = seed % 5 == 0;
      c.update_base = !c.zero_base && seed % 2 == 0;
      c.slack = seed % 3 == 0 ? seed % 64 : 0;
      expect_as_oracle(c);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(PageCodec, MatchesTheOracleAtOddSizesAndAlignments) {
  std::uint64_t seed = 100;
  for (std::size_t bytes : odd_sizes()) {
    for (Pattern pattern : {Pattern::random, Pattern::drift, Pattern::field, Pattern::lone_byte, Pattern::steps}) {
      CodecCase c{pattern, bytes, all_shapes()[seed % all_shapes().size()], seed};
      c.slack = seed % 64;
      c.update_base = seed % 2 == 0;
      ++seed;
      expect_as_oracle(c);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(PageCodec, EveryAlignmentOfEveryBuffer) {
  for (std::size_t slack = 0; slack < 64; ++slack) {
    CodecCase c{slack % 2 == 0 ? Pattern::drift : Pattern::field, 16384 + 777, {8, 16, 256}, slack};
    c.slack = slack;
    c.update_base = true;
    expect_as_oracle(c);
    if (HasFatalFailure()) return;
  }
}

TEST_P(PageCodec, EachTransformIsChosenForSomeData) {
  for (std::uint8_t width : {std::uint8_t{4}, std::uint8_t{8}}) {
    std::set<int> chosen;
    for (Pattern pattern : all_patterns) {
      const CodecCase c{pattern, 8 * 16384, {width, 16, 256}, 3};
      for (std::uint32_t entry : encode(c, pages_of(c)).entries) {
        if (entry != 0) chosen.insert(static_cast<int>(entry >> 24));
      }
    }
    EXPECT_EQ(chosen, (std::set<int>{0, 1, 2, 3, 4})) << "width " << int{width};
  }
}

TEST_P(PageCodec, CleanPagesTakeNoBytes) {
  const CodecCase c{Pattern::clean, 20 * 16384 + 3, {8, 16, 256}};
  const oracle::Encoded got = encode(c, pages_of(c));
  EXPECT_TRUE(got.bytes.empty());
  EXPECT_EQ(got.entries, std::vector<std::uint32_t>(21, 0));
}

TEST_P(PageCodec, NoPageGrowsBeyondItsRawSizeAndHeader) {
  for (std::size_t bytes : {std::size_t{1}, std::size_t{513}, std::size_t{16384}, std::size_t{5 * 16384 + 100}}) {
    const CodecCase c{Pattern::random, bytes, {8, 16, 256}, 9};
    const oracle::Encoded got = encode(c, pages_of(c));
    std::uint64_t total = 0;
    for (std::size_t page = 0; page < got.entries.size(); ++page) {
      const std::size_t length = std::min<std::size_t>(16384, bytes - page * 16384);
      EXPECT_LE(got.entries[page] & 0xFFFFFF, 8 + (length + 7) / 8 * 8);
      total += got.entries[page] & 0xFFFFFF;
    }
    EXPECT_EQ(total, got.bytes.size());
  }
}

TEST_P(PageCodec, APageIsEncodedAlikeWhereverItStands) {
  const CodecCase c{Pattern::field, 7 * 16384 + 2000, {8, 40, 200}, 4};
  const PagePair pair = pages_of(c);
  const oracle::Encoded together = encode(c, pair);
  oracle::Encoded apart;
  for (std::size_t at = 0; at < c.bytes; at += 16384) {
    CodecCase one = c;
    one.bytes = std::min<std::size_t>(16384, c.bytes - at);
    one.slack = at / 16384;
    const auto from = static_cast<std::ptrdiff_t>(at), to = static_cast<std::ptrdiff_t>(at + one.bytes);
    const oracle::Encoded page = encode(one, {Raw(pair.base.begin() + from, pair.base.begin() + to),
                                              Raw(pair.current.begin() + from, pair.current.begin() + to)});
    apart.bytes.insert(apart.bytes.end(), page.bytes.begin(), page.bytes.end());
    apart.entries.insert(apart.entries.end(), page.entries.begin(), page.entries.end());
  }
  EXPECT_EQ(together.entries, apart.entries);
  EXPECT_TRUE(together.bytes == apart.bytes);
}

// Each status, made on purpose. The run has four pages; page 2 is damaged, page 1 is clean.
class DamagedPage {
 public:
  DamagedPage(const oracle::Encoded& good, std::size_t page) : encoded(good), page_(page) {
    for (std::size_t i = 0; i < page; ++i) at += good.entries[i] & 0xFFFFFF;
  }
  void set_size(std::uint32_t size) { encoded.entries[page_] = (encoded.entries[page_] & 0xFF000000) | size; }
  void set_transform(std::uint32_t t) { encoded.entries[page_] = (encoded.entries[page_] & 0xFFFFFF) | t << 24; }
  std::uint32_t size() const { return encoded.entries[page_] & 0xFFFFFF; }
  oracle::Encoded encoded;
  std::size_t at = 0;  ///< where the page's body begins

 private:
  std::size_t page_;
};

TEST_P(PageCodec, EveryKindOfDamageIsNamed) {
  const CodecCase c{Pattern::drift, 4 * 16384, {8, 0, 0}, 5};
  PagePair pair = pages_of(c);
  std::copy(pair.base.begin() + 16384, pair.base.begin() + 2 * 16384, pair.current.begin() + 16384);
  const oracle::Encoded good = oracle::encode(pair.current, pair.base, oracle_shape(c.shape));
  ASSERT_EQ(good.entries[1], 0u);
  ASSERT_EQ(good.entries[2] >> 24, 2u);
  {
    DamagedPage d(good, 2);
    d.set_size(d.size() + 4);
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_size, 2);
  }
  for (std::uint32_t size : {0u, 8u, 16400u, 0xFFFFF8u}) {
    DamagedPage d(good, 2);
    d.set_size(size);
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_size, 2);
  }
  {
    DamagedPage d(good, 2);
    d.set_transform(4);  // no strides
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_transform, 2);
    d.set_transform(5);
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_transform, 2);
    d.set_transform(255);
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_transform, 2);
    d.set_transform(2);
    CodecCase bytewise = c;
    bytewise.shape.width = 1;
    expect_refused(bytewise, d.encoded, pair.base, DecodeStatus::bad_transform, 0);
  }
  {
    DamagedPage d(good, 3);  // input that ends too early, and too late
    d.encoded.bytes.pop_back();
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_size, 3);
    d.encoded.bytes.insert(d.encoded.bytes.end(), 9, std::uint8_t{0});
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_size, 4);
  }
  {
    DamagedPage d(good, 2);  // no sectors
    std::fill_n(d.encoded.bytes.begin() + static_cast<std::ptrdiff_t>(d.at), 4, std::uint8_t{0});
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_sectors, 2);
  }
  {
    DamagedPage d(good, 2);  // one sector fewer
    d.encoded.bytes[d.at] &= 0xFE;
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_planes, 2);
  }
  {
    DamagedPage d(good, 2);  // an empty mask
    std::fill_n(d.encoded.bytes.begin() + static_cast<std::ptrdiff_t>(d.at) + 8, 8, std::uint8_t{0});
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_planes, 2);
  }
  {
    DamagedPage d(good, 2);  // a full mask
    for (std::size_t i = 0; i < 8; ++i) d.encoded.bytes[d.at + 8 + i] = 0xFF;
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_planes, 2);
  }
  for (std::size_t at : {std::size_t{4}, std::size_t{7}, std::size_t{16}, std::size_t{500}}) {
    DamagedPage d(good, 2);  // a check byte; plane words
    d.encoded.bytes[d.at + at] ^= 0x10;
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_check, 2);
  }
  {
    DamagedPage d(good, 2);  // two plane words change places
    std::swap_ranges(d.encoded.bytes.begin() + static_cast<std::ptrdiff_t>(d.at) + 16,
                     d.encoded.bytes.begin() + static_cast<std::ptrdiff_t>(d.at) + 24,
                     d.encoded.bytes.begin() + static_cast<std::ptrdiff_t>(d.at) + 24);
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_check, 2);
  }
  {
    DamagedPage d(good, 2);  // exclusive_or instead of subtract: the check word covers the transform
    d.set_transform(1);
    expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_check, 2);
  }
}

TEST_P(PageCodec, AShortPageHasNoSectorsPastItsEnd) {
  const CodecCase c{Pattern::random, 1000, {8, 0, 0}, 6};
  const PagePair pair = pages_of(c);
  DamagedPage d(oracle::encode(pair.current, pair.base, oracle_shape(c.shape)), 0);
  d.encoded.bytes[0] |= 4;
  expect_refused(c, d.encoded, pair.base, DecodeStatus::bad_sectors, 0);
}

TEST_P(PageCodec, RandomDamageIsRefusedAndNeverWritten) {
  std::mt19937_64 random(20);
  for (int round = 0; round < 400; ++round) {
    const auto shapes = all_shapes();
    const std::size_t patterns = std::size(all_patterns);
    CodecCase c{all_patterns[1 + random() % (patterns - 1)], 1 + random() % (3 * 16384),
                shapes[random() % shapes.size()], random() % 1000};
    const PagePair pair = pages_of(c);
    CodecCase plain = c;
    plain.slack = 0;
    const oracle::Encoded good = encode(plain, pair);
    if (good.bytes.empty()) continue;
    oracle::Encoded bad = good;
    const std::uint64_t kind = random() % 6;
    const std::size_t at = random() % bad.bytes.size();
    if (kind == 0) bad.bytes[at] ^= static_cast<std::uint8_t>(1 << random() % 8);
    if (kind == 1) bad.bytes[at] = static_cast<std::uint8_t>(bad.bytes[at] + 1 + random() % 255);
    if (kind == 2) bad.bytes.resize(at);
    if (kind == 3) bad.entries[random() % bad.entries.size()] ^= std::uint32_t{1} << random() % 32;
    if (kind == 4) bad.entries[random() % bad.entries.size()] = static_cast<std::uint32_t>(random());
    if (kind == 5) {  // a whole stretch of garbage
      for (std::size_t i = at; i < bad.bytes.size() && i < at + 100; ++i)
        bad.bytes[i] = static_cast<std::uint8_t>(random());
    }
    if (bad.bytes == good.bytes && bad.entries == good.entries) continue;
    Raw data = pair.base;
    const DecodeResult result = decode(c, bad, data);
    EXPECT_NE(result.status, DecodeStatus::ok) << c << " kind " << kind << " at " << at;
    expect_untouched_from(result, pair.base, data);
    if (HasFatalFailure()) return;
  }
}

// Golden files: tests/format/page_codec_*.bin, each self-contained: "FWPC", then little-endian u32 version (1), u32
// width, u32 1 when there is a base, u64 bytes, row, plane, bytes of the encoding; entries; base; current; encoding.
// FOREWEAVE_WRITE_GOLDEN=1 writes them anew with the oracle: only for a change of the format's version.
struct GoldenFile {
  CodecCase c;
  PagePair pair;
  oracle::Encoded encoded;

  /// FOREWEAVE_GOLDEN_DIR comes from tests/kernels/tests.cmake.
  static std::filesystem::path folder() { return FOREWEAVE_GOLDEN_DIR; }

  void write(const std::filesystem::path& path) const {
    Raw out = {'F', 'W', 'P', 'C'};
    oracle::put(out, 1, 4);
    oracle::put(out, c.shape.width, 4);
    oracle::put(out, c.zero_base ? 0 : 1, 4);
    for (std::uint64_t v :
         {std::uint64_t{c.bytes}, c.shape.row, c.shape.plane, std::uint64_t{encoded.bytes.size()}}) {
      oracle::put(out, v, 8);
    }
    for (std::uint32_t entry : encoded.entries) oracle::put(out, entry, 4);
    if (!c.zero_base) out.insert(out.end(), pair.base.begin(), pair.base.end());
    out.insert(out.end(), pair.current.begin(), pair.current.end());
    out.insert(out.end(), encoded.bytes.begin(), encoded.bytes.end());
    std::filesystem::create_directories(path.parent_path());
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(out.data()), static_cast<std::streamsize>(out.size()));
    ASSERT_TRUE(file.good()) << path;
  }

  void read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const Raw in((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    ASSERT_GE(in.size(), 48u) << path;
    ASSERT_EQ(std::string(in.begin(), in.begin() + 4), "FWPC") << path;
    ASSERT_EQ(oracle::get(&in[4], 4), 1u) << path;
    c.shape.width = static_cast<std::uint8_t>(oracle::get(&in[8], 4));
    c.zero_base = oracle::get(&in[12], 4) == 0;
    c.bytes = oracle::get(&in[16], 8);
    c.shape.row = oracle::get(&in[24], 8);
    c.shape.plane = oracle::get(&in[32], 8);
    const std::size_t size = oracle::get(&in[40], 8), pages = kernels::page_count(c.bytes);
    ASSERT_EQ(in.size(), 48 + 4 * pages + (c.zero_base ? 1 : 2) * c.bytes + size) << path;
    std::size_t at = 48;
    for (std::size_t i = 0; i < pages; ++i, at += 4)
      encoded.entries.push_back(static_cast<std::uint32_t>(oracle::get(&in[at], 4)));
    const auto take = [&](std::size_t bytes) {
      const Raw part(in.begin() + static_cast<std::ptrdiff_t>(at),
                     in.begin() + static_cast<std::ptrdiff_t>(at + bytes));
      at += bytes;
      return part;
    };
    pair.base = c.zero_base ? Raw(c.bytes) : take(c.bytes);
    pair.current = take(c.bytes);
    encoded.bytes = take(size);
  }
};

inline std::vector<std::pair<std::string, CodecCase>> golden_cases() {
  std::vector<std::pair<std::string, CodecCase>> cases = {
      {"raw_f64", {Pattern::random, 1500, {8, 0, 0}, 1}},
      {"exclusive_or_bytes", {Pattern::flags, 2100, {1, 0, 0}, 2}},
      {"subtract_f32", {Pattern::drift, 3000, {4, 0, 0}, 3}},
      {"subtract_1d_f64", {Pattern::ramp, 2560, {8, 0, 0}, 4}},
      {"subtract_3d_f64", {Pattern::field, 8 * 1000, {8, 10, 100}, 5}},
      {"steps_two_pages_f64", {Pattern::steps, 16384 + 513, {8, 0, 0}, 6}},
      {"zero_base_f32", {Pattern::ramp, 2047, {4, 0, 0}, 7}},
  };
  cases.back().second.zero_base = true;
  return cases;
}

TEST_P(PageCodec, GoldenFilesOfEarlierVersionsAreReadAndWrittenAlike) {
  const char* rewrite = std::getenv("FOREWEAVE_WRITE_GOLDEN");
  std::set<int> transforms;
  for (const auto& [name, c] : golden_cases()) {
    const std::filesystem::path path = GoldenFile::folder() / ("page_codec_" + name + ".bin");
    if (rewrite != nullptr && std::string(rewrite) == "1") {
      const PagePair pair = pages_of(c);
      GoldenFile{c, pair, oracle::encode(pair.current, c.zero_base ? Raw() : pair.base, oracle_shape(c.shape))}.write(
          path);
    }
    GoldenFile golden;
    golden.read(path);
    if (HasFatalFailure()) return;
    const oracle::Encoded got = encode(golden.c, golden.pair);
    EXPECT_EQ(got.entries, golden.encoded.entries) << name;
    EXPECT_TRUE(got.bytes == golden.encoded.bytes) << name;
    Raw data = golden.pair.base;
    EXPECT_EQ(decode(golden.c, golden.encoded, data).status, DecodeStatus::ok) << name;
    EXPECT_TRUE(data == golden.pair.current) << name;
    EXPECT_TRUE(oracle::decode(golden.encoded, golden.pair.base, oracle_shape(golden.c.shape)) == golden.pair.current)
        << name;
    for (std::uint32_t entry : golden.encoded.entries) transforms.insert(static_cast<int>(entry >> 24));
  }
  EXPECT_EQ(transforms, (std::set<int>{0, 1, 2, 3, 4}));
}

}  // namespace foreweave::test
