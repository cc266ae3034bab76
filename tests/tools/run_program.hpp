#pragma once
// Runs the program `foreweave` as a shell does.

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace foreweave::tools_test {

struct Outcome {
  int status = -1;
  std::string text;  ///< stdout and stderr
};

inline Outcome run(const std::string& arguments, const std::string& environment = "") {
  // The launch options of the test run itself must not show.
  const std::string command = environment + " " FOREWEAVE_CLI " " + arguments + " 2>&1";
  Outcome outcome;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> part{};
  while (const auto count = std::fread(part.data(), 1, part.size(), pipe)) outcome.text.append(part.data(), count);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) outcome.status = WEXITSTATUS(status);
  return outcome;
}

}  // namespace foreweave::tools_test
