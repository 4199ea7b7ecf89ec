#include "controlplane/http/door.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "controlplane/http/test_client.h"
#include "controlplane/store/sqlite_store.h"
#include "proxy/base/encoding.h"
#include "sluice/admin/v1/resources.pb.h"
#include "sluice/admin/v1/services.pb.h"

namespace sluice::controlplane::http {
namespace {

using testing::Client;
using testing::Reply;
namespace wire = ::sluice::http;

constexpr char kOrganisation[] = "default";

// The door over a table of two methods and a store of its own.
class DoorTest : public ::testing::Test {
 protected:
  DoorTest()
      : directory_(std::filesystem::temp_directory_path() /
                   ("sluice-door-" + hex(random_bytes(8)))) {
    std::filesystem::create_directory(directory_);
    store::SqliteOptions options;
    options.path = (directory_ / "control.db").string();
    store_ = *store::open_sqlite(options);
    users_ = std::make_unique<oauth::Users>(*store_, kOrganisation);
    tokens_ = std::make_unique<oauth::Tokens>(*store_, kOrganisation);
    endpoints_ = std::make_unique<oauth::Endpoints>(*tokens_);
    EXPECT_TRUE(users_->set_password("ann", "long enough").ok());
    session_ = users_->login("ann", "long enough", "")->token;
    make_table();
    std::ofstream(directory_ / "index.html") << "<p>portal</p>";
    std::ofstream(directory_ / "app.js") << "let a";
    portal_ = std::make_unique<StaticFiles>(*StaticFiles::load(directory_.string()));
    start();
  }
  ~DoorTest() override {
    door_->stop();
    pool_.reset();
    door_.reset();
    store_.reset();
    std::filesystem::remove_all(directory_);
  }

  void make_table() {
    table_ = std::make_unique<api::ServiceTable>(
        [this](std::string_view token) { return users_->authenticate(token); });
    table_->add<admin::v1::GetApiRequest>(
        "sluice.admin.v1.ApiService.GetApi", {},
        [](const api::CallContext& context,
           const admin::v1::GetApiRequest& request) -> absl::StatusOr<admin::v1::Api> {
          if (request.name() == "missing") {
            return not_found("there is no Api missing");
          }
          admin::v1::Api api;
          api.set_name(request.name() + " for " + context.user);
          return api;
        });
    table_->add<admin::v1::JoinRequest>(
        "sluice.admin.v1.JoinService.Join", {.access = api::Access::kJoin},
        [](const api::CallContext&, const admin::v1::JoinRequest&)
            -> absl::StatusOr<admin::v1::JoinResponse> { return admin::v1::JoinResponse(); });
  }

  void start() {
    pool_ = std::make_unique<api::HandlerPool>();
    Services services{*table_,    *pool_,       *endpoints_,
                      *users_,    metrics_,     [this] { return ready_; },
                      "the CA\n", portal_.get()};
    auto door = Door::start(std::move(services), {{"door", "127.0.0.1", 0, nullptr, false},
                                                  {"public", "127.0.0.1", 0, nullptr, true}});
    ASSERT_TRUE(door.ok()) << door.status();
    door_ = *std::move(door);
    client_ = std::make_unique<Client>(door_->ports()[0]);
    client_->token = session_;
    stranger_ = std::make_unique<Client>(door_->ports()[1]);
  }

  const std::filesystem::path directory_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<oauth::Users> users_;
  std::unique_ptr<oauth::Tokens> tokens_;
  std::unique_ptr<oauth::Endpoints> endpoints_;
  std::unique_ptr<api::ServiceTable> table_;
  std::unique_ptr<api::HandlerPool> pool_;
  std::unique_ptr<StaticFiles> portal_;
  telemetry::Metrics metrics_;
  absl::Status ready_;
  std::string session_;
  std::unique_ptr<Door> door_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Client> stranger_;
};

TEST_F(DoorTest, CarriesACallAndItsError) {
  const Reply reply = client_->call("ApiService/GetApi", R"({"name":"echo"})");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.text("name"), "echo for ann");
  EXPECT_EQ(reply.headers.get("Content-Type"), "application/json");
  const Reply missing = client_->call("ApiService/GetApi", R"({"name":"missing"})");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.text("code"), "not_found");
  EXPECT_EQ(missing.text("message"), "there is no Api missing");
}

