#include "context/status_page.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

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
