// Kokkos Views protected by a pattern of labels: the code that makes them knows nothing of Foreweave.

#include <Kokkos_Core.hpp>
#include <cstdio>
#include <cstdlib>

#include "foreweave/foreweave.hpp"
#include "foreweave/interop/kokkos_labels.hpp"

namespace {

/// A solver somebody else wrote.
struct Solver {
  Kokkos::View<double**> u{"flow_u", 100, 200};
  Kokkos::View<double*> v{"flow_v", 3000}, other_v{"flow_v", 10};
  Kokkos::View<double*> scratch{"scratch", 500};

  void fill(double value) {
    Kokkos::deep_copy(u, value);
    Kokkos::deep_copy(v, 2 * value);
    Kokkos::deep_copy(other_v, 3 * value);
    Kokkos::deep_copy(scratch, 4 * value);
  }
  static double first(const Kokkos::View<double*>& view) {
    double value = 0;
    Kokkos::deep_copy(value, Kokkos::subview(view, 0));
    return value;
  }
  bool holds(double value) const {
    double last = 0;
    Kokkos::deep_copy(last, Kokkos::subview(u, 99, 199));
    return last == value && first(v) == 2 * value && first(other_v) == 3 * value;
  }
};

int run(int argc, char** argv) {
  foreweave::Context context(foreweave::Options::from(argc, argv));
  foreweave::kokkos::ProtectByLabel protection(context, {"flow_*"});
  {
    const Kokkos::View<double*> gone("flow_gone", 50);  // freed again: not protected any longer
  }
  Solver solver;
  protection.rethrow();

  solver.fill(1.5);
  context.checkpoint();
  context.flush();
  solver.fill(-1);  // what a crash leaves of it
  context.restore();
  if (!solver.holds(1.5) || Solver::first(solver.scratch) != -4) {
    std::fprintf(stderr, "the Views do not hold what they should\n");
    return EXIT_FAILURE;
  }
  const auto names = protection.names();
  std::printf("restored %s, %s and %s; scratch was left alone\n", names.at(0).c_str(), names.at(1).c_str(),
              names.at(2).c_str());
  return names.size() == 3 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  Kokkos::initialize(argc, argv);
  int code = EXIT_FAILURE;
  try {
    code = run(argc, argv);
  } catch (const foreweave::Error& error) {
    std::fprintf(stderr, "protect_by_label: %s\n", error.what());
  }
  Kokkos::finalize();
  return code;
}
