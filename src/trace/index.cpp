#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "foreweave/core/error.hpp"
#include "foreweave/trace/recorder.hpp"
#include "trace/hdf5.hpp"
#include "trace/schema.hpp"

namespace foreweave::trace {
namespace fs = std::filesystem;
namespace {

// Whether the index that is there belongs to this run: then it is extended. Another run's is replaced; another
// program's file is not touched. A run without a name (not started by foreweave-run) has one attempt alone.
bool belongs_to(const fs::path& index, const RunInfo& info) {
  auto file = open_hdf5_file(index);
  if (get_text_attribute(file, "format") != index_format_name) {
    throw Error(ErrorCategory::format, "write trace index " + index.string(),
                "a file of that name is there and is no Foreweave trace index; choose another trace folder");
  }
  return !info.run_id.empty() && get_text_attribute(file, "run_id") == info.run_id;
}

}  // namespace

void write_index(const fs::path& folder, const RunInfo& info) {
  const auto index = folder / "trace.h5";
  const auto temporary = folder / (".trace.h5." + std::to_string(::getpid()));
  const auto what = "write trace index " + index.string();
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) throw Error(ErrorCategory::io, what, code.message(), code.value());
  const Hdf5Scope scope;
  const bool extend = fs::exists(index) && belongs_to(index, info);
  if (extend) {
    fs::copy_file(index, temporary, fs::copy_options::overwrite_existing, code);
    if (code) throw Error(ErrorCategory::io, what, code.message(), code.value());
  }
  const auto hubs = info.hubs != 0 ? info.hubs : static_cast<std::uint32_t>(info.ranks);
  WritableFile file(temporary, extend ? WritableFile::Mode::open : WritableFile::Mode::create,
                    64 * 1024 + std::uint64_t{512} * hubs);
  if (!extend) put_identity(file, index_format_name, info);
  const std::string group = "/attempts/" + std::to_string(info.attempt) + "/hubs";
  const Handle links(H5Pcreate(H5P_LINK_CREATE), what);
  check_hdf5(H5Pset_create_intermediate_group(links, 1), what);
  { const Handle made(H5Gcreate2(file, group.c_str(), links, H5P_DEFAULT, H5P_DEFAULT)); }  // fails where it exists
  const Handle target(H5Gopen2(file, group.c_str(), H5P_DEFAULT), what);
  for (std::uint32_t hub = 0; hub < hubs; ++hub) {
    const auto name = std::to_string(hub);
    if (check_hdf5(H5Lexists(target, name.c_str(), H5P_DEFAULT), what) > 0) continue;
    check_hdf5(
        H5Lcreate_external(hub_file(info.attempt, hub).c_str(), "/", target, name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
        what);
  }
  file.close();
  if (::rename(temporary.c_str(), index.c_str()) != 0) {
    const int problem = errno;
    ::unlink(temporary.c_str());
    throw Error(ErrorCategory::io, what, std::strerror(problem), problem);
  }
}

}  // namespace foreweave::trace
