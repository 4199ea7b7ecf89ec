#include "controlplane/http/door.h"

#include <fmt/format.h>

#include "controlplane/http/connect.h"
#include "controlplane/model/limits.h"
#include "proxy/base/rng.h"
#include "proxy/http/target.h"

// GCC 12 at -O1 takes the pair of allocation functions of Asio's coroutine frames for mismatched.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace sluice::controlplane::http {
namespace {

namespace wire = ::sluice::http;
using httpserver::json_response;
using httpserver::Request;
using httpserver::Response;

constexpr char kMetadataPath[] = "/.well-known/oauth-authorization-server";
constexpr std::string_view kServicePrefix = "/sluice.";

wire::Headers security_headers() {
  wire::Headers headers;
  headers.add("X-Content-Type-Options", "nosniff");
  headers.add("X-Frame-Options", "DENY");
  headers.add("Referrer-Policy", "no-referrer");
  headers.add("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  headers.add("Cache-Control", "no-store");
  return headers;
}

Response error_response(const absl::Status& status) {
  Response response = json_response(connect_http_status(status.code()), connect_error(status));
  if (status.code() == absl::StatusCode::kUnauthenticated) {
    response.headers.add("WWW-Authenticate", "Bearer realm=\"sluice\"");
  }
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    response.headers.add("Retry-After", "60");
  }
  return response;
}

Response not_found_response() {
  return json_response(404, connect_error("not_found", "there is nothing at this path"));
}

Response wrong_method(std::string_view allowed) {
  Response response = json_response(
      405, connect_error("unimplemented", fmt::format("this path takes {} only", allowed)));
  response.headers.add("Allow", allowed);
  return response;
}

bool reads(const Request& request) { return request.method == "GET" || request.method == "HEAD"; }

bool oauth_path(std::string_view path) {
  return path == "/oauth2/token" || path == "/token" || path == "/oauth2/revoke";
}

bool media_type_is(const Request& request, std::string_view type) {
  const std::string_view value = request.headers.get("Content-Type");
  return wire::equal_ignoring_case(wire::trim(value.substr(0, value.find(';'))), type);
}

std::string bearer_of(const Request& request) {
  constexpr std::string_view kScheme = "bearer ";
  const std::string_view value = request.headers.get("Authorization");
  if (value.size() < kScheme.size() ||
      !wire::equal_ignoring_case(value.substr(0, kScheme.size()), kScheme)) {
    return "";
  }
  return std::string(wire::trim(value.substr(kScheme.size())));
}

bool is_loopback(std::string_view ip) {
  return ip == "::1" || ip.starts_with("127.") || ip.starts_with("::ffff:127.");
}

// What a Connect request says beside its message.
absl::StatusOr<api::CallContext> context_of(const Request& request, Mono now) {
  api::CallContext context;
  context.bearer = bearer_of(request);
  context.client_address = request.peer.ip;
  context.loopback = is_loopback(request.peer.ip);
  if (const auto timeout = request.headers.find("Connect-Timeout-Ms")) {
    SLUICE_ASSIGN_OR_RETURN(const nanoseconds left, parse_connect_timeout(*timeout));
    context.deadline = now + left;
  }
  if (const auto version = request.headers.find("Connect-Protocol-Version");
      version && *version != "1") {
    return invalid_argument("Connect-Protocol-Version: must be 1");
  }
  if (const auto encoding = request.headers.find("Content-Encoding");
      encoding && *encoding != "identity") {
    return absl::UnimplementedError("Content-Encoding: the body must not be compressed");
  }
  return context;
}

// On the pool: who the caller is comes before a look at what it sent.
absl::StatusOr<std::string> call(const api::ServiceTable& table, const api::Method& method,
                                 api::CallContext& context, const std::string& body) {
  SLUICE_RETURN_IF_ERROR(table.admit(method, context));
  const std::unique_ptr<api::Message> request = method.new_request();
  SLUICE_RETURN_IF_ERROR(message_from_json(body, *request));
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<api::Message> answer,
                          method.handler(context, *request));
  return message_to_json(*answer);
}

Response from_oauth(oauth::Response answer) {
  Response response;
  response.status = answer.status;
  for (const auto& [name, value] : answer.headers) {
    response.headers.add(name, value);
  }
  response.body = std::move(answer.body);
  return response;
}

