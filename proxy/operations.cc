#include "proxy/operations.h"

#include <fmt/core.h>

#include <fstream>
#include <iterator>
#include <utility>

#include "proxy/base/log.h"
#include "proxy/control/control_plane_client.h"
#include "proxy/managed.h"
#include "proxy/process.h"
#include "proxy/telemetry/spool.h"
#include "proxy/upstream/metrics.h"

namespace sluice {
namespace {

constexpr nanoseconds kTotalsInterval = milliseconds(500);

using Type = telemetry::Metrics::Type;

Task<void> stop_servers(admin::AdminServer* admin, admin::AdminServer* probes) {
  if (admin != nullptr) {
    co_await admin->stop();
  }
  if (probes != nullptr) {
    co_await probes->stop();
  }
}

}  // namespace

Operations::Operations(Parts& parts, Hooks hooks)
    : parts_(parts),
      hooks_(std::move(hooks)),
      totals_timer_([](void* self) { static_cast<Operations*>(self)->refresh_totals(); }, this),
      tasks_(parts.loop.executor()) {}

Operations::~Operations() = default;

absl::Status Operations::start() {
  add_metrics();
  refresh_totals();
  const Options& options = parts_.options;
  admin::AdminOptions admin;
  admin.address = options.admin.address;
  admin.port = options.admin.port;
  admin.data_dir = options.data_dir;
  SLUICE_ASSIGN_OR_RETURN(admin_, admin::AdminServer::start(parts_.loop, admin, services()));
  log_listening("admin", admin.address, admin_->port());
  if (options.probe) {
    SLUICE_ASSIGN_OR_RETURN(probes_,
                            admin::AdminServer::start_probes(parts_.loop, options.probe->address,
                                                             options.probe->port, services()));
    log_listening("probe", options.probe->address, probes_->port());
  }
  return absl::OkStatus();
}

void Operations::log_listening(const char* name, const std::string& address, std::uint16_t port) {
  const bool v6 = address.find(':') != std::string::npos;
  log::info("listening {} {}{}{}:{}", name, v6 ? "[" : "", address, v6 ? "]" : "", port);
}

void Operations::stop() {
  totals_timer_.cancel();
  tasks_.spawn(stop_servers(admin_.get(), probes_.get()));
  for (int turns = 0; tasks_.size() > 0 && turns < 1000; ++turns) {
    parts_.loop.turn(milliseconds(10));
  }
}

admin::AdminServices Operations::services() {
  admin::AdminServices services;
  services.not_ready = hooks_.not_ready;
  services.metrics_text = [this] { return parts_.metrics.text(); };
  services.snapshot = [this] { return parts_.snapshot; };
  services.upstreams = &parts_.upstreams;
  services.bindings = [this] { return parts_.workers->bindings(); };
  services.server_info = [this] { return server_info(); };
  services.memory = [this] { return memory(); };
  if (hooks_.managed != nullptr) {
    services.certificates = [this] { return own_certificates(); };
  }
  services.connections = [this](std::function<void(std::vector<worker::ConnectionInfo>)> answer) {
    parts_.workers->connections(std::move(answer));
  };
  services.close_connection = [this](std::string id, std::function<void(bool)> answer) {
    parts_.workers->close_connection(std::move(id), std::move(answer));
  };
  services.drain = hooks_.drain;
  return services;
}

std::vector<std::pair<std::string, std::string>> Operations::own_certificates() const {
  const Options& options = parts_.options;
  std::ifstream in(options.tls_cert.empty() ? options.data_dir + "/tls/proxy.pem"
                                            : options.tls_cert);
  std::string pem((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (pem.empty()) {
    return {};
  }
  return {{"control plane client", std::move(pem)}};
}

boost::json::object Operations::server_info() const {
  boost::json::object info{{"node", parts_.options.node_id},
                           {"mode", hooks_.managed != nullptr ? "managed" : "static"},
                           {"workers", parts_.workers->workers()},
                           {"draining", parts_.draining}};
  if (hooks_.managed != nullptr) {
    const sync::ConfigClient::State config = hooks_.managed->config().state();
    const control::ControlPlaneClient::State client = hooks_.managed->client()->state();
    info["control_plane"] = boost::json::object{
        {"connected", config.connected}, {"synced", config.synced},
        {"address", client.address},     {"problem", client.problem},
        {"resources", config.resources}, {"persist_error", config.persist_error}};
    boost::json::array refused;
    for (const config::Fault& fault : hooks_.managed->config().refused()) {
      refused.emplace_back(fault.text());
    }
    info["refused"] = refused;
  }
  return info;
}

boost::json::object Operations::memory() const {
  const config::Directory::Size size = parts_.directory.size();
  return {{"directory_tokens", size.tokens},
          {"directory_absent", size.absent},
          {"directory_pinned", size.pinned},
          {"directory_applications", size.applications},
          {"directory_token_bytes", size.token_bytes},
          {"live_connections", parts_.workers->live_connections()},
          {"account_slots_live", parts_.accounts->live()},
          {"account_slots_max", parts_.accounts->slots_max()}};
}

// Workers' counters are gathered by posts, so the scrape shows them as of half a second ago at
// most.
void Operations::refresh_totals() {
  parts_.loop.timers().arm(totals_timer_, parts_.loop.clock().now() + kTotalsInterval);
  parts_.workers->totals([this](worker::WorkerSet::Totals totals) { totals_ = totals; });
}

void Operations::add_metrics() {
  telemetry::add_process_metrics(parts_.metrics);
  upstream::add_metrics(parts_.metrics, parts_.upstreams,
                        [this] { return parts_.loop.clock().now(); });
  struct Row {
    const char* name;
    const char* help;
    std::uint64_t session::SessionCounters::*counter;
  };
  static constexpr Row kRows[] = {
      {"sluice_downstream_cx_total", "Connections accepted.", &session::SessionCounters::accepted},
      {"sluice_downstream_tls_failures_total", "TLS handshakes that failed.",
       &session::SessionCounters::tls_failures},
      {"sluice_downstream_heads_too_slow_total", "Request heads that did not come in time.",
       &session::SessionCounters::heads_too_slow},
      {"sluice_handshakes_refused_total", "Handshakes refused by the proxy.",
       &session::SessionCounters::refused},
      {"sluice_handshakes_refused_by_backend_total", "Handshakes refused by a back end.",
       &session::SessionCounters::backend_refused},
      {"sluice_handshakes_refused_overload_total",
       "Handshakes refused because the proxy was full or draining.",
       &session::SessionCounters::refused_overload},
      {"sluice_websockets_opened_total", "WebSockets that went live.",
       &session::SessionCounters::opened},
      {"sluice_websockets_closed_total", "Live WebSockets that ended.",
       &session::SessionCounters::closed},
      {"sluice_websockets_rechecked_total",
       "Times that a change made a live WebSocket ask its filters again.",
       &session::SessionCounters::rechecked},
  };
  for (const Row& row : kRows) {
    parts_.metrics.collect_value(Type::kCounter, row.name, row.help, [this, counter = row.counter] {
      return static_cast<double>(totals_.sessions.*counter);
    });
  }
  add_http_metrics();
  const auto gauge = [this](const char* name, const char* help, std::function<double()> value) {
    parts_.metrics.collect_value(Type::kGauge, name, help, std::move(value));
  };
  const auto counter = [this](const char* name, const char* help, std::function<double()> value) {
    parts_.metrics.collect_value(Type::kCounter, name, help, std::move(value));
  };
  gauge("sluice_websockets_live", "Live WebSockets.",
        [this] { return static_cast<double>(parts_.workers->live_connections()); });
  gauge("sluice_ready", "1 while /ready says 200.",
        [this] { return hooks_.not_ready().empty() ? 1.0 : 0.0; });
  counter("sluice_downstream_cx_no_descriptor_total",
          "Connections closed at once because no descriptor was left.",
          [this] { return static_cast<double>(totals_.refused_no_descriptors); });
  counter("sluice_names_refused_local_total",
          "Look-ups of endpoints that led to link-local and metadata addresses alone.",
          [this] { return static_cast<double>(parts_.resolver.refused_local()); });
  counter("sluice_records_dropped_total", "Records given up: spool full or queue full.",
          [this] { return static_cast<double>(parts_.sink->dropped()); });
  counter("sluice_account_slots_exhausted_total", "Exchanges for which no slot was free.",
          [this] { return static_cast<double>(parts_.accounts->exhausted()); });
  if (parts_.access_log != nullptr) {
    counter("sluice_access_log_dropped_total", "Access log lines dropped.",
            [this] { return static_cast<double>(parts_.access_log->dropped()); });
  }
  gauge("sluice_directory_tokens", "Tokens known.",
        [this] { return static_cast<double>(parts_.directory.size().tokens); });
  if (hooks_.managed != nullptr) {
    add_managed_metrics();
  }
}

void Operations::add_http_metrics() {
  const auto counter = [this](const char* name, const char* help,
                              std::uint64_t session::SessionCounters::*which) {
    parts_.metrics.collect_value(Type::kCounter, name, help, [this, which] {
      return static_cast<double>(totals_.sessions.*which);
    });
  };
  counter("sluice_http_requests_total", "Requests to HTTP APIs that went to a back end.",
          &session::SessionCounters::requests);
  counter("sluice_http_requests_retried_total",
          "Requests asked again, on another connection or of another endpoint.",
          &session::SessionCounters::requests_retried);
  counter("sluice_http_requests_cut_total",
          "Requests and responses cut by a change of rights or an operator.",
          &session::SessionCounters::requests_cut);
  parts_.metrics.collect(Type::kCounter, "sluice_http_responses_total",
                         "Responses of back ends, passed on.", [this] {
                           std::vector<telemetry::Metrics::Sample> samples;
                           for (std::size_t i = 0; i < std::size(totals_.sessions.responses); ++i) {
                             samples.push_back(
                                 {{{"class", std::to_string(i + 1) + "xx"}},
                                  static_cast<double>(totals_.sessions.responses[i])});
                           }
                           return samples;
                         });
  parts_.metrics.collect_value(Type::kGauge, "sluice_upstream_idle_connections",
                               "Connections to back ends that wait for a request.", [this] {
                                 return static_cast<double>(totals_.idle_connections);
                               });
}

void Operations::add_managed_metrics() {
  const Managed* managed = hooks_.managed;
  const auto add = [this](Type type, const char* name, const char* help,
                          std::function<double()> value) {
    parts_.metrics.collect_value(type, name, help, std::move(value));
  };
  add(Type::kGauge, "sluice_control_plane_connected", "1 while the configuration stream is up.",
      [managed] { return managed->config().state().connected ? 1.0 : 0.0; });
  add(Type::kCounter, "sluice_config_acks_total", "Discovery responses in force.",
      [managed] { return static_cast<double>(managed->config().state().acks); });
  add(Type::kCounter, "sluice_config_nacks_total", "Discovery responses refused in part.",
      [managed] { return static_cast<double>(managed->config().state().nacks); });
  add(Type::kCounter, "sluice_config_not_persisted_total",
      "Discovery responses in force that could not be saved.",
      [managed] { return static_cast<double>(managed->config().state().not_persisted); });
  add(Type::kGauge, "sluice_config_refused", "Resources refused now.",
      [managed] { return static_cast<double>(managed->config().refused().size()); });
  add(Type::kCounter, "sluice_token_lookups_total", "Tokens asked of the control plane.",
      [managed] { return static_cast<double>(managed->identities().state().lookups); });
  add(Type::kCounter, "sluice_token_lookups_unavailable_total",
      "Token look-ups that nobody could answer.",
      [managed] { return static_cast<double>(managed->identities().state().unavailable); });
  add(Type::kCounter, "sluice_token_lookups_limited_total",
      "Token look-ups refused because of too many unknown tokens from an address.",
      [managed] { return static_cast<double>(managed->identities().state().limited); });
  const auto* spool = static_cast<const telemetry::Spool*>(parts_.sink.get());
  add(Type::kGauge, "sluice_spool_records", "Records not acknowledged yet.",
      [spool] { return static_cast<double>(spool->waiting()); });
  add(Type::kGauge, "sluice_spool_bytes", "Bytes of the spool.",
      [spool] { return static_cast<double>(spool->bytes()); });
}

}  // namespace sluice
