#pragma once
// Protecting Kokkos Views by their labels, without naming each: for programs whose Views are made all over the code.

#include <Kokkos_Core.hpp>

#include <fnmatch.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "foreweave/context/context.hpp"
#include "foreweave/core/log.hpp"

namespace foreweave::kokkos {

/// While it lives, every View that is made under a label that matches is protected under that label, in whatever memory
/// space it lies, and no longer when it is freed. Views that are alive when it is made are not known to it.
///
/// Kokkos tells a tool label, address and size of an allocation, but neither type nor extents: name the type of the
/// elements, so that the codec can work with them. A second View under a label that is taken is "label#2", and so on in
/// the order in which they are made, which must be the same in every run. Where padding makes an allocation larger than
/// its View, the padding is protected too.
///
/// The callbacks of a tool that is loaded are called as well. Make and free it, and the Views, on the program's thread,
/// outside parallel regions; the context must outlive it.
class ProtectByLabel {
 public:
  /// `patterns` as in a shell: "u", "flow_*", "[uvw]?". What Kokkos makes for itself ("Kokkos::…") never matches.
  ProtectByLabel(Context& context, std::vector<std::string> patterns, ElementType type = ElementType::f64)
      : context_(context), patterns_(std::move(patterns)), type_(type) {
    if (all().empty()) {
      const auto events = Kokkos::Tools::Experimental::get_callbacks();
      before_allocate() = events.allocate_data;
      before_deallocate() = events.deallocate_data;
      Kokkos::Tools::Experimental::set_allocate_data_callback(&allocated);
      Kokkos::Tools::Experimental::set_deallocate_data_callback(&deallocated);
    }
    all().push_back(this);
  }
  ~ProtectByLabel() {
    all().remove(this);
    if (all().empty()) {
      Kokkos::Tools::Experimental::set_allocate_data_callback(before_allocate());
      Kokkos::Tools::Experimental::set_deallocate_data_callback(before_deallocate());
    }
  }
  ProtectByLabel(const ProtectByLabel&) = delete;
  ProtectByLabel& operator=(const ProtectByLabel&) = delete;

  /// Names of the regions that are protected now, in the order in which they were made.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& view : views_) names.push_back(view.name);
    return names;
  }

  /// Kokkos' callbacks cannot throw: what went wrong in one of them (a View whose size is no whole number of elements)
  /// was logged, and is thrown here, once.
  void rethrow() {
    if (auto error = std::exchange(error_, nullptr)) std::rethrow_exception(error);
  }

 private:
  using Space = Kokkos_Profiling_SpaceHandle;
  using Callback = decltype(Kokkos::Tools::Experimental::get_callbacks().allocate_data);
  struct View {
    const void* address;
    std::string label, name;
  };

  static std::list<ProtectByLabel*>& all() {
    static std::list<ProtectByLabel*> list;
    return list;
  }
  static Callback& before_allocate() {
    static Callback callback = nullptr;
    return callback;
  }
  static Callback& before_deallocate() {
    static Callback callback = nullptr;
    return callback;
  }
  static void allocated(Space space, const char* label, const void* address, std::uint64_t bytes) {
    if (before_allocate() != nullptr) before_allocate()(space, label, address, bytes);
    for (auto* one : all()) one->made(label, address, bytes);
  }
  static void deallocated(Space space, const char* label, const void* address, std::uint64_t bytes) {
    for (auto* one : all()) one->freed(address);
    if (before_deallocate() != nullptr) before_deallocate()(space, label, address, bytes);
  }

  bool matches(const std::string& label) const {
    if (label.starts_with("Kokkos::")) return false;
    return std::any_of(patterns_.begin(), patterns_.end(),
                       [&](const std::string& pattern) { return ::fnmatch(pattern.c_str(), label.c_str(), 0) == 0; });
  }

  template <class Act>
  void guarded(Act act) noexcept {
    try {
      act();
    } catch (const std::exception& error) {
      log::error(error.what());
      if (!error_) error_ = std::current_exception();
    }
  }

  void made(const std::string& label, const void* address, std::uint64_t bytes) {
    if (bytes == 0 || !matches(label)) return;
    guarded([&] {
      const auto taken = [&](const std::string& name) {
        return std::any_of(views_.begin(), views_.end(), [&](const View& view) { return view.name == name; });
      };
      std::string name = label;
      for (int number = 2; taken(name); ++number) name = label + "#" + std::to_string(number);
      // Kokkos gives the address of its own header, which the data follow.
      auto* const data = const_cast<char*>(static_cast<const char*>(address)) + sizeof(Kokkos::Impl::SharedAllocationHeader);
      context_.protect(RegionSpec{.name = name, .data = data, .bytes = bytes, .type = type_});
      views_.push_back({address, label, std::move(name)});
    });
  }

  void freed(const void* address) {
    const auto found =
        std::find_if(views_.begin(), views_.end(), [&](const View& view) { return view.address == address; });
    if (found == views_.end()) return;
    const auto name = found->name;
    views_.erase(found);
    guarded([&] { context_.unprotect(name); });
  }

  Context& context_;
  std::vector<std::string> patterns_;
  ElementType type_;
  std::vector<View> views_;
  std::exception_ptr error_;
};

}  // namespace foreweave::kokkos
