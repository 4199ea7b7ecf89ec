// Heads of HTTP messages: the types, and how they are written.
#pragma once

#include <string>
#include <string_view>

#include "proxy/base/clock.h"
#include "proxy/http/headers.h"

namespace sluice::http {

struct RequestHead {
  std::string method;
  // Origin form: begins with '/', may hold a query. parse_request_head turns absolute form into it.
  std::string target;
  int version_minor = 1;  // HTTP/1.x
  Headers headers;
};

struct ResponseHead {
  int status = 200;
  std::string reason;  // empty: reason_phrase(status) is written
  int version_minor = 1;
  Headers headers;
};

// As they go on the wire, with the empty line. Written as HTTP/1.1, whatever version_minor says: a
// proxy speaks its own version (RFC 9110 section 2.5).
std::string serialize(const RequestHead& head);
std::string serialize(const ResponseHead& head);

// A whole HTTP/1.1 response; Content-Length is set, unless the status has no body (1xx, 204, 304).
std::string simple_response(int status, Headers headers, std::string_view body);

// "Not Found"; for a status that is not registered, the name of its class.
std::string_view reason_phrase(int status);

// Removes the fields that concern this connection alone (RFC 9110 section 7.6.1): Connection, what
// it nominates, Keep-Alive, Proxy-Connection, Proxy-Authenticate, Proxy-Authorization, TE, Trailer,
// Transfer-Encoding and Upgrade. A nomination of a field that ends elsewhere (Host, Authorization,
// Cookie, Content-*, Forwarded, X-Forwarded-*, X-Request-Id, Sec-WebSocket-* and the like) is
// ignored: a client must not be able to strip what the proxy relies on. The caller frames the body
// and asks for an upgrade anew.
void remove_hop_by_hop(Headers& headers);

// RFC 9110 section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT".
std::string http_date(Wall time);

}  // namespace sluice::http
