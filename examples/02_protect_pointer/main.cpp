// The smallest program: protects memory behind a pointer, takes checkpoints, loses the data and gets it back.
//
//   protect_pointer [--foreweave-job=NAME]
//
// Run it again under the same job name and it goes on where the last run stopped: the snapshots lie in shared memory
// (Options::store) and outlive the process.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>

#include "foreweave/foreweave.hpp"

int main(int argc, char** argv) try {
  foreweave::Context context(foreweave::Options::from(argc, argv));

  constexpr std::size_t cells = 100'000;
  const auto memory = std::make_unique<double[]>(cells);
  double* const field = memory.get();
  int step = 0;

  context.protect("field", std::span(field, cells));
  context.protect("step", step);
  if (const auto version = context.restore())
    std::printf("goes on from version %llu, step %d\n", static_cast<unsigned long long>(*version), step);

  const int end = step + 5;
  while (step < end) {
    for (std::size_t i = 0; i < cells; ++i) field[i] += static_cast<double>(i % 7);
    ++step;
    context.checkpoint();
  }
  context.flush();

  std::fill_n(field, cells, -1.0);  // what a crash leaves of it
  context.restore();
  for (std::size_t i = 0; i < cells; ++i) {
    if (field[i] == static_cast<double>(step) * static_cast<double>(i % 7)) continue;
    std::fprintf(stderr, "cell %zu is %g\n", i, field[i]);
    return EXIT_FAILURE;
  }
  std::printf("restored step %d\n", step);
  return EXIT_SUCCESS;
} catch (const foreweave::Error& error) {
  std::fprintf(stderr, "protect_pointer: %s\n", error.what());
  return EXIT_FAILURE;
}
