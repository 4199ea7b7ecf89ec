// A small HTTP/1.1 server on a net::Loop for the house's own ports: the proxy's admin and probes,
// the control plane's door. Whole requests in, whole responses out; nothing streams.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/limits.h"
#include "proxy/base/task_group.h"
#include "proxy/http/head.h"
#include "proxy/http/target.h"
#include "proxy/net/connect.h"
#include "proxy/net/loop.h"
#include "proxy/net/tls.h"

namespace sluice::httpserver {

struct Request {
  std::string method;
  std::string path;   // normalised by http::parse_target
  std::string query;  // as it came, without '?'
  http::Headers headers;
  std::string body;  // whole, at most ServerOptions::body_bytes_max
  net::PeerAddress peer;
  bool tls = false;
};

// Content-Length, Date and Connection are the server's business. A response to HEAD is written
// without its body by the server, too.
struct Response {
  int status = 200;
  http::Headers headers;
  std::string body;
  // Where set, sent instead of `body` and not copied: files that were read once, at the start.
  std::shared_ptr<const std::string> shared_body;
};

// A response with a Content-Type.
Response text_response(int status, std::string body);
Response json_response(int status, std::string body);
// The form of all refusals (behaviour.md): {"code","message","description"}; `message` is the
// status's own phrase.
Response refusal(int status, int code, std::string_view description);

// Called on the loop's thread for every whole request; several at once, one a connection. It must
// not throw. A capturing lambda must not itself be a coroutine: let it return the call of one, e.g.
// [this](Request r) { return handle(std::move(r)); }. Cancelled when the client's connection cannot
// be waited for any longer: at stop().
using Handler = std::function<Task<Response>(Request)>;

struct ServerOptions {
  std::string address = "127.0.0.1";                              // literal IP
  std::uint16_t port = 0;                                         // 0: takes a free one
  std::shared_ptr<const net::TlsServerContext> tls;               // null: plain
  std::size_t connections_max = limits::kServerConnectionsMax;    // more are closed at once
  std::size_t head_bytes_max = limits::kServerHeadBytesMax;       // more: 431
  std::size_t body_bytes_max = limits::kServerBodyBytesMax;       // more: 413
  nanoseconds request_timeout = limits::kServerRequestTimeout;    // TLS handshake, head and body
  nanoseconds response_timeout = limits::kServerResponseTimeout;  // until the client took it all
  nanoseconds idle_timeout = limits::kServerIdleTimeout;          // between two requests
  // Sent with every response that has no field of that name, also with refusals by the server.
  http::Headers extra_headers;
};

// Loop thread only. Keep-alive and pipelining (one at a time), chunked and sized bodies,
// `Expect: 100-continue`. Malformed requests get the refusal of behaviour.md as JSON and a close.
class HttpServer {
 public:
  // Errors name the address and what to do.
  static absl::StatusOr<std::unique_ptr<HttpServer>> start(net::Loop& loop, ServerOptions options,
                                                           Handler handler);
  // stop() must have ended.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Accepts no more, cancels handlers and connections, and waits for their end. Not from a handler.
  Task<void> stop();

  std::uint16_t port() const;
  std::size_t connections() const { return group_.size(); }
  // Connections closed at once because connections_max was reached or no descriptor was left.
  std::uint64_t refused() const;

  // For new connections; no effect on a plain server.
  void set_tls(std::shared_ptr<const net::TlsServerContext> tls);

 private:
  HttpServer(net::Loop& loop, ServerOptions options, Handler handler);
  void accept(std::unique_ptr<net::Side> side);
  Task<void> serve(std::unique_ptr<net::Side> side);

  net::Loop& loop_;
  ServerOptions options_;
  Handler handler_;
  TaskGroup group_;
  std::unique_ptr<net::Acceptor> acceptor_;
  std::uint64_t refused_ = 0;
  std::uint16_t port_ = 0;  // after stop()
};

}  // namespace sluice::httpserver
