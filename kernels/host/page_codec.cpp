// kernels::host of the page codec: one source, compiled by Highway once per SIMD target, chosen at run time.
//
// What runs where: simd-inl (vectors), transpose-inl (64 × 64 bits), check-inl (check word), forward-inl and
// inverse-inl (transforms), pack-inl (planes), encode-inl, encode_run-inl and decode-inl (pages), equal-inl (compare).

#define HWY_WANT_AVX3_DL  // Ice Lake, Zen 4: byte permutes and bit matrices make the transposition cheap
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/page_codec.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"
#include "kernels/host/decode-inl.hpp"
#include "kernels/host/encode_run-inl.hpp"
#include "kernels/host/equal-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/host/simd_targets.hpp"

namespace foreweave::kernels::host {
namespace {

HWY_EXPORT(EncodePages);
HWY_EXPORT(DecodePages);
HWY_EXPORT(Equal);
HWY_EXPORT(TargetName);

#if HWY_ARCH_X86
/// AVX3_DL and better are compiled here with GFNI, which Highway 1.0 does not ask the CPU for. Where it is hidden (some
/// virtual machines), the next lower target runs.
[[maybe_unused]] const bool gfni_asked_for = [] {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("gfni")) hwy::DisableTargets((HWY_AVX3_DL << 1) - 1);
  return true;
}();
#endif

}  // namespace

std::uint64_t encode_pages(const EncodeJob& job) { return HWY_DYNAMIC_DISPATCH(EncodePages)(job); }
DecodeResult decode_pages(const DecodeJob& job) { return HWY_DYNAMIC_DISPATCH(DecodePages)(job); }
bool equal(const std::byte* a, const std::byte* b, std::uint64_t bytes) {
  return HWY_DYNAMIC_DISPATCH(Equal)(a, b, bytes);
}
const char* simd_target() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }
std::int64_t simd_targets_available() { return hwy::SupportedTargets() & HWY_TARGETS; }

}  // namespace foreweave::kernels::host
#endif  // HWY_ONCE
