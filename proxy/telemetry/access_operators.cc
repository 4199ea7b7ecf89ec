// The operators of access log formats that take no argument.
#include <algorithm>
#include <array>
#include <utility>

#include "proxy/telemetry/access_format.h"
#include "proxy/telemetry/access_log.h"
#include "proxy/telemetry/json_line.h"
#include "proxy/telemetry/names.h"

namespace sluice::telemetry {
namespace {

using Entry = AccessEntry;
using Value = AccessValue;

Value text(std::string_view value) { return value.empty() ? Value() : Value(std::string(value)); }
Value number(std::uint64_t value) { return static_cast<std::int64_t>(value); }
Value number_if(std::int64_t value) { return value == 0 ? Value() : Value(value); }

// Envoy's letters for why an exchange did not end as it should.
std::string_view flags_of_code(int code) {
  switch (code) {
    case 404001:
    case 404002:
      return "NR";
    case 101503:
      return "UF";
    case 101504:
      return "UT";
    case 101505:
      return "UH";
    case 101506:
      return "OM";
    case 400002:
    case 431001:
    case 408001:
      return "DPE";
    case 900805:
      return "UAEX";
    default:
      return code / 100 == 9009 ? "UAEX" : code / 100 == 9008 ? "RL" : "LR";
  }
}

Value flags(const Entry& entry) {
  constexpr std::uint16_t kAbnormal = 1006;
  constexpr std::uint16_t kBadGateway = 1014;
  const Ending& ending = entry.ending;
  if (ending.refusal_code) {
    return text(flags_of_code(*ending.refusal_code));
  }
  if (ending.close_side == CloseSide::kClient && ending.close_code == kAbnormal) {
    return text("DC");
  }
  if (ending.close_side == CloseSide::kBackend && ending.close_code == kBadGateway) {
    return text("UC");
  }
  return {};
}

Value duration_ms(const Entry& entry) {
  return std::max<std::int64_t>(to_ms(entry.time) - to_ms(entry.facts.begin), 0);
}

struct Row {
  std::string_view name;
  AccessOperator get;
};

constexpr std::array kRows = {
    // Envoy's.
    Row{"START_TIME", [](const Entry& e) { return text(rfc3339(e.facts.begin)); }},
    Row{"PROTOCOL", [](const Entry&) { return text("HTTP/1.1"); }},
    Row{"ACCESS_LOG_TYPE", [](const Entry& e) { return text(event_name(e.event)); }},
    Row{"RESPONSE_CODE",
        [](const Entry& e) { return number(static_cast<std::uint64_t>(e.ending.status)); }},
    Row{"RESPONSE_CODE_DETAILS", [](const Entry& e) { return text(e.ending.reason); }},
    Row{"CONNECTION_TERMINATION_DETAILS", [](const Entry& e) { return text(e.ending.reason); }},
    Row{"RESPONSE_FLAGS", flags},
    Row{"BYTES_RECEIVED", [](const Entry& e) { return number(e.counts.bytes_up); }},
    Row{"BYTES_SENT", [](const Entry& e) { return number(e.counts.bytes_down); }},
    Row{"DURATION", duration_ms},
    Row{"RESPONSE_DURATION",
        [](const Entry& e) {
          return number_if(static_cast<std::int64_t>(e.facts.handshake_us / 1000));
        }},
    Row{"UPSTREAM_HOST", [](const Entry& e) { return text(e.facts.endpoint); }},
    Row{"ROUTE_NAME", [](const Entry& e) { return text(e.facts.api); }},
    Row{"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        [](const Entry& e) { return text(e.facts.client_address); }},
    Row{"STREAM_ID", [](const Entry& e) { return text(e.facts.connection_id); }},
    Row{"CONNECTION_ID", [](const Entry& e) { return text(e.facts.connection_id); }},
    // Ours.
    Row{"TIME", [](const Entry& e) { return text(rfc3339(e.time)); }},
    Row{"LISTENER", [](const Entry& e) { return text(e.facts.listener); }},
    Row{"API", [](const Entry& e) { return text(e.facts.api); }},
    Row{"API_VERSION", [](const Entry& e) { return text(e.facts.api_version); }},
    Row{"TOPIC", [](const Entry& e) { return text(e.facts.topic); }},
    Row{"APPLICATION", [](const Entry& e) { return text(e.facts.application); }},
    Row{"PLAN", [](const Entry& e) { return text(e.facts.plan); }},
    Row{"USER", [](const Entry& e) { return text(e.facts.user); }},
    Row{"KEY_TYPE",
        [](const Entry& e) {
          return e.facts.application.empty() ? Value() : text(key_type_name(e.facts.key_type));
        }},
    Row{"CODE", [](const Entry& e) { return number_if(e.ending.refusal_code.value_or(0)); }},
    Row{"CLOSE_CODE", [](const Entry& e) { return number_if(e.ending.close_code); }},
    Row{"CLOSE_SIDE", [](const Entry& e) { return text(close_side_name(e.ending.close_side)); }},
    Row{"HANDSHAKE_US",
        [](const Entry& e) { return number_if(static_cast<std::int64_t>(e.facts.handshake_us)); }},
    Row{"MESSAGES_RECEIVED", [](const Entry& e) { return number(e.counts.messages_up); }},
    Row{"MESSAGES_SENT", [](const Entry& e) { return number(e.counts.messages_down); }},
    Row{"THROTTLED_RECEIVED", [](const Entry& e) { return number(e.counts.throttled_up); }},
    Row{"THROTTLED_SENT", [](const Entry& e) { return number(e.counts.throttled_down); }},
};

}  // namespace

AccessOperator find_access_operator(std::string_view name) {
  const auto* row =
      std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) { return r.name == name; });
  return row == kRows.end() ? nullptr : row->get;
}

}  // namespace sluice::telemetry
