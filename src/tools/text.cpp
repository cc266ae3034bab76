#include <array>
#include <cstdio>
#include <cstdlib>

#include "tools/commands.hpp"

namespace foreweave::tools {

std::string human_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  constexpr std::array units{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), value < 10 ? "%.2f %s" : "%.1f %s", value, units[unit]);
  return text.data();
}

std::string pad(const std::string& text, int width) {
  const auto wanted = static_cast<std::size_t>(std::abs(width));
  if (text.size() >= wanted) return text;
  const std::string space(wanted - text.size(), ' ');
  return width < 0 ? space + text : text + space;
}

}  // namespace foreweave::tools
