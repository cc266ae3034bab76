#pragma once
// The CUDA page codec as a backend of the common suite: copies jobs to device memory and back.

#include <algorithm>
#include <cstring>
#include <optional>

#include "foreweave/device/memory.hpp"
#include "kernels/page_codec_suite.hpp"

namespace foreweave::test {

using kernels::cuda::EncodeProgress;
using kernels::cuda::EncodeRegion;

/// A host buffer's twin in device memory: same content, same alignment modulo 64 (down to a multiple of `unit`), ending
/// where its allocation ends, which has `room` for more. Before it lie 64 bytes that must not change.
class DeviceTwin {
 public:
  DeviceTwin(const void* host, std::size_t bytes, StreamHandle stream, std::size_t unit = 1,
             std::size_t room = 0)
      : offset_(64 + reinterpret_cast<std::uintptr_t>(host) % 64 / unit * unit),
        buffer_(offset_ + std::max(bytes, room)) {
    fill_async(buffer_.data(), 0xC7, offset_, stream);
    if (bytes > 0) copy_async(data(), host, bytes, stream);
  }
  std::byte* data() { return buffer_.data() + offset_; }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data());
  }
  void copy_back(void* host, std::size_t bytes, StreamHandle stream) {
    if (bytes > 0) copy_async(host, data(), bytes, stream);
    synchronize(stream);
    std::vector<std::uint8_t> before(offset_);
    copy_and_wait(before.data(), buffer_.data(), offset_, stream);
    EXPECT_EQ(before, std::vector<std::uint8_t>(offset_, 0xC7)) << "written before a buffer";
  }

 private:
  std::size_t offset_;
  DeviceBuffer buffer_;
};

class DevicePageCodec : public PageCodecBackend {
 public:
  std::uint64_t encode(const EncodeJob& job) override {
    const StreamHandle stream = this->stream();
    const std::uint64_t pages = kernels::page_count(job.bytes), bound = kernels::encode_bound(job.bytes);
    if (pages == 0) return 0;
    DeviceTwin current(job.current, job.bytes, stream), base(job.base, job.base == nullptr ? 0 : job.bytes, stream);
    DeviceTwin out(job.out, bound, stream, 8);
    DeviceBuffer entries(pages * sizeof(PageEntry)), progress(sizeof(EncodeProgress));
    DeviceBuffer scratch(kernels::cuda::encode_scratch_bytes(pages)), table(sizeof(EncodeRegion));
    const EncodeRegion region{current.data(), job.base == nullptr ? nullptr : base.data(), job.bytes, 0, job.shape};
    copy_async(table.data(), &region, sizeof region, stream);
    kernels::cuda::encode_regions({.regions = table.as<EncodeRegion>(),
                                   .count = 1,
                                   .pages = pages,
                                   .compare = job.base != nullptr,
                                   .update_base = job.update_base,
                                   .out = out.data(),
                                   .out_bytes = bound,
                                   .entries = entries.as<PageEntry>(),
                                   .progress = progress.as<EncodeProgress>()},
                                  scratch.data(), stream);
    EncodeProgress done;
    copy_async(&done, progress.data(), sizeof done, stream);
    synchronize(stream);
    EXPECT_EQ(done.next_page, pages);
    copy_and_wait(job.entries, entries.data(), pages * sizeof(PageEntry), stream);
    if (job.base != nullptr) base.copy_back(job.base, job.bytes, stream);
    std::vector<std::byte> after(job.bytes);
    current.copy_back(after.data(), job.bytes, stream);
    EXPECT_TRUE(std::memcmp(after.data(), job.current, job.bytes) == 0) << "current was changed";
    out.copy_back(job.out, bound, stream);
    return done.bytes;
  }

  DecodeResult decode(const DecodeJob& job) override {
    const StreamHandle stream = this->stream();
    const std::uint64_t pages = kernels::page_count(job.bytes);
    DeviceTwin in(job.in, job.in_bytes, stream), data(job.data, job.bytes, stream);
    DeviceBuffer entries(pages * sizeof(PageEntry)), result(sizeof(DecodeResult));
    DeviceBuffer scratch(kernels::cuda::decode_scratch_bytes(job.bytes));
    copy_async(entries.data(), job.entries, pages * sizeof(PageEntry), stream);
    DecodeJob device = job;
    device.in = in.data();
    device.entries = entries.as<PageEntry>();
    device.data = data.data();
    kernels::cuda::decode_pages(device, scratch.data(), result.as<DecodeResult>(), stream);
    DecodeResult found;
    copy_and_wait(&found, result.data(), sizeof found, stream);
    data.copy_back(job.data, job.bytes, stream);
    std::vector<std::byte> after(job.in_bytes);
    in.copy_back(after.data(), job.in_bytes, stream);
    EXPECT_TRUE(job.in_bytes == 0 || std::memcmp(after.data(), job.in, job.in_bytes) == 0) << "the input was changed";
    return found;
  }

 private:
  StreamHandle stream() {
    if (!stream_) stream_ = Stream::create();
    return stream_->handle();
  }
  std::optional<Stream> stream_;
};

}  // namespace foreweave::test
