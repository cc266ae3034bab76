// Preloaded into a program (LD_PRELOAD): ends it by SIGKILL in the middle of a chosen write, as a lost node would. Half
// of the bytes are then in the file. Changing names (rename, link, unlink) counts too: the process ends just before.
//
//   KILL_FILE   only files whose path contains this
//   KILL_CALL   in which call on such files, counted from 1; 0: never
//   KILL_HUB    only the process that MPI started under this number, and only in the job's first start
//   KILL_NOTE   KILL_NOTE.struck is made before the process ends; at an orderly end KILL_NOTE.calls.HUB has the count
//
// A test can so choose among all the moments at which the system sees a file change, without any timing.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

const char* text_of(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? text : "";
}

const char* own_hub() {
  const char* hub = text_of("PMIX_RANK");
  return *hub != '\0' ? hub : text_of("OMPI_COMM_WORLD_RANK");
}

std::atomic<long> calls{0};

bool concerns(const char* path) {
  const char* wanted = text_of("KILL_FILE");
  return *wanted != '\0' && path != nullptr && std::strstr(path, wanted) != nullptr;
}

bool concerns(int descriptor) {
  char link[64], path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const auto length = ::readlink(link, path, sizeof path - 1);
  if (length < 0) return false;
  path[length] = '\0';
  return concerns(path);
}

/// Whether this call, which concerns a file, is the one.
bool due() {
  const long call = ++calls;
  return call == std::atol(text_of("KILL_CALL")) && std::strcmp(own_hub(), text_of("KILL_HUB")) == 0 &&
         std::strcmp(text_of("FOREWEAVE_ATTEMPT"), "0") == 0;
}

[[noreturn]] void end() {
  const std::string note = std::string(text_of("KILL_NOTE")) + ".struck";
  ::close(::open(note.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

struct AtEnd {
  ~AtEnd() {
    const std::string note = std::string(text_of("KILL_NOTE")) + ".calls." + own_hub();
    if (calls == 0) return;
    if (std::FILE* file = std::fopen(note.c_str(), "w")) {
      std::fprintf(file, "%ld\n", calls.load());
      std::fclose(file);
    }
  }
} at_end;

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t offset) {
  static auto* real = next<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  if (concerns(descriptor) && due()) {
    real(descriptor, bytes, size / 2, offset);
    end();
  }
  return real(descriptor, bytes, size, offset);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  return pwrite64(descriptor, bytes, size, offset);
}

ssize_t write(int descriptor, const void* bytes, size_t size) {
  static auto* real = next<ssize_t(int, const void*, size_t)>("write");
  if (concerns(descriptor) && due()) {
    real(descriptor, bytes, size / 2);
    end();
  }
  return real(descriptor, bytes, size);
}

int rename(const char* from, const char* to) noexcept {
  static auto* real = next<int(const char*, const char*)>("rename");
  if ((concerns(from) || concerns(to)) && due()) end();
  return real(from, to);
}

int link(const char* from, const char* to) noexcept {
  static auto* real = next<int(const char*, const char*)>("link");
  if ((concerns(from) || concerns(to)) && due()) end();
  return real(from, to);
}

int unlink(const char* path) noexcept {
  static auto* real = next<int(const char*)>("unlink");
  if (concerns(path) && due()) end();
  return real(path);
}

}  // extern "C"
