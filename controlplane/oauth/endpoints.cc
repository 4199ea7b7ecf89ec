#include "controlplane/oauth/endpoints.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <optional>
#include <set>

#include "controlplane/model/limits.h"
#include "proxy/base/encoding.h"

namespace sluice::controlplane::oauth {
namespace {

constexpr std::string_view kRealm = "Basic realm=\"sluice\", charset=\"UTF-8\"";

Response json_response(int status, const boost::json::object& body) {
  Response response;
  response.status = status;
  response.headers = {{"Content-Type", "application/json;charset=UTF-8"},
                      {"Cache-Control", "no-store"},
                      {"Pragma", "no-cache"}};
  response.body = boost::json::serialize(body);
  return response;
}

// Basic credentials hold both parts form-encoded (RFC 6749 section 2.3.1).
std::optional<std::string> form_decode(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0) {
        return std::nullopt;
      }
      decoded += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      decoded += text[i] == '+' ? ' ' : text[i];
    }
  }
  return decoded;
}

struct Credentials {
  std::string key;
  std::string secret;
};

std::optional<Credentials> basic_credentials(std::string_view header) {
  constexpr std::string_view kScheme = "basic ";
  if (header.size() < kScheme.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < kScheme.size(); ++i) {
    if ((header[i] | 0x20) != kScheme[i]) {
      return std::nullopt;
    }
  }
  const std::optional<std::string> pair = from_base64(header.substr(kScheme.size()));
  const std::size_t colon = pair ? pair->find(':') : std::string::npos;
  if (colon == std::string::npos) {
    return std::nullopt;
  }
  const std::string_view text = *pair;
  const std::optional<std::string> key = form_decode(text.substr(0, colon));
  const std::optional<std::string> secret = form_decode(text.substr(colon + 1));
  if (!key || !secret) {
    return std::nullopt;
  }
  return Credentials{*key, *secret};
}

// A parameter without a value counts as left out (RFC 6749 section 3.2).
std::string_view parameter(const Request& request, std::string_view name) {
  for (const auto& [key, value] : request.form) {
    if (key == name) {
      return value;
    }
  }
  return "";
}

const std::string* repeated_parameter(const Request& request) {
  std::set<std::string_view> seen;
  for (const auto& [key, value] : request.form) {
    if (!seen.insert(key).second) {
      return &key;
    }
  }
  return nullptr;
}

Response invalid_client() {
  Response response = oauth_error(401, "invalid_client", "Client credentials are invalid.");
  response.headers.emplace_back("WWW-Authenticate", kRealm);
  return response;
}

// What went wrong beyond the client's credentials.
Response failure(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return oauth_error(400, "invalid_scope", message_of(status));
    case absl::StatusCode::kFailedPrecondition:
      return oauth_error(400, "unauthorized_client", message_of(status));
    default: {
      Response response = oauth_error(503, "temporarily_unavailable", message_of(status));
      response.headers.emplace_back("Retry-After", "5");
      return response;
    }
  }
}

std::vector<std::string> split_scopes(std::string_view text) {
  std::vector<std::string> scopes;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    if (space != 0) {
      scopes.emplace_back(text.substr(0, space));
    }
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
  }
  return scopes;
}

// Seconds of `validity_period`; the reference takes a negative one as "never expires".
std::optional<std::int64_t> parse_validity(std::string_view text) {
  const bool negative = text.starts_with('-');
  const std::string_view digits = negative ? text.substr(1) : text;
  if (digits.empty() || digits.size() > 10 ||
      digits.find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  const std::int64_t value = std::stoll(std::string(digits));
  if (value == 0) {
    return std::nullopt;
  }
  return negative ? -value : value;
}

}  // namespace

Response oauth_error(int status, std::string_view error, std::string_view description) {
  // Quotes and control bytes have no place in error_description (RFC 6749 section 5.2).
  std::string text;
  for (const char c : description) {
    text += c == '"' || c == '\\' ? '\'' : c < 0x20 || c > 0x7e ? ' ' : c;
  }
  return json_response(status, {{"error", std::string(error)}, {"error_description", text}});
}

Endpoints::Endpoints(Tokens& tokens)
    : tokens_(tokens), attempts_(limits::kClientFailuresMax, limits::kClientFailureWindow) {}