std::string issuer_of(const Request& request) {
  return fmt::format("{}://{}", request.tls ? "https" : "http", request.headers.get("Host"));
}

}  // namespace

Door::Door(Services services)
    : services_(std::move(services)), loop_(system_seed()), group_(loop_.executor()) {}

absl::StatusOr<std::unique_ptr<Door>> Door::start(Services services,
                                                  const std::vector<Opening>& openings) {
  std::unique_ptr<Door> door(new Door(std::move(services)));
  for (const Opening& opening : openings) {
    httpserver::ServerOptions options;
    options.address = opening.address;
    options.port = opening.port;
    options.tls = opening.tls;
    options.extra_headers = security_headers();
    if (opening.open) {
      options.body_bytes_max = limits::kOpenBodyBytesMax;
    }
    auto server = httpserver::HttpServer::start(
        door->loop_, std::move(options), [raw = door.get(), open = opening.open](Request request) {
          return raw->handle(open, std::move(request));
        });
    if (!server.ok()) {
      return absl::Status(
          server.status().code(),
          to_absl(fmt::format("{}: {}", opening.name, message_of(server.status()))));
    }
    door->servers_.push_back(*std::move(server));
  }
  door->thread_ = std::thread([raw = door.get()] { raw->loop_.run(); });
  return door;
}

Door::~Door() { stop(); }

std::vector<std::uint16_t> Door::ports() const {
  std::vector<std::uint16_t> ports;
  for (const auto& server : servers_) {
    ports.push_back(server->port());
  }
  return ports;
}

void Door::stop() {
  if (!thread_.joinable()) {
    return;
  }
  loop_.post([this] { group_.spawn(stop_servers()); });
  thread_.join();
  while (group_.size() > 0) {
    loop_.turn(nanoseconds::zero());
  }
}

void Door::set_tls(std::shared_ptr<const net::TlsServerContext> tls) {
  loop_.post([this, tls = std::move(tls)] {
    for (const auto& server : servers_) {
      server->set_tls(tls);
    }
  });
}

Task<void> Door::stop_servers() {
  for (const auto& server : servers_) {
    co_await server->stop();
  }
  loop_.stop();
}

Task<Response> Door::handle(bool open, Request request) {
  if (oauth_path(request.path)) {
    if (request.method != "POST") {
      co_return wrong_method("POST");
    }
    co_return co_await handle_oauth(std::move(request));
  }
  if (open && request.path != kMetadataPath) {
    co_return not_found_response();
  }
  if (request.path.starts_with(kServicePrefix)) {
    if (request.method != "POST") {
      co_return wrong_method("POST");
    }
    co_return co_await handle_call(std::move(request));
  }
  if (!reads(request)) {
    const bool known = handle_plain(request).status != 404;
    co_return known ? wrong_method("GET, HEAD") : not_found_response();
  }
  if (request.path == "/metrics") {
    co_return co_await handle_metrics(std::move(request));
  }
  co_return handle_plain(request);
}

Response Door::handle_plain(const Request& request) const {
  if (request.path == kMetadataPath) {
    return json_response(200, oauth::Endpoints::metadata(issuer_of(request)));
  }
  if (request.path == "/healthz") {
    return httpserver::text_response(200, "ok\n");
  }
  if (request.path == "/readyz") {
    const absl::Status ready = services_.ready();
    return ready.ok() ? httpserver::text_response(200, "ready\n")
                      : httpserver::text_response(503, std::string(message_of(ready)) + "\n");
  }
  if (request.path == "/ca.pem") {
    Response response;
    response.headers.add("Content-Type", "application/x-pem-file");
    response.body = services_.ca_pem;
    return response;
  }
  return services_.portal == nullptr ? not_found_response() : services_.portal->serve(request.path);
}

