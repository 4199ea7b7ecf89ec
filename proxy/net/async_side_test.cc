#include "proxy/net/async_side.h"

#include "proxy/net/testing.h"

namespace sluice::net {
namespace {

using testing::pattern;
using testing::run_task;
using testing::run_until;
using testing::soon;
using testing::TcpPair;
using testing::Witness;

class AsyncSideTest : public ::testing::Test {
 protected:
  AsyncSideTest() : loop(1), group(loop.executor()) {
    TcpPair pair = testing::make_tcp_pair(loop);
    side = std::make_unique<AsyncSide>(loop, std::move(pair.client));
    peer = std::make_unique<Witness>(std::move(pair.server));
  }
  Loop loop;
  TaskGroup group;
  std::unique_ptr<AsyncSide> side;
  std::unique_ptr<Witness> peer;
};

TEST_F(AsyncSideTest, ReadsAndConsumes) {
  peer->send("GET / HTTP/1.1\r\n");
  ASSERT_TRUE(run_task(loop, side->read_more(100, soon(loop))).ok());
  EXPECT_EQ(side->unread(), "GET / HTTP/1.1\r\n");
  side->consume(4);
  EXPECT_EQ(side->unread(), "/ HTTP/1.1\r\n");
  peer->send("more");
  ASSERT_TRUE(run_task(loop, side->read_more(100, soon(loop))).ok());
  EXPECT_EQ(side->unread(), "/ HTTP/1.1\r\nmore");
}

TEST_F(AsyncSideTest, RefusesToHoldMoreThanAsked) {
  peer->send(pattern(1000));
  ASSERT_TRUE(run_task(loop, side->read_more(1000, soon(loop))).ok());
  auto status = run_task(loop, side->read_more(1000, soon(loop)));
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

TEST_F(AsyncSideTest, ReadsNothingUnasked) {
  peer->send("x");
  ASSERT_TRUE(run_task(loop, side->read_more(100, soon(loop))).ok());
  peer->send("y");
  for (int i = 0; i < 5; ++i) {
    loop.turn(milliseconds(1));
  }
  EXPECT_EQ(side->unread(), "x");
}

TEST_F(AsyncSideTest, TellsTheEndAndTheDeadline) {
  const Mono begin = system_mono();
  auto status = run_task(loop, side->read_more(10, loop.clock().now() + milliseconds(20)));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_GE(system_mono() - begin, milliseconds(19));
  peer->send("last");
  peer->side->end();
  ASSERT_TRUE(run_task(loop, side->read_more(10, soon(loop))).ok());
  status = run_task(loop, side->read_more(10, soon(loop)));
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  EXPECT_EQ(side->unread(), "last");
}

Task<void> read_into(AsyncSide& side, absl::Status& out) {
  out = co_await side.read_more(100, kNever);
}

TEST_F(AsyncSideTest, CanBeCancelledAndUsedAgain) {
  absl::Status status;
  group.spawn(read_into(*side, status));
  loop.turn(milliseconds(1));
  group.cancel();
  ASSERT_TRUE(run_until(loop, [&] { return group.size() == 0; }));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  peer->send("later");
  ASSERT_TRUE(run_task(loop, side->read_more(100, soon(loop))).ok());
  EXPECT_EQ(side->unread(), "later");
}

Task<void> write_into(AsyncSide& side, std::string text, Mono deadline, absl::Status& out) {
  out = co_await side.write_all(text, deadline);
}

TEST_F(AsyncSideTest, WritesMoreThanTheKernelTakesAtOnce) {
  const std::string text = pattern(20'000'000);
  absl::Status status = absl::UnknownError("did not end");
  group.spawn(write_into(*side, text, soon(loop), status));
  ASSERT_TRUE(run_until(loop, [&] { return peer->total == text.size(); }));
  ASSERT_TRUE(run_until(loop, [&] { return group.size() == 0; }));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(peer->received == text);
}

TEST_F(AsyncSideTest, WriteEndsAtItsDeadline) {
  peer->side->pause();
  auto status =
      run_task(loop, side->write_all(pattern(50'000'000), loop.clock().now() + milliseconds(20)));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

TEST_F(AsyncSideTest, TellsABrokenStream) {
  peer->side->pause();
  ASSERT_TRUE(run_task(loop, side->write_all("unread", soon(loop))).ok());
  loop.turn(milliseconds(5));
  peer->side.reset();
  auto status = run_task(loop, side->read_more(10, soon(loop)));
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  status = run_task(loop, side->write_all("x", soon(loop)));
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_F(AsyncSideTest, WaitEndKeepsWhatComesMeanwhile) {
  peer->send("early");
  peer->side->end();
  auto status = run_task(loop, side->wait_end(1000));
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  EXPECT_EQ(side->unread(), "early");
}

TEST_F(AsyncSideTest, ReleasesTheSideWithTheRest) {
  peer->send("head|rest");
  ASSERT_TRUE(run_task(loop, side->read_more(100, soon(loop))).ok());
  side->consume(5);
  peer->send("and more");
  peer->side->end();
  std::string rest;
  Witness relay(side->release(rest));
  EXPECT_EQ(rest, "rest");
  ASSERT_TRUE(run_until(loop, [&] { return relay.ended; }));
  EXPECT_EQ(relay.received, "and more");
}

}  // namespace
}  // namespace sluice::net
