// The control plane's door as a client: Connect calls with JSON, and plain requests.
#pragma once

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "controlplane/cli/session.h"
#include "proxy/http/headers.h"
#include "proxy/net/connect.h"
#include "proxy/net/loop.h"

namespace sluice::controlplane::cli {

struct Url {
  bool tls = true;
  std::string host;  // IPv6 without brackets
  std::uint16_t port = 443;
  std::string target = "/";  // path and query
  std::string authority() const;
};

// http, https, ws and wss URLs.
absl::StatusOr<Url> parse_url(std::string_view text);

struct Reply {
  int status = 0;
  http::Headers headers;
  std::string body;
};

// One thread; each request on a connection of its own.
class Door {
 public:
  explicit Door(Session session) : session_(std::move(session)), loop_(system_seed()) {}

  // A unary Connect call, e.g. call("ApiService/GetApi", {{"name", "echo"}}). The service's error
  // comes back as its own code and message; UNAUTHENTICATED says how to log in, UNAVAILABLE where
  // nobody answered.
  absl::StatusOr<boost::json::object> call(std::string_view method,
                                           const boost::json::object& request);
  // All items of a List call, page after page.
  absl::StatusOr<boost::json::array> list(std::string_view method);

  absl::StatusOr<Reply> request(std::string_view method, std::string_view path,
                                const http::Headers& headers, std::string_view body);

  const Session& session() const { return session_; }
  net::Loop& loop() { return loop_; }
  net::Resolver& resolver() { return resolver_; }
  // How long one call may take. Default 30 s.
  void set_timeout(nanoseconds timeout) { timeout_ = timeout; }

 private:
  Session session_;
  net::Loop loop_;
  net::Resolver resolver_;
  nanoseconds timeout_ = seconds(30);
};

// The last certificate of the chain that the server at `url` presents, unverified: PEM and the
// SHA-256 of its DER in hex. For trust on first use.
struct SeenCa {
  std::string pem;
  std::string sha256;
};
absl::StatusOr<SeenCa> fetch_ca(const Url& url);

}  // namespace sluice::controlplane::cli
