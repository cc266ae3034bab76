#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>
#include <optional>

#include "foreweave/core/error.hpp"
#include "foreweave/state/parity.hpp"
#include "foreweave/trace/reader.hpp"
#include "tools/commands.hpp"
#include "tools/json.hpp"
#include "tools/stores.hpp"

namespace foreweave::tools {
namespace fs = std::filesystem;
namespace {

/// Of a snapshot that is kept in pieces. A damaged one is listed all the same: `verify` says what it has.
std::optional<PackedSize> packed_size(const PackedStore& store, const StoredSnapshot& snapshot) {
  try {
    return store.packed_size(snapshot.id);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::format) throw;
    return std::nullopt;
  }
}

Json list_parity(const fs::path& path, const Store& store, bool json) {
  Json::Array blocks;
  if (!json) std::cout << path.string() << '\n';
  for (const auto& stored : store.list()) {
    const auto bytes = store.open(stored.id);
    if (!bytes) continue;
    try {
      const auto record = ParityRecord::decode(bytes->view());
      std::string ranks;
      Json::Array members;
      for (const auto rank : record.ranks()) {
        ranks += (ranks.empty() ? "" : ", ") + std::to_string(rank);
        members.emplace_back(rank);
      }
      blocks.push_back(Json::Object{{"version", record.version},
                                    {"ranks", std::move(members)},
                                    {"row", record.row},
                                    {"parity", record.parity},
                                    {"bytes", stored.bytes}});
      if (!json) {
        std::cout << "  parity " << record.row + 1 << " of " << record.parity << "  version "
                  << pad(std::to_string(record.version), -6) << "  of ranks " << pad(ranks, 16)
                  << pad(human_bytes(stored.bytes), -11) << '\n';
      }
    } catch (const Error& error) {
      if (!json) std::cout << "  BAD  version " << stored.id.version << ": " << error.what() << '\n';
    }
  }
  const auto bytes = store.bytes();
  if (!json) std::cout << "  " << human_bytes(bytes) << " in all\n";
  return Json::Object{{"folder", path.string()}, {"bytes", bytes}, {"parity_blocks", std::move(blocks)}};
}

int list_stores(const fs::path& folder, bool json) {
  Json::Array all;
  for (const auto& [path, store, parity] : find_stores(folder)) {
    if (parity) {
      all.push_back(list_parity(path, *store, json));
      continue;
    }
    const auto committed = store->committed();
    Json::Array snapshots;
    if (!json)
      std::cout << path.string() << "   committed " << (committed == 0 ? "none" : std::to_string(committed)) << '\n';
    for (const auto& snapshot : store->list()) {
      const auto packed = packed_size(*store, snapshot);
      if (json) {
        Json::Object one{{"rank", snapshot.id.rank},
                         {"version", snapshot.id.version},
                         {"base", snapshot.base},
                         {"kind", snapshot.base == 0 ? "full" : "delta"},
                         {"bytes", snapshot.bytes},
                         {"committed", snapshot.id.version <= committed}};
        if (packed) {
          one.emplace_back("snapshot_bytes", packed->snapshot);
          one.emplace_back("unique_bytes", packed->unique);
        }
        snapshots.push_back(std::move(one));
      } else {
        std::cout << "  rank " << pad(std::to_string(snapshot.id.rank), -4) << "  version "
                  << pad(std::to_string(snapshot.id.version), -6) << "  "
                  << pad(snapshot.base == 0 ? "full" : "delta on " + std::to_string(snapshot.base), 16)
                  << pad(human_bytes(snapshot.bytes), -11)
                  << (packed ? "  for " + human_bytes(packed->snapshot) + ", " + human_bytes(packed->unique) + " of it new"
                             : "")
                  << (snapshot.id.version <= committed ? "" : "  not committed") << '\n';
      }
    }
    const auto bytes = store->bytes();
    if (!json) std::cout << "  " << human_bytes(bytes) << " in all\n";
    all.push_back(Json::Object{
        {"folder", path.string()}, {"committed", committed}, {"bytes", bytes}, {"snapshots", std::move(snapshots)}});
  }
  if (json) std::cout << Json(Json::Object{{"stores", std::move(all)}}).text();
  return status_ok;
}

/// What went to one tier of files.
struct FlushSummary {
  std::uint64_t count = 0, failed = 0, passed_over = 0, bytes = 0, unique = 0, stored = 0;
  Version newest = 0;
  Nanoseconds time = 0;
};

struct HubSummary {
  std::array<FlushSummary, 2> flushes;   ///< by FileTier
  std::uint64_t captured = 0, stored = 0, sent = 0, received = 0, failed_transfers = 0;
  std::uint64_t tracked = 0, faults = 0, by_digests = 0;
  std::int64_t blocked_median = 0, blocked_max = 0;
  Version newest = 0, committed = 0;
};

HubSummary summarize(const trace::HubTrace& hub) {
  HubSummary s;
  std::vector<std::int64_t> blocked;
  for (const auto& [time, rank, report] : hub.captures) {
    s.captured += report.region_bytes;
    s.stored += report.snapshot_bytes;
    s.tracked += report.tracked_bytes;
    s.faults += report.write_faults;
    s.by_digests += report.digest_bytes;
    s.newest = std::max(s.newest, report.version);
    blocked.push_back(report.blocked_ns);
  }
  if (!blocked.empty()) {
    s.blocked_max = *std::max_element(blocked.begin(), blocked.end());
    const auto middle = blocked.begin() + static_cast<std::ptrdiff_t>(blocked.size() / 2);
    std::nth_element(blocked.begin(), middle, blocked.end());
    s.blocked_median = *middle;
  }
  for (const auto& t : hub.transfers) {
    if (!t.ok)
      ++s.failed_transfers;
    else
      (t.outgoing ? s.sent : s.received) += t.bytes;
  }
  for (const auto& f : hub.flushes) {
    auto& tier = s.flushes[f.tier == trace::FileTier::local ? 0 : 1];
    ++(f.ok ? tier.count : tier.failed);
    tier.passed_over += f.passed_over;
    tier.bytes += f.bytes;
    tier.unique += f.unique;
    tier.stored += f.stored;
    tier.time += f.end - f.begin;
    if (f.ok) tier.newest = std::max(tier.newest, f.version);
  }
  for (const auto& c : hub.commits) s.committed = std::max(s.committed, c.version);
  return s;
}

std::string mode_name(trace::RecoveryMode mode) {
  switch (mode) {
    case trace::RecoveryMode::in_place:
      return "in_place";
    case trace::RecoveryMode::relaunch:
      return "relaunch";
    case trace::RecoveryMode::none:
      break;
  }
  return "none";
}

constexpr std::array<const char*, 2> tier_names{"file", "shared"};

Json json_of(const trace::HubTrace& hub) {
  const auto s = summarize(hub);
  Json::Array failures, recoveries, flushes;
  for (std::size_t i = 0; i < tier_names.size(); ++i) {
    const auto& tier = s.flushes[i];
    if (tier.count + tier.failed == 0) continue;
    flushes.push_back(Json::Object{{"tier", tier_names[i]},
                                   {"versions", tier.count},
                                   {"failed", tier.failed},
                                   {"passed_over", tier.passed_over},
                                   {"newest_version", tier.newest},
                                   {"bytes", tier.bytes},
                                   {"unique_bytes", tier.unique},
                                   {"stored_bytes", tier.stored},
                                   {"seconds", static_cast<double>(tier.time) * 1e-9}});
  }
  for (const auto& f : hub.failures) {
    failures.push_back(Json::Object{{"time_ns", f.time}, {"hub", f.hub}, {"rank", f.rank}, {"reason", f.reason}});
  }
  for (const auto& r : hub.recoveries) {
    recoveries.push_back(Json::Object{{"mode", mode_name(r.mode)},
                                      {"lost_rank", r.lost_rank},
                                      {"version", r.version},
                                      {"source", r.source},
                                      {"bytes", r.bytes},
                                      {"lost_steps", r.lost_steps},
                                      {"seconds", static_cast<double>(r.end - r.begin) * 1e-9}});
  }
  return Json::Object{{"attempt", hub.info.attempt},
                      {"hub", hub.info.hub},
                      {"rank", hub.info.rank},
                      {"host", hub.host},
                      {"captures", std::uint64_t{hub.captures.size()}},
                      {"captured_bytes", s.captured},
                      {"tracked_bytes", s.tracked},
                      {"write_faults", s.faults},
                      {"digest_bytes", s.by_digests},
                      {"stored_bytes", s.stored},
                      {"sent_bytes", s.sent},
                      {"received_bytes", s.received},
                      {"failed_transfers", s.failed_transfers},
                      {"newest_version", s.newest},
                      {"committed_version", s.committed},
                      {"blocked_ms_median", static_cast<double>(s.blocked_median) * 1e-6},
                      {"blocked_ms_max", static_cast<double>(s.blocked_max) * 1e-6},
                      {"dropped_records", hub.dropped_records},
                      {"flushes", std::move(flushes)},
                      {"failures", std::move(failures)},
                      {"recoveries", std::move(recoveries)}};
}

std::string milliseconds(std::int64_t ns) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2f ms", static_cast<double>(ns) * 1e-6);
  return text.data();
}

