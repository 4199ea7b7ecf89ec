#include "proxy/admin/admin_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <utility>

#include "proxy/admin/ask.h"
#include "proxy/admin/render.h"
#include "proxy/base/check.h"
#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"

namespace sluice::admin {
namespace {

namespace json = boost::json;
using httpserver::Request;
using httpserver::Response;

constexpr std::string_view kIndex =
    "sluice-proxy admin\n"
    "GET  /ready /live /stats[?filter=TEXT][&used] /stats/prometheus /server_info /memory\n"
    "GET  /config_dump /apis[?name=PREFIX] /upstreams[?name=PREFIX] /listeners /certs\n"
    "GET  /connections[?api=NAME][&application=NAME]\n"
    "POST /drain /logging?level=debug|info|warning|error /connections/ID/close\n"
    "     with Authorization: Bearer TOKEN (DATA/admin-token)\n";

Response json_answer(int status, const json::value& value) {
  return httpserver::json_response(status, json::serialize(value) + "\n");
}

bool is_loopback(const std::string& ip) { return ip == "::1" || ip.rfind("127.", 0) == 0; }

bool is_literal(const std::string& host) {
  in_addr v4;
  in6_addr v6;
  return ::inet_pton(AF_INET, host.c_str(), &v4) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &v6) == 1;
}

// A page of a foreign site whose name was made to point here (DNS rebinding) sends that name.
bool own_host(std::string_view host) {
  std::string name(host);
  if (!name.empty() && name.front() == '[') {
    const std::size_t end = name.find(']');
    name = end == std::string::npos ? name : name.substr(1, end - 1);
  } else {
    name = name.substr(0, name.find(':'));
  }
  return http::equal_ignoring_case(name, "localhost") || is_literal(name);
}

std::string_view level_text(log::Level level) {
  switch (level) {
    case log::Level::kDebug:
      return "debug";
    case log::Level::kInfo:
      return "info";
    case log::Level::kWarning:
      return "warning";
    case log::Level::kError:
      return "error";
  }
  return "";
}

Response not_found(std::string_view path) {
  return httpserver::refusal(404, 404001, fmt::format("there is no {} here; see /", path));
}

Response not_allowed(std::string_view allow) {
  Response response =
      httpserver::refusal(405, 405001, fmt::format("this path takes {} only", allow));
  response.headers.add("Allow", allow);
  return response;
}

}  // namespace

struct AdminServer::Impl {
  Impl(net::Loop& l, AdminServices s) : loop(l), services(std::move(s)), started(l.clock().now()) {}

  Task<Response> handle(Request request);
  Task<Response> handle_probe(Request request);
  std::optional<Response> refuse(const Request& request) const;
  std::optional<Response> probe(const std::string& path) const;
  std::optional<Response> get(const Request& request) const;
  Task<Response> connections(Request request);
  Task<Response> post(Request request);
  Task<Response> close(std::string id);
  Response set_level(const Request& request) const;

  Response config_dump() const;
  Response certificates() const;
  Response server_info() const;
  Response memory() const;
  worker::Bindings bindings() const {
    return services.bindings ? services.bindings() : worker::Bindings{};
  }
  Mono answer_deadline() const { return loop.clock().now() + limits::kAdminAnswerTimeout; }

  net::Loop& loop;
  AdminServices services;
  Mono started;
  std::string token;  // empty: none is accepted
};

// Set: the request gets no further.
std::optional<Response> AdminServer::Impl::refuse(const Request& request) const {
  const bool reads = request.method == "GET" || request.method == "HEAD";
  const std::string_view authorization = request.headers.get("Authorization");
  constexpr std::string_view kBearer = "bearer ";
  if (authorization.size() > kBearer.size() &&
      http::equal_ignoring_case(authorization.substr(0, kBearer.size()), kBearer)) {
    const std::string_view given = http::trim(authorization.substr(kBearer.size()));
    if (!token.empty() && constant_time_equal(hex(sha256(given)), hex(sha256(token)))) {
      return std::nullopt;
    }
  } else if (reads && is_loopback(request.peer.ip)) {
    if (own_host(request.headers.get("Host"))) {
      return std::nullopt;
    }
    return httpserver::refusal(403, 403001,
                               "Host must be localhost or an IP address, so that no web page can "
                               "read this by a name of its own");
  }
  if (token.empty()) {
    return httpserver::refusal(
        403, 403002, "there is no data directory, so no admin token: only GET from loopback works");
  }
  Response response =
      httpserver::refusal(401, 401001, "give the token of DATA/admin-token as a bearer token");
  response.headers.add("WWW-Authenticate", "Bearer");
  return response;
}

