#pragma once
// A made-up run as it would be recorded: three ranks, rank 1 dies, the job is started again and goes on.

#include <filesystem>

#include "foreweave/trace/recorder.hpp"

namespace foreweave::tools_test {

inline constexpr int sample_versions = 24, sample_lost_after = 14;

/// @param relaunch false: a spare hub (3) becomes rank 1 in place; true: a second attempt.
inline void record_sample_run(const std::filesystem::path& folder, bool relaunch) {
  constexpr Nanoseconds ms = 1'000'000;
  const Nanoseconds start = monotonic_now();
  const auto moment = [&](int version) { return start + version * 100 * ms; };
  trace::RunInfo info{"sample-1",
                      "gray-scott",
                      "gray-scott params.toml --steps 240 <&\"'>",
                      0,
                      3,
                      0,
                      0,
                      0,
                      {{"copies", "1"}, {"job", "gray-scott"}, {"key", "(set)"}}};
  info.hubs = relaunch ? 3 : 4;
  const auto capture = [&](trace::Recorder& recorder, int rank, int version, bool full, Nanoseconds at) {
    CaptureReport r;
    r.version = static_cast<Version>(version);
    r.base = full ? 0 : r.version - 1;
    r.region_bytes = std::uint64_t{32} << 20;
    r.pages = 2048;
    r.dirty_pages = full ? 2048 : 700 + 30 * static_cast<std::uint64_t>(version);
    r.staged_bytes = r.dirty_pages * 16384;
    r.tracked_bytes = full ? 0 : r.region_bytes / 2;
    r.write_faults = full ? 0 : 100;
    r.snapshot_bytes = r.dirty_pages * (full ? 9000 : 6000);
    r.pages_by_transform = {r.dirty_pages / 20, r.dirty_pages / 6, r.dirty_pages / 4, r.dirty_pages / 5, 0};
    r.pages_by_transform[4] = r.dirty_pages - r.pages_by_transform[0] - r.pages_by_transform[1] -
                              r.pages_by_transform[2] - r.pages_by_transform[3];
    r.blocked_ns = 4 * ms + (version * 7919 + rank * 104729) % 3 * ms;
    r.encode_ns = 18 * ms + (version * 31 + rank * 17) % 9 * ms;
    recorder.add(r, at);
    const auto done = at + r.blocked_ns + r.encode_ns;
    recorder.add(trace::TransferRecord{done, done + 15 * ms, rank, r.version,
                                       static_cast<std::uint32_t>((rank + 1) % 3), true, true, r.snapshot_bytes});
    recorder.add(trace::TransferRecord{done + ms, done + 17 * ms, (rank + 2) % 3, r.version,
                                       static_cast<std::uint32_t>((rank + 2) % 3), false, true, r.snapshot_bytes});
    recorder.add(trace::CommitRecord{done + 20 * ms, r.version, done + 20 * ms - at});
    if (version % 4 == 0) {
      recorder.add(trace::FlushRecord{done + 21 * ms, done + 40 * ms, trace::FileTier::shared, rank, r.version, true,
                                      r.snapshot_bytes, r.snapshot_bytes, r.snapshot_bytes / 2, 3});
    }
  };
  trace::write_index(folder, info);
  for (std::uint32_t hub = 0; hub < info.hubs; ++hub) {
    const int rank = hub == 3 ? -1 : static_cast<int>(hub);
    info.attempt = 0;
    info.hub = hub;
    info.rank = rank;
    trace::Recorder recorder(folder, info);
    if (rank >= 0) {
      for (int v = 1; v <= sample_lost_after; ++v) capture(recorder, rank, v, v == 1, moment(v) + hub * 3 * ms);
    }
    if (hub == 1) continue;
    const auto death = moment(sample_lost_after + 1) - 20 * ms;
    recorder.add(trace::TransferRecord{death - ms, death, rank, sample_lost_after, 1, true, false, 0});
    recorder.add(trace::FailureRecord{death + static_cast<int>(hub) * ms, 1, 1, "connection reset by peer <ucx>"});
    if (relaunch) continue;
    trace::RecoveryRecord recovery;
    recovery.begin = death + static_cast<int>(hub) * ms;
    recovery.end = death + 130 * ms;
    recovery.mode = trace::RecoveryMode::in_place;
    recovery.lost_rank = 1;
    recovery.version = sample_lost_after;
    recovery.source = hub == 3 ? "mirror on hub 2" : "own memory";
    recovery.bytes = std::uint64_t{32} << 20;
    recovery.lost_steps = 7;
    recorder.add(recovery);
    recorder.set_rank(hub == 3 ? 1 : rank);
    for (int v = sample_lost_after + 1; v <= sample_versions; ++v) {
      capture(recorder, hub == 3 ? 1 : rank, v, v == sample_lost_after + 1 && hub == 3,
              moment(v) + 120 * ms + hub * 3 * ms);
    }
  }
  if (!relaunch) return;
  info.attempt = 1;
  trace::write_index(folder, info);
  for (std::uint32_t hub = 0; hub < 3; ++hub) {
    info.hub = hub;
    info.rank = static_cast<int>(hub);
    trace::Recorder recorder(folder, info);
    trace::RecoveryRecord recovery;
    recovery.begin = moment(sample_lost_after + 1);
    recovery.end = recovery.begin + 420 * ms;
    recovery.mode = trace::RecoveryMode::relaunch;
    recovery.lost_rank = 1;
    recovery.version = sample_lost_after;
    recovery.source = hub == 1 ? "mirror on hub 2" : "own memory";
    recovery.bytes = std::uint64_t{32} << 20;
    recovery.lost_steps = 7;
    recorder.add(recovery);
    for (int v = sample_lost_after + 1; v <= sample_versions; ++v) {
      capture(recorder, info.rank, v, false, moment(v) + 450 * ms + hub * 3 * ms);
    }
  }
}

}  // namespace foreweave::tools_test
