#include "context/orphans.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>

#include "context/status_page.hpp"
#include "context/stores.hpp"
#include "foreweave/core/log.hpp"

namespace foreweave::context {

namespace fs = std::filesystem;

std::vector<Orphan> find_orphans(const Options& options, const std::vector<comm::HubId>& living) {
  std::vector<Orphan> orphans;
  std::error_code code;
  constexpr std::string_view prefix = "hub-";
  const fs::path job = fs::path(options.store) / options.job;
  for (auto at = fs::directory_iterator(job, code); !code && at != fs::directory_iterator(); at.increment(code)) {
    const auto name = at->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    comm::HubId hub = 0;
    const auto* const end = name.data() + name.size();
    const auto read = std::from_chars(name.data() + prefix.size(), end, hub);
    if (read.ec != std::errc() || read.ptr != end) continue;
    if (std::find(living.begin(), living.end(), hub) != living.end()) continue;
    Orphan orphan{hub, 0, 0};
    if (const auto page = at->path() / "status"; fs::exists(page, code)) {
      const StatusPage status(page);
      orphan.joined = status.joined();
      orphan.active = status.active();
    }
    orphans.push_back(orphan);
  }
  if (code && code != std::errc::no_such_file_or_directory) {
    log::warning("look for what other hubs left in " + job.string() + ": " + code.message());
  }
  return orphans;
}

void adopt(const Options& options, comm::HubId orphan, Store& to, Store* parity) {
  const auto from = open_host_store(options, orphan);
  // From every rank's newest: a chain that is here already, wholly or in part, is not copied again.
  std::map<Rank, std::vector<Version>> versions;
  for (const auto& stored : from->list()) versions[stored.id.rank].push_back(stored.id.version);
  for (const auto& [rank, held] : versions) {
    for (auto version = held.rbegin(); version != held.rend(); ++version) copy_chain(*from, to, {rank, *version});
  }
  if (const auto blocks = parity == nullptr ? nullptr : open_parity_store(options, orphan)) {
    for (const auto& stored : blocks->list()) copy_chain(*blocks, *parity, stored.id);
  }
  if (from->committed() > to.committed()) to.set_committed(from->committed());
  log::info("hub " + std::to_string(orphan) + " is not in this start of the job: what it held is taken over");
  remove_orphan(options, orphan);
}

void remove_orphan(const Options& options, comm::HubId orphan) {
  std::error_code code;
  fs::remove_all(host_folder(options, orphan), code);
  if (code) log::warning("remove " + host_folder(options, orphan).string() + ": " + code.message());
}

}  // namespace foreweave::context
