#include "foreweave/core/bytes.hpp"

#include <bit>

namespace foreweave {

static_assert(std::endian::native == std::endian::little, "Foreweave's formats are written on little-endian hosts");

void ByteWriter::put_string(std::string_view text) {
  put(static_cast<std::uint32_t>(text.size()));
  put_bytes(std::as_bytes(std::span(text)));
}

std::string ByteReader::get_string(std::size_t limit) {
  const auto size = get<std::uint32_t>();
  if (size > limit) {
    throw Error(ErrorCategory::format, "read " + what_,
                "a string of " + std::to_string(size) + " bytes at offset " + std::to_string(position_) +
                    " is longer than the allowed " + std::to_string(limit) + "; the data is damaged or foreign");
  }
  const auto raw = get_bytes(size);
  return {reinterpret_cast<const char*>(raw.data()), raw.size()};
}

ByteView ByteReader::get_bytes(std::size_t count) {
  if (count > remaining()) {
    throw Error(ErrorCategory::format, "read " + what_,
                "truncated: " + std::to_string(count) + " bytes wanted at offset " + std::to_string(position_) +
                    ", " + std::to_string(remaining()) + " left");
  }
  const auto view = bytes_.subspan(position_, count);
  position_ += count;
  return view;
}

void ByteReader::expect_end() const {
  if (remaining() != 0) {
    throw Error(ErrorCategory::format, "read " + what_, std::to_string(remaining()) + " bytes more than expected");
  }
}

}  // namespace foreweave
