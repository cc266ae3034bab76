#include "state/snapshot_file_name.hpp"

#include <charconv>
#include <cstdio>

namespace foreweave::state_detail {

std::string format(const SnapshotFileName& name) {
  char text[128];
  std::snprintf(text, sizeof text, "r%06d-v%012llu-b%012llu-s%04llu.fwsnap", name.id.rank,
                static_cast<unsigned long long>(name.id.version), static_cast<unsigned long long>(name.base),
                static_cast<unsigned long long>(name.sequence));
  return text;
}

std::optional<SnapshotFileName> parse_snapshot_file_name(std::string_view text) {
  SnapshotFileName name;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto field = [&](char letter, auto& value) {
    if (at == end || *at != letter) return false;
    const auto [next, error] = std::from_chars(at + 1, end, value);
    if (error != std::errc{}) return false;
    at = next;
    if (at != end && *at == '-') ++at;
    return true;
  };
  if (!field('r', name.id.rank) || !field('v', name.id.version) || !field('b', name.base) ||
      !field('s', name.sequence)) {
    return std::nullopt;
  }
  if (name.id.rank < 0 || format(name) != text) return std::nullopt;
  return name;
}

}  // namespace foreweave::state_detail
