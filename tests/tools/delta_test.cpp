// `foreweave delta` as people call it: on pairs of files that it must take, and on what it must refuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <regex>
#include <string>

#include "tools/run_program.hpp"

namespace foreweave {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using tools_test::Outcome;
using tools_test::run;

class Delta : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "foreweave-delta-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override { fs::remove_all(folder); }
  std::string write(const std::string& name, const std::string& bytes) const {
    const fs::path file = folder / name;
    std::ofstream(file, std::ios::binary) << bytes;
    return file.string();
  }
  /// A smooth field of n³ doubles and what it is a little later.
  std::string smooth(const std::string& name, int n, double time) const {
    std::string bytes;
    for (int i = 0; i < n * n * n; ++i) {
      const int x = i % n, y = i / n % n, z = i / n / n;
      const double value = 300 + 1e-3 * x * y + time * 1e-7 * (x * x * 31 + 17 * y * y * (x + 3) + z * z * y + i % 7);
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    return write(name, bytes);
  }
  static std::string noise(std::size_t bytes, unsigned seed) {
    std::mt19937 random(seed);
    std::string text(bytes, ' ');
    for (char& c : text) c = static_cast<char>(random());
    return text;
  }
  static double number(const Outcome& outcome, const std::string& key) {
    std::smatch found;
    const std::regex pattern("\"" + key + "\": ([-+.0-9eE]+)");
    return std::regex_search(outcome.text, found, pattern) ? std::stod(found[1]) : -1;
  }
  static Outcome refused(const std::string& arguments, int status) {
    const auto outcome = run("delta " + arguments);
    EXPECT_EQ(outcome.status, status) << arguments << "\n" << outcome.text;
    return outcome;
  }
  fs::path folder;
};

TEST_F(Delta, SaysRatioRatesAndPages) {
  const auto pair = smooth("old", 48, 0) + " " + smooth("new", 48, 1);
  const auto plain = run("delta " + pair + " --type f64 --extents 48x48x48 --archive --repeats 2");
  EXPECT_EQ(plain.status, 0) << plain.text;
  EXPECT_THAT(plain.text, AllOf(HasSubstr("864.0 KiB to "), HasSubstr("the round trip is exact"), HasSubstr("encode"),
                                HasSubstr("decode"), HasSubstr("of memcpy"), HasSubstr("0 clean"),
                                HasSubstr("subtract_3d"), HasSubstr("unarchive"), HasSubstr("median of 2")));
  const auto json = run("delta " + pair + " --type f64 --extents 48x48x48 --archive --repeats 3 --threads 2 --json");
  EXPECT_EQ(json.status, 0) << json.text;
  EXPECT_THAT(json.text,
              AllOf(HasSubstr("\"round_trip\": true"), HasSubstr("\"threads\": 2"), HasSubstr("\"bytes\": 884736")));
  const double ratio = number(json, "ratio");
  EXPECT_GT(ratio, 1.2);
  EXPECT_NEAR(ratio, 884736 / number(json, "encoded_bytes"), 1e-3 * ratio);
  EXPECT_GT(number(json, "encode_over_memcpy"), 0);
  const auto archive = json.text.substr(json.text.find("\"archive\""));
  EXPECT_GE(number({0, archive}, "ratio"), ratio);
  // What comes out does not depend on the threads.
  const auto one = run("delta " + pair + " --type f64 --extents 48x48x48 --archive --repeats 1 --json");
  EXPECT_EQ(number(one, "encoded_bytes"), number(json, "encoded_bytes"));
}

TEST_F(Delta, TakesEveryTypeAndAnySize) {
  for (const std::string type : {"f64", "f32", "i64", "i32", "u64", "u32", "u8"}) {
    // 1 MiB is a segment, 16 KiB a page.
    for (const std::size_t bytes : {8u, 16384u, 16384u + 8u, (1u << 20) + 16u}) {
      const auto old_file = write("old", noise(bytes, 1));
      auto changed = noise(bytes, 1);
      changed[bytes / 2] ^= 1;
      const auto outcome = run("delta " + old_file + " " + write("new", changed) + " --type " + type +
                               " --repeats 1 --threads 3 --archive --json");
      EXPECT_EQ(outcome.status, 0) << type << " " << bytes << "\n" << outcome.text;
      EXPECT_EQ(number(outcome, "clean"), static_cast<double>((bytes + 16383) / 16384 - 1)) << outcome.text;
    }
  }
  const auto odd = run("delta " + write("old", noise(12345, 1)) + " " + write("new", noise(12345, 2)) +
                       " --type u8 --repeats 1 --json --extents 5x2469");
  EXPECT_EQ(odd.status, 0) << odd.text;
  EXPECT_EQ(number(odd, "raw"), 1) << odd.text;
  EXPECT_LT(number(odd, "ratio"), 1);
}

TEST_F(Delta, OfEqualFilesNothingIsLeft) {
  const auto file = write("same", noise(100000, 4));
  const auto plain = run("delta " + file + " " + file + " --type f32 --archive");
  EXPECT_EQ(plain.status, 0) << plain.text;
  EXPECT_THAT(plain.text, AllOf(HasSubstr("nothing: no page changed"), HasSubstr("7 clean, 0 raw")));
  const auto json = run("delta " + file + " " + file + " --type f32 --json");
  EXPECT_THAT(json.text, AllOf(HasSubstr("\"ratio\": null"), HasSubstr("\"encoded_bytes\": 0")));
}

TEST_F(Delta, NamesWhatItCannotTake) {
  const auto file = write("old", noise(4096, 1)), shorter = write("shorter", noise(4088, 1)),
             odd = write("odd", noise(4095, 1)), empty = write("empty", ""), pair = file + " " + file;
  const auto absent = (folder / "nowhere").string();
  EXPECT_THAT(refused(absent + " " + file + " --type f64", 3).text,
              AllOf(HasSubstr(absent), HasSubstr("no such file")));
  EXPECT_THAT(refused(file + " " + absent + " --type f64", 3).text, HasSubstr(absent));
  EXPECT_THAT(refused(folder.string() + " " + file + " --type f64", 2).text, HasSubstr("not a regular file"));
  EXPECT_THAT(refused(file + " " + shorter + " --type f64", 2).text,
              AllOf(HasSubstr("sizes differ"), HasSubstr("4096"), HasSubstr("4088")));
  EXPECT_THAT(refused(odd + " " + odd + " --type f32", 2).text, AllOf(HasSubstr(odd), HasSubstr("no multiple")));
  EXPECT_THAT(refused(empty + " " + empty + " --type u8", 2).text, HasSubstr("is empty"));
  EXPECT_THAT(refused(pair + " --type f16", 2).text, AllOf(HasSubstr("f16"), HasSubstr("f64, f32, i64, i32")));
  EXPECT_THAT(refused(pair, 2).text, HasSubstr("--type"));
  EXPECT_THAT(refused(pair + " --type f64 --extents 8x8x9", 2).text,
              AllOf(HasSubstr("8x8x9"), HasSubstr("576"), HasSubstr("512 elements")));
  // A product that wraps around to the right number.
  EXPECT_THAT(refused(pair + " --type f64 --extents 4294967296x4294967296x512", 2).text,
              AllOf(HasSubstr("512 elements"), HasSubstr("more than 64 bits")));
  for (const std::string bad : {"0x512", "8x", "x8", "8xx8", "-8x8", "8x8x8y", "8,64", "99999999999999999999"}) {
    EXPECT_THAT(refused(pair + " --type f64 --extents " + bad, 2).text, AllOf(HasSubstr(bad), HasSubstr("256x256")));
  }
  for (const std::string threads : {"0", "-1", "2000"}) {
    EXPECT_THAT(refused(pair + " --type f64 --threads " + threads, 2).text, HasSubstr("--threads " + threads));
  }
  EXPECT_THAT(refused(pair + " --type f64 --threads two", 2).text, HasSubstr("--threads"));
  EXPECT_THAT(refused(pair + " --type f64 --repeats 0", 2).text, HasSubstr("--repeats 0"));
}

}  // namespace
}  // namespace foreweave
