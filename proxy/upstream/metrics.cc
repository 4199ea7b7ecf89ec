#include "proxy/upstream/metrics.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "proxy/base/limits.h"

namespace sluice::upstream {
namespace {

using telemetry::Metrics;
using Type = Metrics::Type;

constexpr char kOther[] = "other";

double value(const std::atomic<std::uint64_t>& count) {
  return static_cast<double>(count.load(std::memory_order_relaxed));
}

double well_count(const ClusterState& cluster, Mono now) {
  const auto endpoints = cluster.endpoints();
  return static_cast<double>(
      std::count_if(endpoints.begin(), endpoints.end(),
                    [now](const auto& endpoint) { return endpoint->well(now); }));
}

struct ClusterRow {
  Type type;
  const char* name;
  const char* help;
  double (*read)(const ClusterState&, Mono);
};

template <Unit unit>
double in_use(const ClusterState& cluster, Mono) {
  return static_cast<double>(cluster.in_use(unit));
}
template <Unit unit>
double overflows(const ClusterState& cluster, Mono) {
  return static_cast<double>(cluster.overflows(unit));
}

constexpr ClusterRow kClusterRows[] = {
    {Type::kGauge, "sluice_cluster_upstream_cx_active", "Connections to endpoints.",
     in_use<Unit::kConnection>},
    {Type::kGauge, "sluice_cluster_upstream_rq_pending_active",
     "Handshakes and requests that wait for a connection or their answer.",
     in_use<Unit::kPending>},
    {Type::kGauge, "sluice_cluster_upstream_rq_active", "HTTP requests under way.",
     in_use<Unit::kRequest>},
    {Type::kGauge, "sluice_cluster_upstream_ws_active", "WebSockets, handshakes included.",
     in_use<Unit::kWebSocket>},
    {Type::kCounter, "sluice_cluster_upstream_cx_overflow_total",
     "Refused: the breaker for connections was full.", overflows<Unit::kConnection>},
    {Type::kCounter, "sluice_cluster_upstream_rq_pending_overflow_total",
     "Refused: the breaker for what waits was full.", overflows<Unit::kPending>},
    {Type::kCounter, "sluice_cluster_upstream_rq_overflow_total",
     "Refused: the breaker for HTTP requests was full.", overflows<Unit::kRequest>},
    {Type::kCounter, "sluice_cluster_upstream_ws_overflow_total",
     "Refused: the breaker for WebSockets was full.", overflows<Unit::kWebSocket>},
    {Type::kCounter, "sluice_cluster_upstream_rq_retry_total", "Tries after the first.",
     [](const ClusterState& cluster, Mono) { return value(cluster.retries); }},
    {Type::kCounter, "sluice_cluster_upstream_rq_retry_overflow_total",
     "Tries that the retry budget did not allow.", overflows<Unit::kRetry>},
    {Type::kCounter, "sluice_cluster_upstream_cx_none_healthy_total",
     "Handshakes and requests for which no endpoint was well.",
     [](const ClusterState& cluster, Mono) { return value(cluster.none_well); }},
    {Type::kCounter, "sluice_cluster_lb_healthy_panic_total",
     "Choices among all endpoints because too few were well.",
     [](const ClusterState& cluster, Mono) { return value(cluster.panics); }},
    {Type::kGauge, "sluice_cluster_membership_size", "Addresses of endpoints.",
     [](const ClusterState& cluster, Mono) {
       return static_cast<double>(cluster.endpoints().size());
     }},
    {Type::kGauge, "sluice_cluster_membership_healthy",
     "Those that are neither ejected nor unhealthy.", well_count},
};

struct EndpointRow {
  Type type;
  const char* name;
  const char* help;
  double (*read)(const EndpointState&, Mono);
};

template <std::atomic<std::uint64_t> EndpointState::*count>
double counted(const EndpointState& endpoint, Mono) {
  return value(endpoint.*count);
}

constexpr EndpointRow kEndpointRows[] = {
    {Type::kGauge, "sluice_cluster_endpoint_cx_active", "Connections.",
     counted<&EndpointState::connections>},
    {Type::kGauge, "sluice_cluster_endpoint_rq_active",
     "Handshakes, requests and live WebSockets.", counted<&EndpointState::active>},
    {Type::kCounter, "sluice_cluster_endpoint_rq_total", "Handshakes and requests.",
     counted<&EndpointState::leases>},
    {Type::kCounter, "sluice_cluster_endpoint_rq_error_total",
     "Those that failed as ejection counts it.", counted<&EndpointState::failed>},
    {Type::kCounter, "sluice_cluster_endpoint_cx_total", "Connections made.",
     counted<&EndpointState::connects>},
    {Type::kCounter, "sluice_cluster_endpoint_cx_connect_fail_total",
     "Connections that could not be made.", counted<&EndpointState::connects_failed>},
    {Type::kCounter, "sluice_cluster_endpoint_cx_connect_timeout_total",
     "Connections that were not made in time.", counted<&EndpointState::connects_timed_out>},
    {Type::kCounter, "sluice_cluster_endpoint_outlier_ejections_total", "Ejections.",
     counted<&EndpointState::ejections>},
    {Type::kGauge, "sluice_cluster_endpoint_outlier_ejected", "1 while ejected.",
     [](const EndpointState& endpoint, Mono now) { return endpoint.ejected(now) ? 1.0 : 0.0; }},
    {Type::kGauge, "sluice_cluster_endpoint_health_check_healthy",
     "0 while health checks find it unhealthy.",
     [](const EndpointState& endpoint, Mono) {
       return endpoint.health() == EndpointState::Health::kUnhealthy ? 0.0 : 1.0;
     }},
    {Type::kCounter, "sluice_cluster_endpoint_health_check_attempt_total", "Health checks.",
     counted<&EndpointState::checks>},
    {Type::kCounter, "sluice_cluster_endpoint_health_check_failure_total",
     "Health checks that failed.", counted<&EndpointState::checks_failed>},
};

std::vector<Metrics::Sample> cluster_samples(const StateTable& states, const ClusterRow& row,
                                             Mono now) {
  std::vector<Metrics::Sample> samples;
  Metrics::Sample other{{{"cluster", kOther}}, 0};
  bool more = false;
  for (const auto& cluster : states.all()) {
    const double count = row.read(*cluster, now);
    if (samples.size() < limits::kUpstreamSeriesMax) {
      samples.push_back({{{"cluster", cluster->name()}}, count});
    } else {
      other.value += count;
      more = true;
    }
  }
  if (more) {
    samples.push_back(std::move(other));
  }
  return samples;
}

std::vector<Metrics::Sample> endpoint_samples(const StateTable& states, const EndpointRow& row,
                                              Mono now) {
  std::vector<Metrics::Sample> samples;
  Metrics::Sample other{{{"cluster", kOther}, {"endpoint", kOther}, {"address", kOther}}, 0};
  bool more = false;
  for (const auto& cluster : states.all()) {
    for (const auto& endpoint : cluster->endpoints()) {
      const double count = row.read(*endpoint, now);
      if (samples.size() < limits::kUpstreamSeriesMax) {
        samples.push_back({{{"cluster", cluster->name()},
                            {"endpoint", endpoint->url()},
                            {"address", endpoint->address()}},
                           count});
      } else {
        other.value += count;
        more = true;
      }
    }
  }
  if (more) {
    samples.push_back(std::move(other));
  }
  return samples;
}

}  // namespace

void add_metrics(telemetry::Metrics& metrics, const StateTable& states,
                 std::function<Mono()> now) {
  for (const ClusterRow& row : kClusterRows) {
    metrics.collect(row.type, row.name, row.help,
                    [&states, &row, now] { return cluster_samples(states, row, now()); });
  }
  for (const EndpointRow& row : kEndpointRows) {
    metrics.collect(row.type, row.name, row.help,
                    [&states, &row, now] { return endpoint_samples(states, row, now()); });
  }
}

}  // namespace sluice::upstream
