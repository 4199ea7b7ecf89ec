#include "proxy/admin/admin_server.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <boost/json/parse.hpp>
#include <filesystem>
#include <fstream>

#include "proxy/admin/render.h"
#include "proxy/base/encoding.h"
#include "proxy/base/log.h"
#include "proxy/config/testing.h"
#include "proxy/httpserver/testing.h"

namespace sluice::admin {
namespace {

namespace json = boost::json;
using httpserver::testing::Answer;
using httpserver::testing::Client;

class AdminTest : public config::testing::CompileTest {
 protected:
  AdminTest() : loop(1), directory(::testing::TempDir() + "admin-" + hex(random_bytes(8))) {
    std::filesystem::create_directory(directory);
    services.not_ready = [this] { return reason; };
    services.metrics_text = [] {
      return "# HELP sluice_x_total X.\n# TYPE sluice_x_total counter\nsluice_x_total{a=\"b\"} 7\n"
             "sluice_y 0\n";
    };
    services.snapshot = [this] { return snapshot; };
    services.bindings = [] { return worker::Bindings{{"ws", {"127.0.0.1", 4711}}}; };
    services.connections = [this](std::function<void(std::vector<worker::ConnectionInfo>)> answer) {
      // As from a worker: later.
      loop.post([answer = std::move(answer)] {
        worker::ConnectionInfo one;
        one.id = "c1";
        one.api = "echo-v1";
        worker::ConnectionInfo two;
        two.id = "c2";
        two.api = "other";
        answer({one, two});
      });
    };
    services.close_connection = [](std::string id, std::function<void(bool)> answer) {
      answer(id == "c1");
    };
    services.drain = [this] { ++drains; };
    give({config::testing::listener("ws", "address: '127.0.0.1' port: 9099"),
          config::testing::secret("wss-default", config::testing::make_certificate("front")),
          config::testing::api("echo-v1", config::testing::published("/echo", "v1"))});
  }
  ~AdminTest() override {
    if (server != nullptr) {
      net::testing::run_task(loop, stop(*server));
      server.reset();
    }
    std::filesystem::remove_all(directory);
  }
  static Task<bool> stop(AdminServer& admin) {
    co_await admin.stop();
    co_return true;
  }

  void start(bool with_data_dir = true) {
    AdminOptions options;
    options.data_dir = with_data_dir ? directory : "";
    auto started = AdminServer::start(loop, options, services);
    ASSERT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
  }

  Answer ask(std::string_view method, std::string_view target, std::string_view token = "",
             std::string_view host = "localhost") {
    Client client = Client::connect(loop, server->port());
    std::string request = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", method, target, host);
    if (!token.empty()) {
      request += fmt::format("Authorization: Bearer {}\r\n", token);
    }
    client.send(request + "\r\n");
    return client.receive(method);
  }
  json::value get(std::string_view target) {
    const Answer answer = ask("GET", target);
    EXPECT_EQ(answer.head.status, 200) << target << answer.body;
    return json::parse(answer.body);
  }
  std::string token() { return *load_admin_token(directory); }

