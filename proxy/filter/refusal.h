// The tables of behaviour.md: how a handshake is refused, and how a live WebSocket is closed. The
// one place where a failure becomes an HTTP answer or a close code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/http/head.h"
#include "proxy/model/resources.h"

namespace sluice::filter {

// Conditions of the table "Refusals".
enum class Refusal : std::uint8_t {
  kNoCredential,
  kInvalidCredential,
  kExpired,
  kRevoked,
  kNotSubscribed,
  kSubscriptionBlocked,
  kSubscriptionInactive,  // on hold or rejected
  kNoEndpoint,            // no endpoint of the key's type
  kScopeMissing,
  kOriginNotAllowed,
  kNoApi,
  kNoTopic,
  kUpgradeRequired,
  kSeveralCredentials,
  kMalformed,
  kHeadTooLarge,
  kHeadTooSlow,
  kMethodNotAllowed,
  kBodyTooLarge,
  kBodyTooSlow,
  kExpectation,
  kTokenUnchecked,
  kLimitApi,
  kLimitTopic,
  kLimitApplication,
  kLimitSubscription,
  kLimitCustom,
  kLimitBurst,
  kBlockListed,
  kApiBlocked,
  kBackendUnreachable,
  kBackendTimeout,
  kNoHealthyEndpoint,
  kOverloaded,
};

struct RefusalInfo {
  int status;
  int code;
  std::string_view message;
};

const RefusalInfo& info(Refusal refusal);

// How an answer is dressed.
struct RefusalDress {
  int retry_after_s = 0;
  bool keep_alive = false;  // else Connection: close
  bool head_only = false;   // the answer to HEAD
  http::Headers extra;
};

// The whole answer: JSON body {"code","message","description"}, X-Request-Id, Connection: close,
// WWW-Authenticate on 401, Upgrade and Sec-WebSocket-Version on 426, Retry-After (429 and 503)
// where `retry_after_s` is not 0. `description` never holds a credential or a backend's address.
std::string refusal_response(Refusal refusal, std::string_view description,
                             std::string_view request_id, RefusalDress dress);
std::string refusal_response(Refusal refusal, std::string_view description,
                             std::string_view request_id, int retry_after_s = 0);

// Rows of the table "Closes".
enum class CloseCause : std::uint8_t {
  kTokenExpired,
  kTokenRevoked,
  kSubscriptionBlocked,
  kSubscriptionInactive,
  kSubscriptionDeleted,
  kApplicationBlocked,
  kApplicationInactive,
  kApplicationDeleted,
  kApiRetired,
  kApiDeleted,
  kApiCreated,  // back to CREATED
  kApiBlocked,
  kPlanWithdrawn,
  kThrottled,
  kTooLarge,
  kProtocolError,
  kPingsUnanswered,
  kBackendGone,
  kDraining,
  kIdle,
  kTooOld,
  kControlFlood,
  kClosedByOperator,
};

// The close code towards the client (the backend gets the same, but 1001 for kPingsUnanswered and
// for codes that only a server may send).
std::uint16_t close_code(CloseCause cause, model::CloseCodes style);
std::string_view close_reason(CloseCause cause);

// For an API with refuse_by: close: the code and reason that stand for a refusal; none for those
// that are always answered by HTTP (malformed, no API, upgrade required ...).
struct CloseInstead {
  std::uint16_t code;
  std::string reason;
};
std::optional<CloseInstead> close_instead(Refusal refusal, model::CloseCodes style);

}  // namespace sluice::filter
