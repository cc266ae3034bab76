#pragma once
// Which SIMD targets the host kernels were compiled for; for tests, which run each of them.

#include <cstdint>

namespace foreweave::kernels::host {

/// The targets that are compiled in and that this CPU can run, as Highway's bits (HWY_AVX2 …).
std::int64_t simd_targets_available();

}  // namespace foreweave::kernels::host