TEST_F(DoorTest, WantsALoginBeforeItLooksAtTheMessage) {
  client_->token.clear();
  const Reply reply = client_->call("ApiService/GetApi", "nonsense");
  EXPECT_EQ(reply.status, 401);
  EXPECT_EQ(reply.text("code"), "unauthenticated");
  EXPECT_TRUE(reply.headers.get("WWW-Authenticate").starts_with("Bearer"));
  client_->token = "sls_wrong";
  EXPECT_EQ(client_->call("ApiService/GetApi", "{}").status, 401);
}

TEST_F(DoorTest, NamesAnUnknownField) {
  const Reply reply = client_->call("ApiService/GetApi", R"({"nmae":"echo"})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.text("code"), "invalid_argument");
  EXPECT_EQ(reply.text("message"), "nmae: there is no such field");
}

TEST_F(DoorTest, DoesNotKnowWhatIsServedByGrpcOnly) {
  EXPECT_EQ(client_->call("JoinService/Join", "{}").status, 404);
  EXPECT_EQ(client_->call("ApiService/Nothing", "{}").status, 404);
  EXPECT_EQ(client_->call("ApiService/Nothing", "{}").text("code"), "unimplemented");
}

TEST_F(DoorTest, RefusesOtherMethodsAndTypes) {
  EXPECT_EQ(client_->get("/sluice.admin.v1.ApiService/GetApi").status, 405);
  EXPECT_EQ(client_->get("/oauth2/token").headers.get("Allow"), "POST");
  EXPECT_EQ(client_->request("POST", "/healthz").status, 405);
  EXPECT_EQ(client_->request("DELETE", "/nowhere.txt").status, 404);
  wire::Headers headers;
  headers.add("Content-Type", "text/plain");
  const Reply reply =
      client_->request("POST", "/sluice.admin.v1.ApiService/GetApi", std::move(headers), "{}");
  EXPECT_EQ(reply.status, 415);
  EXPECT_EQ(reply.headers.get("Accept-Post"), "application/json");
}

TEST_F(DoorTest, ChecksTheHeadersOfConnect) {
  const auto status_with = [&](const char* name, const char* value) {
    wire::Headers headers;
    headers.add("Authorization", "Bearer " + session_);
    headers.add("Content-Type", "application/json; charset=utf-8");
    headers.add(name, value);
    return client_->request("POST", "/sluice.admin.v1.ApiService/GetApi", std::move(headers), "{}")
        .status;
  };
  EXPECT_EQ(status_with("Connect-Protocol-Version", "1"), 200);
  EXPECT_EQ(status_with("Connect-Protocol-Version", "2"), 400);
  EXPECT_EQ(status_with("Connect-Timeout-Ms", "60000"), 200);
  EXPECT_EQ(status_with("Connect-Timeout-Ms", "x"), 400);
  EXPECT_EQ(status_with("Connect-Timeout-Ms", "0"), 504);
  EXPECT_EQ(status_with("Content-Encoding", "identity"), 200);
  EXPECT_EQ(status_with("Content-Encoding", "gzip"), 501);
}

TEST_F(DoorTest, IsHealthyAndSaysWhenItIsNotReady) {
  EXPECT_EQ(client_->get("/healthz").status, 200);
  EXPECT_EQ(client_->get("/readyz").status, 200);
  EXPECT_EQ(client_->request("HEAD", "/healthz").body, "");
  ready_ = unavailable("disk full at /x");
  const Reply reply = client_->get("/readyz");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.body, "disk full at /x\n");
}

TEST_F(DoorTest, ShowsMetricsToUsersOnly) {
  client_->call("ApiService/GetApi", "{}");
  EXPECT_EQ(client_->get("/metrics").status, 401);
  const Reply reply = client_->get("/metrics", session_);
  EXPECT_EQ(reply.status, 200);
  EXPECT_NE(reply.body.find(R"(sluice_door_requests_total{service="ApiService",code="200"} 1)"),
            std::string::npos)
      << reply.body;
}

