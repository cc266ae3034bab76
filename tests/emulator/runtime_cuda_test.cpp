// The emulated CUDA runtime: order of streams, what may be read when, and refusals.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "foreweave/core/error.hpp"
#include "kernels/cuda/launch.hpp"

namespace foreweave {
namespace {

__global__ void add_one(int* values, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) values[i] += 1;
}

class Runtime : public testing::Test {
 protected:
  void TearDown() override {
    emulator::fail_call(cudaSuccess);
    emulator::set_device_memory(0);
    (void)cudaGetLastError();
    EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  }
};

TEST_F(Runtime, NothingHappensBeforeSomebodyWaits) {
  int *device = nullptr, *pinned = nullptr;
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaMalloc(&device, 4), cudaSuccess);
  ASSERT_EQ(cudaMallocHost(&pinned, 4), cudaSuccess);
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  *pinned = 41;
  ASSERT_EQ(cudaMemcpyAsync(device, pinned, 4, cudaMemcpyHostToDevice, stream), cudaSuccess);
  kernels::launch("add_one", add_one, 1, 32, 0, stream, device, 1);
  ASSERT_EQ(cudaMemcpyAsync(pinned, device, 4, cudaMemcpyDeviceToHost, stream), cudaSuccess);
  EXPECT_EQ(*pinned, 41) << "a program that does not wait must not see the result";
  EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(*pinned, 42);
  EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(cudaFree(device), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
}

TEST_F(Runtime, EventsCarryOrderBetweenStreams) {
  int *device = nullptr, *pinned = nullptr;
  cudaStream_t first = nullptr, second = nullptr;
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaMalloc(&device, 4), cudaSuccess);
  ASSERT_EQ(cudaMallocHost(&pinned, 4), cudaSuccess);
  ASSERT_EQ(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(device, 0, 4, first), cudaSuccess);
  for (int i = 0; i < 3; ++i) kernels::launch("add_one", add_one, 1, 1, 0, first, device, 1);
  ASSERT_EQ(cudaEventRecord(event, first), cudaSuccess);
  kernels::launch("add_one", add_one, 1, 1, 0, first, device, 1);  // after the event: not waited for
  ASSERT_EQ(cudaStreamWaitEvent(second, event), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(pinned, device, 4, cudaMemcpyDefault, second), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(second), cudaSuccess);
  EXPECT_EQ(*pinned, 3);
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(first), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(second), cudaSuccess);
  EXPECT_EQ(cudaFree(device), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
}

TEST_F(Runtime, TheDefaultStreamWaitsForBlockingStreams) {
  int* device = nullptr;
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaMalloc(&device, 4), cudaSuccess);
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(device, 0, 4, stream), cudaSuccess);
  kernels::launch("add_one", add_one, 1, 1, 0, stream, device, 1);
  int value = 0;
  EXPECT_EQ(cudaMemcpy(&value, device, 4, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(value, 1);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(cudaFree(device), cudaSuccess);
}

TEST_F(Runtime, RefusesWhatCudaRefuses) {
  int* device = nullptr;
  std::vector<int> host(10);
  ASSERT_EQ(cudaMalloc(&device, 40), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(device, host.data(), 44, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(device, host.data(), 40, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(host.data(), 0, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(host.data()), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(device), cudaErrorInvalidValue);
  EXPECT_EQ(cudaSetDevice(99), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_STREQ(cudaGetErrorName(cudaErrorInvalidDevice), "cudaErrorInvalidDevice");
  const auto refused = [&](dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream, cudaError_t code) {
    try {
      kernels::launch("add_one", add_one, grid, block, shared, stream, device, 1);
      FAIL() << "the launch was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.category(), ErrorCategory::cuda);
      EXPECT_EQ(error.native(), code);
      EXPECT_EQ(error.operation(), "launch kernel add_one");
    }
  };
  refused(1, 1025, 0, nullptr, cudaErrorInvalidConfiguration);
  refused(0, 32, 0, nullptr, cudaErrorInvalidConfiguration);
  refused(1, 32, 49 << 10, nullptr, cudaErrorInvalidValue);
  ASSERT_EQ(cudaFuncSetAttribute(add_one, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10), cudaSuccess);
  EXPECT_NO_THROW(kernels::launch("add_one", add_one, 1, 32, 49 << 10, nullptr, device, 1));
  // A stream belongs to its device.
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  refused(1, 32, 0, stream, cudaErrorInvalidResourceHandle);
  ASSERT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaFree(device), cudaSuccess);
}

TEST_F(Runtime, MemoryRunsOut) {
  const std::uint64_t before = emulator::device_bytes_in_use(), allocations = emulator::device_allocations();
  emulator::set_device_memory(before + 1000);
  int *first = nullptr, *second = nullptr;
  EXPECT_EQ(cudaMalloc(&first, 800), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&second, 800), cudaErrorMemoryAllocation);
  std::size_t left = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&left, &total), cudaSuccess);
  EXPECT_EQ(left, 200u);
  EXPECT_EQ(emulator::device_allocations(), allocations + 1);
  EXPECT_EQ(cudaFree(first), cudaSuccess);
  EXPECT_EQ(emulator::device_bytes_in_use(), before);
}

TEST_F(Runtime, CallsFailWhenTheTestSaysSo) {
  int* device = nullptr;
  emulator::fail_call(cudaErrorMemoryAllocation, 1);
  EXPECT_EQ(cudaMalloc(&device, 8), cudaSuccess);
  EXPECT_EQ(cudaMemset(device, 0, 8), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMemset(device, 0, 8), cudaSuccess);
  EXPECT_EQ(cudaFree(device), cudaSuccess);
}

TEST_F(Runtime, PointersAreKnown) {
  int *device = nullptr, *pinned = nullptr, *managed = nullptr, host = 0;
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  ASSERT_EQ(cudaMalloc(&device, 40), cudaSuccess);
  ASSERT_EQ(cudaMallocHost(&pinned, 40), cudaSuccess);
  ASSERT_EQ(cudaMallocManaged(reinterpret_cast<void**>(&managed), 40), cudaSuccess);
  const auto type = [](const void* pointer) {
    cudaPointerAttributes attributes{};
    EXPECT_EQ(cudaPointerGetAttributes(&attributes, pointer), cudaSuccess);
    return attributes.type;
  };
  EXPECT_EQ(type(device), cudaMemoryTypeDevice);
  EXPECT_EQ(type(device + 9), cudaMemoryTypeDevice);
  EXPECT_EQ(type(pinned), cudaMemoryTypeHost);
  EXPECT_EQ(type(managed), cudaMemoryTypeManaged);
  EXPECT_EQ(type(&host), cudaMemoryTypeUnregistered);
  cudaPointerAttributes attributes{};
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, device), cudaSuccess);
  EXPECT_EQ(attributes.device, 1);
  EXPECT_EQ(cudaFree(device), cudaSuccess);
  EXPECT_EQ(cudaFree(managed), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
}

}  // namespace
}  // namespace foreweave
