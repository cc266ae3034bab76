#pragma once
// The toolkit's C part, which interop/cuda.hpp asks for: the same as all of it here.
#include "cuda_runtime.h"
