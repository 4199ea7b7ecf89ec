// A blocking HTTP client for the tests of this room. Not part of any program.
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <utility>

#include "proxy/http/body.h"
#include "proxy/http/parse.h"
#include "proxy/net/async_side.h"
#include "proxy/net/testing.h"

namespace sluice::controlplane::http::testing {

namespace wire = ::sluice::http;

struct Reply {
  int status = 0;
  wire::Headers headers;
  std::string body;

  boost::json::value json() const {
    boost::json::error_code error;
    boost::json::value value = boost::json::parse(body, error);
    EXPECT_FALSE(error) << body;
    return value;
  }
  std::string text(const char* name) const {
    const boost::json::value value = json();
    const boost::json::value* found =
        value.is_object() ? value.as_object().if_contains(name) : nullptr;
    return found != nullptr && found->is_string() ? std::string(found->as_string()) : "";
  }
};

// Each request on a connection of its own.
class Client {
 public:
  // `ca_pem` empty: plain text.
  Client(std::uint16_t port, const std::string& ca_pem = "") : loop_(1), port_(port) {
    if (!ca_pem.empty()) {
      tls_ = *net::TlsClientContext::create(ca_pem);
    }
  }

  Reply request(const std::string& method, const std::string& target, wire::Headers headers = {},
                std::string body = "") {
    wire::RequestHead head;
    head.method = method;
    head.target = target;
    head.headers = std::move(headers);
    head.headers.add("Host", "localhost:" + std::to_string(port_));
    head.headers.add("Content-Length", std::to_string(body.size()));
    head.headers.add("Connection", "close");
    return net::testing::run_task(loop_, exchange(wire::serialize(head) + body, method));
  }

  Reply get(const std::string& target, const std::string& token = "") {
    return request("GET", target, authorization(token));
  }

  // A Connect call: call("ApiService/GetApi", R"({"name":"x"})").
  Reply call(const std::string& method, const std::string& json) {
    wire::Headers headers = authorization(token);
    headers.add("Content-Type", "application/json");
    return request("POST", "/sluice.admin.v1." + method, std::move(headers), json);
  }

  Reply form(const std::string& path, const std::string& basic, const std::string& body) {
    wire::Headers headers;
    if (!basic.empty()) {
      headers.add("Authorization", "Basic " + basic);
    }
    headers.add("Content-Type", "application/x-www-form-urlencoded");
    return request("POST", path, std::move(headers), body);
  }

  std::string token;  // of call()

 private:
  static wire::Headers authorization(const std::string& token) {
    wire::Headers headers;
    if (!token.empty()) {
      headers.add("Authorization", "Bearer " + token);
    }
    return headers;
  }

  Task<Reply> exchange(std::string request, std::string method) {
    Reply reply;
    const Mono deadline = net::testing::soon(loop_);
    net::ConnectTarget target;
    target.host = "127.0.0.1";
    target.port = port_;
    target.tls = tls_;
    target.server_name = "localhost";
    auto connected = co_await net::connect(loop_, resolver_, std::move(target), deadline);
    if (!connected.ok()) {
      ADD_FAILURE() << connected.status();
      co_return reply;
    }
    net::AsyncSide side(loop_, *std::move(connected));
    absl::Status status = co_await side.write_all(request, deadline);
    while (status.ok()) {
      status = co_await side.read_more(std::size_t{64} << 20, deadline);
    }
    wire::ResponseParse parsed = wire::parse_response_head(side.unread(), 64 * 1024);
    if (parsed.state != wire::ParseState::kDone) {
      ADD_FAILURE() << "no answer: " << status << " " << side.unread();
      co_return reply;
    }
    side.consume(parsed.consumed);
    wire::BodyReader body(wire::response_body(parsed.head, method), std::size_t{64} << 20);
    std::size_t consumed = 0;
    body.read(side.unread(), consumed);
    reply.status = parsed.head.status;
    reply.headers = std::move(parsed.head.headers);
    reply.body = body.take_body();
    co_return reply;
  }

  net::Loop loop_;
  net::Resolver resolver_;
  const std::uint16_t port_;
  std::shared_ptr<const net::TlsClientContext> tls_;
};

}  // namespace sluice::controlplane::http::testing
