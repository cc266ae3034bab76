#include "foreweave/context/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "foreweave/core/error.hpp"

namespace foreweave {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

// argv as a program gets it.
class Arguments {
 public:
  explicit Arguments(std::vector<std::string> words) : words_(std::move(words)) {
    words_.insert(words_.begin(), "program");
    for (auto& word : words_) pointers_.push_back(word.data());
    pointers_.push_back(nullptr);
    argc = static_cast<int>(words_.size());
    argv = pointers_.data();
  }
  std::vector<std::string> left() const { return {argv + 1, argv + argc}; }
  int argc = 0;
  char** argv = nullptr;

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

Options parse(std::vector<std::string> words) {
  Arguments arguments(std::move(words));
  return Options::from(arguments.argc, arguments.argv);
}

template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.category(), ErrorCategory::argument) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "was not refused";
  return {};
}

std::string source_of(const Options& options, const std::string& name) {
  for (const auto& entry : options.list()) {
    if (entry.name == name) return entry.source;
  }
  return "no such option";
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text)
      : path_(std::filesystem::temp_directory_path() / ("foreweave-options-" + std::to_string(::getpid()))) {
    std::ofstream(path_) << text;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(Options, DefaultsStandWithoutAnything) {
  const auto options = parse({});
  EXPECT_TRUE(options.enabled);
  EXPECT_EQ(options.job, "default");
  EXPECT_EQ(options.store, "/dev/shm/foreweave-" + std::to_string(::getuid()));
  EXPECT_EQ(options.copies, 1u);
  EXPECT_EQ(options.transport, TransportChoice::ucx);
  EXPECT_EQ(options.recover, RecoverChoice::automatic);
  for (const auto& entry : options.list()) {
    EXPECT_EQ(entry.source, "default") << entry.name;
    EXPECT_EQ(entry.value, entry.default_value) << entry.name;
  }
}

TEST(Options, TheDocumentHasEachAsItIs) {
  std::ifstream file(std::string(FOREWEAVE_DOCS_DIR) + "/options.md");
  std::stringstream document;
  document << file.rdbuf();
  for (const auto& entry : Options{}.list()) {
    if (entry.internal) continue;
    const auto value = entry.name == "store" ? "/dev/shm/foreweave-UID" : entry.default_value;
    EXPECT_THAT(document.str(), HasSubstr("| `" + entry.name + "` | " + (value.empty() ? "" : "`" + value + "`") + " | " +
                                          entry.help + " |\n"));
  }
}

TEST(Options, EachTierHasAFolderOfItsOwn) {
  Options options;
  options.file_store = "/scratch/files";
  options.shared_store = "/lustre/files";
  options.check();
  options.shared_store = "/scratch/./files";
  EXPECT_THAT(refusal([&] { options.check(); }), AllOf(HasSubstr("shared_store"), HasSubstr("'/scratch/./files'")));
  options.shared_store.clear();
  options.file_store = options.store;
  EXPECT_THAT(refusal([&] { options.check(); }), AllOf(HasSubstr("file_store"), HasSubstr("'store'")));
}

TEST(Options, PrecedenceIsCommandLineEnvironmentFileDefault) {
  const TemporaryFile file("copies = 2\nkeep = 7  # a comment\n\n# nothing\nmax_chain=12\n");
  const Variable path("FOREWEAVE_OPTIONS_FILE", file.path().c_str());
  const Variable copies("FOREWEAVE_COPIES", "3");
  const Variable keep("FOREWEAVE_KEEP", "9");
  const auto options = parse({"--foreweave-copies=4"});
  EXPECT_EQ(options.copies, 4u);
  EXPECT_EQ(options.keep, 9u);
  EXPECT_EQ(options.max_chain, 12u);
  EXPECT_EQ(source_of(options, "copies"), "command line");
  EXPECT_EQ(source_of(options, "keep"), "environment variable FOREWEAVE_KEEP");
  EXPECT_EQ(source_of(options, "max_chain"), "file " + file.path() + ":5");
  EXPECT_EQ(source_of(options, "spares"), "default");
}

TEST(Options, CommandLineNamesTheFileOverTheEnvironment) {
  const TemporaryFile file("copies = 5\n");
  const Variable path("FOREWEAVE_OPTIONS_FILE", "/does/not/exist");
  EXPECT_EQ(parse({"--foreweave-options-file", file.path()}).copies, 5u);
}

TEST(Options, TakesItsArgumentsAndLeavesTheOthers) {
  Arguments arguments({"-n", "3", "--foreweave-job", "demo", "input.toml", "--foreweave-progress", "1",
                       "--foreweave-enabled", "off", "--foreweave-max-chain=5", "--", "--foreweave-copies=2"});
  const auto options = Options::from(arguments.argc, arguments.argv);
  EXPECT_THAT(arguments.left(), ElementsAre("-n", "3", "input.toml", "1", "--", "--foreweave-copies=2"));
  EXPECT_EQ(arguments.argv[arguments.argc], nullptr);
  EXPECT_EQ(options.job, "demo");
  EXPECT_TRUE(options.progress);
  EXPECT_FALSE(options.enabled);
  EXPECT_EQ(options.max_chain, 5u);
  EXPECT_EQ(options.copies, 1u);
}

TEST(Options, KindsOfValues) {
  const auto options =
      parse({"--foreweave-host-budget=3M", "--foreweave-staging", "2GiB", "--foreweave-heartbeat=50ms",
             "--foreweave-suspect-after=2s", "--foreweave-commit-wait=0.25", "--foreweave-transport=mpi",
             "--foreweave-log=debug", "--foreweave-recover=in_place", "--foreweave-store=/tmp/a b"});
  EXPECT_EQ(options.host_budget, 3u << 20);
  EXPECT_EQ(options.staging, std::uint64_t{2} << 30);
  EXPECT_DOUBLE_EQ(options.heartbeat, 0.05);
  EXPECT_DOUBLE_EQ(options.suspect_after, 2);
  EXPECT_DOUBLE_EQ(options.commit_wait, 0.25);
  EXPECT_EQ(options.transport, TransportChoice::mpi);
  EXPECT_EQ(options.log, log::Level::debug);
  EXPECT_EQ(options.recover, RecoverChoice::in_place);
  EXPECT_EQ(options.store, "/tmp/a b");
  EXPECT_EQ(options.get("host_budget"), "3M");
  EXPECT_EQ(options.get("staging"), "2G");
  EXPECT_EQ(options.get("heartbeat"), "0.05");
}

// What list() prints can be given back, so that a launcher can hand options on.
TEST(Options, RedundancyIsReadOrRefused) {
  EXPECT_FALSE(parse_redundancy("copies").groups);
  const auto groups = parse_redundancy("rs:4+2");
  EXPECT_TRUE(groups.groups);
  EXPECT_EQ(groups.data, 4);
  EXPECT_EQ(groups.parity, 2);
  EXPECT_EQ(parse({"--foreweave-redundancy=rs:8+3"}).redundancy, "rs:8+3");
}

TEST(Options, PrintedValuesReadBack) {
  const auto options =
      parse({"--foreweave-host-budget=1536", "--foreweave-heartbeat=0.07", "--foreweave-fault=kill:rank=1,step=60",
             "--foreweave-recover=relaunch", "--foreweave-progress"});
  Options again;
  for (const auto& entry : options.list()) again.set(entry.name, entry.value, entry.source);
  const auto a = options.list(), b = again.list();
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].value, b[i].value) << a[i].name;
}

