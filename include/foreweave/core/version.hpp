#pragma once
// What this build of the library is.

#include <string>

namespace foreweave {

struct BuildInfo {
  std::string version;      ///< of the project, "0.1.0"
  std::string compiler;     ///< "GCC 12.2.0"
  std::string build_type;   ///< CMake's
  bool cuda = false;        ///< the CUDA backend is compiled in (a device may still be absent)
  bool kokkos = false;
  bool sanitized = false;
};
const BuildInfo& build_info();

}  // namespace foreweave
