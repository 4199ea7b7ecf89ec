#include "proxy/filter/refusal.h"

#include <gtest/gtest.h>

#include "proxy/http/parse.h"

namespace sluice::filter {
namespace {

http::ResponseHead parsed(const std::string& response, std::string* body = nullptr) {
  http::ResponseParse parse = http::parse_response_head(response, 64 * 1024);
  EXPECT_EQ(parse.state, http::ParseState::kDone);
  if (body != nullptr) {
    *body = response.substr(parse.consumed);
  }
  return parse.head;
}

TEST(Refusal, MatchesTheTableOfTheDesign) {
  const struct {
    Refusal refusal;
    int status;
    int code;
  } kRows[] = {
      {Refusal::kNoCredential, 401, 900902},
      {Refusal::kInvalidCredential, 401, 900901},
      {Refusal::kExpired, 401, 900903},
      {Refusal::kRevoked, 401, 900904},
      {Refusal::kNotSubscribed, 403, 900908},
      {Refusal::kSubscriptionBlocked, 403, 900907},
      {Refusal::kSubscriptionInactive, 403, 900909},
      {Refusal::kNoEndpoint, 403, 900901},
      {Refusal::kScopeMissing, 403, 900910},
      {Refusal::kOriginNotAllowed, 403, 900911},
      {Refusal::kNoApi, 404, 404001},
      {Refusal::kNoTopic, 404, 404002},
      {Refusal::kUpgradeRequired, 426, 426001},
      {Refusal::kSeveralCredentials, 400, 400001},
      {Refusal::kMalformed, 400, 400002},
      {Refusal::kHeadTooLarge, 431, 431001},
      {Refusal::kHeadTooSlow, 408, 408001},
      {Refusal::kTokenUnchecked, 503, 101507},
      {Refusal::kLimitApi, 429, 900800},
      {Refusal::kLimitTopic, 429, 900802},
      {Refusal::kLimitApplication, 429, 900803},
      {Refusal::kLimitSubscription, 429, 900804},
      {Refusal::kLimitCustom, 429, 900806},
      {Refusal::kLimitBurst, 429, 900807},
      {Refusal::kBlockListed, 403, 900805},
      {Refusal::kApiBlocked, 503, 700700},
      {Refusal::kBackendUnreachable, 503, 101503},
      {Refusal::kBackendTimeout, 504, 101504},
      {Refusal::kNoHealthyEndpoint, 503, 101505},
      {Refusal::kOverloaded, 503, 101506},
  };
  for (const auto& row : kRows) {
    EXPECT_EQ(info(row.refusal).status, row.status) << row.code;
    EXPECT_EQ(info(row.refusal).code, row.code);
    EXPECT_FALSE(info(row.refusal).message.empty());
  }
}

TEST(Refusal, ResponseHoldsJsonBodyAndRequestId) {
  std::string body;
  const http::ResponseHead head = parsed(
      refusal_response(Refusal::kExpired, "The token expired at \"noon\"\n", "abc123"), &body);
  EXPECT_EQ(head.status, 401);
  EXPECT_EQ(head.headers.get("X-Request-Id"), "abc123");
  EXPECT_EQ(head.headers.get("Content-Type"), "application/json");
  EXPECT_EQ(head.headers.get("Connection"), "close");
  EXPECT_EQ(head.headers.get("WWW-Authenticate"),
            R"(Bearer realm="sluice", error="invalid_token")");
  EXPECT_FALSE(head.headers.has("Retry-After"));
  EXPECT_EQ(body, R"({"code":"900903","message":"Access Token Expired",)"
                  R"("description":"The token expired at \"noon\"\u000a"})"
                  "\n");
  EXPECT_EQ(head.headers.get("Content-Length"), std::to_string(body.size()));
}

TEST(Refusal, NamesNoErrorWhereNoCredentialWasGiven) {
  const http::ResponseHead head = parsed(refusal_response(Refusal::kNoCredential, "", "id"));
  EXPECT_EQ(head.headers.get("WWW-Authenticate"), R"(Bearer realm="sluice")");
}

