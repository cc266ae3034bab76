#include "tools/json.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <type_traits>

namespace foreweave::tools {
namespace {

void write_string(std::string& out, const std::string& text) {
  out += '"';
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20) {
      std::array<char, 8> code{};
      std::snprintf(code.data(), code.size(), "\\u%04x", c);
      out += code.data();
    } else {
      out += static_cast<char>(c);
    }
  }
  out += '"';
}

void new_line(std::string& out, int depth) { out += "\n" + std::string(static_cast<std::size_t>(2 * depth), ' '); }

}  // namespace

std::string Json::text() const {
  std::string out;
  write(out, 0);
  return out + "\n";
}

void Json::write(std::string& out, int depth) const {
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::nullptr_t>) {
          out += "null";
        } else if constexpr (std::is_same_v<T, bool>) {
          out += value ? "true" : "false";
        } else if constexpr (std::is_same_v<T, double>) {
          std::array<char, 64> text;
          const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
          out += std::isfinite(value) ? std::string(text.data(), end) : "null";
        } else if constexpr (std::is_arithmetic_v<T>) {
          out += std::to_string(value);
        } else if constexpr (std::is_same_v<T, std::string>) {
          write_string(out, value);
        } else if constexpr (std::is_same_v<T, Array>) {
          out += '[';
          for (std::size_t i = 0; i < value.size(); ++i) {
            if (i != 0) out += ',';
            new_line(out, depth + 1);
            value[i].write(out, depth + 1);
          }
          if (!value.empty()) new_line(out, depth);
          out += ']';
        } else {
          out += '{';
          for (std::size_t i = 0; i < value.size(); ++i) {
            if (i != 0) out += ',';
            new_line(out, depth + 1);
            write_string(out, value[i].first);
            out += ": ";
            value[i].second.write(out, depth + 1);
          }
          if (!value.empty()) new_line(out, depth);
          out += '}';
        }
      },
      value_);
}

}  // namespace foreweave::tools
