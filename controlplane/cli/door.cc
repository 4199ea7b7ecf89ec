#include "controlplane/cli/door.h"

#include <fmt/core.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <charconv>
#include <utility>

#include "controlplane/cli/run.h"
#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"
#include "proxy/http/body.h"
#include "proxy/http/head.h"
#include "proxy/http/parse.h"
#include "proxy/net/async_side.h"

namespace sluice::controlplane::cli {
namespace {

constexpr std::string_view kLogin = "AuthService/Login";
constexpr std::size_t kReplyBytesMax = 64 * 1024 * 1024;

Task<absl::StatusOr<Reply>> read_reply(net::AsyncSide& side, std::string_view method,
                                       Mono deadline) {
  http::HeadScanner scanner;
  http::ResponseParse parsed;
  while (true) {
    parsed = http::parse_response_head(side.unread(), limits::kResponseHeadBytesMax, scanner);
    if (parsed.state != http::ParseState::kNeedMore) {
      break;
    }
    SLUICE_CO_RETURN_IF_ERROR(co_await side.read_more(limits::kResponseHeadBytesMax + 1, deadline));
  }
  if (parsed.state == http::ParseState::kError) {
    co_return unavailable("the answer is not HTTP: " + parsed.error.text);
  }
  side.consume(parsed.consumed);
  http::BodyReader body(http::response_body(parsed.head, method), kReplyBytesMax);
  while (true) {
    std::size_t consumed = 0;
    const http::ParseState state = body.read(side.unread(), consumed);
    side.consume(consumed);
    if (state == http::ParseState::kDone) {
      break;
    }
    if (state == http::ParseState::kError) {
      co_return unavailable("the answer's body is malformed or too large");
    }
    const absl::Status status = co_await side.read_more(limits::kReadBufferBytes, deadline);
    if (!status.ok()) {
      if (status.code() == absl::StatusCode::kOutOfRange && body.end()) {
        break;
      }
      co_return status;
    }
  }
  Reply reply;
  reply.status = parsed.head.status;
  reply.headers = std::move(parsed.head.headers);
  reply.body = body.take_body();
  co_return reply;
}

absl::Status with_hint(const absl::Status& status, std::string_view hint) {
  return {status.code(), to_absl(fmt::format("{}; {}", message_of(status), hint))};
}

Task<absl::StatusOr<Reply>> exchange(net::Loop& loop, net::Resolver& resolver,
                                     net::ConnectTarget target, std::string request,
                                     nanoseconds timeout) {
  const Mono deadline = loop.clock().now() + timeout;
  const std::string method = request.substr(0, request.find(' '));
  const std::shared_ptr<const net::TlsClientContext> tls = std::exchange(target.tls, nullptr);
  const std::string host = target.host;
  auto connected = co_await net::connect(loop, resolver, std::move(target), deadline);
  if (!connected.ok()) {
    co_return with_hint(connected.status(),
                        "is sluice-control running there? name its door by --server URL or "
                        "SLUICE_SERVER");
  }
  if (tls != nullptr) {
    connected = co_await net::tls_connect(loop, *std::move(connected), tls, host, deadline);
  }
  if (!connected.ok()) {
    co_return with_hint(connected.status(),
                        "if it is your control plane, log in with its CA: `sluicectl login --ca "
                        "DATA/tls/ca.pem`");
  }
  net::AsyncSide side(loop, *std::move(connected));
  SLUICE_CO_RETURN_IF_ERROR(co_await side.write_all(request, deadline));
  co_return co_await read_reply(side, method, deadline);
}

absl::StatusCode code_from_connect(std::string_view code) {
  static constexpr std::pair<std::string_view, absl::StatusCode> kCodes[] = {
      {"invalid_argument", absl::StatusCode::kInvalidArgument},
      {"not_found", absl::StatusCode::kNotFound},
      {"already_exists", absl::StatusCode::kAlreadyExists},
      {"failed_precondition", absl::StatusCode::kFailedPrecondition},
      {"unauthenticated", absl::StatusCode::kUnauthenticated},
      {"permission_denied", absl::StatusCode::kPermissionDenied},
      {"deadline_exceeded", absl::StatusCode::kDeadlineExceeded},
      {"resource_exhausted", absl::StatusCode::kResourceExhausted},
      {"aborted", absl::StatusCode::kAborted},
      {"unavailable", absl::StatusCode::kUnavailable},
  };
  for (const auto& [name, value] : kCodes) {
    if (name == code) {
      return value;
    }
  }
  return absl::StatusCode::kUnknown;
}

absl::Status error_of(std::string_view method, const Reply& reply) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse(reply.body, error);
  if (error || !value.is_object()) {
    return unavailable(fmt::format("the control plane answered {}", reply.status));
  }
  const auto text = [&](const char* key) {
    const boost::json::value* found = value.get_object().if_contains(key);
    return found != nullptr && found->is_string() ? std::string(found->get_string())
                                                  : std::string();
  };
  const absl::StatusCode code = code_from_connect(text("code"));
  std::string message = text("message");
  if (code == absl::StatusCode::kUnauthenticated) {
    message +=
        method == kLogin
            ? "; the first password of admin is SLUICE_ADMIN_PASSWORD of the first start, or "
              "in DATA/admin-password; `sluice-control reset-admin-password` makes a new one"
            : "; log in with `sluicectl login`";
  }
  return {code, to_absl(message)};
}

}  // namespace

std::string Url::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == (tls ? 443 : 80) ? name : fmt::format("{}:{}", name, port);
}

