// The control plane's HTTPS door: the admin services as JSON, OAuth, health and metrics, portal
// files; and its second, public opening with OAuth alone. On a loop and thread of its own; what may
// block runs on the handler pool and comes back.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "controlplane/api/handler_pool.h"
#include "controlplane/api/service_table.h"
#include "controlplane/http/static_files.h"
#include "controlplane/oauth/endpoints.h"
#include "controlplane/oauth/users.h"
#include "proxy/httpserver/http_server.h"
#include "proxy/net/loop.h"
#include "proxy/telemetry/metrics.h"

namespace sluice::controlplane::http {

// What is behind the door; all of it outlives the Door but for `pool`, which must end between its
// stop() and its destruction.
struct Services {
  const api::ServiceTable& table;
  api::HandlerPool& pool;
  oauth::Endpoints& oauth;
  const oauth::Users& users;
  telemetry::Metrics& metrics;
  std::function<absl::Status()> ready;  // why not; must not block
  std::string ca_pem;                   // served at /ca.pem
  const StaticFiles* portal = nullptr;  // null: none
};

struct Opening {
  std::string name;  // for messages: door, public
  std::string address;
  std::uint16_t port = 0;
  std::shared_ptr<const net::TlsServerContext> tls;  // null: plain text
  bool open = false;                                 // OAuth and well-known paths only
};

class Door {
 public:
  // Listens on all openings, or on none. Errors name the address.
  static absl::StatusOr<std::unique_ptr<Door>> start(Services services,
                                                     const std::vector<Opening>& openings);
  ~Door();
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  // In the order of the openings.
  std::vector<std::uint16_t> ports() const;

  // The certificate of new connections on all openings that have one. Any thread.
  void set_tls(std::shared_ptr<const net::TlsServerContext> tls);

  // Accepts no more, ends connections, and waits for its thread. Once; any thread but its own.
  void stop();

 private:
  using Request = httpserver::Request;
  using Response = httpserver::Response;
  struct Outcome {
    Response response;
    nanoseconds delay{};  // hold it back so long
  };
  struct Pending {
    Wait wait;
    Outcome outcome;
  };

  explicit Door(Services services);

  Task<Response> handle(bool open, Request request);
  Task<Response> handle_oauth(Request request);
  Task<Response> handle_call(Request request);
  Task<Response> handle_metrics(Request request);
  Response handle_plain(const Request& request) const;
  Task<Response> on_pool(bool waits, std::function<Outcome()> work);
  Task<void> stop_servers();
  void count(const std::string& service, std::string_view code);

  const Services services_;
  net::Loop loop_;
  TaskGroup group_;
  std::vector<std::unique_ptr<httpserver::HttpServer>> servers_;
  std::unordered_map<std::uint64_t, Pending*> pending_;  // calls on the pool; each in its coroutine
  std::uint64_t calls_ = 0;
  std::map<std::pair<std::string, std::string>, telemetry::Counter*> counters_;
  std::thread thread_;
};

}  // namespace sluice::controlplane::http
