// Where an API's traffic goes: endpoints, how one of them is chosen, and how to reach it. An
// Upstream's fields (sluice.config.v1.Upstream says what each means).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"
#include "proxy/model/resources.h"
#include "proxy/net/tls.h"

namespace sluice::upstream {

enum class Balance : std::uint8_t { kRoundRobin, kLeastConnections, kConsistentHash };

// What kConsistentHash goes by.
struct HashOn {
  enum class Kind : std::uint8_t { kAddress, kUser, kHeader, kQuery };
  Kind kind = Kind::kAddress;
  std::string name;  // of the header or the query's parameter
};

struct HealthCheck {
  enum class Type : std::uint8_t { kTcp, kHttp, kWebSocket };
  Type type = Type::kTcp;
  std::string path;  // empty: the endpoint's
  nanoseconds interval = limits::kHealthInterval;
  nanoseconds timeout = limits::kHealthTimeout;
  std::uint32_t failures = limits::kHealthFailures;
  std::uint32_t passes = limits::kHealthPasses;
};

struct Ejection {
  std::uint32_t failures = limits::kEjectionFailures;  // 0: never
  nanoseconds time = limits::kEjectionTime;
  nanoseconds time_max = limits::kEjectionTimeMax;
  std::uint32_t percent_max = limits::kEjectionPercentMax;
};

// Of a process; 0: no limit.
struct Breakers {
  std::uint64_t connections_max = 0;
  std::uint64_t pending_max = 0;
  std::uint64_t requests_max = 0;
  std::uint64_t websockets_max = 0;
};

struct Retry {
  std::uint32_t tries = limits::kRetries;  // after the first one
  std::vector<int> statuses;
  std::uint32_t budget_percent = limits::kRetryBudgetPercent;
  std::uint32_t budget_min = limits::kRetryBudgetMin;
};

// Immutable once published; any thread.
struct Cluster {
  // An Upstream's name, or API:production, API:sandbox for endpoints that stand in an API.
  std::string name;
  std::vector<model::Endpoint> endpoints;            // never empty once compiled
  std::shared_ptr<const net::TlsClientContext> tls;  // set if an endpoint has tls
  std::string server_name;                           // SNI and name check; empty: endpoint's host
  nanoseconds connect_timeout = limits::kConnectTimeout;  // all tries together, TLS included
  nanoseconds handshake_timeout = limits::kHandshakeTimeout;
  nanoseconds request_timeout = limits::kRequestTimeout;
  nanoseconds idle_timeout = limits::kUpstreamIdleTimeout;
  nanoseconds age_max = nanoseconds::zero();  // zero: none
  nanoseconds dns_refresh = limits::kDnsRefresh;
  nanoseconds slow_start = nanoseconds::zero();  // zero: at once
  Balance balance = Balance::kRoundRobin;
  HashOn hash_on;
  std::uint32_t panic_percent = limits::kPanicPercent;
  Ejection ejection;
  Breakers breakers;
  Retry retry;
  std::shared_ptr<const HealthCheck> health_check;  // null: none
};

}  // namespace sluice::upstream
