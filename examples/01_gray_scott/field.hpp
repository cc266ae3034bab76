#pragma once
// Where the numbers live and how loops over them run: plain C++ on the host, or Kokkos. Everything above this file is
// one source for both programs.

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#ifdef GRAY_SCOTT_KOKKOS
#include <Kokkos_Core.hpp>
#define GRAY_SCOTT_LAMBDA KOKKOS_LAMBDA
#else
#define GRAY_SCOTT_LAMBDA [=]
#endif

namespace gray_scott {

#ifdef GRAY_SCOTT_KOKKOS

inline constexpr const char* backend = "kokkos";
using Field = Kokkos::View<double*>;
using HostField = decltype(Kokkos::create_mirror_view(std::declval<Field>()));

inline Field make_field(const char* name, std::int64_t size) {
  return Field(std::string(name), static_cast<std::size_t>(size));
}

/// Calls body(row, column) for every pair; columns run fastest. The calls are independent of each other.
template <class Body>
void for_cells(std::int64_t rows, std::int64_t columns, const Body& body) {
  using Policy = Kokkos::MDRangePolicy<Kokkos::Rank<2, Kokkos::Iterate::Right, Kokkos::Iterate::Right>,
                                       Kokkos::IndexType<std::int64_t>>;
  Kokkos::parallel_for("gray_scott", Policy({0, 0}, {rows, columns}), body);
}

/// A field with a twin that the host can read and MPI can send; the same memory where the field is on the host.
class StagedField {
 public:
  StagedField(const char* name, std::int64_t size)
      : device_(make_field(name, size)), host_(Kokkos::create_mirror_view(device_)) {}
  explicit StagedField(const Field& field) : device_(field), host_(Kokkos::create_mirror_view(device_)) {}
  double* device() const { return device_.data(); }
  double* host() const { return host_.data(); }
  void to_host() const {
    Kokkos::deep_copy(host_, device_);
    Kokkos::fence();
  }
  void to_device() const {
    Kokkos::deep_copy(device_, host_);
    Kokkos::fence();
  }

 private:
  Field device_;
  HostField host_;
};

/// A field's values for the host to read, as they are now; no copy where the field is on the host.
class HostValues {
 public:
  explicit HostValues(const Field& field) : host_(Kokkos::create_mirror_view(field)) {
    Kokkos::deep_copy(host_, field);
    Kokkos::fence();
  }
  const double* data() const { return host_.data(); }

 private:
  HostField host_;
};

/// Starts and ends Kokkos around main.
class Runtime {
 public:
  Runtime(int& argc, char** argv) { Kokkos::initialize(argc, argv); }
  ~Runtime() { Kokkos::finalize(); }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
};

inline void finish_loops() { Kokkos::fence(); }

#else

inline constexpr const char* backend = "host";

using Field = std::vector<double>;

inline Field make_field(const char*, std::int64_t size) { return Field(static_cast<std::size_t>(size)); }

template <class Body>
void for_cells(std::int64_t rows, std::int64_t columns, const Body& body) {
  for (std::int64_t row = 0; row < rows; ++row) {
#pragma GCC ivdep  // bodies write one place each and read none that another writes: safe to vectorize
    for (std::int64_t column = 0; column < columns; ++column) body(row, column);
  }
}

class StagedField {
 public:
  StagedField(const char* name, std::int64_t size) : own_(make_field(name, size)), data_(own_.data()) {}
  explicit StagedField(Field& field) : data_(field.data()) {}
  StagedField(StagedField&&) = default;  // moving a vector keeps its address
  StagedField& operator=(StagedField&&) = default;
  double* device() const { return data_; }
  double* host() const { return data_; }
  void to_host() const {}
  void to_device() const {}

 private:
  Field own_;
  double* data_;
};

class HostValues {
 public:
  explicit HostValues(const Field& field) : data_(field.data()) {}
  const double* data() const { return data_; }

 private:
  const double* data_;
};

class Runtime {
 public:
  Runtime(int&, char**) {}
};

inline void finish_loops() {}

#endif

}  // namespace gray_scott
