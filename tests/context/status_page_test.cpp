#include "context/status_page.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "foreweave/core/error.hpp"

namespace foreweave::context {
namespace {

TEST(StatusPage, OutlivesItsProcess) {
  char folder[] = "/tmp/foreweave-status-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const auto file = std::filesystem::path(folder) / "status";
  {
    StatusPage page(file);
    EXPECT_EQ(page.previous_step(), 0u);
    EXPECT_EQ(page.joined(), 0u);
    EXPECT_EQ(page.active(), 0u);
    page.set_step(12345678901);
    page.set_joined(3);
    page.set_active(2);
    EXPECT_EQ(page.previous_step(), 0u);
    EXPECT_EQ(page.joined(), 3u);
  }
  StatusPage again(file);
  EXPECT_EQ(again.previous_step(), 12345678901u);
  EXPECT_EQ(again.joined(), 3u);
  EXPECT_EQ(again.active(), 2u);
  std::filesystem::remove_all(folder);
}

TEST(StatusPage, OneProcessHasItUntilItEnds) {
  char folder[] = "/tmp/foreweave-status-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const auto file = std::filesystem::path(folder) / "status";
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t other = ::fork();
  ASSERT_GE(other, 0);
  if (other == 0) {
    const StatusPage page(file);
    if (::write(ready[1], "!", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char word = 0;
  ASSERT_EQ(::read(ready[0], &word, 1), 1);
  std::string said;
  try {
    const StatusPage page(file, std::chrono::milliseconds(0));
  } catch (const Error& error) {
    EXPECT_EQ(error.category(), ErrorCategory::state);
    said = error.what();
  }
  EXPECT_NE(said.find(file.string()), std::string::npos) << said;
  EXPECT_NE(said.find("process " + std::to_string(other)), std::string::npos) << said;
  EXPECT_NE(said.find("option job"), std::string::npos) << said;
  // One that was killed needs not have ended yet.
  ASSERT_EQ(::kill(other, SIGKILL), 0);
  EXPECT_NO_THROW(StatusPage page(file));
  ASSERT_EQ(::waitpid(other, nullptr, 0), other);
  ::close(ready[0]);
  ::close(ready[1]);
  std::filesystem::remove_all(folder);
}

TEST(StatusPage, FolderThatIsNotThereIsNamed) {
  try {
    StatusPage page("/nowhere/at/all/status");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.category(), ErrorCategory::io);
    EXPECT_NE(std::string(error.what()).find("/nowhere/at/all/status"), std::string::npos);
  }
}

}  // namespace
}  // namespace foreweave::context
