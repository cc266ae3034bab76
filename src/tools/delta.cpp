#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "core/parallel.hpp"
#include "foreweave/core/clock.hpp"
#include "foreweave/core/error.hpp"
#include "foreweave/state/snapshot.hpp"
#include "tools/commands.hpp"
#include "tools/delta_codec.hpp"
#include "tools/delta_input.hpp"
#include "tools/json.hpp"

namespace foreweave::tools {
namespace {

using state_detail::HugeMemory;

/// The files are taken in pieces of this size, so that memory does not grow with them; far more than any cache.
constexpr std::uint64_t window_bytes = 128 * segment_bytes;

constexpr std::array<const char*, kernels::transform_count> transform_names{"raw", "exclusive_or", "subtract",
                                                                            "subtract_1d", "subtract_3d"};

/// The times of one step, repeat by repeat.
class Times {
 public:
  explicit Times(int repeats) : seconds_(static_cast<std::size_t>(repeats)) {}
  /// Repeats below 0 warm up and do not count.
  template <class Work>
  void time(int repeat, const Work& work) {
    const Nanoseconds begin = monotonic_now();
    work();
    const Nanoseconds end = monotonic_now();
    if (repeat >= 0) seconds_[static_cast<std::size_t>(repeat)] += 1e-9 * static_cast<double>(end - begin);
  }
  double median() const { return quantile(0.5); }
  double quantile(double q) const {
    std::vector<double> sorted = seconds_;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)];
  }

 private:
  std::vector<double> seconds_;
};

struct Outcome {
  std::uint64_t bytes = 0, encoded = 0, archived = 0;
  DeltaCodec::Pages pages;
  Times copy, encode, decode, archive, unarchive;
  explicit Outcome(int repeats)
      : copy(repeats), encode(repeats), decode(repeats), archive(repeats), unarchive(repeats) {}
  double rate(double seconds) const { return seconds > 0 ? 1e-9 * static_cast<double>(bytes) / seconds : 0; }
  double ratio(std::uint64_t to) const { return static_cast<double>(bytes) / static_cast<double>(to); }
};

/// Throws Error(format) that names the first byte that did not come back.
void expect_equal(const std::byte* is, const std::byte* should, std::uint64_t bytes, std::uint64_t offset) {
  if (std::memcmp(is, should, bytes) == 0) return;
  const auto where = static_cast<std::uint64_t>(std::mismatch(is, is + bytes, should).first - is);
  throw Error(ErrorCategory::format, "delta: round trip",
              "byte " + std::to_string(offset + where) + " does not come back as it was: this is a bug of the codec");
}

Outcome measure(const DeltaInput& input, const DeltaRequest& request, ElementType type,
                const std::vector<std::uint64_t>& extents) {
  Outcome outcome(request.repeats);
  outcome.bytes = input.bytes();
  const std::uint64_t window = std::min(window_bytes, input.bytes());
  const HugeMemory before(window), after(window), data(window);
  Parallel team(request.threads);
  DeltaCodec codec(page_shape(type, extents), window, team);
  for (std::uint64_t offset = 0; offset < input.bytes(); offset += window) {
    const std::uint64_t bytes = std::min(window, input.bytes() - offset);
    input.read(offset, bytes, before.data(), after.data());
    for (int repeat = -1; repeat < request.repeats; ++repeat) {
      outcome.copy.time(repeat, [&] { std::memcpy(data.data(), before.data(), bytes); });
      outcome.encode.time(repeat, [&] { codec.encode(after.data(), before.data(), bytes); });
      outcome.decode.time(repeat, [&] { codec.decode(data.data()); });
      expect_equal(data.data(), after.data(), bytes, offset);
      if (!request.archive) continue;
      outcome.archive.time(repeat, [&] { codec.archive(); });
      if (repeat < 0) codec.unarchive(true);
      outcome.unarchive.time(repeat, [&] { codec.unarchive(false); });
    }
    outcome.encoded += codec.encoded_bytes();
    outcome.archived += codec.archived_bytes();
    const DeltaCodec::Pages pages = codec.pages();
    outcome.pages.clean += pages.clean;
    for (std::size_t t = 0; t < pages.by_transform.size(); ++t)
      outcome.pages.by_transform[t] += pages.by_transform[t];
  }
  return outcome;
}

Json rate_json(const Outcome& outcome, const Times& times) {
  const auto rate = [&](double quantile) { return outcome.rate(times.quantile(quantile)); };
  return Json::Object{{"median", rate(0.5)}, {"lowest", rate(1)}, {"highest", rate(0)}};
}