std::optional<Response> AdminServer::Impl::probe(const std::string& path) const {
  if (path == "/live") {
    return httpserver::text_response(200, "live\n");
  }
  if (path == "/ready") {
    const std::string reason = services.not_ready();
    return reason.empty() ? httpserver::text_response(200, "ready\n")
                          : httpserver::text_response(503, reason + "\n");
  }
  if (path == "/stats/prometheus") {
    Response response = httpserver::text_response(200, services.metrics_text());
    response.headers.set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    return response;
  }
  return std::nullopt;
}

Task<Response> AdminServer::Impl::handle_probe(Request request) {
  if (std::optional<Response> found = probe(request.path)) {
    if (request.method != "GET" && request.method != "HEAD") {
      co_return not_allowed("GET");
    }
    co_return *std::move(found);
  }
  co_return httpserver::refusal(404, 404001, "the probe port has /ready, /live, /stats/prometheus");
}

Task<Response> AdminServer::Impl::handle(Request request) {
  if (std::optional<Response> refused = refuse(request)) {
    co_return *std::move(refused);
  }
  if (request.method == "POST") {
    co_return co_await post(std::move(request));
  }
  if (request.method != "GET" && request.method != "HEAD") {
    co_return not_allowed("GET and POST");
  }
  if (request.path == "/connections" && services.connections) {
    co_return co_await connections(std::move(request));
  }
  std::optional<Response> response = get(request);
  if (!response.has_value()) {
    response = not_found(request.path);
  }
  co_return *std::move(response);
}

std::optional<Response> AdminServer::Impl::get(const Request& request) const {
  const std::string& path = request.path;
  const auto query = [&](std::string_view name) {
    return http::query_value(request.query, name).value_or("");
  };
  if (std::optional<Response> found = probe(path)) {
    return found;
  }
  if (path == "/") {
    return httpserver::text_response(200, std::string(kIndex));
  }
  if (path == "/stats") {
    const bool used = http::query_value(request.query, "used").has_value();
    return httpserver::text_response(200,
                                     render_stats(services.metrics_text(), query("filter"), used));
  }
  if (path == "/config_dump") {
    return config_dump();
  }
  if (path == "/apis") {
    return json_answer(200, render_apis(*services.snapshot(), query("name")));
  }
  if (path == "/upstreams") {
    const UpstreamsNow now{services.upstreams, loop.clock().now()};
    return json_answer(200, render_upstreams(*services.snapshot(), query("name"), now));
  }
  if (path == "/listeners") {
    return json_answer(200, render_listeners(*services.snapshot(), bindings()));
  }
  if (path == "/certs") {
    return certificates();
  }
  if (path == "/server_info") {
    return server_info();
  }
  if (path == "/memory") {
    return memory();
  }
  if (path == "/drain" || path == "/logging") {
    return not_allowed("POST");
  }
  return std::nullopt;
}

Response AdminServer::Impl::config_dump() const {
  const std::shared_ptr<const config::Snapshot> snapshot = services.snapshot();
  json::object object;
  object["listeners"] = render_listeners(*snapshot, bindings());
  object["secrets"] = render_secrets(*snapshot);
  object["upstreams"] = render_upstreams(*snapshot, "", {});
  object["plans"] = render_plans(*snapshot);
  object["apis"] = render_apis(*snapshot, "");
  object["refused"] = render_refused(*snapshot);
  return json_answer(200, object);
}

Response AdminServer::Impl::certificates() const {
  json::object object;
  object["secrets"] = render_secrets(*services.snapshot());
  json::array others;
  if (services.certificates) {
    for (const auto& [name, pem] : services.certificates()) {
      json::object other;
      const absl::StatusOr<net::CertificateInfo> info = net::certificate_info(pem);
      if (info.ok()) {
        other = render_certificate(*info);
      } else {
        other["error"] = std::string(message_of(info.status()));
      }
      other["name"] = name;
      others.emplace_back(std::move(other));
    }
  }
  object["others"] = std::move(others);
  return json_answer(200, object);
}

Response AdminServer::Impl::server_info() const {
  json::object object = services.server_info ? services.server_info() : json::object();
  object["version"] = SLUICE_VERSION;
  object["process_id"] = ::getpid();
  object["uptime_seconds"] = duration_cast<seconds>(loop.clock().now() - started).count();
  object["time"] = format_time(loop.clock().wall());
  const std::string_view level = level_text(log::level());
  object["log_level"] = json::string(level.data(), level.size());
  const std::string reason = services.not_ready();
  object["ready"] = reason.empty();
  if (!reason.empty()) {
    object["not_ready"] = reason;
  }
  return json_answer(200, object);
}

