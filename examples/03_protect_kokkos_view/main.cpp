// The same with Kokkos Views: wherever a View lies, and under its own label.

#include <Kokkos_Core.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "foreweave/foreweave.hpp"
#include "foreweave/interop/kokkos.hpp"

namespace {

using Field = Kokkos::View<double**>;

// Free functions: nvcc takes no device lambda in main's function-try-block.
void advance(const Field& field) {
  Kokkos::parallel_for(
      "advance",
      Kokkos::MDRangePolicy<Kokkos::Rank<2>>(
          {0, 0}, {static_cast<std::int64_t>(field.extent(0)), static_cast<std::int64_t>(field.extent(1))}),
      KOKKOS_LAMBDA(std::int64_t i, std::int64_t j) { field(i, j) += static_cast<double>(i + 2 * j); });
  Kokkos::fence();
}

/// Cells that are not what `step` steps give.
long wrong_cells(const Field& field, int step) {
  const auto host = Kokkos::create_mirror_view(field);
  Kokkos::deep_copy(host, field);
  long wrong = 0;
  for (std::size_t i = 0; i < host.extent(0); ++i)
    for (std::size_t j = 0; j < host.extent(1); ++j)
      wrong += host(i, j) != static_cast<double>(step) * static_cast<double>(i + 2 * j);
  return wrong;
}

int run(int argc, char** argv) {
  foreweave::Context context(foreweave::Options::from(argc, argv));
  const Field field("field", 300, 200);
  const Kokkos::View<int[3]> settings("settings");
  int step = 0;
  foreweave::kokkos::protect(context, field, settings);  // under their labels
  context.protect("step", step);
  context.restore();
  const int end = step + 5;
  while (step < end) {
    advance(field);
    ++step;
    context.checkpoint();
  }
  context.flush();

  Kokkos::deep_copy(field, -1.0);  // what a crash leaves of it
  context.restore();
  if (const long wrong = wrong_cells(field, step)) {
    std::fprintf(stderr, "%ld cells are wrong\n", wrong);
    return EXIT_FAILURE;
  }
  std::printf("restored step %d from %s\n", step, Field::memory_space::name());
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  Kokkos::initialize(argc, argv);
  int code = EXIT_FAILURE;
  try {
    code = run(argc, argv);
  } catch (const foreweave::Error& error) {
    std::fprintf(stderr, "protect_kokkos_view: %s\n", error.what());
  }
  Kokkos::finalize();
  return code;
}
