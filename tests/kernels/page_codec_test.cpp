// timeout: 300
// The page codec on the host: the common suite on every SIMD target this CPU can run, and the byte compare.

#include <hwy/highway.h>

#include "kernels/host/simd_targets.hpp"
#include "kernels/page_codec_suite.hpp"

namespace foreweave::test {
namespace {

/// Runs the host kernels on one SIMD target.
class HostBackend : public PageCodecBackend {
 public:
  explicit HostBackend(std::int64_t target) : target_(target) {}
  std::uint64_t encode(const EncodeJob& job) override {
    hwy::SetSupportedTargetsForTest(target_);
    EXPECT_STREQ(kernels::host::simd_target(), hwy::TargetName(target_));
    return kernels::host::encode_pages(job);
  }
  DecodeResult decode(const DecodeJob& job) override {
    hwy::SetSupportedTargetsForTest(target_);
    return kernels::host::decode_pages(job);
  }

 private:
  std::int64_t target_;
};

std::vector<BackendParam> host_backends() {
  hwy::SetSupportedTargetsForTest(0);
  std::vector<BackendParam> backends;
  for (std::int64_t left = kernels::host::simd_targets_available(); left != 0; left &= left - 1) {
    const std::int64_t target = left & -left;
    backends.push_back({hwy::TargetName(target), std::make_shared<HostBackend>(target)});
  }
  return backends;
}

INSTANTIATE_TEST_SUITE_P(Host, PageCodec, testing::ValuesIn(host_backends()), backend_name);

TEST(HostEqual, SeesEveryByteAndNoneBeyond) {
  hwy::SetSupportedTargetsForTest(0);
  for (std::int64_t left = kernels::host::simd_targets_available(); left != 0; left &= left - 1) {
    hwy::SetSupportedTargetsForTest(left & -left);
    for (std::size_t bytes : odd_sizes()) {
      const Raw content = make_pages(Pattern::random, bytes, 1, 0, 0, 8).current;
      GuardedBuffer a(content, 5), b(content);
      EXPECT_TRUE(kernels::host::equal(a.data(), b.data(), bytes)) << bytes;
      const std::size_t step = bytes > 1000 ? 37 : 1;
      for (std::size_t at = 0; at < bytes; at += at + step < bytes ? step : bytes - at == 1 ? 1 : bytes - at - 1) {
        b.data()[at] ^= std::byte{0x40};
        EXPECT_FALSE(kernels::host::equal(a.data(), b.data(), bytes)) << "byte " << at << " of " << bytes;
        b.data()[at] ^= std::byte{0x40};
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

TEST(HostCodec, RunsOnTheBestTargetOfTheCpu) {
  hwy::SetSupportedTargetsForTest(0);
  const std::int64_t available = kernels::host::simd_targets_available();
  ASSERT_NE(available, 0);
  EXPECT_STREQ(kernels::host::simd_target(), hwy::TargetName(available & -available));
}

}  // namespace
}  // namespace foreweave::test
