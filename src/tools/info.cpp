#include <hdf5.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iostream>

#include "foreweave/comm/transport.hpp"
#include "foreweave/core/version.hpp"
#include "foreweave/device/device.hpp"
#include "kernels/decl/page_codec.hpp"
#include "tools/commands.hpp"
#include "tools/json.hpp"

namespace foreweave::tools {
namespace {

struct Line {
  std::string name, value;
};

// Allowed before MPI_Init; Open MPI's text ends in its whole build identity, of which the first part says enough.
std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING + 1> text{};
  int length = 0;
  if (MPI_Get_library_version(text.data(), &length) != MPI_SUCCESS) return "unknown";
  std::string version(text.data());
  return version.substr(0, version.find_first_of(",\n"));
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  if (H5get_libversion(&major, &minor, &release) < 0) return "unknown";
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release) + " (parallel)";
}

std::vector<Line> libraries() {
  std::vector<Line> lines{{"MPI", mpi_version()}, {"UCX", comm::ucx_version()}, {"HDF5", hdf5_version()}};
  lines.push_back({"Kokkos", build_info().kokkos ? FOREWEAVE_KOKKOS_VERSION : "not in this build"});
  return lines;
}

std::string describe(const DeviceInfo& device) {
  return device.name + ", sm_" + std::to_string(device.compute_major) + std::to_string(device.compute_minor) + ", " +
         std::to_string(device.multiprocessors) + " SMs, " + human_bytes(device.free_bytes) + " free of " +
         human_bytes(device.total_bytes) + ", " + device.pci;
}

void print_json(const Options& options, const std::string& problem, const DeviceReport& devices) {
  const auto& build = build_info();
  Json::Object versions;
  for (const auto& line : libraries()) versions.emplace_back(line.name, line.value);
  Json::Array device_list;
  for (const auto& d : devices.devices) {
    device_list.push_back(Json::Object{{"index", d.index},
                                       {"name", d.name},
                                       {"pci", d.pci},
                                       {"compute_major", d.compute_major},
                                       {"compute_minor", d.compute_minor},
                                       {"multiprocessors", d.multiprocessors},
                                       {"total_bytes", d.total_bytes},
                                       {"free_bytes", d.free_bytes}});
  }
  Json::Array option_list;
  for (const auto& o : options.list()) {
    option_list.push_back(Json::Object{{"name", o.name},
                                       {"value", o.value},
                                       {"source", o.source},
                                       {"default", o.default_value},
                                       {"type", o.type},
                                       {"accepted", o.accepted},
                                       {"help", o.help},
                                       {"internal", o.internal}});
  }
  std::cout << Json(Json::Object{{"version", build.version},
                                 {"compiler", build.compiler},
                                 {"build_type", build.build_type},
                                 {"sanitized", build.sanitized},
                                 {"cuda", build.cuda},
                                 {"kokkos", build.kokkos},
                                 {"simd", kernels::host::simd_target()},
                                 {"processors", static_cast<std::int64_t>(::sysconf(_SC_NPROCESSORS_ONLN))},
                                 {"libraries", versions},
                                 {"device_backend", devices.backend},
                                 {"device_reason", devices.reason},
                                 {"cuda_driver", devices.driver_version},
                                 {"cuda_runtime", devices.runtime_version},
                                 {"devices", device_list},
                                 {"options", option_list},
                                 {"options_problem", problem.empty() ? Json() : Json(problem)}})
                   .text();
}

void print_text(const Options& options, const std::string& problem, const DeviceReport& devices) {
  const auto& build = build_info();
  const auto line = [](const std::string& name, const std::string& value) {
    std::cout << "  " << pad(name, 12) << value << '\n';
  };
  std::cout << "foreweave " << build.version << '\n';
  line("compiler", build.compiler + ", " + build.build_type + (build.sanitized ? ", sanitized" : ""));
  line("SIMD", std::string(kernels::host::simd_target()) + ", " + std::to_string(::sysconf(_SC_NPROCESSORS_ONLN)) +
                   " processors");
  for (const auto& library : libraries()) line(library.name, library.value);
  line("CUDA", !build.cuda ? "not in this build"
                           : "runtime " + devices.runtime_version +
                                 (devices.driver_version.empty() ? "" : ", driver " + devices.driver_version));
  if (devices.devices.empty()) line("devices", "none: " + devices.reason);
  for (const auto& device : devices.devices) line("device " + std::to_string(device.index), describe(device));
  if (!problem.empty()) {
    std::cout << "\noptions could not be read, so these are the defaults:\n  " << problem << '\n';
  }
  const auto entries = options.list();
  int widest = 5;
  for (const auto& o : entries) widest = std::max(widest, std::min(28, static_cast<int>(o.value.size())));
  std::cout << "\noptions (command line over environment over file over default)\n";
  for (const auto& o : entries) {
    std::cout << "  " << pad(o.name, 16) << pad(o.value.empty() ? "-" : o.value, widest + 2)
              << pad("(" + o.source + ")", 12) << "  " << o.help << '\n';
  }
}

}  // namespace

int info(const Options& options, const std::string& problem, bool json) {
  const auto devices = device_report();
  (json ? print_json : print_text)(options, problem, devices);
  return problem.empty() ? status_ok : status_usage;
}

}  // namespace foreweave::tools
