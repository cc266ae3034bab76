#include "foreweave/core/version.hpp"

namespace foreweave {

const BuildInfo& build_info() {
  static const BuildInfo info = [] {
    BuildInfo made;
    made.version = FOREWEAVE_VERSION;
#if defined(__clang__)
    made.compiler = "Clang " __clang_version__;
#else
    made.compiler = "GCC " __VERSION__;
#endif
    made.build_type = FOREWEAVE_BUILD_TYPE;
    made.cuda = FOREWEAVE_WITH_CUDA != 0;
    made.kokkos = FOREWEAVE_WITH_KOKKOS != 0;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    made.sanitized = true;
#endif
    return made;
  }();
  return info;
}

}  // namespace foreweave
