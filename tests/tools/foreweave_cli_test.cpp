// The program `foreweave` as people call it: what it prints, writes and returns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "foreweave/core/version.hpp"
#include "foreweave/state/capture.hpp"
#include "foreweave/state/store.hpp"
#include "tools/run_program.hpp"
#include "tools/sample_run.hpp"

namespace foreweave {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using tools_test::run;

class Cli : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "foreweave-cli-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override {
    if (std::getenv("FOREWEAVE_KEEP_TEST_FILES") == nullptr) fs::remove_all(folder);
  }
  std::string read(const fs::path& file) const {
    std::ifstream in(file);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  // A store of one hub with its own rank and a mirrored one, three versions each.
  fs::path make_store(std::shared_ptr<const Key> key = nullptr) {
    const auto place = folder / "store/demo/hub-0";
    auto store = make_directory_store({place, Durability::memory, 0});
    for (const Rank rank : {0, 1}) {
      CaptureEngine engine({.rank = rank, .ranks = 2, .job = "demo", .key = key, .staging_bytes = 0});
      std::vector<double> data(100'000);
      RegionSpec spec;
      spec.name = "u";
      spec.data = data.data();
      spec.bytes = data.size() * sizeof(double);
      spec.type = ElementType::f64;
      engine.add(spec);
      std::mt19937_64 random(7);
      for (Version version = 1; version <= 3; ++version) {
        for (auto& value : data) value = static_cast<double>(random()) * 1e-10;
        engine.begin(version);
        engine.finish(*store);
      }
    }
    store->set_committed(2);
    return place;
  }
  fs::path folder;
};

TEST_F(Cli, InfoSaysWhatThisIsAndWhereOptionsComeFrom) {
  const auto plain = run("info --foreweave-copies=2", "FOREWEAVE_KEEP=3");
  EXPECT_EQ(plain.status, 0) << plain.text;
  EXPECT_THAT(plain.text, AllOf(HasSubstr("foreweave " + build_info().version), HasSubstr("MPI"), HasSubstr("UCX"),
                                HasSubstr("HDF5"), HasSubstr("SIMD"), HasSubstr("(command line)"),
                                HasSubstr("(environment variable FOREWEAVE_KEEP)"), HasSubstr("(default)")));
  const auto json = run("info --json --foreweave-copies=2");
  EXPECT_EQ(json.status, 0) << json.text;
  EXPECT_THAT(json.text,
              AllOf(HasSubstr("\"name\": \"copies\",\n      \"value\": \"2\",\n      \"source\": \"command line\""),
                    HasSubstr("\"options_problem\": null")));
}

TEST_F(Cli, InfoFindsMistakesInOptionsAndKeepsSecrets) {
  const auto bad = run("info", "FOREWEAVE_COPIES=99");
  EXPECT_EQ(bad.status, 2);
  EXPECT_THAT(bad.text, AllOf(HasSubstr("option 'copies'"), HasSubstr("FOREWEAVE_COPIES"), HasSubstr("MPI")));
  // Whatever else is said, once and in its order.
  const auto unknown = run("--foreweave-keep=3 info --foreweave-copy=2 --json --foreweave-bogus");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.text, AllOf(HasSubstr("\"options_problem\": \"option 'copy'"), HasSubstr("did you mean 'copies'")));
  EXPECT_THAT(run("ls --foreweave-copy 2 " + folder.string()).text, HasSubstr("did you mean 'copies'"));
  const std::string secret(64, 'b');
  const auto secrets = run("info --json", "FOREWEAVE_KEY=" + secret);
  EXPECT_EQ(secrets.status, 0);
  EXPECT_THAT(secrets.text, AllOf(HasSubstr("(set)"), Not(HasSubstr(secret))));
}

TEST_F(Cli, WrongArgumentsAreStatusTwoAndAbsentThingsThree) {
  EXPECT_EQ(run("").status, 2);
  EXPECT_EQ(run("dance").status, 2);
  EXPECT_EQ(run("ls").status, 2);
  EXPECT_EQ(run("--help").status, 0);
  for (const std::string command : {"ls", "verify", "report"}) {
    const auto absent = run(command + " " + (folder / "absent").string());
    EXPECT_EQ(absent.status, 3) << command;
    EXPECT_THAT(absent.text, HasSubstr((folder / "absent").string()));
  }
  EXPECT_EQ(run("ls " + folder.string()).status, 3);  // a folder with no store
}

