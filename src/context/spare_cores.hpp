#pragma once
// How many threads may encode captures.

#include "foreweave/context/options.hpp"

namespace foreweave::context {

/// What the option says; where it leaves that open, one, and more (4 at most) only where cores are left over when each
/// of the `ranks_here` ranks of this node has one for itself and one for its captures. The cores are those that this
/// process may run on, so that ranks that are bound to their cores get one thread.
int capture_threads(const Options& options, int ranks_here);

}  // namespace foreweave::context
