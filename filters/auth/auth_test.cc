#include "filters/auth/auth.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "proxy/filter/test_support.h"

namespace sluice::filters::auth {
namespace {

using filter::CloseCause;
using filter::Refusal;
using filter::Verdict;
using model::ApiState;
using model::ApplicationStatus;
using model::CredentialPlace;
using model::Subject;
using model::SubscriptionStatus;

constexpr std::string_view kToken = "t0ken_that-fits-a-sub-protocol";

class AuthTest : public testing::Test {
 protected:
  AuthTest() {
    api.name = "echo-v1";
    api.version = "v1.0";
    api.state = ApiState::kPublished;
    api.credential_places = {CredentialPlace::kAuthorization, CredentialPlace::kSubprotocol,
                             CredentialPlace::kAccessToken, CredentialPlace::kApiKey};
    token.hash = sha256(kToken);
    token.application = "shop";
    grants.application.name = "shop";
    grants.application.plan = "10PerMin";
    grants.application.owner = "ann";
    grants.subscriptions = {{"shop", "echo-v1", "Gold", SubscriptionStatus::kUnblocked}};
    exchange.services = &fake.services;
    exchange.client_address = "192.0.2.7";
    exchange.request.target = "/echo/v1.0/room";
    store();
  }

  // Makes what was edited known.
  void store() {
    model::Identity identity;
    identity.token = std::make_shared<const model::Token>(token);
    identity.grants = std::make_shared<const model::Grants>(grants);
    fake.tokens[token.hash] = identity;
    exchange.api = std::make_shared<const model::Api>(api);
  }
  Verdict open() {
    store();
    return filter::run_task(auth.open(exchange));
  }
  Verdict open_with_header(std::string_view name, std::string_view value) {
    exchange.request.headers.add(name, value);
    return open();
  }
  Verdict open_with_token() { return open_with_header("Authorization", bearer()); }
  Verdict open_with_query(std::string query) {
    exchange.query = query;
    exchange.request.target = "/echo/v1.0/room?" + query;
    return open();
  }
  Verdict recheck() {
    exchange.subjects.clear();
    exchange.recheck_at = Wall::max();
    return auth.recheck(exchange);
  }
  static std::string bearer(std::string_view value = kToken) {
    return "Bearer " + std::string(value);
  }
  bool depends_on(Subject::Kind kind, const std::string& name) {
    return std::count(exchange.subjects.begin(), exchange.subjects.end(), Subject{kind, name}) == 1;
  }
  void expect_refusal(const Verdict& verdict, Refusal refusal) {
    ASSERT_EQ(verdict.kind(), Verdict::Kind::kRefuse);
    EXPECT_EQ(filter::info(verdict.detail()->refusal).code, filter::info(refusal).code);
    EXPECT_EQ(filter::info(verdict.detail()->refusal).status, filter::info(refusal).status);
    EXPECT_FALSE(verdict.detail()->text.empty());
    EXPECT_EQ(verdict.detail()->text.find(kToken), std::string::npos);
    EXPECT_FALSE(exchange.principal.has_value());
  }
  void expect_close(const Verdict& verdict, CloseCause cause) {
    ASSERT_EQ(verdict.kind(), Verdict::Kind::kClose);
    EXPECT_EQ(filter::close_reason(verdict.detail()->cause), filter::close_reason(cause));
  }