TEST_F(Cli, ListsAStore) {
  const auto place = make_store();
  for (const auto& what : {folder / "store", folder / "store/demo", place}) {
    const auto listed = run("ls " + what.string());
    EXPECT_EQ(listed.status, 0) << listed.text;
    EXPECT_THAT(listed.text, AllOf(HasSubstr("hub-0   committed 2"), HasSubstr("full"), HasSubstr("delta on 2"),
                                   HasSubstr("not committed"), HasSubstr("in all")));
  }
  const auto json = run("ls --json " + place.string());
  EXPECT_EQ(json.status, 0);
  EXPECT_THAT(json.text, AllOf(HasSubstr("\"committed\": 2"), HasSubstr("\"kind\": \"full\""),
                               HasSubstr("\"rank\": 1,\n          \"version\": 3,\n          \"base\": 2")));
}

TEST_F(Cli, VerifyTellsWholeFromDamaged) {
  const auto place = make_store();
  const auto whole = run("verify " + (folder / "store").string());
  EXPECT_EQ(whole.status, 0) << whole.text;
  EXPECT_THAT(whole.text, AllOf(HasSubstr("6 snapshots"), HasSubstr(", 0 bad"),
                                HasSubstr("rank 1 can be restored up to version 3")));
  fs::path victim;
  for (const auto& entry : fs::directory_iterator(place)) {
    if (entry.path().filename().string().find("r000001-v000000000002") == 0) victim = entry.path();
  }
  ASSERT_FALSE(victim.empty());
  {
    std::fstream file(victim, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(fs::file_size(victim) / 2));
    const char byte = static_cast<char>(file.peek() ^ 0x10);
    file.seekp(static_cast<std::streamoff>(fs::file_size(victim) / 2));
    file.put(byte);
  }
  const auto damaged = run("verify " + (folder / "store").string());
  EXPECT_EQ(damaged.status, 1) << damaged.text;
  EXPECT_THAT(damaged.text, AllOf(HasSubstr("BAD  "), HasSubstr("rank 1 version 2"),
                                  HasSubstr("rank 1 can be restored up to version 1"),
                                  HasSubstr("rank 0 can be restored up to version 3")));
  EXPECT_EQ(run("verify " + victim.string()).status, 1);
  const auto json = run("verify --json " + (folder / "store").string());
  EXPECT_EQ(json.status, 1);
  EXPECT_THAT(json.text, AllOf(HasSubstr("\"bad\": 1"), HasSubstr("\"newest_restorable\": 1")));
}

TEST_F(Cli, VerifyNeedsTheKeyOfSealedSnapshots) {
  const std::string secret(64, 'c');
  make_store(Key::from_hex(secret));
  const auto file = folder / "key";
  std::ofstream(file) << secret << "\n";
  fs::permissions(file, fs::perms::owner_read);
  const auto store = (folder / "store").string();
  EXPECT_EQ(run("verify --key-file " + file.string() + " " + store).status, 0);
  EXPECT_EQ(run("verify " + store).status, 1);
  EXPECT_EQ(run("verify " + store, "FOREWEAVE_KEY=" + std::string(64, 'd')).status, 1);
}

class CliTrace : public Cli, public ::testing::WithParamInterface<bool> {};

TEST_P(CliTrace, ListsARun) {
  tools_test::record_sample_run(folder, GetParam());
  const auto listed = run("ls " + (folder / "trace.h5").string());
  EXPECT_EQ(listed.status, 0) << listed.text;
  EXPECT_THAT(listed.text,
              AllOf(HasSubstr("run sample-1 of job gray-scott, 3 ranks"), HasSubstr("found hub 1 dead (rank 1)"),
                    HasSubstr(GetParam() ? "recovered (relaunch)" : "recovered (in_place)"),
                    HasSubstr("from mirror on hub 2"), HasSubstr("7 steps lost"),
                    HasSubstr("tracked by the kernel"), HasSubstr("versions to the shared tier, up to 24"),
                    HasSubstr("passed over")));
  const auto json = run("ls --json " + folder.string());
  EXPECT_EQ(json.status, 0);
  EXPECT_THAT(json.text, AllOf(HasSubstr("\"newest_version\": 24"), HasSubstr("\"committed_version\": 24"),
                               HasSubstr("\"tracked_bytes\": "), HasSubstr("\"tier\": \"shared\""),
                               HasSubstr("\"passed_over\": ")));
}

