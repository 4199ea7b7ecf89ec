// The proxy's own endpoints for its operators (interfaces.md, "sluice-proxy"), on the control
// thread's loop: the admin port, and the probe port with three of its paths.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/status.h"
#include "proxy/base/task.h"
#include "proxy/config/snapshot.h"
#include "proxy/httpserver/http_server.h"
#include "proxy/net/loop.h"
#include "proxy/upstream/state.h"
#include "proxy/worker/publication.h"

namespace sluice::admin {

// What main fills; all called on the control thread. A member that is empty makes its path a 404
// (required ones aside). An `answer` is called on the control thread, at once or later.
struct AdminServices {
  // Required. Empty: ready. Else why not, for people.
  std::function<std::string()> not_ready;
  // Required. In the Prometheus text format; /stats is made from it.
  std::function<std::string()> metrics_text;
  // Required, never null: /config_dump /apis /upstreams /listeners /certs.
  std::function<std::shared_ptr<const config::Snapshot>()> snapshot;
  // How the endpoints do, for /upstreams; null: it shows how they are configured only.
  const upstream::StateTable* upstreams = nullptr;
  // Where the listeners are bound.
  std::function<worker::Bindings()> bindings;
  // What /server_info shows besides version, process id, uptime and log level: node, group, mode,
  // workers, configuration version, state of the control plane. No secrets.
  std::function<boost::json::object()> server_info;
  // What /memory shows besides the heap and the process: sizes of the directory and the like.
  std::function<boost::json::object()> memory;
  // Other certificates that matter, PEM by a name for people: the proxy's own towards its control
  // plane.
  std::function<std::vector<std::pair<std::string, std::string>>()> certificates;

  std::function<void(std::function<void(std::vector<worker::ConnectionInfo>)> answer)> connections;
  std::function<void(std::string id, std::function<void(bool)> answer)> close_connection;
  // Begins to drain; may be called again.
  std::function<void()> drain;
};

struct AdminOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  // Of the file `admin-token`, made if absent; empty: POST is refused.
  std::string data_dir;
};

// GET without a credential from loopback only, and only with a Host that no foreign web page can
// have (an IP literal or localhost); POST, and GET from elsewhere, with the bearer token. Loop
// thread only.
class AdminServer {
 public:
  // Errors name the address or the file, and what to do.
  static absl::StatusOr<std::unique_ptr<AdminServer>> start(net::Loop& loop,
                                                            const AdminOptions& options,
                                                            AdminServices services);
  // The separate probe port: /ready /live /stats/prometheus, for anyone, and nothing else. Needs
  // the first two services.
  static absl::StatusOr<std::unique_ptr<AdminServer>> start_probes(net::Loop& loop,
                                                                   const std::string& address,
                                                                   std::uint16_t port,
                                                                   AdminServices services);
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  // Must have ended before the destructor.
  Task<void> stop() { return server_->stop(); }
  std::uint16_t port() const { return server_->port(); }

 private:
  struct Impl;
  explicit AdminServer(std::unique_ptr<Impl> impl);
  static absl::StatusOr<std::unique_ptr<AdminServer>> serve(std::unique_ptr<Impl> impl,
                                                            const std::string& address,
                                                            std::uint16_t port,
                                                            httpserver::Handler handler);

  std::unique_ptr<Impl> impl_;
  std::unique_ptr<httpserver::HttpServer> server_;  // dies first
};

// The token in DATA/admin-token, without white space. Makes the file (0600, 32 random bytes) if it
// is absent; FAILED_PRECONDITION if others than its owner may read it or it is no token.
absl::StatusOr<std::string> load_admin_token(const std::string& data_dir);

}  // namespace sluice::admin
