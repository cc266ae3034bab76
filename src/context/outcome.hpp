#pragma once
// Outcome: what the members of the group tell each other of a restore.

#include <cstdint>
#include <string>
#include <string_view>

#include "foreweave/core/bytes.hpp"
#include "foreweave/core/error.hpp"

namespace foreweave::context {

/// How one member fared with a restore, for the others.
struct Outcome {
  bool ok = true;
  bool fatal = false;  ///< no other copy can help: wrong key, regions that do not match
  ErrorCategory category = ErrorCategory::format;
  std::string text;

  Bytes encode() const {
    ByteWriter out;
    out.put(static_cast<std::uint8_t>(ok));
    out.put(static_cast<std::uint8_t>(fatal));
    out.put(static_cast<std::uint8_t>(category));
    out.put_string(std::string_view(text).substr(0, 4000));
    return out.take();
  }
  static Outcome decode(ByteView bytes) {
    ByteReader in(bytes, "outcome of a restore");
    Outcome result;
    result.ok = in.get<std::uint8_t>() != 0;
    result.fatal = in.get<std::uint8_t>() != 0;
    result.category = static_cast<ErrorCategory>(in.get<std::uint8_t>());
    result.text = in.get_string();
    return result;
  }
};

}  // namespace foreweave::context
