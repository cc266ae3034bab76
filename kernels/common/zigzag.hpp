#pragma once
// zz(s) of docs/format.md: folds the sign of a difference into bit 0, so that small differences of either sign have
// few nonzero bit planes.

#include <cstdint>

#include "kernels/common/host_device.hpp"

namespace foreweave::kernels::common {

FOREWEAVE_HD constexpr std::uint64_t zigzag(std::uint64_t s) { return (s << 1) ^ (std::uint64_t{0} - (s >> 63)); }
FOREWEAVE_HD constexpr std::uint32_t zigzag(std::uint32_t s) { return (s << 1) ^ (std::uint32_t{0} - (s >> 31)); }
FOREWEAVE_HD constexpr std::uint64_t unzigzag(std::uint64_t z) { return (z >> 1) ^ (std::uint64_t{0} - (z & 1)); }
FOREWEAVE_HD constexpr std::uint32_t unzigzag(std::uint32_t z) { return (z >> 1) ^ (std::uint32_t{0} - (z & 1)); }

}  // namespace foreweave::kernels::common
