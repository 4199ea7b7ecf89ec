// What tests of this folder and of its users share. Not part of any program.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "proxy/http/body.h"
#include "proxy/http/parse.h"
#include "proxy/net/async_side.h"
#include "proxy/net/testing.h"

namespace sluice::httpserver::testing {

struct Answer {
  http::ResponseHead head;
  std::string body;
};

// A client that speaks bytes. Runs the loop while it waits.
class Client {
 public:
  Client(net::Loop& loop, std::unique_ptr<net::Side> side)
      : loop_(loop), io_(loop, std::move(side)) {}

  static Client connect(net::Loop& loop, std::uint16_t port,
                        std::shared_ptr<const net::TlsClientContext> tls = nullptr) {
    net::Resolver resolver;
    net::ConnectTarget target;
    target.host = "127.0.0.1";
    target.port = port;
    target.tls = std::move(tls);
    auto side = net::testing::run_task(
        loop, net::connect(loop, resolver, target, net::testing::soon(loop)));
    EXPECT_TRUE(side.ok()) << side.status();
    return Client(loop, *std::move(side));
  }

  void send(std::string_view text) {
    EXPECT_TRUE(net::testing::run_task(loop_, io_.write_all(text, net::testing::soon(loop_))).ok());
  }

  Answer receive(std::string_view method = "GET") {
    Answer answer;
    http::ResponseParse parse = http::parse_response_head(io_.unread(), 65536);
    while (parse.state == http::ParseState::kNeedMore && more()) {
      parse = http::parse_response_head(io_.unread(), 65536);
    }
    if (parse.state != http::ParseState::kDone) {
      ADD_FAILURE() << "no response: " << parse.error.text;
      return answer;
    }
    io_.consume(parse.consumed);
    http::BodyReader reader(http::response_body(parse.head, method), 100'000'000);
    std::size_t consumed = 0;
    while (reader.read(io_.unread(), consumed) == http::ParseState::kNeedMore) {
      io_.consume(consumed);
      if (!more()) {
        ADD_FAILURE() << "the body was cut short";
        return answer;
      }
    }
    io_.consume(consumed);
    answer.head = std::move(parse.head);
    answer.body = reader.take_body();
    return answer;
  }

  bool closed() {
    return absl::IsOutOfRange(net::testing::run_task(
               loop_, io_.read_more(1'000'000, net::testing::soon(loop_)))) &&
           io_.unread().empty();
  }

 private:
  bool more() {
    return net::testing::run_task(loop_, io_.read_more(200'000'000, net::testing::soon(loop_)))
        .ok();
  }

  net::Loop& loop_;
  net::AsyncSide io_;
};

}  // namespace sluice::httpserver::testing
