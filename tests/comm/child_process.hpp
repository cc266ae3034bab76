#pragma once
// Processes of a test that may be killed and stopped: exec'ed (never a bare fork: UCX does not live through one), and
// killed at the latest when their owner goes.

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "foreweave/core/bytes.hpp"
#include "foreweave/core/error.hpp"

extern char** environ;

namespace foreweave::test {

/// A folder that goes with its owner.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "foreweave-comm-XXXXXX").string();
    if (!mkdtemp(name.data())) throw Error(ErrorCategory::io, "make a folder", name, errno);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The program this test is, again, with other arguments.
class Child {
 public:
  explicit Child(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "/proc/self/exe");
    std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    if (const int rc = posix_spawn(&pid_, self.c_str(), nullptr, nullptr, argv.data(), environ); rc != 0)
      throw Error(ErrorCategory::io, "start a child process", self, rc);
  }
  ~Child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
  }
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  Child& operator=(Child&& other) noexcept {
    std::swap(pid_, other.pid_);
    return *this;
  }
  void signal(int number) const { kill(pid_, number); }
  /// How it ended: the exit status, or minus the signal. Waits for it, `patience` at most: -1000 then.
  int wait(std::chrono::seconds patience) {
    const auto end = std::chrono::steady_clock::now() + patience;
    int status = 0;
    while (waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > end) return -1000;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
};

/// Files by which processes tell each other: there at once and whole.
inline void publish(const std::filesystem::path& file, const Bytes& bytes) {
  const auto temporary = file.string() + "." + std::to_string(getpid());
  {
    std::ofstream out(temporary, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  std::filesystem::rename(temporary, file);
}
inline Bytes contents(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}
inline bool await_file(const std::filesystem::path& file, std::chrono::seconds patience = std::chrono::seconds(60)) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!std::filesystem::exists(file)) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace foreweave::test
