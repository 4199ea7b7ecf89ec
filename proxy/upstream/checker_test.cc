#include "proxy/upstream/checker.h"

#include <gtest/gtest.h>

#include "proxy/base/log.h"
#include "proxy/net/testing.h"
#include "proxy/websocket/handshake.h"

namespace sluice::upstream {
namespace {

using Health = EndpointState::Health;

// A server that answers every request in the same way.
class Server final : public net::SideUser {
 public:
  explicit Server(net::Loop& loop) {
    acceptor_ = *net::Acceptor::listen(loop, {"127.0.0.1", 0, false},
                                       [this](std::unique_ptr<net::Side> side) {
                                         side->set_user(this);
                                         side->resume();
                                         sides_.push_back(std::move(side));
                                       });
  }
  std::uint16_t port() const { return acceptor_->port(); }

  std::string answer;  // empty: a 101
  std::string heads;

 private:
  void on_bytes(net::Side& side, MutableBytes bytes) override {
    const std::string head(as_text(bytes));
    heads += head;
    if (!answer.empty()) {
      side.write(as_bytes(answer));
      return;
    }
    const std::size_t at = head.find("Sec-WebSocket-Key: ") + 19;
    const std::string key = head.substr(at, head.find("\r\n", at) - at);
    const std::string text = http::serialize(websocket::make_upgrade_response(key));
    side.write(as_bytes(text));
  }
  void on_end(net::Side& side) override { side.end(); }
  void on_error(net::Side&, absl::Status) override {}
  void on_writable(net::Side&) override {}

  std::unique_ptr<net::Acceptor> acceptor_;
  std::vector<std::unique_ptr<net::Side>> sides_;
};

class CheckerTest : public ::testing::Test {
 protected:
  CheckerTest() : pool(loop, resolver, states), checker(loop, pool), server(loop) {
    log::silence();
    settings.interval = milliseconds(5);
    settings.failures = 2;
  }
  ~CheckerTest() override {
    checker.cancel();
    EXPECT_TRUE(net::testing::run_until(loop, [&] { return !checker.busy(); }));
  }

  void check(HealthCheck::Type type) {
    settings.type = type;
    cluster = std::make_shared<Cluster>();
    cluster->name = "c";
    model::Endpoint endpoint;
    endpoint.host = "127.0.0.1";
    endpoint.port = server.port();
    endpoint.url = endpoint.authority = "back";
    endpoint.path = "/own";
    cluster->endpoints = {endpoint};
    cluster->health_check = std::make_shared<HealthCheck>(settings);
    checker.adopt({cluster});
  }
  bool becomes(Health health) {
    return net::testing::run_until(loop, [&] {
      const auto state = states.find("c");
      return state != nullptr && state->endpoints().front()->health() == health;
    });
  }

  net::Loop loop{1};
  net::Resolver resolver;
  StateTable states;
  Pool pool;
  Checker checker;
  Server server;
  HealthCheck settings;
  std::shared_ptr<Cluster> cluster;
};

TEST_F(CheckerTest, TcpNeedsAConnection) {
  check(HealthCheck::Type::kTcp);
  EXPECT_TRUE(becomes(Health::kHealthy));
}

TEST_F(CheckerTest, HttpNeedsAStatusOf200To299) {
  server.answer = "HTTP/1.1 204 Fine\r\n\r\n";
  check(HealthCheck::Type::kHttp);
  EXPECT_TRUE(becomes(Health::kHealthy));
  EXPECT_TRUE(server.heads.starts_with("GET /own HTTP/1.1\r\nHost: back\r\n")) << server.heads;
  server.answer = "HTTP/1.1 302 Moved\r\nContent-Length: 0\r\n\r\n";
  EXPECT_TRUE(becomes(Health::kUnhealthy));
  server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  EXPECT_TRUE(becomes(Health::kHealthy));
  EXPECT_GT(states.find("c")->endpoints().front()->well_since(), Mono{});
}

TEST_F(CheckerTest, WebSocketNeedsARealHandshake) {
  settings.path = "/other?x=1";
  check(HealthCheck::Type::kWebSocket);
  EXPECT_TRUE(becomes(Health::kHealthy));
  EXPECT_TRUE(server.heads.starts_with("GET /other?x=1 HTTP/1.1\r\n")) << server.heads;
  server.answer =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: no\r\n\r\n";
  EXPECT_TRUE(becomes(Health::kUnhealthy));
  server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  EXPECT_TRUE(net::testing::run_until(
      loop, [&] { return states.find("c")->endpoints().front()->checks_failed > 5u; }));
  server.answer.clear();
  EXPECT_TRUE(becomes(Health::kHealthy));
}

TEST_F(CheckerTest, FindsASilentOneUnhealthyInTime) {
  server.answer = "HTTP/1.1 100 Wait\r\n\r\n";
  settings.timeout = milliseconds(10);
  check(HealthCheck::Type::kHttp);
  EXPECT_TRUE(becomes(Health::kUnhealthy));
}

TEST_F(CheckerTest, ForgetsWhatItFoundWhenItStops) {
  server.answer = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
  check(HealthCheck::Type::kHttp);
  EXPECT_TRUE(becomes(Health::kUnhealthy));
  checker.adopt({});
  EXPECT_TRUE(becomes(Health::kUnknown));
  EXPECT_TRUE(net::testing::run_until(loop, [&] { return !checker.busy(); }));
}

}  // namespace
}  // namespace sluice::upstream
