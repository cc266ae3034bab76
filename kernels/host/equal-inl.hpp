// The byte compare of capture.
#if defined(FOREWEAVE_KERNELS_HOST_EQUAL_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_EQUAL_INL
#undef FOREWEAVE_KERNELS_HOST_EQUAL_INL
#else
#define FOREWEAVE_KERNELS_HOST_EQUAL_INL
#endif

#include "kernels/host/forward-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

bool Equal(const std::byte* a, const std::byte* b, std::uint64_t bytes) {
  for (; bytes >= sector_bytes; bytes -= sector_bytes, a += sector_bytes, b += sector_bytes) {
    if (or_exclusive(a, b) != 0) return false;
  }
  return bytes == 0 || std::memcmp(a, b, bytes) == 0;
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
