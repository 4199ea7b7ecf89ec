#include "proxy/filter/refusal.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/http/head.h"
#include "proxy/telemetry/json_line.h"

namespace sluice::filter {
namespace {

constexpr std::string_view kThrottledOut = "Message throttled out";

struct RefusalRow {
  Refusal refusal;
  RefusalInfo info;
  constexpr Refusal key() const { return refusal; }
};

// In the order of the enum. Messages are the Reference's where it has one.
constexpr std::array kRefusals = {
    RefusalRow{Refusal::kNoCredential, {401, 900902, "Missing Credentials"}},
    RefusalRow{Refusal::kInvalidCredential, {401, 900901, "Invalid Credentials"}},
    RefusalRow{Refusal::kExpired, {401, 900903, "Access Token Expired"}},
    RefusalRow{Refusal::kRevoked, {401, 900904, "Access Token Inactive"}},
    RefusalRow{Refusal::kNotSubscribed, {403, 900908, "Resource forbidden"}},
    RefusalRow{Refusal::kSubscriptionBlocked,
               {403, 900907, "The requested API is temporarily blocked"}},
    RefusalRow{Refusal::kSubscriptionInactive,
               {403, 900909, "The subscription to the API is inactive"}},
    RefusalRow{Refusal::kNoEndpoint, {403, 900901, "Invalid Credentials"}},
    RefusalRow{
        Refusal::kScopeMissing,
        {403, 900910, "The access token does not allow you to access the requested resource"}},
    RefusalRow{Refusal::kOriginNotAllowed, {403, 900911, "Origin not allowed"}},
    RefusalRow{Refusal::kNoApi, {404, 404001, "No matching API found to dispatch the request"}},
    RefusalRow{Refusal::kNoTopic,
               {404, 404002, "No matching resource found to dispatch the request"}},
    RefusalRow{Refusal::kUpgradeRequired, {426, 426001, "WebSocket upgrade required"}},
    RefusalRow{Refusal::kSeveralCredentials, {400, 400001, "Several credentials"}},
    RefusalRow{Refusal::kMalformed, {400, 400002, "Malformed request"}},
    RefusalRow{Refusal::kHeadTooLarge, {431, 431001, "Request head too large"}},
    RefusalRow{Refusal::kHeadTooSlow, {408, 408001, "Request head took too long"}},
    RefusalRow{Refusal::kMethodNotAllowed, {405, 405001, "Method not allowed for the resource"}},
    RefusalRow{Refusal::kBodyTooLarge, {413, 413001, "Request body too large"}},
    RefusalRow{Refusal::kBodyTooSlow, {408, 408002, "Request body took too long"}},
    RefusalRow{Refusal::kExpectation, {417, 417001, "Expectation failed"}},
    RefusalRow{Refusal::kTokenUnchecked, {503, 101507, "Credentials cannot be checked now"}},
    RefusalRow{Refusal::kLimitApi, {429, 900800, kThrottledOut}},
    RefusalRow{Refusal::kLimitTopic, {429, 900802, kThrottledOut}},
    RefusalRow{Refusal::kLimitApplication, {429, 900803, kThrottledOut}},
    RefusalRow{Refusal::kLimitSubscription, {429, 900804, kThrottledOut}},
    RefusalRow{Refusal::kLimitCustom, {429, 900806, kThrottledOut}},
    RefusalRow{Refusal::kLimitBurst, {429, 900807, kThrottledOut}},
    RefusalRow{Refusal::kBlockListed, {403, 900805, "Blocked from accessing the API"}},
    RefusalRow{Refusal::kApiBlocked, {503, 700700, "API blocked"}},
    RefusalRow{Refusal::kBackendUnreachable, {503, 101503, "Backend unreachable"}},
    RefusalRow{Refusal::kBackendTimeout, {504, 101504, "Backend timed out"}},
    RefusalRow{Refusal::kNoHealthyEndpoint, {503, 101505, "No healthy backend"}},
    RefusalRow{Refusal::kOverloaded, {503, 101506, "Proxy overloaded or draining"}},
};

// Both tables are indexed by their enums; a row out of place must not compile.
template <class Rows, class Key>
constexpr bool in_order(const Rows& rows, Key last) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (static_cast<std::size_t>(rows[i].key()) != i) {
      return false;
    }
  }
  return static_cast<std::size_t>(last) + 1 == rows.size();
}

static_assert(in_order(kRefusals, Refusal::kOverloaded));

struct CloseRow {
  CloseCause cause;
  std::uint16_t reference;
  std::uint16_t standard;
  std::string_view reason;
  constexpr CloseCause key() const { return cause; }
};