  net::Loop loop;
  std::string directory;
  std::string reason;
  int drains = 0;
  AdminServices services;
  std::unique_ptr<AdminServer> server;
};

TEST_F(AdminTest, TellsReadyAndLive) {
  start();
  EXPECT_EQ(ask("GET", "/live").head.status, 200);
  EXPECT_EQ(ask("GET", "/ready").head.status, 200);
  EXPECT_EQ(ask("HEAD", "/ready").head.status, 200);
  reason = "draining";
  const Answer answer = ask("GET", "/ready");
  EXPECT_EQ(answer.head.status, 503);
  EXPECT_EQ(answer.body, "draining\n");
  EXPECT_EQ(answer.head.headers.get("Cache-Control"), "no-store");
}

TEST_F(AdminTest, ShowsStatsBothWays) {
  start();
  EXPECT_EQ(ask("GET", "/stats").body, "sluice_x_total{a=\"b\"}: 7\nsluice_y: 0\n");
  EXPECT_EQ(ask("GET", "/stats?used").body, "sluice_x_total{a=\"b\"}: 7\n");
  EXPECT_EQ(ask("GET", "/stats?filter=_y").body, "sluice_y: 0\n");
  const Answer answer = ask("GET", "/stats/prometheus");
  EXPECT_EQ(answer.head.headers.get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(answer.body, services.metrics_text());
}

TEST_F(AdminTest, ShowsTheConfigurationInForceWithoutSecrets) {
  services.server_info = [] { return json::object{{"node", "n1"}}; };
  services.memory = [] { return json::object{{"tokens", 5}}; };
  services.certificates = [] {
    return std::vector<std::pair<std::string, std::string>>{
        {"node", config::testing::make_certificate("node").certificate_pem}, {"bad", "x"}};
  };
  start();
  const json::value apis = get("/apis");
  ASSERT_EQ(apis.as_array().size(), 1U);
  EXPECT_EQ(apis.at(0).at("state").as_string(), "PUBLISHED");
  EXPECT_EQ(apis.at(0).at("production").at("endpoints").at(0).as_string(), "ws://127.0.0.1:9100/");
  EXPECT_EQ(get("/apis?name=zzz").as_array().size(), 0U);
  EXPECT_EQ(get("/listeners").at(0).at("bound_port").as_int64(), 4711);
  EXPECT_EQ(get("/upstreams").as_array().size(), 0U);
  EXPECT_EQ(get("/server_info").at("node").as_string(), "n1");
  EXPECT_EQ(get("/server_info").at("version").as_string(), SLUICE_VERSION);
  EXPECT_EQ(get("/memory").at("tokens").as_int64(), 5);
  EXPECT_GT(get("/memory").at("pss_bytes").as_int64(), 0);
  const json::value certs = get("/certs");
  EXPECT_EQ(certs.at("secrets").at(0).at("certificate").at("subject").as_string(), "CN=front");
  EXPECT_EQ(certs.at("others").at(0).at("subject").as_string(), "CN=node");
  EXPECT_TRUE(certs.at("others").at(1).as_object().contains("error"));
  const Answer dump = ask("GET", "/config_dump");
  EXPECT_EQ(dump.head.status, 200);
  EXPECT_EQ(dump.body.find("PRIVATE KEY"), std::string::npos);
  const json::value parsed = json::parse(dump.body);
  for (const char* part : {"listeners", "secrets", "upstreams", "plans", "apis", "refused"}) {
    EXPECT_TRUE(parsed.as_object().contains(part)) << part;
  }
}

TEST_F(AdminTest, ListsAndClosesConnections) {
  start();
  EXPECT_EQ(get("/connections").as_array().size(), 2U);
  const json::value some = get("/connections?api=echo-v1");
  ASSERT_EQ(some.as_array().size(), 1U);
  EXPECT_EQ(some.at(0).at("id").as_string(), "c1");
  EXPECT_EQ(ask("POST", "/connections/c1/close", token()).head.status, 200);
  EXPECT_EQ(ask("POST", "/connections/c9/close", token()).head.status, 404);
  EXPECT_EQ(ask("POST", "/connections//close", token()).head.status, 404);
}

TEST_F(AdminTest, PostNeedsTheToken) {
  start();
  EXPECT_EQ(ask("POST", "/drain").head.status, 401);
  EXPECT_EQ(ask("POST", "/drain", "wrong").head.status, 401);
  EXPECT_EQ(ask("GET", "/ready", "wrong").head.status, 401) << "a wrong token is never fine";
  EXPECT_EQ(drains, 0);
  EXPECT_EQ(ask("POST", "/drain", token()).head.status, 202);
  EXPECT_EQ(drains, 1);
  EXPECT_EQ(ask("POST", "/logging?level=loud", token()).head.status, 400);
  const log::Level before = log::level();
  EXPECT_EQ(ask("POST", "/logging?level=error", token()).head.status, 200);
  EXPECT_EQ(log::level(), log::Level::kError);
  log::set_level(before);
}

TEST_F(AdminTest, WithoutADataDirectoryPostIsRefused) {
  start(/*with_data_dir=*/false);
  EXPECT_EQ(ask("GET", "/ready").head.status, 200);
  EXPECT_EQ(ask("POST", "/drain").head.status, 403);
  EXPECT_EQ(ask("POST", "/drain", "anything").head.status, 403);
  EXPECT_EQ(drains, 0);
}

TEST_F(AdminTest, AForeignHostReadsNothing) {
  start();
  EXPECT_EQ(ask("GET", "/config_dump", "", "evil.example").head.status, 403);
  EXPECT_EQ(ask("GET", "/config_dump", "", "evil.example:9901").head.status, 403);
  EXPECT_EQ(ask("GET", "/ready", "", "127.0.0.1:9901").head.status, 200);
  EXPECT_EQ(ask("GET", "/ready", "", "[::1]:9901").head.status, 200);
  EXPECT_EQ(ask("GET", "/ready", "", "LOCALHOST").head.status, 200);
  EXPECT_EQ(ask("GET", "/ready", token(), "proxy.internal").head.status, 200);
}

TEST_F(AdminTest, KnowsItsPathsAndMethods) {
  start();
  EXPECT_EQ(ask("GET", "/").head.status, 200);
  EXPECT_EQ(ask("GET", "/nothing").head.status, 404);
  EXPECT_EQ(ask("GET", "/drain").head.status, 405);
  EXPECT_EQ(ask("POST", "/apis", token()).head.status, 405);
  EXPECT_EQ(ask("POST", "/nothing", token()).head.status, 404);
  EXPECT_EQ(ask("DELETE", "/apis", token()).head.status, 405);
}

TEST_F(AdminTest, ProbesAndNothingElse) {
  auto started = AdminServer::start_probes(loop, "127.0.0.1", 0, services);
  ASSERT_TRUE(started.ok());
  server = *std::move(started);
  EXPECT_EQ(ask("GET", "/ready", "", "node.cluster").head.status, 200);
  EXPECT_EQ(ask("GET", "/live").head.status, 200);
  EXPECT_EQ(ask("GET", "/stats/prometheus").head.status, 200);
  EXPECT_EQ(ask("GET", "/stats").head.status, 404);
  EXPECT_EQ(ask("GET", "/config_dump", token()).head.status, 404);
  EXPECT_EQ(ask("POST", "/drain", token()).head.status, 404);
  EXPECT_EQ(ask("POST", "/ready").head.status, 405);
  EXPECT_EQ(drains, 0);
}

TEST_F(AdminTest, TheTokenFileIsItsOwnersAlone) {
  const std::string path = directory + "/admin-token";
  const std::string first = token();
  EXPECT_EQ(first.size(), 43U);
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  EXPECT_EQ(token(), first);
  ::chmod(path.c_str(), 0644);
  auto loose = load_admin_token(directory);
  ASSERT_FALSE(loose.ok());
  EXPECT_NE(message_of(loose.status()).find(path), std::string_view::npos);
  ::chmod(path.c_str(), 0600);
  std::ofstream(path) << "short\n";
  EXPECT_FALSE(load_admin_token(directory).ok());
  EXPECT_FALSE(load_admin_token(directory + "/nowhere").ok());
}

TEST(Render, BlanksCredentialsInUrls) {
  EXPECT_EQ(redact_url("ws://h:1/x?a=b@c"), "ws://h:1/x?a=b@c");
  EXPECT_EQ(redact_url("wss://user:pass@h/x"), "wss://[redacted]@h/x");
  EXPECT_EQ(redact_url("wss://u:p@ss@h"), "wss://[redacted]@h");
  EXPECT_EQ(redact_url("upstream:name@x"), "upstream:name@x");
}

TEST(Render, FormatsTime) {
  EXPECT_EQ(format_time(wall_from_ms(784111777000)), "1994-11-06T08:49:37Z");
}

}  // namespace
}  // namespace sluice::admin