TEST(Refusal, TellsHowToUpgrade) {
  const http::ResponseHead head = parsed(refusal_response(Refusal::kUpgradeRequired, "", "id"));
  EXPECT_EQ(head.status, 426);
  EXPECT_EQ(head.headers.get("Upgrade"), "websocket");
  EXPECT_EQ(head.headers.get("Sec-WebSocket-Version"), "13");
  EXPECT_TRUE(head.headers.has_token("Connection", "close"));
  EXPECT_TRUE(head.headers.has_token("Connection", "upgrade"));
}

TEST(Refusal, TellsWhenToRetry) {
  const http::ResponseHead head = parsed(refusal_response(Refusal::kLimitApi, "", "id", 17));
  EXPECT_EQ(head.status, 429);
  EXPECT_EQ(head.headers.get("Retry-After"), "17");
  EXPECT_FALSE(head.headers.has("WWW-Authenticate"));
}

TEST(Close, MatchesTheTableOfTheDesign) {
  constexpr auto kReference = model::CloseCodes::kReference;
  constexpr auto kStandard = model::CloseCodes::kStandard;
  for (const CloseCause cause :
       {CloseCause::kTokenExpired, CloseCause::kTokenRevoked, CloseCause::kSubscriptionBlocked,
        CloseCause::kSubscriptionInactive, CloseCause::kSubscriptionDeleted,
        CloseCause::kApplicationBlocked, CloseCause::kApplicationInactive,
        CloseCause::kApplicationDeleted, CloseCause::kPlanWithdrawn}) {
    EXPECT_EQ(close_code(cause, kReference), 4001);
    EXPECT_EQ(close_code(cause, kStandard), 1008);
    EXPECT_FALSE(close_reason(cause).empty());
  }
  for (const CloseCause cause : {CloseCause::kApiBlocked, CloseCause::kApiCreated}) {
    EXPECT_EQ(close_code(cause, kReference), 4006);
    EXPECT_EQ(close_code(cause, kStandard), 1008);
  }
  for (const CloseCause cause :
       {CloseCause::kApiRetired, CloseCause::kApiDeleted, CloseCause::kIdle, CloseCause::kTooOld}) {
    EXPECT_EQ(close_code(cause, kReference), 1001);
    EXPECT_EQ(close_code(cause, kStandard), 1001);
  }
  EXPECT_EQ(close_code(CloseCause::kThrottled, kReference), 4003);
  EXPECT_EQ(close_code(CloseCause::kThrottled, kStandard), 1013);
  EXPECT_EQ(close_code(CloseCause::kDraining, kReference), 1001);
  EXPECT_EQ(close_code(CloseCause::kDraining, kStandard), 1012);
  EXPECT_EQ(close_code(CloseCause::kTooLarge, kReference), 1009);
  EXPECT_EQ(close_code(CloseCause::kProtocolError, kReference), 1002);
  EXPECT_EQ(close_code(CloseCause::kBackendGone, kStandard), 1014);
  EXPECT_EQ(close_code(CloseCause::kPingsUnanswered, kStandard), 1014);
}

TEST(CloseInstead, StandsForWhatTheClientCanMend) {
  const auto auth = close_instead(Refusal::kInvalidCredential, model::CloseCodes::kReference);
  ASSERT_TRUE(auth);
  EXPECT_EQ(auth->code, 4001);
  EXPECT_EQ(auth->reason, "900901 Invalid Credentials");
  EXPECT_EQ(close_instead(Refusal::kLimitSubscription, model::CloseCodes::kReference)->code, 4003);
  EXPECT_EQ(close_instead(Refusal::kLimitSubscription, model::CloseCodes::kStandard)->code, 1013);
  EXPECT_EQ(close_instead(Refusal::kApiBlocked, model::CloseCodes::kReference)->code, 4006);
  EXPECT_FALSE(close_instead(Refusal::kMalformed, model::CloseCodes::kReference));
  EXPECT_FALSE(close_instead(Refusal::kNoApi, model::CloseCodes::kReference));
  EXPECT_FALSE(close_instead(Refusal::kUpgradeRequired, model::CloseCodes::kReference));
}

}  // namespace
}  // namespace sluice::filter