TEST(Options, RefusesOutOfRangeNamingOptionValueSourceAndRange) {
  const Variable copies("FOREWEAVE_COPIES", "9");
  EXPECT_THAT(refusal([] { parse({}); }), AllOf(HasSubstr("option 'copies'"), HasSubstr("'9'"),
                                                HasSubstr("FOREWEAVE_COPIES"), HasSubstr("from 0 to 8")));
}

TEST(Options, RefusesValuesOfTheWrongKind) {
  for (const auto* bad : {"copies=-1",
                          "copies=",
                          "copies=1x",
                          "copies=1.5",
                          "copies=99999999999999999999",
                          "max_chain=0",
                          "max_chain=1025",
                          "keep=0",
                          "redundancy=",
                          "redundancy=rs",
                          "redundancy=rs:4",
                          "redundancy=rs:4+0",
                          "redundancy=rs:0+1",
                          "redundancy=rs:129+1",
                          "redundancy=rs:4+17",
                          "redundancy=rs:4+2x",
                          "redundancy=mirror",
                          "enabled=maybe",
                          "job=a/b",
                          "job=..",
                          "job=",
                          "host_budget=12Q",
                          "host_budget=99999999999T",
                          "host_budget=-1",
                          "heartbeat=nan",
                          "heartbeat=inf",
                          "heartbeat=0",
                          "transport=nccl",
                          "recover=later",
                          "log=loud",
                          "run_id=a b",
                          "store=",
                          "fault=explode",
                          "in_flight=0",
                          "file_every=0"}) {
    const std::string name(bad, std::strchr(bad, '='));
    EXPECT_THAT(refusal([&] { parse({"--foreweave-" + std::string(bad)}); }),
                AllOf(HasSubstr("option '" + name + "'"), HasSubstr("command line"), HasSubstr("accepted: ")))
        << bad;
  }
}

TEST(Options, RefusesUnknownNamesAndSuggests) {
  EXPECT_THAT(refusal([] { parse({"--foreweave-copy=1"}); }),
              AllOf(HasSubstr("'copy'"), HasSubstr("did you mean 'copies'?"), HasSubstr("command line")));
  EXPECT_THAT(refusal([] { parse({"--foreweave-zebra=1"}); }),
              AllOf(HasSubstr("'zebra'"), Not(HasSubstr("did you mean")), HasSubstr("Known options: enabled")));
  const Variable variable("FOREWEAVE_STOREE", "x");
  EXPECT_THAT(refusal([] { parse({}); }), AllOf(HasSubstr("did you mean 'store'?"), HasSubstr("FOREWEAVE_STOREE")));
}

