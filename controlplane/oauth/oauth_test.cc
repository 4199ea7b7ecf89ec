#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

#include "controlplane/oauth/endpoints.h"
#include "controlplane/oauth/users.h"
#include "controlplane/store/sqlite_store.h"
#include "proxy/base/encoding.h"

namespace sluice::controlplane::oauth {
namespace {

constexpr char kOrganisation[] = "default";
using Form = std::vector<std::pair<std::string, std::string>>;

class OauthTest : public testing::Test {
 protected:
  OauthTest()
      : directory_(std::filesystem::temp_directory_path() /
                   ("sluice-oauth-" + hex(random_bytes(8)))) {
    std::filesystem::create_directory(directory_);
    store::SqliteOptions options;
    options.path = (directory_ / "control.db").string();
    store_ = *store::open_sqlite(options);
    tokens_ = std::make_unique<Tokens>(*store_, kOrganisation);
    endpoints_ = std::make_unique<Endpoints>(*tokens_);
    put_application("app", config::v1::Application::APPROVED);
    keys_ = generate("app", config::v1::PRODUCTION);
  }
  ~OauthTest() override {
    store_.reset();
    std::filesystem::remove_all(directory_);
  }

  void put_application(const std::string& name, config::v1::Application::Status status) {
    config::v1::Application application;
    application.set_status(status);
    store::Write write{
        .kind = "Application", .name = name, .spec = application.SerializeAsString()};
    ASSERT_TRUE(store_->commit(kOrganisation, {write}).ok());
  }
  admin::v1::GenerateKeysResponse generate(const std::string& application,
                                           config::v1::KeyType type) {
    admin::v1::GenerateKeysRequest request;
    request.set_application(application);
    request.set_key_type(type);
    auto response = tokens_->generate_keys(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return *std::move(response);
  }
  config::v1::Token stored(const std::string& token) {
    config::v1::Token spec;
    const auto row = store_->get(kOrganisation, store::kTokenKind, hex(sha256(token)));
    EXPECT_TRUE(row.ok()) << row.status();
    EXPECT_TRUE(spec.ParseFromString(row->spec));
    return spec;
  }
  Request request(Form form, const std::string& key, const std::string& secret) {
    return {"Basic " + base64(key + ":" + secret), std::move(form), "192.0.2.1"};
  }
  Request request(Form form) {
    return request(std::move(form), keys_.consumer_key(), keys_.consumer_secret());
  }
  Response token(const Request& request) { return endpoints_->token(request, now_, mono_); }
  Response revoke(const Request& request) { return endpoints_->revoke(request, now_, mono_); }
  std::string issue() {
    return text(token(request({{"grant_type", "client_credentials"}})), "access_token");
  }
  static std::string text(const Response& response, const char* name) {
    const boost::json::value body = boost::json::parse(response.body);
    return std::string(body.at(name).as_string());
  }
  static std::string header(const Response& response, const std::string& name) {
    for (const auto& [key, value] : response.headers) {
      if (key == name) {
        return value;
      }
    }
    return "";
  }

  const std::filesystem::path directory_;
  Wall now_ = system_wall();
  Mono mono_ = system_mono();
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Tokens> tokens_;
  std::unique_ptr<Endpoints> endpoints_;
  admin::v1::GenerateKeysResponse keys_;
};

TEST_F(OauthTest, IssuesATokenForClientCredentials) {
  const Response response =
      token(request({{"grant_type", "client_credentials"}, {"scope", "read  write"}}));
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(text(response, "token_type"), "Bearer");
  EXPECT_EQ(text(response, "scope"), "read write");
  EXPECT_EQ(boost::json::parse(response.body).at("expires_in").as_int64(), 3600);
  EXPECT_EQ(header(response, "Cache-Control"), "no-store");
  EXPECT_EQ(header(response, "Pragma"), "no-cache");
  const std::string access_token = text(response, "access_token");
  EXPECT_EQ(access_token.size(), 43u);
  const config::v1::Token spec = stored(access_token);
  EXPECT_EQ(spec.application(), "app");
  EXPECT_EQ(spec.key_type(), config::v1::PRODUCTION);
  EXPECT_EQ(spec.credential(), "app:PRODUCTION");
  EXPECT_EQ(spec.scopes_size(), 2);
  EXPECT_EQ(spec.expires().seconds(), to_ms(now_) / 1000 + 3600);
}

TEST_F(OauthTest, TakesCredentialsInTheBody) {
  const Request in_body{"",
                        {{"grant_type", "client_credentials"},
                         {"client_id", keys_.consumer_key()},
                         {"client_secret", keys_.consumer_secret()}},
                        "192.0.2.1"};
  EXPECT_EQ(token(in_body).status, 200);
}

TEST_F(OauthTest, DecodesBasicCredentials) {
  std::string escaped;
  for (const char c : keys_.consumer_secret()) {
    escaped += "%" + hex(std::string(1, c));
  }
  EXPECT_EQ(
      token(request({{"grant_type", "client_credentials"}}, keys_.consumer_key(), escaped)).status,
      200);
}

TEST_F(OauthTest, RefusesCredentialsInTwoPlaces) {
  const Response response = token(request({{"grant_type", "client_credentials"},
                                           {"client_id", keys_.consumer_key()},
                                           {"client_secret", keys_.consumer_secret()}}));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(text(response, "error"), "invalid_request");
}

TEST_F(OauthTest, RefusesWrongClientsAlikeAndSlowly) {
  const Form form = {{"grant_type", "client_credentials"}};
  const Response wrong = token(request(form, keys_.consumer_key(), "wrong"));
  const Response unknown = token(request(form, "unknown", "wrong"));
  EXPECT_EQ(wrong.status, 401);
  EXPECT_EQ(wrong.body, unknown.body);
  EXPECT_EQ(text(wrong, "error"), "invalid_client");
  EXPECT_EQ(text(wrong, "error_description"), "Client credentials are invalid.");
  EXPECT_TRUE(header(wrong, "WWW-Authenticate").starts_with("Basic realm="));
  EXPECT_GT(wrong.delay, nanoseconds::zero());
}

TEST_F(OauthTest, RefusesMalformedAuthorization) {
  const Form form = {{"grant_type", "client_credentials"}};
  for (const char* header : {"", "Basic", "Basic !!!", "Bearer abc", "Basic YWJj", "Basic JTo="}) {
    EXPECT_EQ(token(Request{header, form, ""}).status, 401) << header;
  }
}

TEST_F(OauthTest, LocksOutAClientThatGuessesForAMinute) {
  const Form form = {{"grant_type", "client_credentials"}};
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(token(request(form, keys_.consumer_key(), "wrong")).status, 401);
  }
  const Response locked = token(request(form));
  EXPECT_EQ(locked.status, 429);
  EXPECT_FALSE(header(locked, "Retry-After").empty());
  mono_ += seconds(61);
  EXPECT_EQ(token(request(form)).status, 200);
}

TEST_F(OauthTest, NamesWhatIsWrongWithARequest) {
  EXPECT_EQ(text(token(request({})), "error"), "invalid_request");
  EXPECT_EQ(text(token(request({{"grant_type", "password"}})), "error"), "unsupported_grant_type");
  EXPECT_EQ(
      text(token(request({{"grant_type", "client_credentials"}, {"grant_type", "x"}})), "error"),
      "invalid_request");
  EXPECT_EQ(
      text(token(request({{"grant_type", "client_credentials"}, {"scope", "a\"b"}})), "error"),
      "invalid_scope");
  EXPECT_EQ(text(token(request({{"grant_type", "client_credentials"}, {"validity_period", "x"}})),
                 "error"),
            "invalid_request");
}

TEST_F(OauthTest, ValidityPeriodIsTheClientsChoice) {
  const Form shorter = {{"grant_type", "client_credentials"}, {"validity_period", "60"}};
  const Response response = token(request(shorter));
  EXPECT_EQ(boost::json::parse(response.body).at("expires_in").as_int64(), 60);
  const Form forever = {{"grant_type", "client_credentials"}, {"validity_period", "-1"}};
  const Response endless = token(request(forever));
  EXPECT_FALSE(boost::json::parse(endless.body).as_object().contains("expires_in"));
  EXPECT_FALSE(stored(text(endless, "access_token")).has_expires());
}

TEST_F(OauthTest, RefusesAnApplicationThatIsNotApproved) {
  put_application("app", config::v1::Application::BLOCKED);
  const Response response = token(request({{"grant_type", "client_credentials"}}));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(text(response, "error"), "unauthorized_client");
}

TEST_F(OauthTest, NewKeysRevokeTheTokensOfTheOldOnesAlone) {
  const std::string old = issue();
  const admin::v1::GenerateKeysResponse sandbox = generate("app", config::v1::SANDBOX);
  const std::string other = text(token(request({{"grant_type", "client_credentials"}},
                                               sandbox.consumer_key(), sandbox.consumer_secret())),
                                 "access_token");
  const admin::v1::GenerateKeysResponse fresh = generate("app", config::v1::PRODUCTION);
  EXPECT_TRUE(stored(old).revoked());
  EXPECT_FALSE(stored(other).revoked());
  EXPECT_EQ(token(request({{"grant_type", "client_credentials"}})).status, 401);
  keys_ = fresh;
  EXPECT_EQ(token(request({{"grant_type", "client_credentials"}})).status, 200);
}

TEST_F(OauthTest, KeysNeedAnApplicationAndAType) {
  admin::v1::GenerateKeysRequest request;
  request.set_application("app");
  EXPECT_TRUE(absl::IsInvalidArgument(tokens_->generate_keys(request).status()));
  request.set_application("none");
  request.set_key_type(config::v1::SANDBOX);
  EXPECT_TRUE(absl::IsNotFound(tokens_->generate_keys(request).status()));
}

TEST_F(OauthTest, AClientRevokesItsOwnTokenAndNoOther) {
  const std::string mine = issue();
  const admin::v1::GenerateKeysResponse sandbox = generate("app", config::v1::SANDBOX);
  const Request stranger =
      request({{"token", mine}}, sandbox.consumer_key(), sandbox.consumer_secret());
  EXPECT_EQ(revoke(stranger).status, 200);
  EXPECT_FALSE(stored(mine).revoked());
  EXPECT_EQ(revoke(request({{"token", "unknown"}})).status, 200);
  EXPECT_EQ(revoke(request({{"token", mine}, {"token_type_hint", "access_token"}})).status, 200);
  EXPECT_TRUE(stored(mine).revoked());
  EXPECT_EQ(revoke(request({})).status, 400);
  EXPECT_EQ(revoke(Request{"", {{"token", mine}}, ""}).status, 401);
}

TEST_F(OauthTest, OperatorsRevokeByTokenAndByApplication) {
  const std::string first = issue();
  const std::string second = issue();
  admin::v1::RevokeTokenRequest request;
  EXPECT_TRUE(absl::IsInvalidArgument(tokens_->revoke(request, now_).status()));
  request.set_token(first);
  EXPECT_EQ(tokens_->revoke(request, now_)->revoked(), 1);
  EXPECT_EQ(tokens_->revoke(request, now_)->revoked(), 0);
  request.set_token("unknown");
  EXPECT_TRUE(absl::IsNotFound(tokens_->revoke(request, now_).status()));
  request.clear_token();
  request.set_application("app");
  const auto response = tokens_->revoke(request, now_);
  EXPECT_EQ(response->revoked(), 1);
  EXPECT_GT(response->revision(), 0);
  EXPECT_TRUE(stored(second).revoked());
}

TEST_F(OauthTest, OperatorsRevokeTheTokenOfAConnection) {
  const std::string mine = issue();
  const std::string other = issue();
  telemetry::v1::Record record;
  record.set_epoch(1);
  record.set_sequence(1);
  record.set_part(telemetry::v1::Record::INTERIM);
  record.set_connection_id("c-1");
  record.set_application("app");
  record.set_token_id(hex(sha256(mine)).substr(0, 16));
  telemetry::v1::Record nameless = record;
  nameless.set_sequence(2);
  nameless.set_connection_id("c-2");
  nameless.clear_token_id();
  ASSERT_TRUE(store_->append_records(kOrganisation, "node", {record, nameless}).ok());
  admin::v1::RevokeTokenRequest request;
  request.set_connection("c-1");
  const auto response = tokens_->revoke(request, now_);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->revoked(), 1);
  EXPECT_TRUE(stored(mine).revoked());
  EXPECT_FALSE(stored(other).revoked());
  request.set_connection("c-2");
  EXPECT_TRUE(absl::IsFailedPrecondition(tokens_->revoke(request, now_).status()));
  request.set_connection("c-3");
  EXPECT_TRUE(absl::IsNotFound(tokens_->revoke(request, now_).status()));
}

TEST_F(OauthTest, OperatorsIssueTokensOnlyWhereThereAreKeys) {
  admin::v1::IssueTokenRequest request;
  request.set_application("app");
  request.set_key_type(config::v1::PRODUCTION);
  request.set_validity_s(5);
  const auto response = tokens_->issue(request, now_);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->expires_in(), 5);
  request.set_key_type(config::v1::SANDBOX);
  EXPECT_TRUE(absl::IsNotFound(tokens_->issue(request, now_).status()));
}

TEST_F(OauthTest, MetadataSaysWhatIsServed) {
  const boost::json::value metadata = boost::json::parse(Endpoints::metadata("https://h:1"));
  EXPECT_EQ(metadata.at("issuer").as_string(), "https://h:1");
  EXPECT_EQ(metadata.at("token_endpoint").as_string(), "https://h:1/oauth2/token");
  EXPECT_EQ(metadata.at("grant_types_supported").as_array().size(), 1u);
}

TEST_F(OauthTest, LogsInAndOut) {
  Users users(*store_, kOrganisation);
  EXPECT_TRUE(absl::IsInvalidArgument(users.set_password("ann", "short")));
  ASSERT_TRUE(users.set_password("ann", "long enough").ok());
  EXPECT_TRUE(absl::IsUnauthenticated(users.login("ann", "long enougH", "").status()));
  EXPECT_TRUE(absl::IsUnauthenticated(users.login("bob", "long enough", "").status()));
  const absl::StatusOr<Session> session = users.login("ann", "long enough", "");
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(*users.authenticate(session->token), "ann");
  EXPECT_TRUE(absl::IsUnauthenticated(users.authenticate("sls_x").status()));
  EXPECT_TRUE(absl::IsUnauthenticated(users.authenticate("").status()));
  EXPECT_TRUE(users.logout(session->token).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(users.authenticate(session->token).status()));
}

