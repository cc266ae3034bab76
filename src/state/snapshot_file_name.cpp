#include "state/snapshot_file_name.hpp"

#include <charconv>
#include <cstdio>

namespace foreweave::state_detail {
namespace {

constexpr std::string_view pack_suffix = ".fwpack", objects_prefix = "objects-";

/// 32 lower case hex digits, the high half first, as to_string() writes them.
std::optional<Digest128> parse_digest(std::string_view text) {
  if (text.size() != 32) return std::nullopt;
  Digest128 digest;
  const auto half = [&](std::size_t at, std::uint64_t& value) {
    const char *const begin = text.data() + at, *const end = begin + 16;
    return std::from_chars(begin, end, value, 16).ptr == end;
  };
  if (!half(0, digest.high) || !half(16, digest.low) || to_string(digest) != text) return std::nullopt;
  return digest;
}

}  // namespace

std::string format(const SnapshotFileName& name) {
  char text[128];
  std::snprintf(text, sizeof text, "r%06d-v%012llu-b%012llu-s%04llu", name.id.rank,
                static_cast<unsigned long long>(name.id.version), static_cast<unsigned long long>(name.base),
                static_cast<unsigned long long>(name.sequence));
  return name.pack ? text + ("-" + to_string(*name.pack)) + std::string(pack_suffix) : std::string(text) + ".fwsnap";
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
  if (const std::string_view rest(at, static_cast<std::size_t>(end - at)); rest.ends_with(pack_suffix)) {
    name.pack = parse_digest(rest.substr(0, rest.size() - pack_suffix.size()));
  }
  if (name.id.rank < 0 || format(name) != text) return std::nullopt;
  return name;
}

std::string format_objects_name(const Digest128& pack) {
  return std::string(objects_prefix) + to_string(pack) + std::string(pack_suffix);
}

std::optional<Digest128> parse_objects_name(std::string_view text) {
  if (!text.starts_with(objects_prefix) || !text.ends_with(pack_suffix)) return std::nullopt;
  text.remove_prefix(objects_prefix.size());
  text.remove_suffix(pack_suffix.size());
  return parse_digest(text);
}

}  // namespace foreweave::state_detail