TEST_F(DoorTest, ServesOauthOnBothOpeningsAndNothingElseOnThePublicOne) {
  for (Client* client : {client_.get(), stranger_.get()}) {
    EXPECT_EQ(client->form("/oauth2/token", "", "grant_type=client_credentials").status, 401);
    EXPECT_EQ(client->form("/token", "", "").text("error"), "invalid_request");
    EXPECT_EQ(client->form("/oauth2/revoke", "", "token=x").status, 401);
    EXPECT_EQ(client->get("/.well-known/oauth-authorization-server").status, 200);
  }
  for (const char* path : {"/healthz", "/metrics", "/", "/ca.pem", "/app.js"}) {
    EXPECT_EQ(stranger_->get(path).status, 404) << path;
  }
  stranger_->token = session_;
  EXPECT_EQ(stranger_->call("ApiService/GetApi", "{}").status, 404);
}

TEST_F(DoorTest, WantsFormsForOauth) {
  EXPECT_EQ(client_->request("POST", "/oauth2/token", {}, "{}").text("error"), "invalid_request");
  EXPECT_EQ(client_->form("/oauth2/token", "", "a=%zz").text("error"), "invalid_request");
  const std::string large(100'000, 'a');
  EXPECT_EQ(stranger_->form("/oauth2/token", "", large).status, 413);
}

TEST_F(DoorTest, MetadataNamesTheHostThatWasAsked) {
  const Reply reply = client_->get("/.well-known/oauth-authorization-server");
  const std::string issuer = "http://localhost:" + std::to_string(door_->ports()[0]);
  EXPECT_EQ(reply.text("issuer"), issuer);
  EXPECT_EQ(reply.text("token_endpoint"), issuer + "/oauth2/token");
}

TEST_F(DoorTest, ServesThePortalWithAStrictPolicy) {
  const Reply index = client_->get("/");
  EXPECT_EQ(index.body, "<p>portal</p>");
  EXPECT_EQ(index.headers.get("Content-Type"), "text/html; charset=utf-8");
  EXPECT_TRUE(index.headers.get("Content-Security-Policy").starts_with("default-src 'self'"));
  EXPECT_EQ(index.headers.count("Content-Security-Policy"), 1u);
  EXPECT_EQ(client_->get("/app.js").headers.get("Content-Type"), "text/javascript; charset=utf-8");
  EXPECT_EQ(client_->get("/apis/echo").body, "<p>portal</p>");
  EXPECT_EQ(client_->get("/missing.js").status, 404);
  EXPECT_EQ(client_->get("/..%2fcontrol.db").status, 400);
}

TEST_F(DoorTest, SendsSecurityHeadersAndNoCors) {
  for (const char* path : {"/healthz", "/nowhere.txt", "/"}) {
    const Reply reply = client_->get(path);
    EXPECT_EQ(reply.headers.get("X-Content-Type-Options"), "nosniff") << path;
    EXPECT_EQ(reply.headers.get("X-Frame-Options"), "DENY") << path;
    EXPECT_FALSE(reply.headers.has("Access-Control-Allow-Origin")) << path;
  }
  EXPECT_EQ(client_->get("/ca.pem").body, "the CA\n");
}

TEST_F(DoorTest, SaysWhichAddressIsTaken) {
  Services services{*table_, *pool_, *endpoints_, *users_, metrics_, [this] { return ready_; },
                    "",      nullptr};
  const auto second =
      Door::start(std::move(services), {{"door", "127.0.0.1", door_->ports()[0], nullptr, false}});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(message_of(second.status()).find(std::to_string(door_->ports()[0])), std::string::npos)
      << second.status();
}

TEST(StaticFiles, NeedAnIndex) { EXPECT_FALSE(StaticFiles::load("/nowhere").ok()); }

}  // namespace
}  // namespace sluice::controlplane::http
