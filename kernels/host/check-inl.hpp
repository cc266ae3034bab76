// The check word's sum over the words of a body (kernels/common/check_word.hpp), in vectors.
#if defined(FOREWEAVE_KERNELS_HOST_CHECK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_CHECK_INL
#undef FOREWEAVE_KERNELS_HOST_CHECK_INL
#else
#define FOREWEAVE_KERNELS_HOST_CHECK_INL
#endif

#include "kernels/common/check_word.hpp"
#include "kernels/host/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

/// The sum of the terms of `count` words, any alignment.
HWY_INLINE std::uint64_t check_sum(const std::byte* words, std::size_t count) {
  std::uint64_t sum = 0;
  std::size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const Tag<std::uint64_t> d;
  const hn::Repartition<std::uint32_t, Tag<std::uint64_t>> half;
  const std::size_t lanes = hn::Lanes(d);
  HWY_ALIGN std::uint64_t first[8];
  for (std::size_t lane = 0; lane < lanes; ++lane) first[lane] = (lane + 1) * common::check_step;
  auto step = hn::Load(d, first);
  const auto next = hn::Set(d, lanes * common::check_step);
  const auto after_next = hn::Add(next, next);
  const auto term = [d, half](auto w, auto at) HWY_ATTR {
    const auto x = hn::BitCast(half, hn::Xor(w, at));
    const auto product = hn::MulEven(x, hn::BitCast(half, hn::ShiftRight<32>(hn::BitCast(d, x))));
    return hn::Add(product, hn::BitCast(d, hn::Shuffle2301(hn::BitCast(half, w))));
  };
  auto even = hn::Zero(d), odd = hn::Zero(d);
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    even = hn::Add(even, term(load<std::uint64_t>(words + 8 * i), step));
    odd = hn::Add(odd, term(load<std::uint64_t>(words + 8 * (i + lanes)), hn::Add(step, next)));
    step = hn::Add(step, after_next);
  }
  hn::Store(hn::Add(even, odd), d, first);
  for (std::size_t lane = 0; lane < lanes; ++lane) sum += first[lane];
#endif
  for (; i < count; ++i) sum += common::check_term(i, load_word(words + 8 * i));
  return sum;
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif
