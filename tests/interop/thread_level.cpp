// A program that starts MPI below the thread level that is needed gets an error that names both levels and the call.
#include <mpi.h>

#include <cstdio>
#include <string>

#include "foreweave/foreweave.hpp"
#include "foreweave/interop/mpi.hpp"

namespace {

/// The error's text; empty when nothing was thrown.
std::string refusal() {
  try {
    foreweave::mpi::Context context(MPI_COMM_WORLD);
  } catch (const foreweave::Error& error) {
    return error.what();
  }
  return {};
}

bool names(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  std::fprintf(stderr, "'%s' does not name '%s'\n", text.c_str(), part.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  bool good = names(refusal(), "MPI_Init_thread");   // not started at all
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SINGLE, &provided);
  if (provided == MPI_THREAD_SINGLE) {
    const auto text = refusal();
    good = names(text, "MPI_THREAD_SINGLE") && names(text, "MPI_THREAD_FUNNELED") && good;
  }
  MPI_Finalize();
  return good ? 0 : 1;
}
