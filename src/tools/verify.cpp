#include <iostream>
#include <optional>
#include <set>

#include "foreweave/core/error.hpp"
#include "foreweave/core/seal.hpp"
#include "foreweave/state/chain.hpp"
#include "foreweave/state/parity.hpp"
#include "foreweave/state/snapshot.hpp"
#include "state/snapshot_file_name.hpp"
#include "tools/commands.hpp"
#include "tools/json.hpp"
#include "tools/stores.hpp"

namespace foreweave::tools {
namespace fs = std::filesystem;
namespace {

// Empty when the snapshot is whole.
std::string problem_of(const Store& store, SnapshotId id, const Key* key) {
  try {
    const auto bytes = store.open(id);
    if (bytes == nullptr) return to_string(id) + " is not there";
    Snapshot::parse(bytes, key, to_string(id) + " in " + store.name())->verify();
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

std::string problem_of_parity(const Store& store, SnapshotId id) {
  const auto what = "parity block of version " + std::to_string(id.version) + " in " + store.name() + ": ";
  try {
    const auto bytes = store.open(id);
    if (bytes == nullptr) return what + "it is not there";
    const auto record = ParityRecord::decode(bytes->view());
    if (record.id() != id) return what + "it is another's";
    if (digest128(bytes->view().first(record.bytes)) != record.content) return what + "its content does not match its digest";
    return {};
  } catch (const Error& error) {
    return what + error.what();
  }
}

class Findings {
 public:
  explicit Findings(bool json) : json_(json) {}

  void snapshot(const fs::path& folder, const StoredSnapshot& one, const std::string& problem) {
    ++checked_;
    if (!problem.empty()) ++bad_;
    bytes_ += one.bytes;
    if (json_) {
      snapshots_.push_back(Json::Object{{"folder", folder.string()},
                                        {"rank", one.id.rank},
                                        {"version", one.id.version},
                                        {"bytes", one.bytes},
                                        {"whole", problem.empty()},
                                        {"problem", problem.empty() ? Json() : Json(problem)}});
    } else if (!problem.empty()) {
      std::cout << "BAD  " << problem << '\n';
    }
  }
  // Being behind the committed version is no fault of a folder: another hub's may be the one that is up to date.
  void rank(const fs::path& folder, Rank rank, Version committed, std::optional<Version> newest) {
    if (!newest) ++bad_;
    if (json_) {
      ranks_.push_back(Json::Object{{"folder", folder.string()},
                                    {"rank", rank},
                                    {"committed", committed},
                                    {"newest_restorable", newest ? Json(*newest) : Json()}});
    } else {
      std::cout << (newest ? "good " : "BAD  ") << folder.string() << ": rank " << rank
                << " can be restored up to version " << (newest ? std::to_string(*newest) : "none") << ", committed "
                << committed << (newest && *newest < committed ? " (behind)" : "") << '\n';
    }
  }
  int finish() {
    if (json_) {
      std::cout << Json(Json::Object{{"checked", checked_},
                                     {"bytes", bytes_},
                                     {"bad", bad_},
                                     {"snapshots", std::move(snapshots_)},
                                     {"ranks", std::move(ranks_)}})
                       .text();
    } else {
      std::cout << checked_ << " snapshots, " << human_bytes(bytes_) << ", " << bad_ << " bad\n";
    }
    return bad_ == 0 ? status_ok : status_bad;
  }

 private:
  bool json_;
  std::uint64_t checked_ = 0, bad_ = 0, bytes_ = 0;
  Json::Array snapshots_, ranks_;
};

std::shared_ptr<const Key> key_of(const Options& options) {
  if (!options.key_file.empty()) return Key::from_file(options.key_file);
  if (!options.key.empty()) return Key::from_hex(options.key);
  return nullptr;
}

}  // namespace

int verify(const fs::path& what, const Options& options, bool json) {
  if (!fs::exists(what))
    throw Error(ErrorCategory::absent, "verify " + what.string(), "there is no such file or folder");
  const auto key = key_of(options);
  Findings findings(json);
  if (!fs::is_directory(what)) {
    const auto name = state_detail::parse_snapshot_file_name(what.filename().string());
    if (!name) throw Error(ErrorCategory::format, "verify " + what.string(), "is not named as a snapshot is");
    const auto folder = fs::absolute(what).parent_path();
    const auto store = make_packed_store({.folder = folder, .durability = Durability::memory, .read_only = true});
    findings.snapshot(folder, {name->id, name->base, fs::file_size(what)}, problem_of(*store, name->id, key.get()));
    return findings.finish();
  }
  for (const auto& [folder, store, parity] : find_stores(what)) {
    if (parity) {
      for (const auto& one : store->list()) findings.snapshot(folder, one, problem_of_parity(*store, one.id));
      continue;
    }
    std::set<Rank> ranks;
    for (const auto& one : store->list()) {
      findings.snapshot(folder, one, problem_of(*store, one.id, key.get()));
      ranks.insert(one.id.rank);
    }
    for (const Rank rank : ranks) {
      findings.rank(folder, rank, store->committed(), newest_restorable(*store, rank, key.get()));
    }
  }
  return findings.finish();
}

}  // namespace foreweave::tools
