#include "settings.hpp"

#include <cmath>
#include <filesystem>
#include <functional>
#include <toml.hpp>
#include <vector>

#include "foreweave/core/error.hpp"

namespace gray_scott {
namespace {

using foreweave::Error;
using foreweave::ErrorCategory;

[[noreturn]] void refuse(const std::string& key, const std::string& message) {
  throw Error(ErrorCategory::argument, "setting " + key, message);
}

double real(const toml::value& value, const std::string& key) {
  if (value.is_floating()) return value.as_floating();
  if (value.is_integer()) return static_cast<double>(value.as_integer());
  refuse(key, "a number is expected");
}

std::int64_t integer(const toml::value& value, const std::string& key) {
  if (value.is_integer()) return value.as_integer();
  refuse(key, "a whole number is expected");
}

struct Key {
  const char* table;
  const char* name;
  std::function<void(Settings&, const toml::value&, const std::string&)> set;
};

Key real_key(const char* table, const char* name, double Settings::*member) {
  return {table, name, [member](Settings& s, const toml::value& v, const std::string& k) { s.*member = real(v, k); }};
}

Key integer_key(const char* table, const char* name, std::int64_t Settings::*member) {
  return {table, name,
          [member](Settings& s, const toml::value& v, const std::string& k) { s.*member = integer(v, k); }};
}

const std::vector<Key>& keys() {
  static const std::vector<Key> all = {
      {"grid", "size",
       [](Settings& s, const toml::value& v, const std::string& k) {
         if (!v.is_array() || v.as_array().size() != 3) refuse(k, "three whole numbers are expected: [nx, ny, nz]");
         for (std::size_t i = 0; i < 3; ++i) s.size[i] = integer(v.as_array()[i], k);
       }},
      real_key("grid", "spacing", &Settings::spacing),
      real_key("model", "feed", &Settings::feed),
      real_key("model", "kill", &Settings::kill),
      real_key("model", "diffusion_u", &Settings::diffusion_u),
      real_key("model", "diffusion_v", &Settings::diffusion_v),
      real_key("model", "dt", &Settings::dt),
      real_key("model", "noise", &Settings::noise),
      {"model", "seed",
       [](Settings& s, const toml::value& v, const std::string& k) {
         const auto seed = integer(v, k);
         if (seed < 0) refuse(k, std::to_string(seed) + " is out of range; accepted: 0 and more");
         s.seed = static_cast<std::uint64_t>(seed);
       }},
      integer_key("run", "steps", &Settings::steps),
      {"output", "directory",
       [](Settings& s, const toml::value& v, const std::string& k) {
         if (!v.is_string()) refuse(k, "a string is expected");
         s.directory = toml::get<std::string>(v);
       }},
      integer_key("output", "every", &Settings::output_every),
      {"output", "collective",
       [](Settings& s, const toml::value& v, const std::string& k) {
         if (!v.is_boolean()) refuse(k, "true or false is expected");
         s.collective = v.as_boolean();
       }},
  };
  return all;
}

std::string accepted_tables() {
  std::string text;
  for (const auto& key : keys())
    if (text.find(std::string("[") + key.table + "]") == std::string::npos)
      text += (text.empty() ? "" : ", ") + std::string("[") + key.table + "]";
  return text;
}

std::string accepted_keys(const std::string& table) {
  std::string text;
  for (const auto& key : keys())
    if (table == key.table) text += (text.empty() ? "" : ", ") + std::string(key.name);
  return text;
}

void range(const char* key, double value, double low, double high) {
  if (std::isfinite(value) && value >= low && value <= high) return;
  const auto text = [](double number) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%g", number);
    return std::string(buffer);
  };
  refuse(key, text(value) + " is out of range; accepted: " + text(low) + " to " + text(high));
}

}  // namespace

void Settings::validate() const {
  for (const auto n : size) range("grid.size", static_cast<double>(n), 1, 1 << 20);
  range("grid.spacing", spacing, 1e-12, 1e12);
  range("model.feed", feed, 0, 1);
  range("model.kill", kill, 0, 1);
  range("model.diffusion_u", diffusion_u, 0, 1e6);
  range("model.diffusion_v", diffusion_v, 0, 1e6);
  range("model.dt", dt, 1e-12, 1e6);
  // Beyond this the explicit step grows without bound whatever the reaction does.
  const double largest = diffusion_u > diffusion_v ? diffusion_u : diffusion_v;
  if (6.0 * largest * dt / (spacing * spacing) > 1.0)
    refuse("model.dt", "the step is unstable: 6 * diffusion * dt / spacing^2 must be at most 1; make dt smaller");
  range("model.noise", noise, 0, 0.25);
  range("run.steps", static_cast<double>(steps), 0, 1e12);
  range("output.every", static_cast<double>(output_every), 0, 1e12);
  if (directory.empty()) refuse("output.directory", "it is empty; name a folder");
}

Settings load_settings(const std::string& path) {
  if (!std::filesystem::is_regular_file(path))
    throw Error(ErrorCategory::absent, "settings " + path, "there is no such file");
  toml::value root;
  try {
    root = toml::parse(path);
  } catch (const std::exception& error) {
    throw Error(ErrorCategory::format, "settings " + path, error.what());
  }
  Settings settings;
  for (const auto& [table, entries] : root.as_table()) {
    const auto accepted = accepted_keys(table);
    if (accepted.empty() || !entries.is_table())
      refuse(table, "unknown in " + path + "; accepted tables: " + accepted_tables());
    for (const auto& [name, value] : entries.as_table()) {
      bool known = false;
      for (const auto& key : keys()) {
        if (table != key.table || name != key.name) continue;
        key.set(settings, value, table + "." + name);
        known = true;
      }
      if (!known) refuse(table + "." + name, "unknown in " + path + "; accepted in [" + table + "]: " + accepted);
    }
  }
  settings.validate();
  return settings;
}

}  // namespace gray_scott
