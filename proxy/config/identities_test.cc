#include "proxy/config/identities.h"

#include "proxy/config/ip.h"
#include "proxy/config/testing.h"

namespace sluice::config {
namespace {

const std::string kHash(64, 'a');

TEST(Identities, ReadsATokenWithItsDefaults) {
  auto token = to_model(testing::spec<v1::Token>("sha256: '" + kHash + "' application: 'a'"));
  ASSERT_TRUE(token.ok()) << token.status();
  EXPECT_EQ(hex(token->hash), kHash);
  EXPECT_EQ(token->expires, Wall::max());
  EXPECT_EQ(token->key_type, model::KeyType::kProduction);
  EXPECT_FALSE(token->revoked);
  token = to_model(testing::spec<v1::Token>(
      "sha256: '" + kHash +
      "' application: 'a' key_type: SANDBOX expires { seconds: 5 nanos: 7 } "
      "scopes: 's' user: 'u' credential: 'c' revoked: true"));
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->expires, Wall(seconds(5) + nanoseconds(7)));
  EXPECT_EQ(token->key_type, model::KeyType::kSandbox);
  EXPECT_TRUE(token->revoked);
  // Beyond what a clock can tell, it still lies in the future.
  token = to_model(testing::spec<v1::Token>(
      "sha256: '" + kHash + "' application: 'a' expires { seconds: 253402300799 }"));
  ASSERT_TRUE(token.ok());
  EXPECT_GT(token->expires, system_wall());
}

TEST(Identities, RefusesWhatIsNone) {
  EXPECT_FALSE(to_model(testing::spec<v1::Token>("application: 'a'")).ok());
  EXPECT_FALSE(to_model(testing::spec<v1::Token>("sha256: '" + kHash + "'")).ok());
  EXPECT_FALSE(
      to_model(testing::spec<v1::Token>("sha256: '" + kHash + "' application: 'a' key_type: 9"))
          .ok());
  EXPECT_FALSE(to_model(testing::spec<v1::Grants>("")).ok());
  EXPECT_FALSE(to_model(testing::spec<v1::Grants>(
                            "application_name: 'a' subscriptions { application: 'b' api: 'x' }"))
                   .ok());
  // A status that this program does not know must not count as the most generous one.
  EXPECT_FALSE(
      to_model(testing::spec<v1::Grants>("application_name: 'a' application { status: 9 }")).ok());
  EXPECT_FALSE(to_model(testing::spec<v1::Grants>(
                            "application_name: 'a' subscriptions { application: 'a' status: 77 }"))
                   .ok());
}

TEST(Identities, ReadsGrantsSortedByApi) {
  const auto grants = to_model(testing::spec<v1::Grants>(R"(
      application_name: 'a' application { owner: 'o' status: BLOCKED }
      subscriptions { application: 'a' api: 'z' plan: 'Gold' status: PROD_ONLY_BLOCKED }
      subscriptions { application: 'a' api: 'b' plan: 'Gold' })"));
  ASSERT_TRUE(grants.ok()) << grants.status();
  EXPECT_EQ(grants->application.plan, "Unlimited");
  EXPECT_EQ(grants->application.status, model::ApplicationStatus::kBlocked);
  EXPECT_EQ(grants->subscriptions[0].api, "b");
  EXPECT_EQ(grants->subscriptions[0].status, model::SubscriptionStatus::kUnblocked);
  EXPECT_EQ(grants->find("z")->status, model::SubscriptionStatus::kProdOnlyBlocked);
}

TEST(Identities, HoldsResourcesToTheirNames) {
  const auto token = testing::spec<v1::Token>("sha256: '" + kHash + "' application: 'a'");
  EXPECT_TRUE(token_from({Kind::kToken, kHash, "", token.SerializeAsString()}).ok());
  EXPECT_FALSE(token_from({Kind::kToken, "x", "", token.SerializeAsString()}).ok());
  EXPECT_FALSE(token_from({Kind::kApi, kHash, "", token.SerializeAsString()}).ok());
  EXPECT_FALSE(token_from({Kind::kToken, kHash, "", "\xff"}).ok());
  const auto grants = testing::spec<v1::Grants>("application_name: 'a'");
  EXPECT_TRUE(grants_from({Kind::kGrants, "a", "", grants.SerializeAsString()}).ok());
  EXPECT_FALSE(grants_from({Kind::kGrants, "b", "", grants.SerializeAsString()}).ok());
  EXPECT_FALSE(grants_from({Kind::kGrants, "a", "", "\xff"}).ok());
}

TEST(Resource, NamesItsKindsBothWays) {
  for (const Kind kind : {Kind::kSecret, Kind::kUpstream, Kind::kPlan, Kind::kListener, Kind::kApi,
                          Kind::kToken, Kind::kGrants}) {
    EXPECT_EQ(kind_from_name(kind_name(kind)), kind);
    EXPECT_EQ(kind_from_type_url(type_url(kind)), kind);
  }
  EXPECT_EQ(type_url(Kind::kApi), "type.googleapis.com/sluice.config.v1.Api");
  EXPECT_FALSE(kind_from_name("User").has_value());
  EXPECT_FALSE(kind_from_name("").has_value());
}

TEST(Resource, TakesFaultyOnesOut) {
  const Delta delta = {{{Kind::kApi, "a", "", ""}, {Kind::kPlan, "a", "", ""}},
                       {{Kind::kApi, "b"}, {Kind::kPlan, "b"}}};
  const Delta left =
      without_faulty(delta, {{Kind::kApi, "a", "f", "m"}, {Kind::kPlan, "b", "", "m"}});
  ASSERT_EQ(left.upserts.size(), 1u);
  EXPECT_EQ(left.upserts[0].kind, Kind::kPlan);
  EXPECT_EQ(left.removals, (std::vector<ResourceKey>{{Kind::kApi, "b"}}));
  EXPECT_EQ(text({{Kind::kApi, "a", "f", "m"}, {Kind::kPlan, "b", "", "n"}}),
            "Api a: f: m\nPlan b: n");
}

TEST(Ip, TellsKindsOfAddressesApart) {
  EXPECT_TRUE(parse_ip("127.3.4.5")->is_loopback());
  EXPECT_TRUE(parse_ip("::1")->is_loopback());
  EXPECT_TRUE(parse_ip("::ffff:127.0.0.1")->is_loopback());
  EXPECT_FALSE(parse_ip("128.0.0.1")->is_loopback());
  EXPECT_TRUE(parse_ip("0.0.0.0")->is_unspecified());
  EXPECT_TRUE(parse_ip("::")->is_unspecified());
  EXPECT_FALSE(parse_ip("::")->is_loopback());
  EXPECT_TRUE(parse_ip("1.2.3.4")->is_v4());
  for (const char* text : {"", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "[::1]", "fe80::1%lo",
                           "localhost", ":::", "1.2.3.4 "}) {
    EXPECT_FALSE(parse_ip(text).has_value()) << text;
  }
  EXPECT_FALSE(parse_ip(std::string_view("1.2.3.4\0", 8)).has_value());
}

TEST(Ip, MatchesPrefixes) {
  const auto within = [](const char* prefix, const char* ip) {
    const auto parsed = parse_prefix(prefix);
    return parsed && parsed->contains(std::string_view(ip));
  };
  EXPECT_TRUE(within("10.0.0.0/8", "10.255.0.1"));
  EXPECT_FALSE(within("10.0.0.0/8", "11.0.0.0"));
  EXPECT_TRUE(within("10.0.0.0/8", "::ffff:10.1.1.1"));
  EXPECT_TRUE(within("192.168.1.128/25", "192.168.1.200"));
  EXPECT_FALSE(within("192.168.1.128/25", "192.168.1.127"));
  EXPECT_TRUE(within("1.2.3.4", "1.2.3.4"));
  EXPECT_FALSE(within("1.2.3.4", "1.2.3.5"));
  EXPECT_TRUE(within("2001:db8::/33", "2001:db8:7fff::1"));
  EXPECT_FALSE(within("2001:db8::/33", "2001:db8:8000::1"));
  EXPECT_TRUE(within("0.0.0.0/0", "9.9.9.9"));
  EXPECT_FALSE(within("0.0.0.0/0", "2001::1"));
  EXPECT_TRUE(within("::/0", "9.9.9.9"));
  EXPECT_FALSE(within("::/0", "nonsense"));
  for (const char* text : {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x",
                           "10.0.0.1/8", "::/129", "::1/64", "10.0.0.0/+8"}) {
    EXPECT_FALSE(parse_prefix(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace sluice::config
