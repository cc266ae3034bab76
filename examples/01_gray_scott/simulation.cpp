#include "simulation.hpp"

#include "foreweave/interop/mpi.hpp"

namespace gray_scott {
namespace {

int rank_of(MPI_Comm comm) {
  int rank = 0;
  foreweave::mpi::check(MPI_Comm_rank(comm, &rank), "rank of the simulation");
  return rank;
}

int size_of(MPI_Comm comm) {
  int size = 0;
  foreweave::mpi::check(MPI_Comm_size(comm, &size), "size of the simulation");
  return size;
}

/// Noise in [-1, 1) that depends on nothing but the seed and a cell's number in the whole grid (the mixing function
/// of Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
double noise(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t x = seed + (index + 1) * 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) * 0x1.0p-52 - 1.0;
}

// Kernels are free functions: nvcc accepts no device lambda inside a private member or another lambda.

/// Saves plane z of u and v. `old` holds four planes: u at even z, u at odd z, v at even z, v at odd z.
void keep_plane(const Layout& layout, const double* u, const double* v, std::int64_t z, double* old) {
  const std::int64_t row = layout.row;
  double* const u_to = old + (z % 2) * layout.plane;
  double* const v_to = old + (2 + z % 2) * layout.plane;
  const double* const u_from = u + z * layout.plane;
  const double* const v_from = v + z * layout.plane;
  for_cells(
      layout.size[1] + 2, row, GRAY_SCOTT_LAMBDA(std::int64_t y, std::int64_t x) {
        u_to[y * row + x] = u_from[y * row + x];
        v_to[y * row + x] = v_from[y * row + x];
      });
}

/// Plane z one step on, from its old values and those of the plane below (saved) and above (not yet updated).
void update_plane(const Layout& layout, double* u, double* v, std::int64_t z, const double* old,
                  const Coefficients& coefficients) {
  const std::int64_t plane = layout.plane, row = layout.row;
  const Coefficients c = coefficients;
  const double* const u_here = old + (z % 2) * plane;
  const double* const u_below = old + ((z - 1) % 2) * plane;
  const double* const u_above = u + (z + 1) * plane;
  const double* const v_here = old + (2 + z % 2) * plane;
  const double* const v_below = old + (2 + (z - 1) % 2) * plane;
  const double* const v_above = v + (z + 1) * plane;
  double* const u_next = u + z * plane;
  double* const v_next = v + z * plane;
  for_cells(
      layout.size[1], layout.size[0], GRAY_SCOTT_LAMBDA(std::int64_t y, std::int64_t x) {
        const std::int64_t i = (y + 1) * row + x + 1;
        const double u_lap = laplacian(u_here[i], u_here[i - 1], u_here[i + 1], u_here[i - row], u_here[i + row],
                                       u_below[i], u_above[i]);
        const double v_lap = laplacian(v_here[i], v_here[i - 1], v_here[i + 1], v_here[i - row], v_here[i + row],
                                       v_below[i], v_above[i]);
        u_next[i] = next_u(u_here[i], v_here[i], u_lap, c);
        v_next[i] = next_v(u_here[i], v_here[i], v_lap, c);
      });
}

}  // namespace

Simulation::Simulation(const Settings& settings, MPI_Comm comm)
    : settings_(settings),
      comm_(comm),
      rank_(rank_of(comm)),
      blocks_(settings.size, size_of(comm)),
      block_(blocks_.block(rank_)),
      layout_(block_.size),
      coefficients_{settings.diffusion_u / (settings.spacing * settings.spacing),
                    settings.diffusion_v / (settings.spacing * settings.spacing), settings.feed,
                    settings.feed + settings.kill, settings.dt},
      halo_(blocks_, rank_, comm) {
  u = make_field("u", layout_.total());
  v = make_field("v", layout_.total());
  old_planes_ = make_field("old planes", 4 * layout_.plane);
  start();
}

/// The usual start: u = 1 and v = 0 everywhere, a seed cube in the middle, and a little noise.
void Simulation::start() {
  const StagedField u_start(u), v_start(v);
  const auto in_cube = [&](int axis, std::int64_t at) {
    const auto n = settings_.size[static_cast<std::size_t>(axis)];
    return at >= n / 2 - n / 8 && at <= n / 2 + n / 8;
  };
  for (std::int64_t z = 0; z < block_.size[2]; ++z) {
    for (std::int64_t y = 0; y < block_.size[1]; ++y) {
      for (std::int64_t x = 0; x < block_.size[0]; ++x) {
        const Triple at{block_.offset[0] + x, block_.offset[1] + y, block_.offset[2] + z};
        const bool cube = in_cube(0, at[0]) && in_cube(1, at[1]) && in_cube(2, at[2]);
        const auto index =
            static_cast<std::uint64_t>((at[2] * settings_.size[1] + at[1]) * settings_.size[0] + at[0]);
        const auto cell = (z + 1) * layout_.plane + (y + 1) * layout_.row + x + 1;
        u_start.host()[cell] = (cube ? 0.25 : 1.0) + settings_.noise * noise(settings_.seed, 2 * index);
        v_start.host()[cell] = (cube ? 0.33 : 0.0) + settings_.noise * noise(settings_.seed, 2 * index + 1);
      }
    }
  }
  u_start.to_device();
  v_start.to_device();
}

void Simulation::advance() {
  const double begin = MPI_Wtime();
  halo_.exchange(u.data(), v.data());
  halo_seconds_ += MPI_Wtime() - begin;
  update();
  ++step;
}

void Simulation::update() {
  double* const old = old_planes_.data();
  keep_plane(layout_, u.data(), v.data(), 0, old);
  for (std::int64_t z = 1; z <= layout_.size[2]; ++z) {
    keep_plane(layout_, u.data(), v.data(), z, old);
    update_plane(layout_, u.data(), v.data(), z, old, coefficients_);
  }
  finish_loops();
}

foreweave::GlobalPart Simulation::part() const {
  foreweave::GlobalPart part;
  for (const std::size_t axis : {2, 1, 0}) {
    part.whole.push_back(static_cast<std::uint64_t>(blocks_.grid()[axis]));
    part.offset.push_back(static_cast<std::uint64_t>(block_.offset[axis]));
    part.ghost.push_back(1);
  }
  return part;
}

}  // namespace gray_scott
