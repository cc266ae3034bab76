#include "comm/ucx_worker.hpp"

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "foreweave/core/error.hpp"

namespace foreweave::comm {

void require_ucx(ucs_status_t status, const std::string& operation, const std::string& advice) {
  if (status == UCS_OK) return;
  throw Error(ErrorCategory::ucx, operation, std::string(ucs_status_string(status)) + ": " + advice, status);
}

namespace {

using Config = std::unique_ptr<ucp_config_t, decltype(&ucp_config_release)>;

/// Whether a comma-separated list of transports has one of these.
bool names(const std::string& tls, std::initializer_list<std::string_view> wanted) {
  std::istringstream list(tls);
  for (std::string one; std::getline(list, one, ',');)
    if (std::ranges::find(wanted, one) != wanted.end()) return true;
  return false;
}

/// ucp_config_modify() wants the name of a transport's own setting without its prefix up to UCX 1.16, and with it
/// later.
std::string tcp_setting(const std::string& name) {
  unsigned major = 0, minor = 0, release = 0;
  ucp_get_version(&major, &minor, &release);
  return major == 1 && minor <= 16 ? name : "TCP_" + name;
}

Config make_config(const UcxOptions& options) {
  ucp_config_t* raw = nullptr;
  require_ucx(ucp_config_read(nullptr, nullptr, &raw), "read the UCX configuration",
              "a UCX_* variable of the environment cannot be understood");
  Config config(raw, &ucp_config_release);
  std::vector<std::pair<std::string, std::string>> settings{
      {"TLS", options.tls},
      {"NET_DEVICES", options.net_devices.empty() ? "all" : options.net_devices},
      {"KEEPALIVE_INTERVAL", std::to_string(options.keepalive_seconds) + "s"},
      // UCX completes a zero-copy send over TCP twice when it fails, and aborts (seen with 1.13: uct_iface.h
      // "comp->count").
      {"ZCOPY_THRESH", "inf"},
      {"RNDV_THRESH", options.rendezvous_bytes == 0 ? "inf" : std::to_string(options.rendezvous_bytes)},
  };
  // UCX warns of settings that no transport in use knows.
  if (names(options.tls, {"tcp"})) {
    // A blocking connect() would wait for minutes for a machine that is gone.
    settings.emplace_back(tcp_setting("CONN_NB"), "y");
    // Put over TCP ends the process of a survivor when its peer dies ("Fatal: Endpoint timeout").
    settings.emplace_back(tcp_setting("PUT_ENABLE"), "n");
    // Large messages go in pieces of this size; UCX's 8 KiB cost twice the processor time. The receiver's must be
    // larger.
    settings.emplace_back(tcp_setting("TX_SEG_SIZE"), "60K");
    settings.emplace_back(tcp_setting("RX_SEG_SIZE"), "64K");
  }
  if (names(options.tls, {"posix", "sysv", "mm", "shm", "sm"}))
    settings.emplace_back("MM_ERROR_HANDLING", options.mm_error_handling ? "y" : "n");
  for (const auto& [name, value] : settings)
    require_ucx(ucp_config_modify(config.get(), name.c_str(), value.c_str()), "set UCX option " + name,
                "the value \"" + value + "\" is not accepted by UCX " + ucx_version());
  return config;
}

}  // namespace

UcxWorker::UcxWorker(const UcxOptions& options) {
  const Config config = make_config(options);
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.name = "foreweave";
  require_ucx(ucp_init(&params, config.get(), &context_), "start UCX with transports " + options.tls,
              "ucx_info -d lists the transports and devices that are there");
  try {
    ucp_worker_params_t worker_params{};
    worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
    worker_params.thread_mode = UCS_THREAD_MODE_SERIALIZED;  // made by one thread, then used by the progress thread
    require_ucx(ucp_worker_create(context_, &worker_params, &worker_), "make a UCX worker over " + options.tls,
                "no transport of this list can be used here; ucx_info -d lists those that can");
    ucp_worker_attr_t attributes{};
    attributes.field_mask = UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER;
    require_ucx(ucp_worker_query(worker_, &attributes), "ask UCX for its limits", "is this UCX 1.13 or newer?");
    if (attributes.max_am_header < max_head_bytes + ucx_wire_bytes)
      throw Error(ErrorCategory::ucx, "start UCX with transports " + options.tls,
                  "heads of active messages are limited to " + std::to_string(attributes.max_am_header) +
                      " bytes here, and Foreweave needs " + std::to_string(max_head_bytes + ucx_wire_bytes) +
                      ": choose other transports");
    require_ucx(ucp_worker_get_efd(worker_, &event_fd_), "get UCX's event file over " + options.tls,
                "these transports cannot wake a sleeping process");
  } catch (...) {
    if (worker_) ucp_worker_destroy(worker_);
    ucp_cleanup(context_);
    throw;
  }
}

UcxWorker::~UcxWorker() {
  ucp_worker_destroy(worker_);
  ucp_cleanup(context_);
}

Bytes UcxWorker::address() const {
  ucp_address_t* address = nullptr;
  std::size_t size = 0;
  require_ucx(ucp_worker_get_address(worker_, &address, &size), "get the UCX address", "out of memory?");
  const auto* first = reinterpret_cast<const std::byte*>(address);
  Bytes bytes(first, first + size);
  ucp_worker_release_address(worker_, address);
  return bytes;
}

std::string ucx_version() {
  unsigned major = 0, minor = 0, release = 0;
  ucp_get_version(&major, &minor, &release);
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

}  // namespace foreweave::comm