void print_json(const Outcome& outcome, const DeltaRequest& request, ElementType type,
                const std::vector<std::uint64_t>& extents) {
  Json::Array extents_json;
  for (const std::uint64_t extent : extents) extents_json.emplace_back(extent);
  Json::Object pages{{"clean", outcome.pages.clean}};
  for (std::size_t t = 0; t < transform_names.size(); ++t) {
    pages.emplace_back(transform_names[t], outcome.pages.by_transform[t]);
  }
  Json::Object all{{"old", request.old_file.string()},
                   {"new", request.new_file.string()},
                   {"type", to_string(type)},
                   {"extents", std::move(extents_json)},
                   {"bytes", outcome.bytes},
                   {"round_trip", true},
                   {"simd", kernels::host::simd_target()},
                   {"threads", request.threads},
                   {"repeats", request.repeats},
                   {"encoded_bytes", outcome.encoded},
                   {"ratio", outcome.encoded == 0 ? Json() : Json(outcome.ratio(outcome.encoded))},
                   {"encode_gbps", rate_json(outcome, outcome.encode)},
                   {"decode_gbps", rate_json(outcome, outcome.decode)},
                   {"memcpy_gbps", rate_json(outcome, outcome.copy)},
                   {"encode_over_memcpy", outcome.copy.median() / outcome.encode.median()},
                   {"decode_over_memcpy", outcome.copy.median() / outcome.decode.median()},
                   {"pages", std::move(pages)}};
  if (request.archive) {
    all.emplace_back("archive",
                     Json::Object{{"bytes", outcome.archived},
                                  {"ratio", outcome.archived == 0 ? Json() : Json(outcome.ratio(outcome.archived))},
                                  {"archive_gbps", rate_json(outcome, outcome.archive)},
                                  {"unarchive_gbps", rate_json(outcome, outcome.unarchive)}});
  }
  std::cout << Json(std::move(all)).text();
}

std::string fixed(double value, const char* format) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

void print_text(const Outcome& outcome, const DeltaRequest& request) {
  const auto line = [](const char* name, const std::string& text) { std::cout << pad(name, 12) << text << '\n'; };
  const auto smaller = [&](std::uint64_t to) {
    return to == 0 ? std::string("nothing: no page changed")
                   : human_bytes(to) + ", ratio " + fixed(outcome.ratio(to), "%.3f");
  };
  const auto rate = [&](const Times& times) {
    return fixed(outcome.rate(times.median()), "%.2f GB/s") + fixed(outcome.rate(times.quantile(1)), " (%.2f") +
           fixed(outcome.rate(times.quantile(0)), " to %.2f)");
  };
  const auto over_copy = [&](const Times& times) {
    return rate(times) + ", " + fixed(outcome.copy.median() / times.median(), "%.2f of memcpy");
  };
  line("delta", human_bytes(outcome.bytes) + " to " + smaller(outcome.encoded) + "; the round trip is exact");
  line("encode", over_copy(outcome.encode));
  line("decode", over_copy(outcome.decode));
  line("memcpy", rate(outcome.copy) + ", one thread");
  std::string pages = std::to_string(outcome.pages.clean) + " clean";
  for (std::size_t t = 0; t < transform_names.size(); ++t) {
    pages += ", " + std::to_string(outcome.pages.by_transform[t]) + " " + transform_names[t];
  }
  line("pages", pages);
  if (request.archive) {
    line("archive", "to " + smaller(outcome.archived));
    line("", "archive " + rate(outcome.archive) + ", unarchive " + rate(outcome.unarchive));
  }
  std::cout << "GB/s of " << (request.threads == 1 ? "one thread" : std::to_string(request.threads) + " threads")
            << ", " << kernels::host::simd_target() << ": median of " << request.repeats
            << " (lowest to highest), in bytes of the files; base and new state are read, the base is not updated\n";
}

}  // namespace

int delta(const DeltaRequest& request) {
  const ElementType type = parse_element_type(request.type);
  const std::vector<std::uint64_t> extents =
      request.extents.empty() ? std::vector<std::uint64_t>{} : parse_extents(request.extents);
  if (request.threads < 1 || request.threads > 1024) {
    throw Error(ErrorCategory::argument, "delta --threads " + std::to_string(request.threads),
                "there must be 1 to 1024 threads");
  }
  if (request.repeats < 1 || request.repeats > 1000) {
    throw Error(ErrorCategory::argument, "delta --repeats " + std::to_string(request.repeats),
                "there must be 1 to 1000 repeats");
  }
  const DeltaInput input(request.old_file, request.new_file, type, extents);
  const Outcome outcome = measure(input, request, type, extents);
  if (request.json) {
    print_json(outcome, request, type, extents);
  } else {
    print_text(outcome, request);
  }
  return status_ok;
}

}  // namespace foreweave::tools
