#include "proxy/net/pipe.h"

#include "proxy/net/async_side.h"
#include "proxy/net/testing.h"
#include "proxy/net/testing_tls.h"

namespace sluice::net {
namespace {

using testing::pattern;
using testing::run_task;
using testing::run_until;
using testing::soon;
using testing::Witness;

class PipeTest : public ::testing::Test {
 protected:
  PipeTest() : loop(1, Loop::ClockMode::kManual), rules(std::make_shared<PipeRules>()) {
    auto [x, y] = make_pipe(loop, rules);
    a = std::make_unique<Witness>(std::move(x));
    b = std::make_unique<Witness>(std::move(y));
  }
  Loop loop;
  std::shared_ptr<PipeRules> rules;
  std::unique_ptr<Witness> a;
  std::unique_ptr<Witness> b;
};

TEST_F(PipeTest, DeliversLaterNotWithinWrite) {
  a->send("hello");
  EXPECT_EQ(b->calls, 0);
  loop.turn(nanoseconds(0));
  EXPECT_EQ(b->received, "hello");
}

TEST_F(PipeTest, CarriesMuchBothWaysUnderBackPressure) {
  rules->buffer_bytes = 1000;
  rules->chunk_bytes_max = 77;
  const std::string up = pattern(200'000, 1);
  const std::string down = pattern(150'000, 2);
  a->pause_each = b->pause_each = true;
  a->end_after = b->end_after = true;
  a->send(up);
  b->send(down);
  ASSERT_TRUE(run_until(loop, [&] {
    if (a->paused) a->resume();
    if (b->paused) b->resume();
    return a->ended && b->ended;
  }));
  EXPECT_TRUE(a->blocked && b->blocked);
  EXPECT_EQ(b->largest, 77U);
  EXPECT_TRUE(a->received == down);
  EXPECT_TRUE(b->received == up);
}

TEST_F(PipeTest, HoldsTheEndBehindUnreadBytes) {
  b->side->pause();
  a->send("x");
  a->side.reset();
  loop.turn(nanoseconds(0));
  EXPECT_FALSE(b->ended);
  b->resume();
  loop.turn(nanoseconds(0));
  loop.turn(nanoseconds(0));
  EXPECT_TRUE(b->ended);
  EXPECT_EQ(b->received, "x");
}

TEST_F(PipeTest, UnreadBytesMakeAReset) {
  b->side->pause();
  a->send("x");
  b->side.reset();
  ASSERT_TRUE(run_until(loop, [&] { return !a->error.ok(); }));
  EXPECT_FALSE(a->ended);
}

TEST_F(PipeTest, WritingToNobodyIsAnError) {
  b->side.reset();
  ASSERT_TRUE(run_until(loop, [&] { return a->ended; }));
  EXPECT_EQ(a->side->write(as_bytes("x")), 1U);
  EXPECT_TRUE(a->error.ok());
  ASSERT_TRUE(run_until(loop, [&] { return !a->error.ok(); }));
}

TEST_F(PipeTest, MayBeDestroyedInCallbacks) {
  b->destroy = true;
  a->send("boom");
  ASSERT_TRUE(run_until(loop, [&] { return b->side == nullptr && a->ended; }));
}

TEST_F(PipeTest, DestroyingTheOtherInACallbackIsSafe) {
  struct Killer final : SideUser {
    void on_bytes(Side&, MutableBytes) override { victim.reset(); }
    void on_end(Side&) override { ended = true; }
    void on_error(Side&, absl::Status) override {}
    void on_writable(Side&) override {}
    std::unique_ptr<Side> victim;
    bool ended = false;
  };
  Killer killer;
  killer.victim = std::move(a->side);
  b->side->set_user(&killer);
  b->side->resume();
  killer.victim->write(as_bytes("x"));
  ASSERT_TRUE(run_until(loop, [&] { return killer.ended; }));
}

TEST_F(PipeTest, CarriesTls) {
  const auto certificate = testing::make_certificate("s", "DNS:localhost");
  auto server_tls = TlsServerContext::create(certificate.certificate, certificate.key);
  auto client_tls = TlsClientContext::create(certificate.certificate);
  ASSERT_TRUE(server_tls.ok() && client_tls.ok());
  std::optional<absl::StatusOr<std::unique_ptr<Side>>> client;
  std::optional<absl::StatusOr<std::unique_ptr<Side>>> server;
  TaskGroup group(loop.executor());
  rules->chunk_bytes_max = 50;  // records come in pieces
  group.spawn(testing::keep_result(
      tls_connect(loop, std::move(a->side), *client_tls, "localhost", kNever), client));
  group.spawn(
      testing::keep_result(tls_accept(loop, std::move(b->side), *server_tls, kNever), server));
  ASSERT_TRUE(run_until(loop, [&] { return group.size() == 0; }));
  ASSERT_TRUE(client->ok()) << client->status();
  ASSERT_TRUE(server->ok()) << server->status();
  a = std::make_unique<Witness>(**std::move(client));
  b = std::make_unique<Witness>(**std::move(server));
  const std::string up = pattern(100'000);
  a->send(up);
  ASSERT_TRUE(run_until(loop, [&] { return b->total == up.size(); }));
  EXPECT_TRUE(b->received == up);
}

TEST_F(PipeTest, AsyncSideDeadlinesFollowTheManualClock) {
  AsyncSide side(loop, std::move(a->side));
  std::optional<absl::Status> result;
  TaskGroup group(loop.executor());
  const Mono begin = loop.clock().now();
  group.spawn(testing::keep_result(side.read_more(10, begin + std::chrono::hours(1)), result));
  for (int i = 0; i < 10; ++i) {
    loop.turn(nanoseconds(0));
  }
  EXPECT_FALSE(result.has_value());
  const nanoseconds later = std::chrono::hours(1) + milliseconds(1);
  loop.advance(begin + later, loop.clock().wall() + later);
  loop.turn(nanoseconds(0));
  ASSERT_TRUE(result.has_value());
  EXPECT_TRUE(absl::IsDeadlineExceeded(*result));
}

}  // namespace
}  // namespace sluice::net
