// The proxy as a WebSocket client of the backend.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "proxy/config/snapshot.h"
#include "proxy/filter/exchange.h"
#include "proxy/filter/refusal.h"
#include "proxy/net/side.h"
#include "proxy/session/context.h"
#include "proxy/websocket/handshake.h"

namespace sluice::session {

// What a live backend holds of its upstream.
struct BackendUse {
  upstream::Lease lease;
  upstream::ConnectionHold connection;
};

struct ClientAsk {
  std::string key;
  std::vector<std::string> subprotocols;  // after credentials were taken out
  websocket::Extensions extensions;
};

// One of: a live backend; its own answer (any status but 101); a failure of ours to reach it.
struct BackendResult {
  std::unique_ptr<net::Side> side;
  std::optional<BackendUse> use;  // with a side: to be kept as long as that
  std::string rest;               // read behind its 101
  websocket::UpgradeAnswer answer;
  http::ResponseHead head;  // the 101, or its refusal with `body`
  std::string body;
  std::optional<filter::Refusal> failure;
  std::string failure_text;    // never an address
  std::string failure_detail;  // which endpoint and why: for operators, not for clients
  int retry_after_s = 0;
};

// Dials an endpoint of `cluster` and asks for the upgrade. Sets exchange.endpoint.
Task<BackendResult> ask_backend(SessionContext& context, filter::Exchange& exchange,
                                std::shared_ptr<const upstream::Cluster> cluster, ClientAsk ask);

}  // namespace sluice::session
