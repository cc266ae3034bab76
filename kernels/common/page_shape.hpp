#pragma once
// Which transforms a page's shape allows, and over which strides they work (docs/format.md, "Transforms").

#include <cstdint>

#include "kernels/common/host_device.hpp"
#include "kernels/decl/page_codec.hpp"

namespace foreweave::kernels::common {

/// Element bytes as the codec takes them: 4 or 8 as given, anything else counts as 1.
FOREWEAVE_HD constexpr std::uint32_t element_width(const PageShape& shape) {
  return shape.width == 8 || shape.width == 4 ? shape.width : 1;
}

/// Strides of the two outer factors of subtract_3d, in elements; 0 where the factor is left out.
struct Strides {
  std::uint32_t row = 0;
  std::uint32_t plane = 0;
  FOREWEAVE_HD constexpr bool any() const { return row != 0 || plane != 0; }
};

FOREWEAVE_HD constexpr std::uint32_t usable_stride(std::uint64_t stride, std::uint32_t width) {
  return stride > 1 && stride < page_bytes / width ? static_cast<std::uint32_t>(stride) : 0;
}

FOREWEAVE_HD constexpr Strides strides_of(const PageShape& shape) {
  const std::uint32_t width = element_width(shape);
  if (width == 1) return {};
  return {usable_stride(shape.row, width), usable_stride(shape.plane, width)};
}

/// Whether the transform with this number (known or not) may be used for this shape.
FOREWEAVE_HD constexpr bool transform_allowed(std::uint32_t transform, const PageShape& shape) {
  if (transform <= static_cast<std::uint32_t>(Transform::exclusive_or)) return true;
  if (element_width(shape) == 1) return false;
  if (transform <= static_cast<std::uint32_t>(Transform::subtract_1d)) return true;
  return transform == static_cast<std::uint32_t>(Transform::subtract_3d) && strides_of(shape).any();
}

}  // namespace foreweave::kernels::common
