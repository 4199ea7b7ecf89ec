#include "proxy/httpserver/http_server.h"

#include <fmt/format.h>

#include "proxy/httpserver/testing.h"
#include "proxy/net/testing_tls.h"

namespace sluice::httpserver {
namespace {

using net::testing::run_task;
using net::testing::run_until;
using net::testing::soon;
using testing::Answer;
using testing::Client;

Task<Response> echo(Request request) {
  Response response = text_response(
      200, fmt::format("{} {} ?{} {}", request.method, request.path, request.query, request.body));
  if (request.path == "/big") {
    response.shared_body = std::make_shared<const std::string>(net::testing::pattern(5'000'000));
  }
  if (request.path == "/empty") {
    response.status = 204;
    response.body.clear();
  }
  if (request.path == "/evil") {
    response.headers.add("Location", "x\r\nSet-Cookie: y");
  }
  if (request.path == "/tls") {
    response.body = request.tls ? "secured" : "plain";
  }
  co_return response;
}

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() : loop(1) {}
  ~HttpServerTest() override { stop(); }

  void start(ServerOptions options = {}) {
    auto started = HttpServer::start(loop, std::move(options), echo);
    ASSERT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
  }
  static Task<bool> stop_task(HttpServer& server) {
    co_await server.stop();
    co_return true;
  }
  void stop() {
    if (server != nullptr) {
      run_task(loop, stop_task(*server));
      server.reset();
    }
  }
  Client client(std::shared_ptr<const net::TlsClientContext> tls = nullptr) {
    return Client::connect(loop, server->port(), std::move(tls));
  }

  net::Loop loop;
  std::unique_ptr<HttpServer> server;
};

TEST_F(HttpServerTest, AnswersRequestsOneAfterAnother) {
  ServerOptions options;
  options.extra_headers.add("X-Frame-Options", "DENY");
  start(std::move(options));
  Client c = client();
  for (int i = 0; i < 3; ++i) {
    c.send(fmt::format("GET /a/./b?x={} HTTP/1.1\r\nHost: h\r\n\r\n", i));
    const Answer answer = c.receive();
    EXPECT_EQ(answer.head.status, 200);
    EXPECT_EQ(answer.body, fmt::format("GET /a/b ?x={} ", i));
    EXPECT_EQ(answer.head.headers.get("X-Frame-Options"), "DENY");
    EXPECT_TRUE(answer.head.headers.has("Date"));
  }
  EXPECT_EQ(server->connections(), 1U);
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  start();
  Client c = client();
  c.send(
      "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
      "POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
      "chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n"
      "GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(c.receive().body, "POST /1 ? abc");
  EXPECT_EQ(c.receive().body, "POST /2 ? def");
  const Answer last = c.receive();
  EXPECT_EQ(last.body, "GET /3 ? ");
  EXPECT_EQ(last.head.headers.get("Connection"), "close");
  EXPECT_TRUE(c.closed());
}

TEST_F(HttpServerTest, SendsLargeBodiesAndNoneForHead) {
  start();
  Client c = client();
  c.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(c.receive().body == net::testing::pattern(5'000'000));
  c.send("HEAD /big HTTP/1.1\r\nHost: h\r\n\r\n");
  const Answer head = c.receive("HEAD");
  EXPECT_EQ(head.head.headers.get("Content-Length"), "5000000");
  c.send("GET /empty HTTP/1.1\r\nHost: h\r\n\r\n");
  const Answer empty = c.receive();
  EXPECT_EQ(empty.head.status, 204);
  EXPECT_FALSE(empty.head.headers.has("Content-Length"));
}

TEST_F(HttpServerTest, RefusesMalformedAndTooLarge) {
  ServerOptions options;
  options.head_bytes_max = 1000;
  options.body_bytes_max = 10;
  start(std::move(options));
  struct Case {
    std::string request;
    int status;
  };
  const std::vector<Case> cases = {
      {"nonsense\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400},
      {"GET /../x HTTP/1.1\r\nHost: h\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(2000, 'x') + "\r\n\r\n", 431},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n12345678901", 413},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
  };
  for (const Case& bad : cases) {
    Client c = client();
    c.send(bad.request);
    const Answer answer = c.receive();
    EXPECT_EQ(answer.head.status, bad.status) << bad.request;
    EXPECT_EQ(answer.head.headers.get("Content-Type"), "application/json");
    EXPECT_NE(answer.body.find("\"description\""), std::string::npos) << answer.body;
    EXPECT_TRUE(c.closed()) << bad.request;
  }
}

TEST_F(HttpServerTest, RefusesToSendAMalformedField) {
  start();
  Client c = client();
  c.send("GET /evil HTTP/1.1\r\nHost: h\r\n\r\n");
  const Answer answer = c.receive();
  EXPECT_EQ(answer.head.status, 500);
  EXPECT_FALSE(answer.head.headers.has("Set-Cookie"));
}

TEST_F(HttpServerTest, InvitesABodyThatWaits) {
  start();
  Client c = client();
  c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(c.receive().head.status, 100);
  c.send("ok");
  EXPECT_EQ(c.receive().body, "POST / ? ok");
}

TEST_F(HttpServerTest, GivesUpOnTheSlow) {
  ServerOptions options;
  options.request_timeout = milliseconds(40);
  options.idle_timeout = milliseconds(40);
  start(std::move(options));
  Client silent = client();
  EXPECT_TRUE(silent.closed());
  Client slow = client();
  slow.send("GET / HT");
  EXPECT_EQ(slow.receive().head.status, 408);
  Client half = client();
  half.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
  EXPECT_EQ(half.receive().head.status, 408);
  Client idle = client();
  idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(idle.receive().head.status, 200);
  EXPECT_TRUE(idle.closed());
}

TEST_F(HttpServerTest, BoundsItsConnections) {
  ServerOptions options;
  options.connections_max = 2;
  start(std::move(options));
  Client one = client();
  Client two = client();
  Client three = client();
  EXPECT_TRUE(three.closed());
  EXPECT_EQ(server->refused(), 1U);
  one.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(one.receive().head.status, 200);
}

TEST_F(HttpServerTest, SpeaksTls) {
  const auto certificate = net::testing::make_certificate("s", "IP:127.0.0.1");
  ServerOptions options;
  options.tls = *net::TlsServerContext::create(certificate.certificate, certificate.key);
  start(std::move(options));
  Client c = client(*net::TlsClientContext::create(certificate.certificate));
  c.send("GET /tls HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(c.receive().body, "secured");
  EXPECT_TRUE(c.closed());
  // A new certificate serves new connections.
  const auto other = net::testing::make_certificate("t", "IP:127.0.0.1");
  server->set_tls(*net::TlsServerContext::create(other.certificate, other.key));
  Client d = client(*net::TlsClientContext::create(other.certificate));
  d.send("GET /tls HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(d.receive().body, "secured");
}

TEST_F(HttpServerTest, StopsWithConnectionsOpen) {
  start();
  Client idle = client();
  Client busy = client();
  busy.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
  ASSERT_TRUE(run_until(loop, [&] { return server->connections() == 2; }));
  const std::uint16_t port = server->port();
  stop();
  EXPECT_TRUE(idle.closed());
  EXPECT_TRUE(net::probe_port("127.0.0.1", port).ok());
}

TEST_F(HttpServerTest, NamesAnAddressThatIsTaken) {
  start();
  ServerOptions options;
  options.port = server->port();
  auto second = HttpServer::start(loop, options, echo);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(message_of(second.status()).find(std::to_string(options.port)), std::string_view::npos);
}

}  // namespace
}  // namespace sluice::httpserver
