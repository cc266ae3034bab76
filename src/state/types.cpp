#include "foreweave/state/types.hpp"

namespace foreweave {

std::uint8_t element_width(ElementType type) {
  switch (type) {
    case ElementType::bytes:
      return 1;
    case ElementType::f32:
    case ElementType::i32:
    case ElementType::u32:
      return 4;
    case ElementType::f64:
    case ElementType::i64:
    case ElementType::u64:
      return 8;
  }
  return 0;
}

std::string to_string(ElementType type) {
  switch (type) {
    case ElementType::bytes:
      return "bytes";
    case ElementType::f32:
      return "f32";
    case ElementType::f64:
      return "f64";
    case ElementType::i32:
      return "i32";
    case ElementType::i64:
      return "i64";
    case ElementType::u32:
      return "u32";
    case ElementType::u64:
      return "u64";
  }
  return "unknown type " + std::to_string(static_cast<int>(type));
}

std::string to_string(const SnapshotId& id) {
  return "rank " + std::to_string(id.rank) + " version " + std::to_string(id.version);
}

}  // namespace foreweave
