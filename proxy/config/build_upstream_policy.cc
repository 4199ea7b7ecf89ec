// How an Upstream's endpoints are chosen, limited and tried: all of its fields but the endpoints
// themselves and their TLS.
#include <fmt/format.h>

#include <algorithm>

#include "proxy/config/build.h"
#include "proxy/config/text.h"
#include "proxy/http/headers.h"
#include "proxy/http/target.h"

namespace sluice::config {
namespace {

constexpr nanoseconds kHourMax = std::chrono::hours(1);
constexpr nanoseconds kDayMax = std::chrono::hours(24);

// A field with a default, or its value if it was set.
void read_time(bool has, const google::protobuf::Duration& value, const DurationRule& rule,
               std::string_view field, Faults& faults, nanoseconds& out) {
  if (has) {
    out = read_duration(value, rule, field, faults);
  }
}

void read_percent(std::uint32_t value, std::string_view field, Faults& faults,
                  std::uint32_t& out) {
  if (value > 100) {
    faults.add(std::string(field), fmt::format("{} is more than 100 per cent", value));
  }
  out = value;
}

void read_balance(const v1::Upstream& spec, upstream::Cluster& cluster, Faults& faults) {
  using upstream::Balance;
  const std::string& name = spec.balance();
  if (name == "least_connections") {
    cluster.balance = Balance::kLeastConnections;
  } else if (name == "consistent_hash") {
    cluster.balance = Balance::kConsistentHash;
  } else if (!name.empty() && name != "round_robin") {
    faults.add("spec.balance",
               fmt::format("'{}' is not round_robin, least_connections or consistent_hash", name));
  }
}

void read_hash_on(const v1::Upstream& spec, upstream::Cluster& cluster, Faults& faults) {
  using Kind = upstream::HashOn::Kind;
  const std::string_view value = spec.hash_on();
  constexpr std::string_view kHeader = "header:";
  constexpr std::string_view kQuery = "query:";
  if (value.empty()) {
    return;
  }
  if (cluster.balance != upstream::Balance::kConsistentHash) {
    faults.add("spec.hash_on", "needs `balance: consistent_hash`");
  }
  if (value == "address") {
    cluster.hash_on.kind = Kind::kAddress;
  } else if (value == "user") {
    cluster.hash_on.kind = Kind::kUser;
  } else if (value.starts_with(kHeader) && http::is_token(value.substr(kHeader.size()))) {
    cluster.hash_on = {Kind::kHeader, std::string(value.substr(kHeader.size()))};
  } else if (value.starts_with(kQuery) && value.size() > kQuery.size()) {
    cluster.hash_on = {Kind::kQuery, std::string(value.substr(kQuery.size()))};
  } else {
    faults.add("spec.hash_on",
               fmt::format("'{}' is not header:NAME, query:NAME, address or user", value));
  }
}

void read_ejection(const v1::Ejection& spec, upstream::Ejection& ejection, Faults& faults) {
  if (spec.has_failures()) {
    ejection.failures = spec.failures();
  }
  const DurationRule rule{milliseconds(1), kHourMax};
  read_time(spec.has_time(), spec.time(), rule, "spec.ejection.time", faults, ejection.time);
  read_time(spec.has_time_max(), spec.time_max(), rule, "spec.ejection.time_max", faults,
            ejection.time_max);
  if (spec.has_time() && !spec.has_time_max()) {
    ejection.time_max = std::max(ejection.time_max, ejection.time);
  }
  if (ejection.time_max < ejection.time) {
    faults.add("spec.ejection.time_max", "is less than time");
  }
  if (spec.percent_max() > 0) {
    read_percent(spec.percent_max(), "spec.ejection.percent_max", faults, ejection.percent_max);
  }
}

std::shared_ptr<const upstream::HealthCheck> read_health_check(const v1::HealthCheck& spec,
                                                               Faults& faults) {
  using Type = upstream::HealthCheck::Type;
  auto check = std::make_shared<upstream::HealthCheck>();
  if (spec.type() == "http") {
    check->type = Type::kHttp;
  } else if (spec.type() == "websocket") {
    check->type = Type::kWebSocket;
  } else if (spec.type() != "tcp") {
    faults.add("spec.health_check.type",
               fmt::format("'{}' is not tcp, http or websocket", spec.type()));
  }
  check->path = spec.path();
  if (!check->path.empty() && !http::parse_target(check->path).ok()) {
    faults.add("spec.health_check.path", "is no path such as /health");
  } else if (!check->path.empty() && check->type == Type::kTcp) {
    faults.add("spec.health_check.path", "a tcp check asks for nothing");
  }
  read_time(spec.has_interval(), spec.interval(), {milliseconds(10), kHourMax},
            "spec.health_check.interval", faults, check->interval);
  read_time(spec.has_timeout(), spec.timeout(),
            {milliseconds(1), limits::kTimeoutConfigurableMax}, "spec.health_check.timeout", faults,
            check->timeout);
  check->failures = spec.failures() > 0 ? spec.failures() : check->failures;
  check->passes = spec.passes() > 0 ? spec.passes() : check->passes;
  return check;
}

void read_retry(const v1::Retry& spec, upstream::Retry& retry, Faults& faults) {
  if (spec.has_tries()) {
    retry.tries = spec.tries();
  }
  if (retry.tries > limits::kRetriesMax) {
    faults.add("spec.retry.tries", fmt::format("is more than {}", limits::kRetriesMax));
  }
  for (int i = 0; i < spec.statuses_size(); ++i) {
    const auto status = static_cast<int>(std::min(spec.statuses(i), 999U));
    if (status < 502 || status > 504) {
      faults.add(fmt::format("spec.retry.statuses[{}]", i),
                 "only 502, 503 and 504 say that another endpoint may do better");
    }
    retry.statuses.push_back(status);
  }
  if (spec.has_budget_percent()) {
    read_percent(spec.budget_percent(), "spec.retry.budget_percent", faults,
                 retry.budget_percent);
  }
  if (spec.has_budget_min()) {
    retry.budget_min = spec.budget_min();
  }
}

void read_times(const v1::Upstream& spec, upstream::Cluster& cluster, Faults& faults) {
  const DurationRule timeout{milliseconds(1), limits::kTimeoutConfigurableMax};
  const DurationRule long_time{milliseconds(1), kDayMax};
  read_time(spec.has_connect_timeout(), spec.connect_timeout(), timeout, "spec.connect_timeout",
            faults, cluster.connect_timeout);
  read_time(spec.has_handshake_timeout(), spec.handshake_timeout(), timeout,
            "spec.handshake_timeout", faults, cluster.handshake_timeout);
  read_time(spec.has_request_timeout(), spec.request_timeout(), long_time, "spec.request_timeout",
            faults, cluster.request_timeout);
  read_time(spec.has_idle_timeout(), spec.idle_timeout(), long_time, "spec.idle_timeout", faults,
            cluster.idle_timeout);
  read_time(spec.has_age_max(), spec.age_max(), {milliseconds(1), kDayMax, true}, "spec.age_max",
            faults, cluster.age_max);
  read_time(spec.has_slow_start(), spec.slow_start(), {milliseconds(1), kHourMax, true},
            "spec.slow_start", faults, cluster.slow_start);
  read_time(spec.has_dns_refresh(), spec.dns_refresh(), {milliseconds(100), kHourMax},
            "spec.dns_refresh", faults, cluster.dns_refresh);
}

}  // namespace

void read_policy(const v1::Upstream& spec, upstream::Cluster& cluster, Faults& faults) {
  read_times(spec, cluster, faults);
  read_balance(spec, cluster, faults);
  read_hash_on(spec, cluster, faults);
  read_ejection(spec.ejection(), cluster.ejection, faults);
  read_retry(spec.retry(), cluster.retry, faults);
  const v1::Breakers& breakers = spec.breakers();
  cluster.breakers = {breakers.connections_max(), breakers.pending_max(), breakers.requests_max(),
                      breakers.websockets_max()};
  if (spec.has_panic_percent()) {
    read_percent(spec.panic_percent(), "spec.panic_percent", faults, cluster.panic_percent);
  }
  if (spec.has_health_check()) {
    cluster.health_check = read_health_check(spec.health_check(), faults);
  }
}

}  // namespace sluice::config