  filter::FakeServices fake;
  model::Api api;
  model::Token token;
  model::Grants grants;
  filter::Exchange exchange;
  AuthFilter auth;
};

TEST_F(AuthTest, TakesABearerTokenOutOfTheHeader) {
  exchange.request.headers.add("Origin", "https://a.example");
  EXPECT_TRUE(open_with_header("authorization", "bearer  " + std::string(kToken)).passes());
  EXPECT_FALSE(exchange.request.headers.has("Authorization"));
  EXPECT_TRUE(exchange.request.headers.has("Origin"));
  ASSERT_TRUE(exchange.principal);
  EXPECT_EQ(exchange.principal->application, "shop");
  EXPECT_EQ(exchange.principal->application_plan, "10PerMin");
  EXPECT_EQ(exchange.principal->subscription_plan, "Gold");
  EXPECT_EQ(exchange.principal->user, "ann");
  EXPECT_EQ(fake.asked_by, "192.0.2.7");
  EXPECT_TRUE(exchange.answer_subprotocol.empty());
}

TEST_F(AuthTest, LeavesOtherSchemesToTheBackend) {
  exchange.request.headers.add("Authorization", "Basic dXNlcjpwYXNz");
  EXPECT_TRUE(open_with_header("apikey", kToken).passes());
  EXPECT_EQ(exchange.request.headers.get("Authorization"), "Basic dXNlcjpwYXNz");
  EXPECT_FALSE(exchange.request.headers.has("apikey"));
}

TEST_F(AuthTest, TakesASubprotocolTokenAndNamesOursWhereItWasTheOnlyOne) {
  EXPECT_TRUE(
      open_with_header("Sec-WebSocket-Protocol", "sluice.bearer, " + std::string(kToken)).passes());
  EXPECT_FALSE(exchange.request.headers.has("Sec-WebSocket-Protocol"));
  EXPECT_EQ(exchange.answer_subprotocol, "sluice.bearer");
}

TEST_F(AuthTest, LeavesRealSubprotocolsInTheList) {
  exchange.request.headers.add("Sec-WebSocket-Protocol", "sluice.bearer");
  exchange.request.headers.add("Sec-WebSocket-Protocol", std::string(kToken) + ",chat");
  EXPECT_TRUE(open_with_header("sec-websocket-protocol", "superchat").passes());
  EXPECT_EQ(exchange.request.headers.count("Sec-WebSocket-Protocol"), 1u);
  EXPECT_EQ(exchange.request.headers.get("Sec-WebSocket-Protocol"), "chat, superchat");
  EXPECT_TRUE(exchange.answer_subprotocol.empty());
}

TEST_F(AuthTest, LeavesTheListAloneWithoutOurs) {
  exchange.request.headers.add("Sec-WebSocket-Protocol", "chat,  superchat");
  EXPECT_TRUE(open_with_token().passes());
  EXPECT_EQ(exchange.request.headers.get("Sec-WebSocket-Protocol"), "chat,  superchat");
}

TEST_F(AuthTest, RefusesASubprotocolWithoutItsToken) {
  expect_refusal(open_with_header("Sec-WebSocket-Protocol", "chat, sluice.bearer"),
                 Refusal::kInvalidCredential);
}

TEST_F(AuthTest, TakesQueryTokensOutOfTheQueryAndTheTarget) {
  EXPECT_TRUE(open_with_query("a=1&access_token=" + std::string(kToken) +
                              "&b=%20x&apikey=" + std::string(kToken))
                  .passes());
  EXPECT_EQ(exchange.query, "a=1&b=%20x");
  EXPECT_EQ(exchange.request.target, "/echo/v1.0/room?a=1&b=%20x");
}

TEST_F(AuthTest, TakesAnEscapedQueryName) {
  EXPECT_TRUE(open_with_query("access%5Ftoken=" + std::string(kToken)).passes());
  EXPECT_EQ(exchange.query, "");
  EXPECT_EQ(exchange.request.target, "/echo/v1.0/room");
}

TEST_F(AuthTest, AcceptsTheSameCredentialTwice) {
  exchange.request.headers.add("apikey", kToken);
  EXPECT_TRUE(open_with_token().passes());
  EXPECT_FALSE(exchange.request.headers.has("apikey"));
}

TEST_F(AuthTest, RefusesDifferentCredentials) {
  exchange.request.headers.add("apikey", "another");
  expect_refusal(open_with_token(), Refusal::kSeveralCredentials);
  EXPECT_FALSE(exchange.request.headers.has("apikey"));
  EXPECT_FALSE(exchange.request.headers.has("Authorization"));
}

TEST_F(AuthTest, LooksOnlyAtTheListedPlaces) {
  api.credential_places = {CredentialPlace::kAccessToken};
  exchange.request.headers.add("Authorization", "Bearer backends-own");
  exchange.request.headers.add("apikey", "backends-own");
  exchange.request.headers.add("Sec-WebSocket-Protocol", "sluice.bearer, x");
  EXPECT_TRUE(open_with_query("apikey=k&access_token=" + std::string(kToken)).passes());
  EXPECT_EQ(exchange.request.headers.get("Authorization"), "Bearer backends-own");
  EXPECT_EQ(exchange.request.headers.get("apikey"), "backends-own");
  EXPECT_EQ(exchange.request.headers.get("Sec-WebSocket-Protocol"), "sluice.bearer, x");
  EXPECT_EQ(exchange.query, "apikey=k");
}

TEST_F(AuthTest, RefusesWithoutACredentialAndTellsWhereToPutIt) {
  api.credential_places = {CredentialPlace::kAuthorization};
  const Verdict verdict = open();
  expect_refusal(verdict, Refusal::kNoCredential);
  EXPECT_EQ(verdict.detail()->text,
            "Send an access token in one of: header Authorization: Bearer TOKEN.");
}

TEST_F(AuthTest, RefusesUnreadableCredentials) {
  expect_refusal(open_with_header("Authorization", "Bearer"), Refusal::kInvalidCredential);
  exchange.request.headers = {};
  expect_refusal(open_with_query("access_token="), Refusal::kInvalidCredential);
  expect_refusal(open_with_header("apikey", std::string(9000, 'x')), Refusal::kInvalidCredential);
}

TEST_F(AuthTest, RefusesAnUnknownToken) {
  expect_refusal(open_with_header("Authorization", bearer("unknown")), Refusal::kInvalidCredential);
}

TEST_F(AuthTest, RefusesWhatCannotBeChecked) {
  fake.lookup = unavailable("away");
  const Verdict verdict = open_with_token();
  expect_refusal(verdict, Refusal::kTokenUnchecked);
  EXPECT_GT(verdict.detail()->retry_after_s, 0);
}

TEST_F(AuthTest, RefusesAFloodOfUnknownTokens) {
  fake.lookup = resource_exhausted("flood");
  const Verdict verdict = open_with_token();
  expect_refusal(verdict, Refusal::kLimitBurst);
  EXPECT_GT(verdict.detail()->retry_after_s, 0);
}

TEST_F(AuthTest, RefusesExpiredAndRevokedTokens) {
  token.expires = fake.clock.wall();
  expect_refusal(open_with_token(), Refusal::kExpired);
  token.revoked = true;
  exchange.request.headers = {};
  expect_refusal(open_with_token(), Refusal::kRevoked);
}

TEST_F(AuthTest, RefusesByApplication) {
  const struct {
    ApplicationStatus status;
    Refusal refusal;
  } kRows[] = {{ApplicationStatus::kBlocked, Refusal::kSubscriptionBlocked},
               {ApplicationStatus::kOnHold, Refusal::kSubscriptionInactive},
               {ApplicationStatus::kRejected, Refusal::kSubscriptionInactive}};
  for (const auto& row : kRows) {
    grants.application.status = row.status;
    exchange.request.headers = {};
    expect_refusal(open_with_token(), row.refusal);
  }
}

TEST_F(AuthTest, RefusesWhereTheApplicationIsGone) {
  store();
  fake.tokens[token.hash].grants = nullptr;
  exchange.request.headers.add("Authorization", bearer());
  expect_refusal(filter::run_task(auth.open(exchange)), Refusal::kNotSubscribed);
}

TEST_F(AuthTest, RefusesBySubscription) {
  const struct {
    SubscriptionStatus status;
    model::KeyType key_type;
    std::optional<Refusal> refusal;
  } kRows[] = {
      {SubscriptionStatus::kBlocked, model::KeyType::kProduction, Refusal::kSubscriptionBlocked},
      {SubscriptionStatus::kBlocked, model::KeyType::kSandbox, Refusal::kSubscriptionBlocked},
      {SubscriptionStatus::kProdOnlyBlocked, model::KeyType::kProduction,
       Refusal::kSubscriptionBlocked},
      {SubscriptionStatus::kProdOnlyBlocked, model::KeyType::kSandbox, std::nullopt},
      {SubscriptionStatus::kOnHold, model::KeyType::kSandbox, Refusal::kSubscriptionInactive},
      {SubscriptionStatus::kRejected, model::KeyType::kProduction, Refusal::kSubscriptionInactive},
  };
  for (const auto& row : kRows) {
    grants.subscriptions[0].status = row.status;
    token.key_type = row.key_type;
    exchange.request.headers = {};
    const Verdict verdict = open_with_token();
    if (row.refusal) {
      expect_refusal(verdict, *row.refusal);
    } else {
      EXPECT_TRUE(verdict.passes());
      EXPECT_EQ(exchange.principal->key_type, model::KeyType::kSandbox);
      exchange.principal.reset();
    }
  }
  grants.subscriptions[0].api = "other";
  exchange.request.headers = {};
  expect_refusal(open_with_token(), Refusal::kNotSubscribed);
}

TEST_F(AuthTest, RefusesByTheApisState) {
  api.state = ApiState::kBlocked;
  expect_refusal(open_with_token(), Refusal::kApiBlocked);
  api.state = ApiState::kRetired;
  expect_refusal(open_with_token(), Refusal::kNoApi);
  EXPECT_FALSE(exchange.request.headers.has("Authorization"));
}

TEST_F(AuthTest, OpensAPrototypeToEveryoneAndStillRemovesTheCredential) {
  api.state = ApiState::kPrototyped;
  EXPECT_TRUE(open().passes());
  EXPECT_TRUE(open_with_header("Authorization", bearer("whatever")).passes());
  EXPECT_FALSE(exchange.request.headers.has("Authorization"));
  EXPECT_FALSE(exchange.principal);
  // Published later, it stays.
  api.state = ApiState::kPublished;
  store();
  EXPECT_TRUE(recheck().passes());
  EXPECT_TRUE(depends_on(Subject::Kind::kApi, "echo-v1"));
}

TEST_F(AuthTest, ChecksTheOriginOfBrowsers) {
  api.allowed_origins = {"https://shop.example"};
  exchange.request.headers.add("Origin", "https://SHOP.example");
  EXPECT_TRUE(open_with_token().passes());
  exchange.principal.reset();
  exchange.request.headers.set("Origin", "https://evil.example");
  expect_refusal(open_with_token(), Refusal::kOriginNotAllowed);
  exchange.request.headers.remove("Origin");
  EXPECT_TRUE(open_with_token().passes());
  api.allowed_origins = {"*"};
  exchange.request.headers.set("Origin", "https://evil.example");
  EXPECT_TRUE(open_with_token().passes());
}

TEST_F(AuthTest, RegistersWhatItDependsOn) {
  token.expires = fake.clock.wall() + seconds(30);
  EXPECT_TRUE(open_with_token().passes());
  EXPECT_TRUE(depends_on(Subject::Kind::kApi, "echo-v1"));
  EXPECT_TRUE(depends_on(Subject::Kind::kApplication, "shop"));
  EXPECT_TRUE(depends_on(Subject::Kind::kToken, hex(token.hash)));
  EXPECT_EQ(exchange.recheck_at, token.expires);
  EXPECT_TRUE(recheck().passes());
  EXPECT_EQ(exchange.subjects.size(), 3u);
  EXPECT_EQ(exchange.recheck_at, token.expires);
}

TEST_F(AuthTest, ClosesALiveConnectionByItsIdentity) {
  token.expires = fake.clock.wall() + seconds(30);
  ASSERT_TRUE(open_with_token().passes());
  const model::Token good_token = token;
  const model::Grants good_grants = grants;
  const auto check = [&](CloseCause cause) {
    store();
    expect_close(recheck(), cause);
    token = good_token;
    grants = good_grants;
    store();
    EXPECT_TRUE(recheck().passes());
  };
  token.revoked = true;
  check(CloseCause::kTokenRevoked);
  grants.application.status = ApplicationStatus::kBlocked;
  check(CloseCause::kApplicationBlocked);
  grants.application.status = ApplicationStatus::kOnHold;
  check(CloseCause::kApplicationInactive);
  grants.application.status = ApplicationStatus::kRejected;
  check(CloseCause::kApplicationInactive);
  grants.subscriptions[0].status = SubscriptionStatus::kBlocked;
  check(CloseCause::kSubscriptionBlocked);
  grants.subscriptions[0].status = SubscriptionStatus::kProdOnlyBlocked;
  check(CloseCause::kSubscriptionBlocked);
  grants.subscriptions[0].status = SubscriptionStatus::kOnHold;
  check(CloseCause::kSubscriptionInactive);
  grants.subscriptions.clear();
  check(CloseCause::kSubscriptionDeleted);

  fake.tokens[token.hash].grants = nullptr;
  expect_close(recheck(), CloseCause::kApplicationDeleted);
  fake.tokens[token.hash] = {};
  expect_close(recheck(), CloseCause::kTokenRevoked);
  store();
  fake.advance(seconds(30));
  expect_close(recheck(), CloseCause::kTokenExpired);
}

TEST_F(AuthTest, ClosesALiveConnectionByItsApi) {
  ASSERT_TRUE(open_with_token().passes());
  const struct {
    ApiState state;
    std::optional<CloseCause> cause;
  } kRows[] = {{ApiState::kBlocked, CloseCause::kApiBlocked},
               {ApiState::kRetired, CloseCause::kApiRetired},
               {ApiState::kCreated, CloseCause::kApiCreated},
               {ApiState::kDeprecated, std::nullopt},
               {ApiState::kPrototyped, std::nullopt}};
  for (const auto& row : kRows) {
    api.state = row.state;
    store();
    const Verdict verdict = recheck();
    if (row.cause) {
      expect_close(verdict, *row.cause);
    } else {
      EXPECT_TRUE(verdict.passes());
    }
  }
}

TEST_F(AuthTest, AdoptsAChangedPrincipal) {
  ASSERT_TRUE(open_with_token().passes());
  grants.subscriptions[0].plan = "Silver";
  grants.application.plan = "Unlimited";
  token.expires = fake.clock.wall() + seconds(5);
  store();
  EXPECT_TRUE(recheck().passes());
  EXPECT_EQ(exchange.principal->subscription_plan, "Silver");
  EXPECT_EQ(exchange.principal->application_plan, "Unlimited");
  EXPECT_EQ(exchange.recheck_at, token.expires);
}

TEST_F(AuthTest, KeepsAConnectionWhoseTokenIsNotKnownNow) {
  token.expires = fake.clock.wall() + seconds(30);
  ASSERT_TRUE(open_with_token().passes());
  fake.tokens.clear();
  EXPECT_TRUE(recheck().passes());
  EXPECT_TRUE(depends_on(Subject::Kind::kToken, hex(token.hash)));
  fake.advance(seconds(30));
  expect_close(recheck(), CloseCause::kTokenExpired);
}

}  // namespace
}  // namespace sluice::filters::auth