Response AdminServer::Impl::memory() const {
  json::object object = render_memory();
  if (services.memory) {
    for (auto& member : services.memory()) {
      object[member.key()] = std::move(member.value());
    }
  }
  return json_answer(200, object);
}

Task<Response> AdminServer::Impl::connections(Request request) {
  using List = std::vector<worker::ConnectionInfo>;
  std::optional<List> list =
      co_await ask<List>(loop.timers(), answer_deadline(), services.connections);
  if (!list.has_value()) {
    co_return httpserver::refusal(503, 503001, "a worker did not answer in time");
  }
  const auto api = http::query_value(request.query, "api");
  const auto application = http::query_value(request.query, "application");
  std::erase_if(*list, [&](const worker::ConnectionInfo& connection) {
    return (api && connection.api != *api) ||
           (application && connection.application != *application);
  });
  co_return json_answer(200, render_connections(*list, loop.clock().wall()));
}

Task<Response> AdminServer::Impl::post(Request request) {
  const std::string& path = request.path;
  if (path == "/drain" && services.drain) {
    services.drain();
    json::object object;
    object["draining"] = true;
    co_return json_answer(202, object);
  }
  if (path == "/logging") {
    co_return set_level(request);
  }
  constexpr std::string_view kBefore = "/connections/";
  constexpr std::string_view kAfter = "/close";
  if (services.close_connection && path.size() > kBefore.size() + kAfter.size() &&
      path.rfind(kBefore, 0) == 0 &&
      path.compare(path.size() - kAfter.size(), kAfter.size(), kAfter) == 0) {
    co_return co_await close(
        path.substr(kBefore.size(), path.size() - kBefore.size() - kAfter.size()));
  }
  if (get(request).has_value() || path == "/connections") {
    co_return not_allowed("GET");
  }
  co_return not_found(path);
}

Task<Response> AdminServer::Impl::close(std::string id) {
  std::function<void(std::function<void(bool)>)> begin = [this,
                                                          &id](std::function<void(bool)> answer) {
    services.close_connection(id, std::move(answer));
  };
  const std::optional<bool> closed =
      co_await ask<bool>(loop.timers(), answer_deadline(), std::move(begin));
  if (!closed.has_value()) {
    co_return httpserver::refusal(503, 503001, "a worker did not answer in time");
  }
  if (!*closed) {
    co_return httpserver::refusal(404, 404003, "no live connection has this id");
  }
  json::object object;
  object["closed"] = id;
  co_return json_answer(200, object);
}

Response AdminServer::Impl::set_level(const Request& request) const {
  const std::string level = http::query_value(request.query, "level").value_or("");
  if (!log::set_level(level)) {
    return httpserver::refusal(400, 400001,
                               "say ?level=debug, ?level=info, ?level=warning or ?level=error");
  }
  json::object object;
  object["level"] = level;
  return json_answer(200, object);
}

AdminServer::AdminServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AdminServer::~AdminServer() = default;

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::start(net::Loop& loop,
                                                                const AdminOptions& options,
                                                                AdminServices services) {
  SLUICE_CHECK(services.not_ready && services.metrics_text && services.snapshot);
  auto impl = std::make_unique<Impl>(loop, std::move(services));
  if (!options.data_dir.empty()) {
    SLUICE_ASSIGN_OR_RETURN(impl->token, load_admin_token(options.data_dir));
  }
  Impl* raw = impl.get();
  return serve(std::move(impl), options.address, options.port,
               [raw](Request request) { return raw->handle(std::move(request)); });
}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::start_probes(net::Loop& loop,
                                                                       const std::string& address,
                                                                       std::uint16_t port,
                                                                       AdminServices services) {
  SLUICE_CHECK(services.not_ready && services.metrics_text);
  auto impl = std::make_unique<Impl>(loop, std::move(services));
  Impl* raw = impl.get();
  return serve(std::move(impl), address, port,
               [raw](Request request) { return raw->handle_probe(std::move(request)); });
}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::serve(std::unique_ptr<Impl> impl,
                                                                const std::string& address,
                                                                std::uint16_t port,
                                                                httpserver::Handler handler) {
  httpserver::ServerOptions options;
  options.address = address;
  options.port = port;
  options.connections_max = limits::kAdminConnectionsMax;
  options.body_bytes_max = limits::kAdminBodyBytesMax;
  options.extra_headers.add("Cache-Control", "no-store");
  options.extra_headers.add("X-Content-Type-Options", "nosniff");
  std::unique_ptr<AdminServer> admin(new AdminServer(std::move(impl)));
  SLUICE_ASSIGN_OR_RETURN(
      admin->server_,
      httpserver::HttpServer::start(admin->impl_->loop, std::move(options), std::move(handler)));
  return admin;
}

}  // namespace sluice::admin
