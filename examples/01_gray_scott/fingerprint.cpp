#include "fingerprint.hpp"

#include <bit>
#include <cstdio>

#include "foreweave/interop/mpi.hpp"

namespace gray_scott {
namespace {

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93u;
  x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93u;
  return x ^ (x >> 32);
}

}  // namespace

std::string fingerprint(const Simulation& simulation, const Settings& settings) {
  const HostValues u(simulation.u), v(simulation.v);
  const auto& block = simulation.block();
  const auto& layout = simulation.layout();
  std::uint64_t sums[2] = {0, 0};
  for (std::int64_t z = 0; z < block.size[2]; ++z) {
    for (std::int64_t y = 0; y < block.size[1]; ++y) {
      const auto cell = (z + 1) * layout.plane + (y + 1) * layout.row + 1;
      const auto first =
          ((block.offset[2] + z) * settings.size[1] + block.offset[1] + y) * settings.size[0] + block.offset[0];
      for (std::int64_t x = 0; x < block.size[0]; ++x) {
        const auto place = mix(static_cast<std::uint64_t>(first + x) + 0x9E3779B97F4A7C15u);
        const auto word = mix(mix(place ^ std::bit_cast<std::uint64_t>(u.data()[cell + x])) +
                              std::bit_cast<std::uint64_t>(v.data()[cell + x]));
        sums[0] += word;
        sums[1] += mix(word + place);
      }
    }
  }
  foreweave::mpi::check(MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_UINT64_T, MPI_SUM, simulation.comm()),
                        "digest of the fields");
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(sums[0]),
                static_cast<unsigned long long>(sums[1]));
  return text;
}

}  // namespace gray_scott
