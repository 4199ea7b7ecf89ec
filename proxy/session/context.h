// What a session needs of its worker.
#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>

#include "proxy/config/directory.h"
#include "proxy/config/snapshot.h"
#include "proxy/filter/exchange.h"
#include "proxy/net/loop.h"
#include "proxy/session/interests.h"
#include "proxy/session/registry.h"
#include "proxy/telemetry/access_log.h"
#include "proxy/upstream/idle_connections.h"
#include "proxy/upstream/pool.h"

namespace sluice::session {

class Client;
class Connection;

// Plain counters of one worker, read at scrape through a post to it.
struct SessionCounters {
  std::uint64_t accepted = 0;
  std::uint64_t tls_failures = 0;
  std::uint64_t heads_too_slow = 0;
  std::uint64_t refused = 0;          // by us, with an HTTP status or a close code
  std::uint64_t backend_refused = 0;  // a backend's own answer, passed on
  std::uint64_t opened = 0;           // WebSockets that went live
  std::uint64_t closed = 0;
  std::uint64_t refused_overload = 0;
  std::uint64_t rechecked = 0;
  std::uint64_t requests = 0;       // to HTTP APIs that went to a backend
  std::uint64_t responses[5] = {};  // of backends, passed on, by class: 1xx to 5xx
  std::uint64_t requests_cut = 0;  // by a recheck or an operator
  std::uint64_t requests_retried = 0;

  SessionCounters& operator+=(const SessionCounters& other) {
    accepted += other.accepted;
    tls_failures += other.tls_failures;
    heads_too_slow += other.heads_too_slow;
    refused += other.refused;
    backend_refused += other.backend_refused;
    opened += other.opened;
    closed += other.closed;
    refused_overload += other.refused_overload;
    rechecked += other.rechecked;
    requests += other.requests;
    for (std::size_t i = 0; i < std::size(responses); ++i) {
      responses[i] += other.responses[i];
    }
    requests_cut += other.requests_cut;
    requests_retried += other.requests_retried;
    return *this;
  }
};

// All members outlive every session; everything on the worker's thread.
struct SessionContext {
  net::Loop* loop = nullptr;
  upstream::Pool* pool = nullptr;
  upstream::IdleConnections* idle = nullptr;
  config::Directory* directory = nullptr;
  const filter::Services* services = nullptr;
  InterestIndex* interests = nullptr;
  Registry<Client>* clients = nullptr;          // those that send one request after another
  Registry<Connection>* requests = nullptr;     // to HTTP APIs, that take long
  SessionCounters* counters = nullptr;
  telemetry::AccessLog* access_log = nullptr;  // null: none is kept

  // The worker's present snapshot.
  std::function<std::shared_ptr<const config::Snapshot>()> snapshot;
  // Whether one more connection may be served: empty, or why not.
  std::function<std::string_view()> refuse_reason;
  // Whether clients are to go elsewhere.
  std::function<bool()> draining;
  // Grows with every publication and identity change that the worker has seen.
  std::function<std::uint64_t()> changes;
  // Rises with each call: the order in which live exchanges are rechecked.
  std::function<std::size_t()> next_order;
  // Takes over a connection whose relay runs; it calls end_live when the relay is over.
  std::function<void(std::unique_ptr<Connection>)> go_live;
  // Destroys a live connection in a later turn.
  std::function<void(Connection&)> end_live;
};

}  // namespace sluice::session
