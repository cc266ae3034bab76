#pragma once
// Shared memory that knows what was written to it, by whom and when. Kernels make it with FW_SHARED and
// FW_DYNAMIC_SHARED (kernels/cuda/shared.hpp), which are plain __shared__ arrays under nvcc.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "emulator/intrinsics.hpp"

namespace foreweave::emulator {

/// One shared array of one block: its bytes, and beside each byte what is known of it.
class SharedStorage;
/// The current block's storage for the array that `key` stands for; made when the first thread asks.
SharedStorage& static_shared(const void* key, const char* name, std::size_t bytes);
SharedStorage& dynamic_shared(const char* name);
std::size_t storage_bytes(const SharedStorage& storage);

enum class SharedAccess : std::uint8_t { read, write, atomic };
/// Checks and notes one access; returns the memory.
void* access_shared(SharedStorage& storage, std::ptrdiff_t offset, std::size_t bytes, SharedAccess kind, Where where);

template <class T>
class SharedPointer;

/// What indexing a shared array gives: reads and writes are checked.
template <class T>
class SharedReference {
 public:
  SharedReference(SharedStorage& storage, std::ptrdiff_t offset, Where where)
      : storage_(&storage), offset_(offset), where_(where) {}
  SharedReference(const SharedReference&) = default;

  operator T() const {
    T value;
    std::memcpy(&value, access_shared(*storage_, offset_, sizeof(T), SharedAccess::read, where_), sizeof(T));
    return value;
  }
  const SharedReference& operator=(T value) const {
    std::memcpy(access_shared(*storage_, offset_, sizeof(T), SharedAccess::write, where_), &value, sizeof(T));
    return *this;
  }
  const SharedReference& operator=(const SharedReference& other) const { return *this = static_cast<T>(other); }
  const SharedReference& operator+=(T value) const { return *this = static_cast<T>(T(*this) + value); }
  const SharedReference& operator-=(T value) const { return *this = static_cast<T>(T(*this) - value); }
  const SharedReference& operator|=(T value) const { return *this = static_cast<T>(T(*this) | value); }
  const SharedReference& operator&=(T value) const { return *this = static_cast<T>(T(*this) & value); }
  const SharedReference& operator^=(T value) const { return *this = static_cast<T>(T(*this) ^ value); }
  SharedPointer<T> operator&() const { return SharedPointer<T>(*storage_, offset_); }

 private:
  SharedStorage* storage_;
  std::ptrdiff_t offset_;
  Where where_;
};

/// Stands for a T* into shared memory.
template <class T>
class SharedPointer {
  static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>, "shared arrays hold numbers");

 public:
  /// An index that remembers where in the source it was used.
  struct Index {
    template <class I>
    requires std::is_integral_v<I> Index(I value_, Where where_ = Where::current())
        : value(static_cast<std::ptrdiff_t>(value_)), where(where_) {}
    std::ptrdiff_t value;
    Where where;
  };

  explicit SharedPointer(SharedStorage& storage, std::ptrdiff_t offset = 0) : storage_(&storage), offset_(offset) {}

  SharedReference<T> operator[](Index index) const {
    return {*storage_, offset_ + index.value * static_cast<std::ptrdiff_t>(sizeof(T)), index.where};
  }
  SharedReference<T> operator*() const { return {*storage_, offset_, Where::current()}; }
  SharedPointer operator+(std::ptrdiff_t elements) const {
    return SharedPointer(*storage_, offset_ + elements * static_cast<std::ptrdiff_t>(sizeof(T)));
  }
  /// The same memory as elements of another type (a reinterpret_cast of the pointer under nvcc).
  template <class U>
  SharedPointer<U> as() const {
    return SharedPointer<U>(*storage_, offset_);
  }

  template <class F>
  T atomic(F&& change, Where where) const {
    yield_thread();
    T value;
    void* memory = access_shared(*storage_, offset_, sizeof(T), SharedAccess::atomic, where);
    std::memcpy(&value, memory, sizeof(T));
    const T changed = static_cast<T>(change(value));
    std::memcpy(memory, &changed, sizeof(T));
    return value;
  }

 private:
  SharedStorage* storage_;
  std::ptrdiff_t offset_;
};

}  // namespace foreweave::emulator

#define FOREWEAVE_EMULATED_SHARED_ATOMIC(NAME, EXPRESSION)                             \
  template <class T>                                                                   \
  T NAME(foreweave::emulator::SharedPointer<T> address, std::type_identity_t<T> value, \
         foreweave::emulator::Where where = foreweave::emulator::Where::current()) {   \
    return address.atomic([&]([[maybe_unused]] T old) { return EXPRESSION; }, where);  \
  }
FOREWEAVE_EMULATED_SHARED_ATOMIC(atomicAdd, old + value)
FOREWEAVE_EMULATED_SHARED_ATOMIC(atomicSub, old - value)
FOREWEAVE_EMULATED_SHARED_ATOMIC(atomicMax, old < value ? value : old)
FOREWEAVE_EMULATED_SHARED_ATOMIC(atomicMin, value < old ? value : old)
FOREWEAVE_EMULATED_SHARED_ATOMIC(atomicOr, old | value)
FOREWEAVE_EMULATED_SHARED_ATOMIC(atomicAnd, old& value)
FOREWEAVE_EMULATED_SHARED_ATOMIC(atomicXor, old ^ value)
FOREWEAVE_EMULATED_SHARED_ATOMIC(atomicExch, value)
#undef FOREWEAVE_EMULATED_SHARED_ATOMIC