absl::StatusOr<Client> Endpoints::authenticate(const Request& request, Mono mono,
                                               Response& refusal) {
  std::optional<Credentials> given;
  const std::string_view form_key = parameter(request, "client_id");
  const std::string_view form_secret = parameter(request, "client_secret");
  if (!request.authorization.empty()) {
    given = basic_credentials(request.authorization);
    const bool twice =
        !form_secret.empty() || (given && !form_key.empty() && form_key != given->key);
    if (twice) {
      refusal = oauth_error(400, "invalid_request",
                            "Client credentials came in the header and in the body; send one.");
      return invalid_argument("two credentials");
    }
  } else if (!form_key.empty() && !form_secret.empty()) {
    given = Credentials{std::string(form_key), std::string(form_secret)};
  }
  if (!given) {
    refusal = invalid_client();
    return absl::UnauthenticatedError("no credentials");
  }
  const std::string attempt = request.client_address + ' ' + given->key;
  if (const absl::Status allowed = attempts_.check(attempt, mono); !allowed.ok()) {
    refusal = oauth_error(429, "temporarily_unavailable", message_of(allowed));
    refusal.headers.emplace_back("Retry-After", "60");
    return allowed;
  }
  absl::StatusOr<Client> client = tokens_.authenticate(given->key, given->secret);
  if (client.ok()) {
    attempts_.succeeded(attempt);
  } else if (absl::IsUnauthenticated(client.status())) {
    attempts_.failed(attempt, mono);
    refusal = invalid_client();
    refusal.delay = limits::kClientFailureDelay;
  } else {
    refusal = failure(client.status());
  }
  return client;
}

Response Endpoints::token(const Request& request, Wall now, Mono mono) {
  if (const std::string* name = repeated_parameter(request)) {
    return oauth_error(400, "invalid_request", fmt::format("Parameter {} came twice.", *name));
  }
  const std::string_view grant = parameter(request, "grant_type");
  if (grant.empty()) {
    return oauth_error(400, "invalid_request", "Parameter grant_type is missing.");
  }
  Response refusal;
  const absl::StatusOr<Client> client = authenticate(request, mono, refusal);
  if (!client.ok()) {
    return refusal;
  }
  if (grant != "client_credentials") {
    return oauth_error(400, "unsupported_grant_type",
                       "This server grants client_credentials only.");
  }
  IssueOptions options;
  options.scopes = split_scopes(parameter(request, "scope"));
  if (const std::string_view text = parameter(request, "validity_period"); !text.empty()) {
    const std::optional<std::int64_t> validity = parse_validity(text);
    if (!validity) {
      return oauth_error(400, "invalid_request",
                         "Parameter validity_period must be a number of seconds, or negative for a "
                         "token that never expires.");
    }
    options.validity_s = *validity;
  }
  const absl::StatusOr<IssuedToken> issued = tokens_.issue(*client, options, now);
  if (!issued.ok()) {
    return failure(issued.status());
  }
  std::string scope;
  for (const std::string& name : issued->scopes) {
    scope += (scope.empty() ? "" : " ") + name;
  }
  boost::json::object body = {
      {"access_token", issued->access_token}, {"scope", scope}, {"token_type", "Bearer"}};
  // RFC 6749 has no way to say "never" but to leave the life out.
  if (issued->expires_in > 0) {
    body["expires_in"] = issued->expires_in;
  }
  return json_response(200, body);
}

Response Endpoints::revoke(const Request& request, Wall now, Mono mono) {
  if (const std::string* name = repeated_parameter(request)) {
    return oauth_error(400, "invalid_request", fmt::format("Parameter {} came twice.", *name));
  }
  Response refusal;
  const absl::StatusOr<Client> client = authenticate(request, mono, refusal);
  if (!client.ok()) {
    return refusal;
  }
  const std::string_view token = parameter(request, "token");
  if (token.empty()) {
    return oauth_error(400, "invalid_request", "Parameter token is missing.");
  }
  if (const absl::StatusOr<bool> revoked = tokens_.revoke_own(*client, token, now); !revoked.ok()) {
    return failure(revoked.status());
  }
  Response response;
  response.headers = {{"Cache-Control", "no-store"}, {"Pragma", "no-cache"}};
  return response;
}

std::string Endpoints::metadata(const std::string& issuer) {
  const boost::json::array authentication = {"client_secret_basic", "client_secret_post"};
  return boost::json::serialize(
      boost::json::object{{"issuer", issuer},
                          {"token_endpoint", issuer + "/oauth2/token"},
                          {"token_endpoint_auth_methods_supported", authentication},
                          {"revocation_endpoint", issuer + "/oauth2/revoke"},
                          {"revocation_endpoint_auth_methods_supported", authentication},
                          {"grant_types_supported", boost::json::array{"client_credentials"}},
                          {"response_types_supported", boost::json::array{}}});
}

}  // namespace sluice::controlplane::oauth