Task<Response> Door::handle_metrics(Request request) {
  const std::string bearer = bearer_of(request);
  std::function<Outcome()> work = [this, bearer]() -> Outcome {
    if (const auto user = services_.users.authenticate(bearer); !user.ok()) {
      return {error_response(user.status())};
    }
    Response response;
    response.headers.add("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    response.body = services_.metrics.text();
    return {std::move(response)};
  };
  co_return co_await on_pool(false, std::move(work));
}

Task<Response> Door::handle_oauth(Request request) {
  oauth::Request parsed;
  parsed.authorization = std::string(request.headers.get("Authorization"));
  parsed.client_address = request.peer.ip;
  if (!media_type_is(request, "application/x-www-form-urlencoded")) {
    co_return from_oauth(oauth::oauth_error(400, "invalid_request",
                                            "The body must be application/x-www-form-urlencoded."));
  }
  absl::StatusOr<wire::Form> form = wire::parse_form(request.body);
  if (!form.ok()) {
    co_return from_oauth(oauth::oauth_error(400, "invalid_request", message_of(form.status())));
  }
  parsed.form = *std::move(form);
  const bool revoke = request.path == "/oauth2/revoke";
  std::function<Outcome()> work = [this, revoke, parsed]() -> Outcome {
    oauth::Response answer = revoke ? services_.oauth.revoke(parsed, system_wall(), system_mono())
                                    : services_.oauth.token(parsed, system_wall(), system_mono());
    const nanoseconds delay = answer.delay;
    return {from_oauth(std::move(answer)), delay};
  };
  Response response = co_await on_pool(false, std::move(work));
  count(revoke ? "oauth.revoke" : "oauth.token", std::to_string(response.status));
  co_return response;
}

Task<Response> Door::handle_call(Request request) {
  const api::Method* method = services_.table.find(request.path);
  if (method == nullptr || method->access == api::Access::kJoin ||
      method->access == api::Access::kProxy) {
    co_return json_response(404, connect_error("unimplemented", "there is no such method here"));
  }
  if (!media_type_is(request, "application/json")) {
    Response response = json_response(
        415, connect_error("invalid_argument", "Content-Type: must be application/json"));
    response.headers.add("Accept-Post", "application/json");
    co_return response;
  }
  absl::StatusOr<api::CallContext> context = context_of(request, loop_.clock().now());
  if (!context.ok()) {
    co_return error_response(context.status());
  }
  std::function<Outcome()> work = [this, method, context = *std::move(context),
                                   body = std::move(request.body)]() mutable -> Outcome {
    absl::StatusOr<std::string> answer = call(services_.table, *method, context, body);
    return {answer.ok() ? json_response(200, *std::move(answer)) : error_response(answer.status())};
  };
  const std::string service(method->descriptor->service()->name());
  Response response = co_await on_pool(method->waits, std::move(work));
  count(service, std::to_string(response.status));
  co_return response;
}

Task<Response> Door::on_pool(bool waits, std::function<Outcome()> work) {
  Pending pending;
  const std::uint64_t id = ++calls_;
  std::function<void()> job = [this, id, work = std::move(work)] {
    loop_.post([this, id, outcome = work()]() mutable {
      // Not found: the door is closing and nobody waits any more.
      if (const auto found = pending_.find(id); found != pending_.end()) {
        found->second->outcome = std::move(outcome);
        found->second->wait.set(absl::OkStatus());
      }
    });
  };
  pending_.emplace(id, &pending);
  const bool taken =
      waits ? services_.pool.post_waiting(std::move(job)) : services_.pool.post(std::move(job));
  absl::Status status = unavailable("too many calls are under way; try again");
  if (taken) {
    status = co_await pending.wait.wait();
  }
  pending_.erase(id);
  if (status.ok() && pending.outcome.delay > nanoseconds::zero()) {
    const Mono until = loop_.clock().now() + pending.outcome.delay;
    status = co_await sleep_until(loop_.timers(), until);
  }
  if (!status.ok()) {
    co_return error_response(taken ? unavailable("the control plane is ending") : status);
  }
  co_return std::move(pending.outcome.response);
}

void Door::count(const std::string& service, std::string_view code) {
  telemetry::Counter*& counter = counters_[{service, std::string(code)}];
  if (counter == nullptr) {
    counter = &services_.metrics.counter("sluice_door_requests_total",
                                         "Requests on the door, by service and HTTP status.",
                                         {{"service", service}, {"code", std::string(code)}});
  }
  counter->add();
}

}  // namespace sluice::controlplane::http
