// The opening handshake (RFC 6455 section 4), both sides of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/status.h"
#include "proxy/http/head.h"
#include "proxy/websocket/extensions.h"

namespace sluice::websocket {

// Sec-WebSocket-Accept for a Sec-WebSocket-Key.
std::string accept_value(std::string_view key);
// 16 random bytes, base64.
std::string make_key();

enum class UpgradeOutcome : std::uint8_t {
  kUpgrade,
  kNotUpgrade,    // a plain request: no `Upgrade: websocket`, or HTTP/1.0
  kOtherVersion,  // answer 426 with Sec-WebSocket-Version: 13
  kMalformed,     // answer 400
};

struct UpgradeRequest {
  UpgradeOutcome outcome = UpgradeOutcome::kNotUpgrade;
  std::string fault;  // of kMalformed and kOtherVersion; quotes nothing of the input
  // Set for kUpgrade.
  std::string key;
  std::vector<std::string> subprotocols;
  Extensions extensions;
};

// What a parsed request asks for. An upgrade is a GET of HTTP/1.1 without body, with Upgrade,
// Connection, one Sec-WebSocket-Version 13, one Sec-WebSocket-Key of 16 bytes, and well-formed
// lists.
UpgradeRequest check_upgrade_request(const http::RequestHead& head);

struct UpgradeAnswer {
  std::string subprotocol;  // empty: none
  Extensions extensions;
};

// Whether a server's response makes the connection a WebSocket (section 4.1): 101, Upgrade,
// Connection, the Accept of `key`, at most one sub-protocol and that among the offered, extensions
// among the offered and permessage-deflate answered as RFC 7692 allows. FAILED_PRECONDITION: any
// other status (a refusal to pass on); INVALID_ARGUMENT: a 101 that is not genuine.
absl::StatusOr<UpgradeAnswer> check_upgrade_response(const http::ResponseHead& head,
                                                     std::string_view key,
                                                     const std::vector<std::string>& subprotocols,
                                                     const Extensions& extensions);

// Puts the fields of an upgrade into a request's head, replacing those there (HTTP/1.1 GET,
// Upgrade, Connection, version, key; lists that are empty are removed).
void set_upgrade(http::RequestHead& head, std::string_view key,
                 const std::vector<std::string>& subprotocols, const Extensions& extensions);

// The 101 for `key`.
http::ResponseHead make_upgrade_response(std::string_view key, std::string_view subprotocol = "",
                                         const Extensions& extensions = {});

}  // namespace sluice::websocket
