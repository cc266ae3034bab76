#include "perf/codec/data_sets.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <stdexcept>
#include <thread>
#include <utility>

#include "core/parallel.hpp"
#include "examples/01_gray_scott/settings.hpp"
#include "examples/01_gray_scott/stencil.hpp"

namespace foreweave::perf {
namespace {

namespace fs = std::filesystem;

/// Uniform in [0, 1), from the index alone (mixing function: Steele, Lea and Flood, "Fast splittable pseudorandom
/// number generators", 2014).
std::uint64_t mixed(std::uint64_t i) {
  std::uint64_t x = i * 0x9E3779B97F4A7C15u + 0x632BE59BD9B4E019u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
double noise(std::uint64_t i) { return static_cast<double>(mixed(i) >> 11) * 0x1p-53; }

template <class T>
T* elements(Array& array) {
  return reinterpret_cast<T*>(array.data());
}

/// A periodic cube of n³ cells: visits rows, with what lies around them.
struct Cube {
  std::size_t n;
  std::size_t cells() const { return n * n * n; }
  struct Row {
    std::size_t here, south, north, below, above;  ///< first cells of the rows
  };
  /// Calls row(Row) for every row, planes on several threads.
  template <class F>
  void each_row(Parallel& team, F row) const {
    team.for_each(n, [&](std::uint64_t z, int) {
      const std::size_t below = (z + n - 1) % n, above = (z + 1) % n;
      for (std::size_t y = 0; y < n; ++y) {
        const std::size_t south = (y + n - 1) % n, north = (y + 1) % n;
        row(Row{(z * n + y) * n, (z * n + south) * n, (z * n + north) * n, (below * n + y) * n, (above * n + y) * n});
      }
    });
  }
  /// Calls cell(x, west, east) along a row.
  template <class F>
  void each_cell(F cell) const {
    cell(std::size_t{0}, n - 1, std::size_t{1});
#pragma GCC ivdep
    for (std::size_t x = 1; x + 1 < n; ++x) cell(x, x - 1, x + 1);
    cell(n - 1, n - 2, std::size_t{0});
  }
};

Parallel& generators() {
  static Parallel team(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 8u)));
  return team;
}

/// The example's model with its default parameters, from a seed cube in the middle and noise: u, then v.
void gray_scott(const DataOptions& options, DataSet& set) {
  const Cube cube{options.edge};
  const std::size_t n = cube.n, cells = cube.cells();
  const ::gray_scott::Settings settings;
  const ::gray_scott::Coefficients c{settings.diffusion_u, settings.diffusion_v, settings.feed,
                                     settings.feed + settings.kill, settings.dt};
  set.extents = {2, n, n, n};
  set.before = Array(2 * cells * 8);
  set.after = Array(2 * cells * 8);
  double *now = elements<double>(set.before), *next = elements<double>(set.after);
  for (std::size_t i = 0; i < cells; ++i) {
    const auto inside = [n](std::size_t at) { return at >= n / 2 - n / 8 && at <= n / 2 + n / 8; };
    const bool seed = inside(i % n) && inside(i / n % n) && inside(i / n / n);
    now[i] = (seed ? 0.25 : 1.0) + settings.noise * (2 * noise(2 * i) - 1);
    now[cells + i] = (seed ? 0.33 : 0.0) + settings.noise * (2 * noise(2 * i + 1) - 1);
  }
  for (int step = 0; step <= options.steps; ++step) {
    cube.each_row(generators(), [&](const Cube::Row& row) {
      const double *u = now, *v = now + cells;
      cube.each_cell([&](std::size_t x, std::size_t west, std::size_t east) {
        const std::size_t i = row.here + x;
        const double u_lap = ::gray_scott::laplacian(u[i], u[row.here + west], u[row.here + east], u[row.south + x],
                                                     u[row.north + x], u[row.below + x], u[row.above + x]);
        const double v_lap = ::gray_scott::laplacian(v[i], v[row.here + west], v[row.here + east], v[row.south + x],
                                                     v[row.north + x], v[row.below + x], v[row.above + x]);
        next[i] = ::gray_scott::next_u(u[i], v[i], u_lap, c);
        next[cells + i] = ::gray_scott::next_v(u[i], v[i], v_lap, c);
      });
    });
    std::swap(now, next);
  }
  if (now == elements<double>(set.before)) set.before.swap(set.after);
}

/// A temperature with warm and cold spots of several sizes, which diffuses.
void heat(const DataOptions& options, DataSet& set) {
  const Cube cube{options.edge};
  const std::size_t n = cube.n;
  set.extents = {n, n, n};
  set.before = Array(cube.cells() * 8);
  set.after = Array(cube.cells() * 8);
  double *now = elements<double>(set.before), *next = elements<double>(set.after);
  for (std::size_t i = 0; i < cube.cells(); ++i) {
    const double x = static_cast<double>(i % n) / static_cast<double>(n);
    const double y = static_cast<double>(i / n % n) / static_cast<double>(n);
    const double z = static_cast<double>(i / n / n) / static_cast<double>(n);
    now[i] = 300.0 + 40.0 * std::sin(12.6 * x) * std::sin(18.8 * y + 1.0) * std::cos(6.3 * z) +
             5.0 * std::sin(44.0 * x * y);
  }
  for (int step = 0; step <= options.steps / 10; ++step) {
    cube.each_row(generators(), [&](const Cube::Row& row) {
      const double* t = now;
      cube.each_cell([&](std::size_t x, std::size_t west, std::size_t east) {
        const std::size_t i = row.here + x;
        const double lap = ::gray_scott::laplacian(t[i], t[row.here + west], t[row.here + east], t[row.south + x],
                                                   t[row.north + x], t[row.below + x], t[row.above + x]);
        next[i] = t[i] + 0.1 * lap;
      });
    });
    std::swap(now, next);
  }
  if (now == elements<double>(set.before)) set.before.swap(set.after);
}

/// Blocks of 16³ cells on four levels of refinement around a spherical front that moves outwards, stored block by
/// block. A step of the finest level: the coarser ones stand still until it is their turn, and so do the blocks of
/// the second level that are out of step.
void amr(const DataOptions& options, DataSet& set) {
  constexpr std::size_t edge = 16, cells = edge * edge * edge;
  const std::size_t blocks = options.edge * options.edge * options.edge / cells;
  set.extents = {blocks, edge, edge, edge};
  set.before = Array(blocks * cells * 8);
  set.after = Array(blocks * cells * 8);
  double *before = elements<double>(set.before), *after = elements<double>(set.after);
  generators().for_each(blocks, [&](std::uint64_t block, int) {
    // Where the block lies: a distance from the front; most blocks are near it, that is what refinement does.
    const double distance = std::pow(noise(3 * block), 2.0) * 0.4;
    const int level = distance < 0.05 ? 3 : distance < 0.12 ? 2 : distance < 0.25 ? 1 : 0;
    const bool moves = level == 3 || (level == 2 && block % 2 == 0);
    const double h = 1.0 / (64 << level) / edge;
    const double theta = 3.14159265358979 * noise(3 * block + 1), phi = 6.28318530717959 * noise(3 * block + 2);
    const double radius = 0.5 + distance;
    const double corner[3] = {radius * std::sin(theta) * std::cos(phi), radius * std::sin(theta) * std::sin(phi),
                              radius * std::cos(theta)};
    const auto density = [&](double x, double y, double z, double time) {
      const double front = (std::sqrt(x * x + y * y + z * z) - time) / 0.04;
      return 1.0 + 3.0 / (1.0 + std::exp(2.0 * front)) +
             0.05 * std::sin(9.0 * x - 4.0 * time) * std::sin(7.0 * y) * z;
    };
    for (std::size_t i = 0; i < cells; ++i) {
      const double x = corner[0] + h * static_cast<double>(i % edge);
      const double y = corner[1] + h * static_cast<double>(i / edge % edge);
      const double z = corner[2] + h * static_cast<double>(i / edge / edge);
      before[block * cells + i] = density(x, y, z, 0.5);
      after[block * cells + i] = moves ? density(x, y, z, 0.5 + 2e-5) : before[block * cells + i];
    }
  });
}

std::size_t cube_bytes(const DataOptions& options) { return options.edge * options.edge * options.edge * 8; }

void fill_random(Array& bytes, std::uint64_t seed) {
  auto* words = elements<std::uint64_t>(bytes);
  for (std::size_t i = 0; i < bytes.size() / 8; ++i) words[i] = mixed(seed * bytes.size() + i);
}

/// Numbers in [0, 1); one of twenty blocks of 512 bytes is rewritten.
void sparse(const DataOptions& options, DataSet& set) {
  set.extents = {options.edge, options.edge, options.edge};
  set.before = Array(cube_bytes(options));
  auto* before = elements<double>(set.before);
  for (std::size_t i = 0; i < set.before.size() / 8; ++i) before[i] = noise(i);
  set.after = set.before;
  auto* after = elements<double>(set.after);
  for (std::size_t block = 0; block < set.after.size() / 512; ++block) {
    if (noise(block ^ 0x5555) >= 0.05) continue;
    for (std::size_t i = block * 64; i < block * 64 + 64; ++i) after[i] = noise(~i);
  }
}

/// Particles sorted into cells: where the particles of each cell begin, then the cells' lists of particle numbers. A
/// few cells in a hundred won or lost some: their lists are new, and all that begins behind them has moved.
void index(const DataOptions& options, DataSet& set) {
  const std::size_t count = cube_bytes(options) / 8, offsets = count / 4, ids = count - offsets;
  set.type = ElementType::i64;
  set.extents = {count};
  set.before = Array(count * 8);
  set.after = Array(count * 8);
  const auto fill = [&](std::int64_t* to, bool later) {
    std::int64_t begin = 0;
    for (std::size_t cell = 0; cell < offsets; ++cell) {
      to[cell] = begin;
      const std::int64_t base = 3 + static_cast<std::int64_t>(mixed(cell) % 5);
      const bool changed = later && noise(~cell) < 0.03;
      begin += changed ? base + static_cast<std::int64_t>(mixed(cell + count) % 3) - 1 : base;
    }
    for (std::size_t k = 0; k < ids; ++k) {
      // Lists of 16: particle numbers near each other, because particles were numbered in space.
      const std::size_t list = k / 16;
      const bool changed = later && noise(list + 7 * count) < 0.03;
      to[offsets + k] = static_cast<std::int64_t>(k + mixed(k + (changed ? 3 * count : 0)) % 4096);
    }
  };
  fill(elements<std::int64_t>(set.before), false);
  fill(elements<std::int64_t>(set.after), true);
}

/// Positions and velocities of particles in single precision, one array after another: a kick and a drift.
void particles(const DataOptions& options, DataSet& set) {
  const std::size_t count = cube_bytes(options) / 24;
  set.type = ElementType::f32;
  set.extents = {6, count};
  set.before = Array(6 * count * 4);
  set.after = Array(6 * count * 4);
  auto *before = elements<float>(set.before), *after = elements<float>(set.after);
  constexpr float dt = 1e-3f;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t x = axis * count + i, v = (3 + axis) * count + i;
      // Sorted along the last axis, as codes that bin their particles keep them.
      before[x] = axis == 2 ? static_cast<float>((static_cast<double>(i) + noise(i)) / static_cast<double>(count))
                            : static_cast<float>(noise(2 * x + 1));
      before[v] = static_cast<float>((noise(v) + noise(v + count) + noise(v + 2 * count) - 1.5) * 0.3);
      after[v] = before[v] - dt * 0.8f * (before[x] - 0.5f);
      after[x] = before[x] + dt * after[v];
    }
  }
}

