#pragma once
// Shared memory for kernels that also run on tests/emulator: __shared__ arrays under nvcc; on the emulator arrays of
// the block that check bounds, reads of what was never written, and races.
//
//   FW_SHARED(std::uint32_t, sums, 32);              // T sums[32]
//   FW_DYNAMIC_SHARED(std::uint64_t, words);         // the launch's dynamic shared memory as T words[]
//   template <class T> __device__ void f(fw_shared_pointer<T> p);   // T* under nvcc

#ifdef FOREWEAVE_EMULATED_CUDA
#define FW_SHARED(type, name, count)                     \
  static const char name##_key_ = 0;                     \
  const ::foreweave::emulator::SharedPointer<type> name( \
      ::foreweave::emulator::static_shared(&name##_key_, #name, sizeof(type) * (count)))
#define FW_DYNAMIC_SHARED(type, name) \
  const ::foreweave::emulator::SharedPointer<type> name(::foreweave::emulator::dynamic_shared(#name))
namespace foreweave::kernels {
template <class T>
using fw_shared_pointer = ::foreweave::emulator::SharedPointer<T>;
template <class U, class T>
fw_shared_pointer<U> shared_cast(fw_shared_pointer<T> pointer) {
  return pointer.template as<U>();
}
}  // namespace foreweave::kernels
#else
#define FW_SHARED(type, name, count) __shared__ type name[count]
#define FW_DYNAMIC_SHARED(type, name)                               \
  extern __shared__ __align__(16) unsigned char fw_dynamic_bytes[]; \
  type* const name = reinterpret_cast<type*>(fw_dynamic_bytes)
namespace foreweave::kernels {
template <class T>
using fw_shared_pointer = T*;
template <class U, class T>
__device__ inline U* shared_cast(T* pointer) {
  return reinterpret_cast<U*>(pointer);
}
}  // namespace foreweave::kernels
#endif
