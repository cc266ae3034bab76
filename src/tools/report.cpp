#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "foreweave/core/error.hpp"
#include "tools/commands.hpp"

namespace foreweave::tools {
namespace fs = std::filesystem;
namespace {

// Runs a program by PATH and waits; its exit status, or 127 when it cannot be started.
int run(const std::vector<std::string>& command, bool quiet) {
  const pid_t child = ::fork();
  if (child < 0) throw Error(ErrorCategory::io, "start " + command[0], std::strerror(errno), errno);
  if (child == 0) {
    if (quiet && std::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(127);
    std::vector<char*> arguments;
    for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw Error(ErrorCategory::io, "wait for " + command[0], std::strerror(errno), errno);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The script beside an installed program (PREFIX/bin, PREFIX/share/foreweave), else in the sources it was built from.
fs::path script() {
  if (const char* named = std::getenv("FOREWEAVE_REPORT_SCRIPT"); named != nullptr && *named != '\0') return named;
  std::error_code ignored;
  const auto program = fs::read_symlink("/proc/self/exe", ignored);
  for (const auto& candidate :
       {program.parent_path().parent_path() / FOREWEAVE_REPORT_INSTALLED / "foreweave_report.py",
        fs::path(FOREWEAVE_REPORT_SOURCE) / "foreweave_report.py"}) {
    if (fs::exists(candidate, ignored)) return candidate;
  }
  throw Error(ErrorCategory::absent, "find the report script foreweave_report.py",
              "it is neither beside " + program.string() +
                  " nor in " FOREWEAVE_REPORT_SOURCE "; FOREWEAVE_REPORT_SCRIPT can name it");
}

std::string python() {
  // One that is named is used or refused, never passed over.
  const char* named = std::getenv("FOREWEAVE_PYTHON");
  std::vector<std::string> candidates{"python3", "/usr/bin/python3"};
  if (named != nullptr && *named != '\0') candidates = {named};
  std::string tried;
  for (const auto& candidate : candidates) {
    if (run({candidate, "-c", "import h5py, matplotlib"}, true) == 0) return candidate;
    tried += (tried.empty() ? "" : ", ") + candidate;
  }
  throw Error(ErrorCategory::resource, "find a Python with h5py and matplotlib",
              "tried " + tried +
                  "; install Debian's python3-h5py and python3-matplotlib, or name an interpreter in "
                  "FOREWEAVE_PYTHON");
}

}  // namespace

int report(const fs::path& trace, const fs::path& output) {
  if (!fs::exists(trace)) throw Error(ErrorCategory::absent, "report " + trace.string(), "there is no such file");
  const auto file = fs::is_directory(trace) ? trace / "trace.h5" : trace;
  const int status = run({python(), script(), file, "-o", output}, false);
  if (status == status_ok || status == status_bad || status == status_absent) return status;
  throw Error(ErrorCategory::io, "report " + file.string(),
              "the report script failed with status " + std::to_string(status) + "; what it said stands above");
}

}  // namespace foreweave::tools
