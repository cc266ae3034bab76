#pragma once
// A digest of the fields that does not depend on how they are cut over ranks.

#include <string>

#include "simulation.hpp"

namespace gray_scott {

/// 32 hexadecimal digits: two sums, modulo 2^64, of a mixed word for each cell out of its number in the whole grid
/// and the bits of u and v. Equal fields give equal digests at any rank count. Collective; the same on every rank.
std::string fingerprint(const Simulation& simulation, const Settings& settings);

}  // namespace gray_scott
