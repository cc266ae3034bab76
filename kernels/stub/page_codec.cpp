// The CUDA page codec in a build without CUDA.
#include "kernels/decl/page_codec.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave::kernels::cuda {
namespace {
[[noreturn]] void refuse(const char* operation) {
  throw Error(ErrorCategory::resource, operation, "this build has no CUDA: rebuild with nvcc on PATH");
}
}  // namespace

std::uint64_t encode_scratch_bytes(std::uint64_t) { refuse("encode pages on a device"); }
void encode_regions(const EncodeBatch&, std::byte*, void*) { refuse("encode pages on a device"); }
void copy_encoded(const std::byte*, const EncodeProgress*, std::byte*, std::uint64_t, void*) {
  refuse("copy encoded pages from a device");
}
std::uint64_t decode_scratch_bytes(std::uint64_t) { refuse("decode pages on a device"); }
void decode_pages(const DecodeJob&, std::byte*, DecodeResult*, void*) { refuse("decode pages on a device"); }

}  // namespace foreweave::kernels::cuda