absl::StatusOr<Url> parse_url(std::string_view text) {
  const absl::Status bad = invalid_argument(
      fmt::format("{}: not a URL such as https://127.0.0.1:9443 or ws://host:port/path", text));
  Url url;
  const std::size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) {
    return bad;
  }
  const std::string_view scheme = text.substr(0, scheme_end);
  if (scheme != "https" && scheme != "http" && scheme != "wss" && scheme != "ws") {
    return bad;
  }
  url.tls = scheme == "https" || scheme == "wss";
  url.port = url.tls ? 443 : 80;
  std::string_view rest = text.substr(scheme_end + 3);
  const std::size_t path = rest.find_first_of("/?");
  if (path != std::string_view::npos) {
    url.target = (rest[path] == '?' ? "/" : "") + std::string(rest.substr(path));
    rest = rest.substr(0, path);
  }
  const std::size_t bracket = rest.rfind(']');
  const std::size_t colon = rest.rfind(':');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    const std::string_view port = rest.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || end != port.data() + port.size() || url.port == 0) {
      return bad;
    }
    rest = rest.substr(0, colon);
  }
  if (rest.size() > 2 && rest.front() == '[' && rest.back() == ']') {
    rest = rest.substr(1, rest.size() - 2);
  }
  if (rest.empty()) {
    return bad;
  }
  url.host = rest;
  return url;
}

absl::StatusOr<Reply> Door::request(std::string_view method, std::string_view path,
                                    const http::Headers& headers, std::string_view body) {
  SLUICE_ASSIGN_OR_RETURN(const Url url, parse_url(session_.server));
  net::ConnectTarget target;
  target.host = url.host;
  target.port = url.port;
  if (url.tls) {
    SLUICE_ASSIGN_OR_RETURN(target.tls, net::TlsClientContext::create(session_.ca_pem));
  }
  http::RequestHead head;
  head.method = method;
  head.target = path;
  head.headers = headers;
  head.headers.set("Host", url.authority());
  head.headers.set("Connection", "close");
  head.headers.set("Content-Length", std::to_string(body.size()));
  absl::StatusOr<Reply> reply =
      run(loop_, exchange(loop_, resolver_, std::move(target),
                          http::serialize(head) + std::string(body), timeout_));
  if (!reply.ok()) {
    return absl::Status(reply.status().code(), to_absl(fmt::format("{}: {}", session_.server,
                                                                   message_of(reply.status()))));
  }
  return reply;
}

absl::StatusOr<boost::json::object> Door::call(std::string_view method,
                                               const boost::json::object& request) {
  http::Headers headers;
  headers.add("Content-Type", "application/json");
  if (!session_.token.empty()) {
    headers.add("Authorization", "Bearer " + session_.token);
  }
  SLUICE_ASSIGN_OR_RETURN(const Reply reply,
                          this->request("POST", fmt::format("/sluice.admin.v1.{}", method), headers,
                                        boost::json::serialize(request)));
  if (reply.status != 200) {
    return error_of(method, reply);
  }
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(reply.body, error);
  if (error || !value.is_object()) {
    return unavailable("the control plane's answer is not a JSON object");
  }
  return std::move(value.get_object());
}

absl::StatusOr<boost::json::array> Door::list(std::string_view method) {
  boost::json::array all;
  std::string token;
  do {
    SLUICE_ASSIGN_OR_RETURN(boost::json::object page,
                            call(method, {{"pageSize", 1000}, {"pageToken", token}}));
    if (const auto* items = page.if_contains("items"); items != nullptr && items->is_array()) {
      for (const boost::json::value& item : items->get_array()) {
        all.push_back(item);
      }
    }
    const auto* next = page.if_contains("nextPageToken");
    token = next != nullptr && next->is_string() ? std::string(next->get_string()) : "";
  } while (!token.empty());
  return all;
}

absl::StatusOr<SeenCa> fetch_ca(const Url& url) {
  using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
  using Chain = std::unique_ptr<BIO, decltype(&BIO_free_all)>;
  const Context context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
  const Chain bio(BIO_new_ssl_connect(context.get()), &BIO_free_all);
  BIO_set_conn_hostname(bio.get(), fmt::format("{}:{}", url.host, url.port).c_str());
  if (BIO_do_connect(bio.get()) != 1) {
    return unavailable(
        fmt::format("https://{}: does not answer; is sluice-control running there? name its door "
                    "by --server URL or SLUICE_SERVER",
                    url.authority()));
  }
  SSL* ssl = nullptr;
  BIO_get_ssl(bio.get(), &ssl);
  STACK_OF(X509)* chain = ssl != nullptr ? SSL_get_peer_cert_chain(ssl) : nullptr;
  if (chain == nullptr || sk_X509_num(chain) == 0) {
    return unavailable(fmt::format("{}:{} presents no certificate", url.host, url.port));
  }
  X509* last = sk_X509_value(chain, sk_X509_num(chain) - 1);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  X509_digest(last, EVP_sha256(), digest, &size);
  const Chain out(BIO_new(BIO_s_mem()), &BIO_free_all);
  PEM_write_bio_X509(out.get(), last);
  char* text = nullptr;
  const long length = BIO_get_mem_data(out.get(), &text);
  SeenCa seen;
  seen.pem.assign(text, static_cast<std::size_t>(length));
  seen.sha256 = hex(std::string_view(reinterpret_cast<const char*>(digest), size));
  return seen;
}

}  // namespace sluice::controlplane::cli
