// Where an API's traffic goes: endpoints that are used in turn, and how to reach them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"
#include "proxy/model/resources.h"
#include "proxy/net/tls.h"

namespace sluice::upstream {

// Immutable once published; any thread.
struct Cluster {
  // An Upstream's name, or API:production, API:sandbox for endpoints that stand in an API.
  std::string name;
  std::vector<model::Endpoint> endpoints;            // never empty once compiled
  std::shared_ptr<const net::TlsClientContext> tls;  // set if an endpoint has tls
  std::string server_name;                           // SNI and name check; empty: endpoint's host
  nanoseconds connect_timeout = limits::kConnectTimeout;  // all endpoints together, TLS included
  nanoseconds handshake_timeout = limits::kHandshakeTimeout;
};

}  // namespace sluice::upstream
