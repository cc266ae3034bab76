#pragma once
// Protecting Kokkos Views. Kokkos 3.4 and newer.

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "foreweave/context/context.hpp"

namespace foreweave::kokkos {

/// Protects a View's memory under `name`, in whatever memory space it lies; its execution space is fenced before each
/// capture by the caller or by deep_copy, as for any other reader of the View. Error(argument) for a View that is not
/// contiguous. The View must live as long as it is protected. `part` in the order of the View's dimensions.
template <class Data, class... Properties>
void protect(Context& context, const std::string& name, const Kokkos::View<Data, Properties...>& view,
             std::optional<GlobalPart> part = {}) {
  using View = Kokkos::View<Data, Properties...>;
  using Value = typename View::non_const_value_type;
  static_assert(std::is_trivially_copyable_v<Value>, "only Views of trivially copyable elements can be protected");
  if (!view.span_is_contiguous()) {
    throw Error(ErrorCategory::argument, "protect View '" + name + "'", "it is not contiguous in memory");
  }
  // Slowest first, as RegionSpec wants them: the order of a View's extents, or the reverse with LayoutLeft.
  std::vector<std::uint64_t> extents;
  std::uint64_t elements = 1;
  for (unsigned dimension = 0; dimension < View::rank; ++dimension) {
    extents.push_back(view.extent(dimension));
    elements *= view.extent(dimension);
  }
  if constexpr (std::is_same_v<typename View::array_layout, Kokkos::LayoutLeft>) {
    std::reverse(extents.begin(), extents.end());
    if (part) {
      for (auto* numbers : {&part->whole, &part->offset, &part->ghost}) std::reverse(numbers->begin(), numbers->end());
    }
  }
  if (elements != view.span()) extents.clear();   // padded: protected whole, as one dimension
  context.protect(RegionSpec{name, const_cast<Value*>(view.data()), view.span() * sizeof(Value),
                             element_type_of<Value>(), std::move(extents), {}, {}, std::move(part)});
}

/// Under its own label, which must not be empty.
template <class Data, class... Properties>
void protect(Context& context, const Kokkos::View<Data, Properties...>& view, std::optional<GlobalPart> part = {}) {
  protect(context, view.label(), view, std::move(part));
}

/// Several Views, each under its own label.
template <class... Views>
  requires(sizeof...(Views) > 1 && (Kokkos::is_view<Views>::value && ...))
void protect(Context& context, const Views&... views) {
  (protect(context, views), ...);
}

}  // namespace foreweave::kokkos
