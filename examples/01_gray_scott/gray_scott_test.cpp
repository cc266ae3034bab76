// The parts of the example by themselves, on one rank.

#include "fingerprint.hpp"
#include "settings.hpp"
#include "simulation.hpp"
#include "vtkhdf.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "foreweave/core/error.hpp"

namespace {

using namespace gray_scott;
using ::testing::HasSubstr;

std::string write_file(const std::string& text) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "gray_scott_settings.toml";
  std::ofstream(path) << text;
  return path.string();
}

std::string refusal(const std::string& text) {
  try {
    load_settings(write_file(text));
  } catch (const foreweave::Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Settings, every_key_is_read) {
  const auto s = load_settings(write_file(
      "[grid]\nsize=[3,4,5]\nspacing=2\n[model]\nfeed=0.01\nkill=0.02\ndiffusion_u=0.03\ndiffusion_v=0.04\ndt=0.5\n"
      "noise=0.06\nseed=7\n[run]\nsteps=8\n[output]\ndirectory='d'\nevery=11\ncollective="
      "true\n"));
  EXPECT_EQ(s.size, (std::array<std::int64_t, 3>{3, 4, 5}));
  EXPECT_EQ(s.spacing, 2.0);
  EXPECT_EQ(s.feed, 0.01);
  EXPECT_EQ(s.kill, 0.02);
  EXPECT_EQ(s.diffusion_u, 0.03);
  EXPECT_EQ(s.diffusion_v, 0.04);
  EXPECT_EQ(s.dt, 0.5);
  EXPECT_EQ(s.noise, 0.06);
  EXPECT_EQ(s.seed, 7u);
  EXPECT_EQ(s.steps, 8);
  EXPECT_EQ(s.directory, "d");
  EXPECT_EQ(s.output_every, 11);
  EXPECT_TRUE(s.collective);
}

TEST(Settings, refusals_name_what_is_accepted) {
  EXPECT_THAT(refusal("[model]\nfeeed=1\n"), HasSubstr("model.feeed"));
  EXPECT_THAT(refusal("[model]\nfeeed=1\n"), HasSubstr("feed, kill, diffusion_u, diffusion_v, dt, noise, seed"));
  EXPECT_THAT(refusal("[modle]\nfeed=1\n"), HasSubstr("[grid], [model], [run], [output]"));
  EXPECT_THAT(refusal("steps=1\n"), HasSubstr("accepted tables"));
  EXPECT_THAT(refusal("[model]\nfeed=2.0\n"), HasSubstr("0 to 1"));
  EXPECT_THAT(refusal("[model]\nfeed=nan\n"), HasSubstr("model.feed"));
  EXPECT_THAT(refusal("[model]\nfeed='x'\n"), HasSubstr("a number is expected"));
  EXPECT_THAT(refusal("[model]\ndt=2.0\n"), HasSubstr("unstable"));
  EXPECT_THAT(refusal("[model]\nseed=-1\n"), HasSubstr("model.seed"));
  EXPECT_THAT(refusal("[grid]\nsize=[1,2]\n"), HasSubstr("three whole numbers"));
  EXPECT_THAT(refusal("[grid]\nsize=[1,2,0]\n"), HasSubstr("grid.size"));
  EXPECT_THAT(refusal("[run]\nsteps=1.5\n"), HasSubstr("a whole number is expected"));
  EXPECT_THAT(refusal("[run]\nsteps=-1\n"), HasSubstr("run.steps"));
  EXPECT_THAT(refusal("[output]\ncollective=1\n"), HasSubstr("true or false"));
  EXPECT_THAT(refusal("[output]\ndirectory=''\n"), HasSubstr("output.directory"));
  EXPECT_THAT(refusal("[grid\n"), HasSubstr("[format"));
  try {
    load_settings("/nowhere/settings.toml");
    FAIL();
  } catch (const foreweave::Error& error) {
    EXPECT_EQ(error.category(), foreweave::ErrorCategory::absent);
  }
}

TEST(Settings, the_file_that_comes_with_it_holds_the_defaults) {
  const auto s = load_settings(GRAY_SCOTT_SETTINGS);
  const Settings d;
  EXPECT_EQ(s.size, d.size);
  EXPECT_EQ(s.feed, d.feed);
  EXPECT_EQ(s.kill, d.kill);
  EXPECT_EQ(s.diffusion_u, d.diffusion_u);
  EXPECT_EQ(s.diffusion_v, d.diffusion_v);
  EXPECT_EQ(s.dt, d.dt);
  EXPECT_EQ(s.noise, d.noise);
  EXPECT_EQ(s.seed, d.seed);
  EXPECT_EQ(s.steps, d.steps);
  EXPECT_EQ(s.directory, d.directory);
  EXPECT_EQ(s.output_every, d.output_every);
}

TEST(Blocks, every_cell_has_one_owner_and_neighbours_agree) {
  for (int ranks : {1, 2, 3, 4, 5, 6, 7, 8, 12, 30}) {
    const Blocks blocks({7, 9, 11}, ranks);
    ASSERT_EQ(blocks.ranks(), ranks);
    std::set<Triple> owned;
    for (int rank = 0; rank < ranks; ++rank) {
      const auto b = blocks.block(rank);
      for (auto z = b.offset[2]; z < b.offset[2] + b.size[2]; ++z)
        for (auto y = b.offset[1]; y < b.offset[1] + b.size[1]; ++y)
          for (auto x = b.offset[0]; x < b.offset[0] + b.size[0]; ++x)
            ASSERT_TRUE(owned.insert({x, y, z}).second) << ranks << " ranks";
      for (int axis = 0; axis < 3; ++axis) {
        const int upper = blocks.neighbour(rank, axis, 1);
        EXPECT_EQ(blocks.neighbour(upper, axis, 0), rank);
        const auto a = static_cast<std::size_t>(axis);
        EXPECT_EQ(blocks.block(upper).offset[a], (b.offset[a] + b.size[a]) % blocks.grid()[a]);
      }
    }
    EXPECT_EQ(owned.size(), 7u * 9 * 11);
  }
}

TEST(Blocks, a_grid_that_cannot_be_cut_is_refused) {
  EXPECT_THROW(Blocks({2, 2, 2}, 3), foreweave::Error);
  EXPECT_EQ(Blocks({2, 2, 2}, 8).cuts(), (Triple{2, 2, 2}));
  EXPECT_EQ(Blocks({64, 64, 64}, 3).cuts(), (Triple{1, 1, 3}));
}

/// The model written down again: two arrays, indices taken modulo the size, one cell after the other.
struct Oracle {
  Triple n;
  std::vector<double> u, v;
  double& at(std::vector<double>& f, std::int64_t x, std::int64_t y, std::int64_t z) const {
    const auto wrap = [](std::int64_t i, std::int64_t size) { return (i + size) % size; };
    return f[static_cast<std::size_t>((wrap(z, n[2]) * n[1] + wrap(y, n[1])) * n[0] + wrap(x, n[0]))];
  }
  void advance(const Settings& s) {
    auto u_new = u, v_new = v;
    for (std::int64_t z = 0; z < n[2]; ++z)
      for (std::int64_t y = 0; y < n[1]; ++y)
        for (std::int64_t x = 0; x < n[0]; ++x) {
          const auto lap = [&](std::vector<double>& f) {
            const double sum =
                ((at(f, x - 1, y, z) + at(f, x + 1, y, z)) + (at(f, x, y - 1, z) + at(f, x, y + 1, z))) +
                (at(f, x, y, z - 1) + at(f, x, y, z + 1));
            return (sum - 6.0 * at(f, x, y, z)) / (s.spacing * s.spacing);
          };
          const double a = at(u, x, y, z), b = at(v, x, y, z), reaction = a * b * b;
          at(u_new, x, y, z) = a + s.dt * (s.diffusion_u * lap(u) - reaction + s.feed * (1.0 - a));
          at(v_new, x, y, z) = b + s.dt * (s.diffusion_v * lap(v) + reaction - (s.feed + s.kill) * b);
        }
    u = u_new;
    v = v_new;
  }
};

TEST(Simulation, follows_the_oracle) {
  Settings s;
  s.size = {9, 6, 7};
  Simulation simulation(s, MPI_COMM_WORLD);
  Oracle oracle{s.size, std::vector<double>(9 * 6 * 7), std::vector<double>(9 * 6 * 7)};
  const auto each = [&](auto&& act) {
    const HostValues u(simulation.u), v(simulation.v);
    const auto& l = simulation.layout();
    for (std::int64_t z = 0; z < s.size[2]; ++z)
      for (std::int64_t y = 0; y < s.size[1]; ++y)
        for (std::int64_t x = 0; x < s.size[0]; ++x) {
          const auto i = (z + 1) * l.plane + (y + 1) * l.row + x + 1;
          act(oracle.at(oracle.u, x, y, z), u.data()[i]);
          act(oracle.at(oracle.v, x, y, z), v.data()[i]);
        }
  };
  each([](double& theirs, double ours) { theirs = ours; });
  for (int step = 0; step < 20; ++step) {
    simulation.advance();
    oracle.advance(s);
    // The order of operations differs slightly, so the last bits may, too.
    each([](double& theirs, double ours) { ASSERT_NEAR(theirs, ours, 1e-12); });
  }
  EXPECT_EQ(simulation.step, 20);
}

TEST(Simulation, the_seed_makes_a_difference_and_the_digest_shows_it) {
  Settings s;
  s.size = {8, 8, 8};
  const auto digest = [&] { return fingerprint(Simulation(s, MPI_COMM_WORLD), s); };
  const auto first = digest();
  EXPECT_EQ(first, digest());
  s.seed = 21;
  EXPECT_NE(first, digest());
}

TEST(Vtkhdf, holds_what_a_reader_expects) {
  Settings s;
  s.size = {5, 6, 7};
  Simulation simulation(s, MPI_COMM_WORLD);
  simulation.advance();
  for (const auto mode : {WriteMode::gathered, WriteMode::collective}) {
    const auto path = (std::filesystem::path(::testing::TempDir()) / "gray_scott.vtkhdf").string();
    write_fields(simulation, s, path, mode);
    EXPECT_FALSE(std::filesystem::exists(path + ".part"));
    const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
    ASSERT_GE(file, 0);
    const hid_t set = H5Dopen2(file, "/VTKHDF/PointData/u", H5P_DEFAULT);
    const hid_t space = H5Dget_space(set);
    hsize_t extents[3] = {};
    ASSERT_EQ(H5Sget_simple_extent_dims(space, extents, nullptr), 3);
    EXPECT_EQ(extents[0], 7u);
    EXPECT_EQ(extents[1], 6u);
    EXPECT_EQ(extents[2], 5u);
    std::vector<double> values(5 * 6 * 7);
    ASSERT_GE(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
    const HostValues u(simulation.u);
    const auto& l = simulation.layout();
    for (std::int64_t z = 0; z < 7; ++z)
      for (std::int64_t y = 0; y < 6; ++y)
        ASSERT_EQ(std::memcmp(&values[static_cast<std::size_t>((z * 6 + y) * 5)],
                              u.data() + (z + 1) * l.plane + (y + 1) * l.row + 1, 5 * sizeof(double)),
                  0);
    const hid_t group = H5Gopen2(file, "/VTKHDF", H5P_DEFAULT);
    const hid_t extent = H5Aopen(group, "WholeExtent", H5P_DEFAULT);
    std::int64_t whole[6] = {};
    ASSERT_GE(H5Aread(extent, H5T_NATIVE_INT64, whole), 0);
    EXPECT_THAT(whole, ::testing::ElementsAre(0, 4, 0, 5, 0, 6));
    const hid_t type_attribute = H5Aopen(group, "Type", H5P_DEFAULT);
    const hid_t type = H5Aget_type(type_attribute);
    EXPECT_EQ(H5Tis_variable_str(type), 0);
    EXPECT_EQ(H5Tget_size(type), 9u);
    H5Tclose(type);
    H5Aclose(type_attribute);
    H5Aclose(extent);
    H5Gclose(group);
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(file);
  }
}

TEST(Vtkhdf, a_folder_that_cannot_be_made_is_an_error_that_names_it) {
  Settings s;
  s.size = {4, 4, 4};
  Simulation simulation(s, MPI_COMM_WORLD);
  try {
    write_fields(simulation, s, "/dev/null/fields.vtkhdf", WriteMode::gathered);
    FAIL();
  } catch (const foreweave::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("/dev/null/fields.vtkhdf"));
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int code = 1;
  {
    Runtime runtime(argc, argv);
    ::testing::InitGoogleTest(&argc, argv);
    code = RUN_ALL_TESTS();
  }
  MPI_Finalize();
  return code;
}