void print_hub(const trace::HubTrace& hub) {
  const auto s = summarize(hub);
  std::cout << "attempt " << hub.info.attempt << "  hub " << hub.info.hub << "  "
            << (hub.info.rank < 0 ? "spare" : "rank " + std::to_string(hub.info.rank)) << "  on " << hub.host << '\n'
            << "  " << hub.captures.size() << " captures up to version " << s.newest << ", committed up to "
            << s.committed << "; captured " << human_bytes(s.captured) << ", stored " << human_bytes(s.stored)
            << ", sent " << human_bytes(s.sent) << ", received " << human_bytes(s.received) << '\n'
            << "  blocked " << milliseconds(s.blocked_median) << " median, " << milliseconds(s.blocked_max)
            << " most";
  if (s.tracked != 0) {
    std::cout << "; " << human_bytes(s.tracked) << " tracked by the kernel, " << s.faults << " first writes";
  }
  if (s.by_digests != 0) std::cout << "; " << human_bytes(s.by_digests) << " without a base";
  if (s.failed_transfers != 0) std::cout << "; " << s.failed_transfers << " transfers failed";
  if (hub.dropped_records != 0) std::cout << "; " << hub.dropped_records << " records were dropped";
  std::cout << '\n';
  for (std::size_t i = 0; i < tier_names.size(); ++i) {
    const auto& tier = s.flushes[i];
    if (tier.count + tier.failed == 0) continue;
    std::cout << "  " << tier.count << " versions to the " << tier_names[i] << " tier, up to " << tier.newest << ": "
              << human_bytes(tier.bytes) << ", " << human_bytes(tier.unique) << " of it new, " << human_bytes(tier.stored)
              << " written in " << milliseconds(tier.time);
    if (tier.passed_over != 0) std::cout << "; " << tier.passed_over << " passed over";
    if (tier.failed != 0) std::cout << "; " << tier.failed << " failed";
    std::cout << '\n';
  }
  for (const auto& f : hub.failures) {
    std::cout << "  found hub " << f.hub << " dead" << (f.rank < 0 ? "" : " (rank " + std::to_string(f.rank) + ")")
              << ": " << f.reason << '\n';
  }
  for (const auto& r : hub.recoveries) {
    std::cout << "  recovered (" << mode_name(r.mode) << ")"
              << (r.lost_rank < 0 ? "" : " from the loss of rank " + std::to_string(r.lost_rank)) << " to version "
              << r.version << " from " << r.source << " in " << milliseconds(r.end - r.begin) << ", " << r.lost_steps
              << " steps lost\n";
  }
}

