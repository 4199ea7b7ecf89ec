#include "proxy/session/transfer.h"

#include <gtest/gtest.h>

#include "proxy/net/pipe.h"
#include "proxy/net/testing.h"

namespace sluice::session {
namespace {

using End = Transfer::End;
using net::testing::pattern;
using net::testing::Witness;

constexpr std::string_view kHead = "POST /x HTTP/1.1\r\nHost: b\r\n\r\n";

// A client and a backend at the ends of pipes, on a clock that the test moves.
class TransferTest : public testing::Test {
 protected:
  TransferTest() : loop_(1, net::Loop::ClockMode::kManual) {
    exchange_.request.method = "POST";
    filters_ = std::make_unique<filter::FilterInstances>(
        std::make_shared<const filter::FilterChain>(std::vector<filter::FilterChain::Entry>{}));
  }

  void frame(std::string_view name, std::string_view value) {
    exchange_.request.headers.add(name, value);
  }
  void start(std::size_t buffer_bytes = 64 * 1024) {
    auto rules = std::make_shared<net::PipeRules>();
    rules->buffer_bytes = buffer_bytes;
    auto [client_far, client_near] = net::make_pipe(loop_, rules);
    auto [backend_far, backend_near] = net::make_pipe(loop_, rules);
    client_ = std::make_unique<Witness>(std::move(client_far));
    backend_ = std::make_unique<Witness>(std::move(backend_far));
    io_ = std::make_unique<net::AsyncSide>(loop_, std::move(client_near));
    exchange_.api = std::make_shared<const model::Api>(api_);
    exchange_.account = &account_;
    Transfer::Parts parts;
    parts.client = io_.get();
    parts.backend = std::move(backend_near);
    parts.exchange = &exchange_;
    parts.filters = filters_.get();
    parts.keep_alive = true;
    parts.old_client = old_client_;
    Transfer::Hooks hooks;
    hooks.reply = [this](http::ResponseHead& head) { status_ = head.status; };
    hooks.again = [this](int status) { return status == again_; };
    hooks.is_long = [this] { ++long_; };
    hooks.last_request = [this] { return last_; };
    transfer_ = std::make_unique<Transfer>(loop_, std::move(parts), std::move(hooks));
    transfer_->start(std::string(kHead));
  }
  void settle() {
    for (int i = 0; i < 400; ++i) {
      loop_.turn(nanoseconds::zero());
    }
  }
  void pass_time(nanoseconds time) {
    for (nanoseconds left = time; left > nanoseconds::zero(); left -= milliseconds(50)) {
      const Clock& clock = loop_.clock();
      loop_.advance(clock.now() + milliseconds(50), clock.wall() + milliseconds(50));
      loop_.turn(nanoseconds::zero());
    }
    settle();
  }
  void answer(std::string_view text) {
    backend_->send(std::string(text));
    settle();
  }
  End end() const { return transfer_->ending(); }
  bool client_said(std::string_view text) const {
    return client_->received.find(text) != std::string::npos;
  }