TEST_F(OauthTest, ANewPasswordEndsSessionsAndTheFileOfTheFirstOne) {
  const std::string file = (directory_ / "admin-password").string();
  std::ofstream(file) << "secret";
  Users users(*store_, kOrganisation, file);
  ASSERT_TRUE(users.set_password("ann", "long enough").ok());
  EXPECT_TRUE(std::filesystem::exists(file));
  ASSERT_TRUE(users.set_password("admin", "long enough").ok());
  EXPECT_FALSE(std::filesystem::exists(file));
  const std::string ann = users.login("ann", "long enough", "")->token;
  const std::string admin = users.login("admin", "long enough", "")->token;
  ASSERT_TRUE(users.set_password("admin", "another one").ok());
  EXPECT_TRUE(users.authenticate(ann).ok());
  EXPECT_FALSE(users.authenticate(admin).ok());
  EXPECT_FALSE(users.login("admin", "long enough", "").ok());
  store::Commit removal;
  oauth::Users::add_removal("ann", removal);
  ASSERT_TRUE(store_->commit(kOrganisation, removal).ok());
  EXPECT_FALSE(users.authenticate(ann).ok());
  EXPECT_FALSE(*users.has_password("ann"));
}

TEST_F(OauthTest, GuessingAPasswordIsLimitedByAddress) {
  Users users(*store_, kOrganisation);
  ASSERT_TRUE(users.set_password("ann", "long enough").ok());
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(absl::IsUnauthenticated(users.login("ann", "wrong", "192.0.2.1").status()));
  }
  EXPECT_TRUE(absl::IsResourceExhausted(users.login("ann", "long enough", "192.0.2.1").status()));
  EXPECT_TRUE(users.login("ann", "long enough", "192.0.2.2").ok());
}

TEST(Attempts, CountsByKeyAndWindow) {
  Attempts attempts(2, seconds(10));
  Mono now{};
  attempts.failed("a", now);
  EXPECT_TRUE(attempts.check("a", now).ok());
  attempts.failed("a", now);
  EXPECT_TRUE(absl::IsResourceExhausted(attempts.check("a", now)));
  EXPECT_TRUE(attempts.check("b", now).ok());
  EXPECT_TRUE(attempts.check("a", now + seconds(10)).ok());
  attempts.failed("", now);
  attempts.failed("", now);
  EXPECT_TRUE(attempts.check("", now).ok());
}

}  // namespace
}  // namespace sluice::controlplane::oauth