int list_trace(const fs::path& file, bool json) {
  const auto run = trace::read_trace(file);
  if (json) {
    Json::Array hubs, missing, damaged;
    for (const auto& hub : run.hubs) hubs.push_back(json_of(hub));
    for (const auto& name : run.missing) missing.push_back(name);
    for (const auto& name : run.damaged) damaged.push_back(name);
    std::cout << Json(Json::Object{{"trace", file.string()},
                                   {"run_id", run.info.run_id},
                                   {"job", run.info.job},
                                   {"command_line", run.info.command_line},
                                   {"ranks", run.info.ranks},
                                   {"hubs", std::move(hubs)},
                                   {"missing", std::move(missing)},
                                   {"damaged", std::move(damaged)}})
                     .text();
    return run.damaged.empty() ? status_ok : status_bad;
  }
  std::cout << "run " << run.info.run_id << " of job " << run.info.job << ", " << run.info.ranks
            << " ranks: " << run.info.command_line << '\n';
  for (const auto& hub : run.hubs) print_hub(hub);
  for (const auto& name : run.missing) std::cout << "not there: " << name << '\n';
  for (const auto& name : run.damaged) std::cout << "damaged: " << name << '\n';
  return run.damaged.empty() ? status_ok : status_bad;
}

}  // namespace

int list(const fs::path& what, bool json) {
  if (!fs::exists(what))
    throw Error(ErrorCategory::absent, "list " + what.string(), "there is no such file or folder");
  if (!fs::is_directory(what)) return list_trace(what, json);
  if (fs::exists(what / "trace.h5")) return list_trace(what / "trace.h5", json);
  return list_stores(what, json);
}

}  // namespace foreweave::tools
