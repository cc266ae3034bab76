#include "context/spare_cores.hpp"

#include <sched.h>

#include <algorithm>

namespace foreweave::context {

int capture_threads(const Options& options, int ranks_here) {
  if (options.capture_threads != 0) return static_cast<int>(options.capture_threads);
  constexpr int most = 4;  // encoding is then as fast as most stores and networks take what comes out
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (::sched_getaffinity(0, sizeof cores, &cores) != 0) return 1;
  return std::clamp(CPU_COUNT(&cores) / std::max(1, ranks_here) - 1, 1, most);
}

}  // namespace foreweave::context
