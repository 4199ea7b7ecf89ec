// Sec-WebSocket-Extensions and Sec-WebSocket-Protocol (RFC 6455 sections 9.1 and 11.3), and what
// permessage-deflate (RFC 7692) puts there.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/http/headers.h"

namespace sluice::websocket {

inline constexpr std::string_view kPermessageDeflate = "permessage-deflate";

struct ExtensionParameter {
  std::string name;
  std::optional<std::string> value;  // without quotes

  bool operator==(const ExtensionParameter&) const = default;
};

struct Extension {
  std::string name;
  std::vector<ExtensionParameter> parameters;

  bool operator==(const Extension&) const = default;
};

using Extensions = std::vector<Extension>;

// All Sec-WebSocket-Extensions fields as one list, in order. None if one is malformed; empty if
// there are none. A quoted value must hold a token.
std::optional<Extensions> parse_extensions(const http::Headers& headers);
std::optional<Extensions> parse_extensions(std::string_view value);
// The field's value; empty for an empty list (then leave the field out).
std::string format_extensions(const Extensions& extensions);

// All Sec-WebSocket-Protocol fields as one list, in order. None if one is not a list of different
// tokens; empty if there are none.
std::optional<std::vector<std::string>> parse_subprotocols(const http::Headers& headers);
std::string format_subprotocols(const std::vector<std::string>& names);

// ---- permessage-deflate

struct DeflateParameters {
  bool server_no_context_takeover = false;
  bool client_no_context_takeover = false;
  std::optional<int> server_max_window_bits;  // 8 to 15
  std::optional<int> client_max_window_bits;
  bool client_max_window_bits_any = false;  // in an offer: given without a value
};

// None if it is not permessage-deflate or its parameters are not valid (RFC 7692 section 7.1):
// unknown, twice, a value out of place. `answer`: as a server's answer, not an offer.
std::optional<DeflateParameters> parse_deflate(const Extension& extension, bool answer);

// Whether `answer` may answer `offer` (section 7.1.3).
bool deflate_answers(const DeflateParameters& offer, const DeflateParameters& answer);

// What an accepted handshake means for the relay.
struct DeflateState {
  bool on = false;
  bool client_keeps_context = false;  // the client's messages depend on its earlier ones
  bool server_keeps_context = false;
};
DeflateState deflate_state(const Extensions& accepted);

// Asks for no_context_takeover both ways in every permessage-deflate offer, so that a message may
// be dropped without breaking those after it. A server that accepts must then reset its own
// context.
void reset_contexts_in_offer(Extensions& offer);
// Adds client_no_context_takeover to a permessage-deflate answer on its way to the client, who must
// then reset its context although the backend would let it keep it; the backend cannot tell. The
// state afterwards is deflate_state() of the changed answer.
void reset_client_context_in_answer(Extensions& accepted);

}  // namespace sluice::websocket