  net::Loop loop_;
  model::Api api_;
  telemetry::Account account_;
  filter::Exchange exchange_;
  std::unique_ptr<filter::FilterInstances> filters_;
  std::unique_ptr<Witness> client_;
  std::unique_ptr<Witness> backend_;
  std::unique_ptr<net::AsyncSide> io_;
  std::unique_ptr<Transfer> transfer_;
  bool old_client_ = false;
  bool last_ = false;
  int again_ = 0;
  int status_ = 0;
  int long_ = 0;
};

TEST_F(TransferTest, PassesARequestAndItsResponse) {
  start();
  settle();
  EXPECT_EQ(backend_->received, kHead);
  answer("HTTP/1.1 201 Made\r\nContent-Length: 2\r\nConnection: Z\r\nZ: 1\r\nX: y\r\n\r\nok");
  EXPECT_EQ(end(), End::kDone);
  EXPECT_EQ(client_->received, "HTTP/1.1 201 Made\r\nContent-Length: 2\r\nX: y\r\n\r\nok");
  EXPECT_EQ(status_, 201);
  EXPECT_TRUE(transfer_->client_reusable());
  EXPECT_NE(transfer_->take_reusable_backend(), nullptr);
  EXPECT_EQ(account_.counts().bytes_down, 2u);
}

TEST_F(TransferTest, StreamsBothBodiesThroughSmallBuffers) {
  const std::string up = pattern(300'000, 1);
  const std::string down = pattern(300'000, 2);
  frame("Content-Length", "300000");
  start(1000);
  client_->send(up);
  backend_->send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + down);
  ASSERT_TRUE(net::testing::run_until(loop_, [&] {
    return client_->received.ends_with(down.substr(down.size() - 100)) &&
           backend_->received.size() == kHead.size() + up.size();
  }));
  settle();
  EXPECT_EQ(backend_->received.substr(kHead.size()), up);
  EXPECT_EQ(client_->received.substr(client_->received.size() - down.size()), down);
  EXPECT_EQ(end(), End::kDone);
}

TEST_F(TransferTest, ReadsNoFasterThanTheOtherSideTakes) {
  start(1000);
  client_->pause_each = true;
  backend_->send("HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + std::string(500'000, 'x'));
  settle();
  EXPECT_GT(backend_->to_send.size(), 350'000u);  // one read, and what the pipes hold
  EXPECT_EQ(end(), End::kNone);
}

TEST_F(TransferTest, FramesChunksAnewAndDropsTrailers) {
  frame("Transfer-Encoding", "chunked");
  start();
  client_->send("5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n");
  settle();
  EXPECT_EQ(backend_->received, std::string(kHead) + "5\r\nhello\r\n0\r\n\r\n");
  answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n");
  EXPECT_EQ(client_->received,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n");
  EXPECT_TRUE(transfer_->client_reusable());
}

TEST_F(TransferTest, MakesChunksOfAResponseThatEndsWithItsConnection) {
  start();
  answer("HTTP/1.0 200 OK\r\n\r\nab");
  EXPECT_TRUE(client_said("\r\n\r\n2\r\nab\r\n")) << "at once";
  backend_->side->end();
  settle();
  EXPECT_EQ(end(), End::kDone);
  EXPECT_TRUE(client_said("0\r\n\r\n"));
  EXPECT_TRUE(transfer_->client_reusable());
  EXPECT_EQ(transfer_->take_reusable_backend(), nullptr);
}

TEST_F(TransferTest, GivesAnOldClientNoChunks) {
  old_client_ = true;
  start();
  answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
         "1\r\na\r\n0\r\n\r\n");
  EXPECT_EQ(client_->received, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\na");
  EXPECT_FALSE(transfer_->client_reusable());
}

TEST_F(TransferTest, PassesInterimAnswersButNotForEver) {
  start();
  answer("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
  EXPECT_EQ(client_->received, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
  for (int i = 0; i < limits::kInterimResponsesMax; ++i) {
    answer("HTTP/1.1 103 Early Hints\r\n\r\n");
  }
  EXPECT_EQ(end(), End::kBackendInvalid);
}

TEST_F(TransferTest, ReadsAHeadThatComesInPieces) {
  start();
  for (const char c : std::string_view("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n")) {
    answer(std::string_view(&c, 1));
  }
  EXPECT_EQ(end(), End::kDone);
  EXPECT_EQ(client_->received, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n");
}

TEST_F(TransferTest, KeepsWhatFollowsTheRequestForTheNext) {
  frame("Content-Length", "2");
  start();
  client_->send("okGET /next");
  settle();
  EXPECT_EQ(backend_->received, std::string(kHead) + "ok");
  answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(transfer_->client_reusable());
  EXPECT_EQ(io_->unread(), "GET /next");
}

TEST_F(TransferTest, EndsBothWhereTheResponseIsCompleteBeforeTheRequest) {
  frame("Content-Length", "100");
  start();
  client_->send("some");
  answer("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(end(), End::kDone);
  EXPECT_TRUE(client_said("Connection: close"));
  EXPECT_FALSE(transfer_->client_reusable());
  EXPECT_EQ(transfer_->take_reusable_backend(), nullptr);
}

TEST_F(TransferTest, ClosesAfterALastRequest) {
  last_ = true;
  start();
  answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(client_said("Connection: close"));
  EXPECT_FALSE(transfer_->client_reusable());
}

TEST_F(TransferTest, SaysWhetherARequestCanBeAskedAgain) {
  start();
  backend_->side.reset();
  settle();
  EXPECT_EQ(end(), End::kBackendGone);
  EXPECT_TRUE(transfer_->replayable());
}

TEST_F(TransferTest, CannotReplayABodyThatIsGone) {
  frame("Content-Length", "5");
  start();
  client_->send("abc");
  settle();
  backend_->side.reset();
  settle();
  EXPECT_EQ(end(), End::kBackendGone);
  EXPECT_FALSE(transfer_->replayable());
}

TEST_F(TransferTest, ThrowsAResponseAwayThatIsToBeAskedAgain) {
  again_ = 503;
  start();
  answer("HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(end(), End::kAgain);
  EXPECT_EQ(client_->received, "");
}

TEST_F(TransferTest, RefusesWhatIsNoResponse) {
  start();
  answer("HTTP/1.1 101 Switching Protocols\r\n\r\n");
  EXPECT_EQ(end(), End::kBackendInvalid);
  EXPECT_EQ(client_->received, "");
}

TEST_F(TransferTest, DoesNotEndABrokenResponseAsIfItWereWhole) {
  start();
  answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nxyz");
  EXPECT_EQ(end(), End::kBroken);
  EXPECT_FALSE(client_said("0\r\n\r\n"));
}

TEST_F(TransferTest, NoticesAClientThatLeaves) {
  start();
  settle();
  client_->side.reset();
  settle();
  EXPECT_EQ(end(), End::kClientGone);
}

TEST_F(TransferTest, StopsAtAMalformedChunkAndAtTooLargeABody) {
  frame("Transfer-Encoding", "chunked");
  api_.http.request_body_bytes_max = 4;
  start();
  client_->send("5\r\nhello\r\n");
  settle();
  EXPECT_EQ(end(), End::kBodyTooLarge);
  EXPECT_EQ(backend_->received, kHead);
  start();
  client_->send("5 \r\n");
  settle();
  EXPECT_EQ(end(), End::kBodyMalformed);
  EXPECT_NE(transfer_->fault(), "");
}

TEST_F(TransferTest, WaitsOnlySoLongForEachSide) {
  frame("Content-Length", "5");
  start();
  pass_time(limits::kHttpRequestBodyTimeout + seconds(1));
  EXPECT_EQ(end(), End::kBodySlow);
  start();
  client_->send("hello");
  settle();
  pass_time(limits::kRequestTimeout - seconds(1));
  EXPECT_EQ(end(), End::kNone);
  pass_time(seconds(2));
  EXPECT_EQ(end(), End::kBackendSlow);
  start();
  client_->send("hello");
  answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc");
  pass_time(limits::kHttpIdleTimeout - seconds(1));
  EXPECT_EQ(end(), End::kNone);
  pass_time(seconds(2));
  EXPECT_EQ(end(), End::kBroken);
}

TEST_F(TransferTest, CutsAClientThatTakesNothing) {
  start(100);
  settle();
  client_->pause_each = true;
  backend_->send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + std::string(5000, 'x'));
  settle();
  pass_time(limits::kClientStallTimeout + seconds(1));
  EXPECT_EQ(end(), End::kBroken);
}

TEST_F(TransferTest, TellsOnceThatItTakesLongAndAgainWhenARecheckIsDue) {
  start();
  pass_time(limits::kHttpLongAfter + milliseconds(100));
  EXPECT_EQ(long_, 1);
  pass_time(seconds(2));
  EXPECT_EQ(long_, 1);
  transfer_.reset();
  exchange_.recheck_at = loop_.clock().wall() + seconds(3);
  start();
  pass_time(seconds(2));
  EXPECT_EQ(long_, 2);
  pass_time(seconds(2));
  EXPECT_GE(long_, 3);
  transfer_->cut(filter::CloseCause::kTokenExpired);
  EXPECT_EQ(end(), End::kCut);
}

}  // namespace
}  // namespace sluice::session