constexpr std::array kCloses = {
    CloseRow{CloseCause::kTokenExpired, 4001, 1008, "access token expired"},
    CloseRow{CloseCause::kTokenRevoked, 4001, 1008, "access token revoked"},
    CloseRow{CloseCause::kSubscriptionBlocked, 4001, 1008, "subscription blocked"},
    CloseRow{CloseCause::kSubscriptionInactive, 4001, 1008, "subscription on hold or rejected"},
    CloseRow{CloseCause::kSubscriptionDeleted, 4001, 1008, "subscription deleted"},
    CloseRow{CloseCause::kApplicationBlocked, 4001, 1008, "application blocked"},
    CloseRow{CloseCause::kApplicationInactive, 4001, 1008, "application on hold or rejected"},
    CloseRow{CloseCause::kApplicationDeleted, 4001, 1008, "application deleted"},
    CloseRow{CloseCause::kApiRetired, 1001, 1001, "API retired"},
    CloseRow{CloseCause::kApiDeleted, 1001, 1001, "API deleted"},
    CloseRow{CloseCause::kApiCreated, 4006, 1008, "API is no longer published"},
    CloseRow{CloseCause::kApiBlocked, 4006, 1008, "API blocked"},
    CloseRow{CloseCause::kPlanWithdrawn, 4001, 1008, "plan deleted"},
    CloseRow{CloseCause::kThrottled, 4003, 1013, "throttled out"},
    CloseRow{CloseCause::kTooLarge, 1009, 1009, "message too large"},
    CloseRow{CloseCause::kProtocolError, 1002, 1002, "protocol error"},
    CloseRow{CloseCause::kPingsUnanswered, 1014, 1014, "pings unanswered"},
    CloseRow{CloseCause::kBackendGone, 1014, 1014, "backend connection lost"},
    CloseRow{CloseCause::kDraining, 1001, 1012, "proxy is shutting down"},
    CloseRow{CloseCause::kIdle, 1001, 1001, "idle for too long"},
    CloseRow{CloseCause::kTooOld, 1001, 1001, "maximum age reached"},
    CloseRow{CloseCause::kControlFlood, 1008, 1008, "too many control frames"},
    CloseRow{CloseCause::kClosedByOperator, 4006, 1008, "closed by an operator"},
};
static_assert(in_order(kCloses, CloseCause::kClosedByOperator));

const CloseRow& row(CloseCause cause) { return kCloses[static_cast<std::size_t>(cause)]; }

// RFC 6750 section 3: without a credential no error is named.
std::string_view challenge(Refusal refusal) {
  return refusal == Refusal::kNoCredential ? R"(Bearer realm="sluice")"
                                           : R"(Bearer realm="sluice", error="invalid_token")";
}

}  // namespace

const RefusalInfo& info(Refusal refusal) {
  const auto index = static_cast<std::size_t>(refusal);
  SLUICE_CHECK(index < kRefusals.size());
  return kRefusals[index].info;
}

std::string refusal_response(Refusal refusal, std::string_view description,
                             std::string_view request_id, int retry_after_s) {
  RefusalDress dress;
  dress.retry_after_s = retry_after_s;
  return refusal_response(refusal, description, request_id, std::move(dress));
}

std::string refusal_response(Refusal refusal, std::string_view description,
                             std::string_view request_id, RefusalDress dress) {
  const RefusalInfo& what = info(refusal);
  http::Headers headers = std::move(dress.extra);
  headers.add("Content-Type", "application/json");
  headers.add("X-Request-Id", request_id);
  if (what.status == 401) {
    headers.add("WWW-Authenticate", challenge(refusal));
  }
  if (refusal == Refusal::kUpgradeRequired) {
    headers.add("Upgrade", "websocket");
    headers.add("Sec-WebSocket-Version", "13");
    headers.add("Connection", "upgrade, close");
  } else if (!dress.keep_alive) {
    headers.add("Connection", "close");
  }
  if (dress.retry_after_s > 0) {
    headers.add("Retry-After", fmt::format("{}", dress.retry_after_s));
  }
  // The Reference gives the code as a string.
  std::string body = fmt::format(R"({{"code":"{}","message":)", what.code);
  telemetry::append_json_string(body, what.message);
  body += R"(,"description":)";
  telemetry::append_json_string(body, description);
  body += "}\n";
  std::string answer = http::simple_response(what.status, std::move(headers), body);
  if (dress.head_only) {
    answer.resize(answer.size() - body.size());
  }
  return answer;
}

std::uint16_t close_code(CloseCause cause, model::CloseCodes style) {
  return style == model::CloseCodes::kReference ? row(cause).reference : row(cause).standard;
}

std::string_view close_reason(CloseCause cause) { return row(cause).reason; }

std::optional<CloseInstead> close_instead(Refusal refusal, model::CloseCodes style) {
  const bool reference = style == model::CloseCodes::kReference;
  std::uint16_t code = 0;
  switch (refusal) {
    case Refusal::kNoCredential:
    case Refusal::kInvalidCredential:
    case Refusal::kExpired:
    case Refusal::kRevoked:
    case Refusal::kNotSubscribed:
    case Refusal::kSubscriptionBlocked:
    case Refusal::kSubscriptionInactive:
    case Refusal::kNoEndpoint:
    case Refusal::kScopeMissing:
    case Refusal::kOriginNotAllowed:
    case Refusal::kSeveralCredentials:
      code = reference ? 4001 : 1008;
      break;
    case Refusal::kLimitApi:
    case Refusal::kLimitTopic:
    case Refusal::kLimitApplication:
    case Refusal::kLimitSubscription:
    case Refusal::kLimitCustom:
    case Refusal::kLimitBurst:
      code = reference ? 4003 : 1013;
      break;
    case Refusal::kBlockListed:
    case Refusal::kApiBlocked:
      code = reference ? 4006 : 1008;
      break;
    // Malformed, unknown, or nothing that the client could mend: a status says it best, and a
    // script tries again on 1006 anyway.
    case Refusal::kNoApi:
    case Refusal::kNoTopic:
    case Refusal::kUpgradeRequired:
    case Refusal::kMalformed:
    case Refusal::kHeadTooLarge:
    case Refusal::kHeadTooSlow:
    case Refusal::kMethodNotAllowed:
    case Refusal::kBodyTooLarge:
    case Refusal::kBodyTooSlow:
    case Refusal::kExpectation:
    case Refusal::kTokenUnchecked:
    case Refusal::kBackendUnreachable:
    case Refusal::kBackendTimeout:
    case Refusal::kNoHealthyEndpoint:
    case Refusal::kOverloaded:
      return std::nullopt;
  }
  return CloseInstead{code, fmt::format("{} {}", info(refusal).code, info(refusal).message)};
}

}  // namespace sluice::filter