TEST(Options, InternalVariablesAreLeftAlone) {
  const Variable node("FOREWEAVE_NODE", "n1"), golden("FOREWEAVE_WRITE_GOLDEN", "1");
  EXPECT_NO_THROW(parse({}));
}

TEST(Options, FileProblemsNameFileAndLine) {
  const TemporaryFile bad("keep = 2\ncopies = many\n"), *file = &bad;
  EXPECT_THAT(refusal([&] {
                parse({"--foreweave-options-file", file->path()});
              }),
              AllOf(HasSubstr(file->path() + ":2"), HasSubstr("'many'")));
  std::ofstream(file->path()) << "just words\n";
  EXPECT_THAT(refusal([&] { parse({"--foreweave-options-file", file->path()}); }), HasSubstr(file->path() + ":1"));
  std::ofstream(file->path()) << "key = 0\n";
  EXPECT_THAT(refusal([&] { parse({"--foreweave-options-file", file->path()}); }), HasSubstr("key_file"));
  try {
    parse({"--foreweave-options-file=/does/not/exist"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.category(), ErrorCategory::io);
    EXPECT_THAT(error.what(), HasSubstr("/does/not/exist"));
  }
}

TEST(Options, TheKeyIsNeverShown) {
  const std::string secret(64, 'a');
  EXPECT_THAT(refusal([&] { parse({"--foreweave-key=" + secret}); }),
              AllOf(HasSubstr("FOREWEAVE_KEY"), Not(HasSubstr("aaaa"))));
  {
    const Variable key("FOREWEAVE_KEY", secret.c_str());
    const auto options = parse({});
    EXPECT_EQ(options.key, secret);
    EXPECT_EQ(options.get("key"), "(set)");
    EXPECT_THAT(refusal([&] { parse({"--foreweave-key-file=/tmp/k"}); }), HasSubstr("key_file"));
  }
  const Variable key("FOREWEAVE_KEY", "abcd");
  EXPECT_THAT(refusal([&] { parse({}); }), AllOf(HasSubstr("64 hex digits"), Not(HasSubstr("abcd"))));
}

TEST(Options, ProgramChangesAreCheckedAndNamed) {
  Options options;
  options.set("copies", "2");
  options.keep = 3;
  EXPECT_EQ(source_of(options, "copies"), "program");
  EXPECT_EQ(source_of(options, "keep"), "program");
  EXPECT_NO_THROW(options.check());
  options.copies = 9;
  EXPECT_THAT(refusal([&] { options.check(); }), AllOf(HasSubstr("'copies'"), HasSubstr("'9'")));
  options.copies = 1;
  options.heartbeat = options.suspect_after;
  EXPECT_THAT(refusal([&] { options.check(); }), HasSubstr("suspect_after"));
  EXPECT_THAT(refusal([&] { options.set("nope", "1"); }), HasSubstr("'nope'"));
}

TEST(Options, MissingValueIsRefused) {
  EXPECT_THAT(refusal([] { parse({"--foreweave-job"}); }), HasSubstr("has no value"));
}

TEST(Faults, PlansAreRead) {
  const auto plans = parse_faults("kill:rank=1,step=60; kill:step=7,memory=lost,rank=2,attempt=1");
  ASSERT_EQ(plans.size(), 2u);
  EXPECT_EQ(plans[0].rank, 1);
  EXPECT_EQ(plans[0].step, 60u);
  EXPECT_FALSE(plans[0].memory_lost);
  EXPECT_EQ(plans[0].attempt, 0);
  EXPECT_EQ(plans[1].rank, 2);
  EXPECT_EQ(plans[1].step, 7u);
  EXPECT_TRUE(plans[1].memory_lost);
  EXPECT_EQ(plans[1].attempt, 1);
  const auto late = parse_faults("kill:rank=0,version=3,after=1.5");
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0].version, 3u);
  EXPECT_EQ(late[0].after_ms, 1.5);
  EXPECT_TRUE(parse_faults("").empty());
  for (const auto* bad : {"kill", "kill:", "kill:rank=1", "kill:step=1", "kill:rank=-1,step=1", "kill:rank=1,step=x",
                          "kill:rank=1,step=1,memory=half", "kill:rank=1,step=1,version=1", "kill:rank=1,version=1,after=-1", "hang:rank=1,step=1", "kill:rank=1,step=1,colour=red"}) {
    EXPECT_THAT(refusal([&] { parse_faults(bad); }), HasSubstr("kill:rank=R,step=N")) << bad;
  }
}

}  // namespace
}  // namespace foreweave
