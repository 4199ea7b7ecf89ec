#include "proxy/websocket/handshake.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "proxy/base/encoding.h"
#include "proxy/http/body.h"

namespace sluice::websocket {
namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr std::size_t kKeyBytes = 16;

UpgradeRequest refused(UpgradeOutcome outcome, std::string_view fault) {
  UpgradeRequest request;
  request.outcome = outcome;
  request.fault = fault;
  return request;
}

UpgradeRequest malformed(std::string_view fault) {
  return refused(UpgradeOutcome::kMalformed, fault);
}

bool valid_key(std::string_view key) {
  const auto bytes = from_base64(key);
  return bytes && bytes->size() == kKeyBytes;
}

// RFC 6455 section 11.6: a number from 0 to 255.
bool is_version(std::string_view text) {
  int version = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  return error == std::errc() && end == text.data() + text.size() && version >= 0 && version <= 255;
}

const Extension* find_offer(const Extensions& offered, const Extension& accepted) {
  if (accepted.name != kPermessageDeflate) {
    const auto it = std::find_if(offered.begin(), offered.end(),
                                 [&](const Extension& o) { return o.name == accepted.name; });
    return it == offered.end() ? nullptr : &*it;
  }
  const auto answer = parse_deflate(accepted, true);
  for (const Extension& offer : offered) {
    const auto asked = parse_deflate(offer, false);
    if (answer && asked && deflate_answers(*asked, *answer)) {
      return &offer;
    }
  }
  return nullptr;
}

absl::Status check_accepted(const Extensions& accepted, const Extensions& offered) {
  int deflates = 0;
  for (const Extension& extension : accepted) {
    if (find_offer(offered, extension) == nullptr) {
      return invalid_argument("the answer holds an extension that was not offered like that");
    }
    deflates += extension.name == kPermessageDeflate ? 1 : 0;
  }
  return deflates > 1 ? invalid_argument("the answer accepts permessage-deflate twice")
                      : absl::OkStatus();
}

}  // namespace

std::string accept_value(std::string_view key) {
  const auto hash = sha1(fmt::format("{}{}", key, kGuid));
  return base64({reinterpret_cast<const char*>(hash.data()), hash.size()});
}

std::string make_key() { return base64(random_bytes(kKeyBytes)); }

UpgradeRequest check_upgrade_request(const http::RequestHead& head) {
  const http::Headers& headers = head.headers;
  // HTTP/1.0 has no Upgrade: it must be ignored there (RFC 9110 section 7.8).
  if (head.version_minor == 0 || !headers.has_token("Upgrade", "websocket")) {
    return {};
  }
  if (head.method != "GET") {
    return malformed("a WebSocket handshake must be a GET");
  }
  if (!headers.has_token("Connection", "upgrade")) {
    return malformed("the Connection field does not name upgrade");
  }
  if (http::request_body(head).kind != http::BodyFraming::kNone) {
    return malformed("a WebSocket handshake must not have a body");
  }
  if (headers.count("Sec-WebSocket-Version") != 1 ||
      !is_version(headers.get("Sec-WebSocket-Version"))) {
    return malformed("there is not one valid Sec-WebSocket-Version");
  }
  if (headers.get("Sec-WebSocket-Version") != "13") {
    return refused(UpgradeOutcome::kOtherVersion, "only version 13 of the protocol is spoken here");
  }
  if (headers.count("Sec-WebSocket-Key") != 1 || !valid_key(headers.get("Sec-WebSocket-Key"))) {
    return malformed("there is not one Sec-WebSocket-Key of 16 bytes in base64");
  }
  auto subprotocols = parse_subprotocols(headers);
  if (!subprotocols) {
    return malformed("Sec-WebSocket-Protocol is not a list of different names");
  }
  auto extensions = parse_extensions(headers);
  if (!extensions) {
    return malformed("Sec-WebSocket-Extensions is not a list of extensions");
  }
  UpgradeRequest request;
  request.outcome = UpgradeOutcome::kUpgrade;
  request.key = headers.get("Sec-WebSocket-Key");
  request.subprotocols = *std::move(subprotocols);
  request.extensions = *std::move(extensions);
  return request;
}

absl::StatusOr<UpgradeAnswer> check_upgrade_response(const http::ResponseHead& head,
                                                     std::string_view key,
                                                     const std::vector<std::string>& subprotocols,
                                                     const Extensions& extensions) {
  const http::Headers& headers = head.headers;
  if (head.status != 101) {
    return failed_precondition(fmt::format("the upgrade was answered with {}", head.status));
  }
  if (head.version_minor == 0) {
    return invalid_argument("a 101 of HTTP/1.0");
  }
  if (!http::equal_ignoring_case(headers.get("Upgrade"), "websocket") ||
      headers.count("Upgrade") != 1) {
    return invalid_argument("the 101 does not upgrade to websocket");
  }
  if (!headers.has_token("Connection", "upgrade")) {
    return invalid_argument("the 101's Connection field does not name upgrade");
  }
  if (headers.count("Sec-WebSocket-Accept") != 1 ||
      headers.get("Sec-WebSocket-Accept") != accept_value(key)) {
    return invalid_argument("the 101's Sec-WebSocket-Accept does not belong to the key");
  }
  UpgradeAnswer answer;
  if (const std::size_t count = headers.count("Sec-WebSocket-Protocol"); count != 0) {
    answer.subprotocol = headers.get("Sec-WebSocket-Protocol");
    if (count > 1 || std::find(subprotocols.begin(), subprotocols.end(), answer.subprotocol) ==
                         subprotocols.end()) {
      return invalid_argument("the 101 names a sub-protocol that was not offered");
    }
  }
  auto accepted = parse_extensions(headers);
  if (!accepted) {
    return invalid_argument("the 101's Sec-WebSocket-Extensions is not a list of extensions");
  }
  SLUICE_RETURN_IF_ERROR(check_accepted(*accepted, extensions));
  answer.extensions = *std::move(accepted);
  return answer;
}

void set_upgrade(http::RequestHead& head, std::string_view key,
                 const std::vector<std::string>& subprotocols, const Extensions& extensions) {
  head.method = "GET";
  head.version_minor = 1;
  head.headers.set("Connection", "Upgrade");
  head.headers.set("Upgrade", "websocket");
  head.headers.set("Sec-WebSocket-Version", "13");
  head.headers.set("Sec-WebSocket-Key", key);
  head.headers.remove("Sec-WebSocket-Protocol");
  if (!subprotocols.empty()) {
    head.headers.add("Sec-WebSocket-Protocol", format_subprotocols(subprotocols));
  }
  head.headers.remove("Sec-WebSocket-Extensions");
  if (!extensions.empty()) {
    head.headers.add("Sec-WebSocket-Extensions", format_extensions(extensions));
  }
}

http::ResponseHead make_upgrade_response(std::string_view key, std::string_view subprotocol,
                                         const Extensions& extensions) {
  http::ResponseHead head;
  head.status = 101;
  head.headers.add("Connection", "Upgrade");
  head.headers.add("Upgrade", "websocket");
  head.headers.add("Sec-WebSocket-Accept", accept_value(key));
  if (!subprotocol.empty()) {
    head.headers.add("Sec-WebSocket-Protocol", subprotocol);
  }
  if (!extensions.empty()) {
    head.headers.add("Sec-WebSocket-Extensions", format_extensions(extensions));
  }
  return head;
}

}  // namespace sluice::websocket
