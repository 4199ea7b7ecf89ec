#include "proxy/net/tcp_side.h"

#include <sys/resource.h>

#include <vector>

#include "proxy/base/limits.h"
#include "proxy/net/testing.h"

namespace sluice::net {
namespace {

using testing::make_tcp_pair;
using testing::pattern;
using testing::run_until;
using testing::TcpPair;
using testing::Witness;

class TcpSideTest : public ::testing::Test {
 protected:
  TcpSideTest() : loop(1) {
    TcpPair pair = make_tcp_pair(loop);
    a = std::make_unique<Witness>(std::move(pair.client));
    b = std::make_unique<Witness>(std::move(pair.server));
  }
  Loop loop;
  std::unique_ptr<Witness> a;
  std::unique_ptr<Witness> b;
};

TEST_F(TcpSideTest, DeliversBytesWithHeadroom) {
  a->send("hello");
  ASSERT_TRUE(run_until(loop, [&] { return b->received == "hello"; }));
  EXPECT_EQ(b->calls, 1);
  EXPECT_TRUE(a->side->plain());
  EXPECT_EQ(a->side->peer().port, b->side->local().port);
  EXPECT_EQ(a->side->local().port, b->side->peer().port);
  EXPECT_EQ(b->side->peer().ip, "127.0.0.1");
}

TEST_F(TcpSideTest, CarriesMuchBothWaysUnderBackPressure) {
  const std::string up = pattern(12'000'000, 1);
  const std::string down = pattern(9'000'000, 2);
  a->pause_each = b->pause_each = true;
  a->end_after = b->end_after = true;
  a->send(up);
  b->send(down);
  ASSERT_TRUE(run_until(loop, [&] {
    if (a->paused) a->resume();
    if (b->paused) b->resume();
    return a->ended && b->ended;
  }));
  EXPECT_TRUE(a->blocked);
  EXPECT_TRUE(a->received == down);
  EXPECT_TRUE(b->received == up);
  EXPECT_LE(b->largest, limits::kReadBufferBytes);
}

TEST_F(TcpSideTest, ReadsABoundedAmountInOneTurn) {
  b->side->pause();
  a->send(pattern(2'000'000));
  loop.turn(milliseconds(50));
  b->resume();
  const std::size_t before = b->total;
  loop.turn(nanoseconds(0));
  EXPECT_LE(b->total - before, limits::kReadBytesPerTurnMax);
  EXPECT_GT(b->total, before);
  EXPECT_TRUE(run_until(loop, [&] { return b->total == 2'000'000; }));
}

TEST_F(TcpSideTest, StaysSilentWhilePaused) {
  b->side->pause();
  b->paused = true;
  a->send("one");
  for (int i = 0; i < 5; ++i) {
    loop.turn(milliseconds(1));
  }
  EXPECT_EQ(b->calls, 0);
  b->resume();
  EXPECT_EQ(b->calls, 0) << "resume must not call back";
  EXPECT_TRUE(run_until(loop, [&] { return b->received == "one"; }));
}

TEST_F(TcpSideTest, ToldOfTheEndAfterTheData) {
  a->send("last words");
  a->side->end();
  ASSERT_TRUE(run_until(loop, [&] { return b->ended; }));
  EXPECT_EQ(b->received, "last words");
  // The other direction is still open.
  b->send("answer");
  ASSERT_TRUE(run_until(loop, [&] { return a->received == "answer"; }));
  b->side->end();
  EXPECT_TRUE(run_until(loop, [&] { return a->ended; }));
}

TEST_F(TcpSideTest, ToldOfTheEndWhilePausedIfNothingIsLeft) {
  b->side->pause();
  a->side->end();
  EXPECT_TRUE(run_until(loop, [&] { return b->ended; }));
}

TEST_F(TcpSideTest, HoldsTheEndBackWhilePausedWithDataLeft) {
  b->side->pause();
  b->paused = true;
  a->send("unread");
  a->side->end();
  for (int i = 0; i < 5; ++i) {
    loop.turn(milliseconds(1));
  }
  EXPECT_FALSE(b->ended);
  b->resume();
  ASSERT_TRUE(run_until(loop, [&] { return b->ended; }));
  EXPECT_EQ(b->received, "unread");
}

TEST_F(TcpSideTest, PausingInTheLastReadStillTellsTheEnd) {
  b->pause_each = true;
  a->send("x");
  a->side->end();
  ASSERT_TRUE(run_until(loop, [&] { return b->ended; }));
  EXPECT_EQ(b->received, "x");
}

TEST_F(TcpSideTest, ToldOfAReset) {
  b->send("never read");
  ASSERT_TRUE(run_until(loop, [&] { return a->received == "never read"; }));
  a->side->pause();
  b->send("left in the kernel");
  loop.turn(milliseconds(5));
  a->side.reset();  // with unread bytes: TCP sends a reset
  ASSERT_TRUE(run_until(loop, [&] { return !b->error.ok(); }));
  EXPECT_TRUE(absl::IsUnavailable(b->error)) << b->error;
  // Writes are swallowed from then on.
  EXPECT_EQ(b->side->write(as_bytes("gone")), 4U);
}

TEST_F(TcpSideTest, ToldOfAResetAfterTheOtherEnd) {
  a->side->end();
  ASSERT_TRUE(run_until(loop, [&] { return b->ended; }));
  a->side->pause();
  a->paused = true;
  b->send("left in the kernel");
  loop.turn(milliseconds(5));
  a->side.reset();
  EXPECT_TRUE(run_until(loop, [&] { return !b->error.ok(); }));
}

TEST_F(TcpSideTest, HearsThePeersLastWordsAlthoughWritingFails) {
  a->side->pause();
  b->send("to nobody");
  loop.turn(milliseconds(5));
  b->side->pause();
  b->paused = true;
  a->send("last words");
  a->side.reset();
  loop.turn(milliseconds(5));
  b->side->write(as_bytes("swallowed"));
  for (int i = 0; i < 5; ++i) {
    loop.turn(milliseconds(1));
  }
  EXPECT_TRUE(b->error.ok());
  b->resume();
  ASSERT_TRUE(run_until(loop, [&] { return !b->error.ok(); }));
  EXPECT_EQ(b->received, "last words");
}

TEST_F(TcpSideTest, TellsANewUserOfTheEndAgain) {
  a->side->end();
  ASSERT_TRUE(run_until(loop, [&] { return b->ended; }));
  b->side->set_user(nullptr);
  Witness other(std::move(b->side));
  EXPECT_TRUE(run_until(loop, [&] { return other.ended; }));
}

TEST_F(TcpSideTest, KeepsEverythingForALaterUser) {
  b->side->set_user(nullptr);
  a->send("early");
  a->side->end();
  for (int i = 0; i < 5; ++i) {
    loop.turn(milliseconds(1));
  }
  Witness other(std::move(b->side));
  ASSERT_TRUE(run_until(loop, [&] { return other.ended; }));
  EXPECT_EQ(other.received, "early");
  EXPECT_EQ(b->calls, 0);
}

TEST_F(TcpSideTest, MayBeDestroyedInOnBytes) {
  b->destroy = true;
  a->send("boom");
  EXPECT_TRUE(run_until(loop, [&] { return b->side == nullptr; }));
  EXPECT_TRUE(run_until(loop, [&] { return a->ended || !a->error.ok(); }));
}

TEST_F(TcpSideTest, MayBeDestroyedInOnEnd) {
  b->destroy = true;
  a->side->end();
  EXPECT_TRUE(run_until(loop, [&] { return b->side == nullptr; }));
}

TEST_F(TcpSideTest, MayBeDestroyedInOnWritable) {
  a->destroy = true;
  b->side->pause();
  a->send(pattern(20'000'000));
  ASSERT_TRUE(a->blocked);
  b->keep = false;
  b->side->resume();
  EXPECT_TRUE(run_until(loop, [&] { return a->side == nullptr; }));
}

// A side that destroys its peer, whose event waits in the same batch.
TEST_F(TcpSideTest, MayDestroyAnotherWithAnEventPending) {
  TcpPair more = make_tcp_pair(loop);
  Witness c(std::move(more.client));
  class Killer final : public SideUser {
   public:
    explicit Killer(std::unique_ptr<Side>& v) : victim(v) {}
    void on_bytes(Side&, MutableBytes) override { victim.reset(); }
    void on_end(Side&) override {}
    void on_error(Side&, absl::Status) override {}
    void on_writable(Side&) override {}
    std::unique_ptr<Side>& victim;
  };
  std::unique_ptr<Side> x = std::move(b->side);
  std::unique_ptr<Side> y = std::move(more.server);
  Killer kill_y(y);
  Killer kill_x(x);
  x->set_user(&kill_y);
  y->set_user(&kill_x);
  x->resume();
  y->resume();
  a->send("1");
  c.send("2");
  ASSERT_TRUE(run_until(loop, [&] { return x == nullptr || y == nullptr; }));
  loop.turn(milliseconds(1));
  EXPECT_TRUE((x == nullptr) != (y == nullptr));
}

TEST(TcpSide, SeesTheEndOfAThousandAtOnce) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 2100) {
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  Loop loop(1);
  std::vector<std::unique_ptr<Witness>> clients;
  std::vector<std::unique_ptr<Witness>> servers;
  auto acceptor =
      Acceptor::listen(loop, ListenOptions{"127.0.0.1", 0, false}, [&](std::unique_ptr<Side> side) {
        servers.push_back(std::make_unique<Witness>(std::move(side)));
      });
  ASSERT_TRUE(acceptor.ok());
  Resolver resolver;
  const ConnectTarget target{"127.0.0.1", (*acceptor)->port(), nullptr, ""};
  for (int i = 0; i < 1000; ++i) {
    auto side = testing::run_task(loop, connect(loop, resolver, target, testing::soon(loop)));
    ASSERT_TRUE(side.ok()) << side.status();
    clients.push_back(std::make_unique<Witness>(*std::move(side)));
  }
  ASSERT_TRUE(run_until(loop, [&] { return servers.size() == 1000; }));
  // Bytes and the end arrive together: the read is short, and no edge follows.
  for (auto& client : clients) {
    client->send("bye");
    client->side.reset();
  }
  ASSERT_TRUE(run_until(loop, [&] {
    return std::all_of(servers.begin(), servers.end(),
                       [](const auto& s) { return s->ended || !s->error.ok(); });
  }));
  for (auto& server : servers) {
    EXPECT_EQ(server->received, "bye");
  }
}

}  // namespace
}  // namespace sluice::net