TEST_P(CliTrace, ReportIsOnePageWithItsNumbers) {
  tools_test::record_sample_run(folder, GetParam());
  const auto made = run("report " + (folder / "trace.h5").string() + " -o " + (folder / "report.html").string());
  ASSERT_EQ(made.status, 0) << made.text;
  const auto page = read(folder / "report.html");
  EXPECT_THAT(
      page, AllOf(HasSubstr("sample-1"), HasSubstr("<svg"), HasSubstr("What was lost"), HasSubstr("mirror on hub 2"),
                  HasSubstr("7 steps"), HasSubstr("&lt;&amp;&quot;"), HasSubstr("Brought to files"), HasSubstr("<td>shared</td>"),
                  HasSubstr("</html>")));
  // Self-contained: nothing is fetched.
  EXPECT_THAT(page, AllOf(Not(HasSubstr("src=\"http")), Not(HasSubstr("<link")), Not(HasSubstr("<script"))));
  const auto versions = read(folder / "report-data/versions.csv");
  // Header, and a line a version: 24 (version 15 on is counted in the attempt that took it).
  EXPECT_EQ(std::count(versions.begin(), versions.end(), '\n'), 25);
  // Version 2: three ranks of 32 MiB; 760 pages of 6000 bytes each.
  EXPECT_THAT(versions, HasSubstr(",0,100663296,13680000,13680000,"));
  EXPECT_THAT(read(folder / "report-data/timeline.svg"), HasSubstr("</svg>"));
  EXPECT_THAT(read(folder / "report-data/timeline.csv"),
              AllOf(HasSubstr("recovery"), HasSubstr("failure"), HasSubstr("send"), HasSubstr("flush")));
  EXPECT_THAT(read(folder / "report-data/summary.csv"), AllOf(HasSubstr("failures,1"), HasSubstr("recoveries,1"), HasSubstr("tracked_bytes,1")));
}

INSTANTIATE_TEST_SUITE_P(Recovery, CliTrace, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "relaunch" : "in_place"; });

TEST_F(Cli, ReportsARunWithoutRecords) {
  {
    trace::RunInfo info;
    info.run_id = "empty";
    trace::write_index(folder, info);
    trace::Recorder recorder(folder, info);
  }
  const auto made = run("report " + (folder / "trace.h5").string() + " -o " + (folder / "report.html").string());
  EXPECT_EQ(made.status, 0) << made.text;
  EXPECT_THAT(read(folder / "report.html"), HasSubstr("</html>"));
  for (const auto& output : {folder, folder / "trace.h5" / "report.html"}) {   // a folder; below what is none
    const auto refused = run("report " + (folder / "trace.h5").string() + " -o " + output.string());
    EXPECT_EQ(refused.status, 4) << refused.text;
    EXPECT_THAT(refused.text, AllOf(HasSubstr(output.string()), Not(HasSubstr("Traceback"))));
  }
}

TEST_F(Cli, DamagedTracesAreStatusOne) {
  std::ofstream(folder / "trace.h5") << "no HDF5";
  for (const std::string command : {"ls", "report"}) {
    const auto bad = run(command + " " + (folder / "trace.h5").string());
    EXPECT_EQ(bad.status, 1) << bad.text;
    EXPECT_THAT(bad.text, HasSubstr("trace.h5"));
  }
}

TEST_F(Cli, ReportNamesThePackagesWhenPythonLacksThem) {
  tools_test::record_sample_run(folder, true);
  const auto bare = folder / "bin";
  fs::create_directory(bare);
  std::ofstream(bare / "python3") << "#!/bin/sh\nexit 1\n";
  fs::permissions(bare / "python3", fs::perms::owner_all);
  const auto made = run("report " + (folder / "trace.h5").string() + " -o " + (folder / "report.html").string(),
                        "FOREWEAVE_PYTHON=" + (bare / "python3").string());
  EXPECT_EQ(made.status, 4) << made.text;
  EXPECT_THAT(made.text, AllOf(HasSubstr("python3-h5py"), HasSubstr("python3-matplotlib")));
}

}  // namespace
}  // namespace foreweave