void random_pair(const DataOptions& options, DataSet& set) {
  set.type = ElementType::bytes;
  set.extents = {cube_bytes(options)};
  set.before = Array(cube_bytes(options));
  set.after = Array(cube_bytes(options));
  fill_random(set.before, 1);
  fill_random(set.after, 2);
}

void clean(const DataOptions& options, DataSet& set) {
  sparse(options, set);
  set.after = set.before;
}

struct Maker {
  std::string name;
  void (*make)(const DataOptions&, DataSet&);
  bool simulated;  ///< takes steps, so its pair is worth keeping
};
const std::vector<Maker>& makers() {
  static const std::vector<Maker> all = {
      {"gray_scott", gray_scott, true}, {"heat", heat, true},    {"amr", amr, false},
      {"sparse", sparse, false},        {"index", index, false}, {"particles", particles, false},
      {"random", random_pair, false},   {"clean", clean, false}};
  return all;
}

bool read_whole(const fs::path& file, Array& into) {
  std::error_code absent;
  const auto size = fs::file_size(file, absent);
  if (absent) return false;
  into = Array(size);
  std::ifstream in(file, std::ios::binary);
  in.read(reinterpret_cast<char*>(into.data()), static_cast<std::streamsize>(size));
  return static_cast<bool>(in);
}

