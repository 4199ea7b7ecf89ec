// /upstreams: how endpoints are configured, and how they do.
#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "proxy/admin/render.h"

namespace sluice::admin {
namespace {

namespace json = boost::json;
using upstream::Cluster;
using upstream::ClusterState;
using upstream::EndpointState;
using upstream::Unit;

double in_seconds(nanoseconds time) { return std::chrono::duration<double>(time).count(); }

json::string text(std::string_view value) { return json::string(value.data(), value.size()); }

std::string_view balance_text(upstream::Balance balance) {
  switch (balance) {
    case upstream::Balance::kRoundRobin:
      return "round_robin";
    case upstream::Balance::kLeastConnections:
      return "least_connections";
    case upstream::Balance::kConsistentHash:
      return "consistent_hash";
  }
  return "";
}

std::string_view health_text(EndpointState::Health health) {
  switch (health) {
    case EndpointState::Health::kUnknown:
      return "unknown";
    case EndpointState::Health::kHealthy:
      return "healthy";
    case EndpointState::Health::kUnhealthy:
      return "unhealthy";
  }
  return "";
}

json::object render_host(const EndpointState& state, Mono now) {
  const auto count = [](const std::atomic<std::uint64_t>& value) {
    return value.load(std::memory_order_relaxed);
  };
  json::object object;
  object["url"] = text(redact_url(state.url()));
  object["address"] = text(state.address());
  object["well"] = state.well(now);
  object["health"] = text(health_text(state.health()));
  object["ejected_seconds_left"] =
      state.ejected(now) ? in_seconds(state.ejected_until() - now) : 0.0;
  object["ejections"] = count(state.ejections);
  object["active"] = count(state.active);
  object["connections"] = count(state.connections);
  object["requests"] = count(state.leases);
  object["failed"] = count(state.failed);
  object["connects"] = count(state.connects);
  object["connects_failed"] = count(state.connects_failed);
  object["connects_timed_out"] = count(state.connects_timed_out);
  object["checks"] = count(state.checks);
  object["checks_failed"] = count(state.checks_failed);
  return object;
}

json::object render_unit(const ClusterState& state, Unit unit, std::uint64_t max) {
  json::object object;
  object["active"] = state.in_use(unit);
  if (max > 0) {
    object["max"] = max;
  }
  object["refused"] = state.overflows(unit);
  return object;
}

void add_state(json::object& object, const Cluster& cluster, const ClusterState& state, Mono now) {
  json::array hosts;
  for (const auto& endpoint : state.endpoints()) {
    hosts.emplace_back(render_host(*endpoint, now));
  }
  object["hosts"] = std::move(hosts);
  const upstream::Breakers& breakers = cluster.breakers;
  object["connections"] = render_unit(state, Unit::kConnection, breakers.connections_max);
  object["pending"] = render_unit(state, Unit::kPending, breakers.pending_max);
  object["requests"] = render_unit(state, Unit::kRequest, breakers.requests_max);
  object["websockets"] = render_unit(state, Unit::kWebSocket, breakers.websockets_max);
  object["retries"] = state.retries.load(std::memory_order_relaxed);
  object["retries_refused"] = state.overflows(Unit::kRetry);
}

json::object render(const Cluster& cluster, const UpstreamsNow& now) {
  json::object object = render_cluster(cluster);
  json::array endpoints;
  for (const model::Endpoint& endpoint : cluster.endpoints) {
    json::object one;
    one["url"] = text(redact_url(endpoint.url));
    one["weight"] = endpoint.weight;
    one["priority"] = endpoint.priority;
    endpoints.emplace_back(std::move(one));
  }
  object["endpoints"] = std::move(endpoints);
  object["balance"] = text(balance_text(cluster.balance));
  object["panic_percent"] = cluster.panic_percent;
  const auto state = now.states == nullptr ? nullptr : now.states->find(cluster.name);
  if (state != nullptr) {
    add_state(object, cluster, *state, now.now);
  }
  return object;
}

}  // namespace

json::object render_cluster(const Cluster& cluster) {
  json::object object;
  object["name"] = text(cluster.name);
  json::array endpoints;
  for (const model::Endpoint& endpoint : cluster.endpoints) {
    endpoints.emplace_back(text(redact_url(endpoint.url)));
  }
  object["endpoints"] = std::move(endpoints);
  if (!cluster.server_name.empty()) {
    object["server_name"] = text(cluster.server_name);
  }
  object["connect_timeout_seconds"] = in_seconds(cluster.connect_timeout);
  object["handshake_timeout_seconds"] = in_seconds(cluster.handshake_timeout);
  return object;
}

json::array render_upstreams(const config::Snapshot& snapshot, std::string_view prefix,
                             const UpstreamsNow& now) {
  std::vector<std::shared_ptr<const Cluster>> clusters;
  const auto add = [&](const std::shared_ptr<const Cluster>& cluster) {
    if (std::string_view(cluster->name).starts_with(prefix)) {
      clusters.push_back(cluster);
    }
  };
  snapshot.upstreams().visit([&](const std::shared_ptr<const config::CompiledUpstream>& one) {
    add(one->cluster);
  });
  if (now.states != nullptr) {
    snapshot.apis().visit([&](const std::shared_ptr<const config::CompiledApi>& api) {
      for (const auto& cluster : {api->production, api->sandbox}) {
        if (cluster != nullptr && cluster->name.find(':') != std::string::npos &&
            now.states->find(cluster->name) != nullptr) {
          add(cluster);
        }
      }
    });
  }
  std::sort(clusters.begin(), clusters.end(),
            [](const auto& a, const auto& b) { return a->name < b->name; });
  json::array array;
  for (const std::shared_ptr<const Cluster>& cluster : clusters) {
    array.emplace_back(render(*cluster, now));
  }
  return array;
}

}  // namespace sluice::admin
