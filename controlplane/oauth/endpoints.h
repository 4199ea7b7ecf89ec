// The OAuth endpoints as plain functions: parsed parameters in, status, headers and JSON out.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "controlplane/oauth/attempts.h"
#include "controlplane/oauth/tokens.h"
#include "proxy/base/clock.h"

namespace sluice::controlplane::oauth {

// A POST with a form-encoded body.
struct Request {
  std::string authorization;                              // the header's value; empty: none
  std::vector<std::pair<std::string, std::string>> form;  // decoded, in order
  std::string client_address;
};

struct Response {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;  // Content-Type among them
  std::string body;
  nanoseconds delay{};  // hold the answer back so long: failed client authentication
};

// Error answer of RFC 6749 section 5.2.
Response oauth_error(int status, std::string_view error, std::string_view description);

// Any thread; the calls may block on the store.
class Endpoints {
 public:
  explicit Endpoints(Tokens& tokens);

  // RFC 6749 sections 2.3.1, 4.4, 5; and `validity_period` (seconds).
  Response token(const Request& request, Wall now, Mono mono);
  // RFC 7009: 200 for a token that is unknown or somebody else's; only the client's own is revoked.
  Response revoke(const Request& request, Wall now, Mono mono);

  // RFC 8414, of what is served here alone. `issuer` is https://HOST:PORT.
  static std::string metadata(const std::string& issuer);

  // Requests refused for too many wrong secrets, since the start.
  std::uint64_t refused() const { return attempts_.refused(); }

 private:
  absl::StatusOr<Client> authenticate(const Request& request, Mono mono, Response& refusal);

  Tokens& tokens_;
  Attempts attempts_;
};

}  // namespace sluice::controlplane::oauth