void write_whole(const fs::path& file, const Array& bytes) {
  fs::create_directories(file.parent_path());
  const fs::path unfinished = file.string() + ".tmp";
  std::ofstream out(unfinished, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) throw std::runtime_error("cannot write " + unfinished.string());
  fs::rename(unfinished, file);
}

}  // namespace

const std::vector<std::string>& data_set_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Maker& maker : makers()) all.push_back(maker.name);
    return all;
  }();
  return names;
}

DataSet make_data_set(const std::string& name, const DataOptions& options) {
  const auto maker = std::find_if(makers().begin(), makers().end(), [&](const Maker& m) { return m.name == name; });
  if (maker == makers().end()) throw std::invalid_argument("no data set " + name);
  DataSet set;
  set.name = name;
  const double work =
      static_cast<double>(cube_bytes(options)) * options.steps;  // small ones are quicker made than kept
  const bool kept = maker->simulated && !options.cache.empty() && work > 1e9;
  // The number counts changes of the generators: a pair that an older one made is not taken for a new one's.
  const std::string stem = name + "-1-" + std::to_string(options.edge) + "-" + std::to_string(options.steps);
  const fs::path old_file = options.cache / (stem + ".old"), new_file = options.cache / (stem + ".new");
  const std::uint64_t n = options.edge;
  if (kept && read_whole(old_file, set.before) && read_whole(new_file, set.after)) {
    set.extents = {n, n, n};
    if (name == "gray_scott") set.extents.insert(set.extents.begin(), 2);
    std::uint64_t bytes = 8;
    for (const std::uint64_t extent : set.extents) bytes *= extent;
    if (set.before.size() == bytes && set.after.size() == bytes) return set;
  }
  std::fprintf(stderr, "making %s\n", name.c_str());
  maker->make(options, set);
  if (kept) {
    write_whole(old_file, set.before);
    write_whole(new_file, set.after);
  }
  return set;
}

}  // namespace foreweave::perf
