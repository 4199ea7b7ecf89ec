#include "proxy/session/relay.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "proxy/net/pipe.h"
#include "proxy/websocket/close.h"
#include "proxy/websocket/reader.h"

namespace sluice::session {
namespace {

using filter::Verdict;
using websocket::Opcode;

constexpr websocket::MaskKey kMask{1, 2, 3, 4};

// What a test's filter does with the messages of one direction, in order; then passes.
struct Script {
  std::deque<std::function<Verdict()>> up;
  std::deque<std::function<Verdict()>> down;
  std::function<Verdict()> recheck;
};

class ScriptedFilter final : public filter::Filter {
 public:
  explicit ScriptedFilter(Script& script) : script_(script) {}
  Verdict data(filter::Exchange& /*exchange*/, const filter::DataUnit& unit) override {
    auto& steps = unit.direction == filter::Direction::kUp ? script_.up : script_.down;
    if (!unit.begins_message || steps.empty()) {
      return Verdict::pass();
    }
    const auto step = std::move(steps.front());
    steps.pop_front();
    return step();
  }
  Verdict recheck(filter::Exchange& /*exchange*/) override {
    return script_.recheck ? script_.recheck() : Verdict::pass();
  }

 private:
  Script& script_;
};

class ScriptedFactory final : public filter::FilterFactory {
 public:
  explicit ScriptedFactory(Script& script) : script_(script) {}
  filter::Hooks hooks() const override { return {.data = true, .recheck = true}; }
  std::unique_ptr<filter::Filter> make() const override {
    return std::make_unique<ScriptedFilter>(script_);
  }

 private:
  Script& script_;
};

// One end of the relay as its peer sees it: collects bytes, sends bytes.
class Peer final : public net::SideUser {
 public:
  explicit Peer(std::unique_ptr<net::Side> side) : side_(std::move(side)) {
    side_->set_user(this);
    side_->resume();
  }
  void on_bytes(net::Side& /*side*/, MutableBytes bytes) override { got_.append(as_text(bytes)); }
  void on_end(net::Side& /*side*/) override { ended_ = true; }
  void on_error(net::Side& /*side*/, absl::Status /*status*/) override { ended_ = true; }
  void on_writable(net::Side& /*side*/) override { flush(); }

  void send(std::string_view bytes) {
    waiting_ += bytes;
    flush();
  }
  void leave() { side_.reset(); }
  net::Side& side() { return *side_; }
  const std::string& got() const { return got_; }
  bool ended() const { return ended_; }
  bool all_sent() const { return waiting_.empty(); }

 private:
  void flush() {
    const std::size_t taken = side_->write(as_bytes(waiting_));
    waiting_.erase(0, taken);
  }
  std::unique_ptr<net::Side> side_;
  std::string got_;
  std::string waiting_;
  bool ended_ = false;
};

class RelayTest : public testing::Test {
 protected:
  RelayTest() : loop_(1, net::Loop::ClockMode::kManual) {
    api_.limits.ping_interval = nanoseconds::zero();
  }

  void start(std::size_t buffer_bytes = 64 * 1024, std::size_t chunk_bytes_max = 0) {
    auto rules = std::make_shared<net::PipeRules>();
    rules->buffer_bytes = buffer_bytes;
    rules->chunk_bytes_max = chunk_bytes_max;
    auto [client_far, client_near] = net::make_pipe(loop_, rules);
    auto [backend_far, backend_near] = net::make_pipe(loop_, rules);
    client_ = std::make_unique<Peer>(std::move(client_far));
    backend_ = std::make_unique<Peer>(std::move(backend_far));
    exchange_.api = std::make_shared<const model::Api>(api_);
    exchange_.account = &account_;
    auto factory = std::make_shared<const ScriptedFactory>(script_);
    std::vector<filter::FilterChain::Entry> entries{{"scripted", factory}};
    filters_ = std::make_unique<filter::FilterInstances>(
        std::make_shared<const filter::FilterChain>(std::move(entries)));
    Relay::Parts parts;
    parts.client = std::move(client_near);
    parts.backend = std::move(backend_near);
    parts.exchange = &exchange_;
    parts.filters = filters_.get();
    relay_ = std::make_unique<Relay>(loop_, std::move(parts), [this] {
      over_ = true;
      loop_.post([this] { relay_.reset(); });
    });
    relay_->start({}, {});
  }

  // Turns until nothing moves; time stands still.
  void settle() {
    for (int i = 0; i < 400; ++i) {
      loop_.turn(nanoseconds::zero());
    }
  }
  void pass_time(nanoseconds time) {
    const Mono until = loop_.clock().now() + time;
    while (loop_.clock().now() < until) {
      loop_.advance(loop_.clock().now() + milliseconds(5), loop_.clock().wall() + milliseconds(5));
      loop_.turn(nanoseconds::zero());
    }
    settle();
  }

  static std::string up(std::string_view text, bool fin = true, Opcode opcode = Opcode::kText) {
    return make_frame(opcode, text, fin, kMask);
  }
  static std::string down(std::string_view text, bool fin = true, Opcode opcode = Opcode::kText) {
    return make_frame(opcode, text, fin);
  }

  net::Loop loop_;
  model::Api api_;
  Script script_;
  telemetry::Account account_;
  filter::Exchange exchange_;
  std::unique_ptr<filter::FilterInstances> filters_;
  std::unique_ptr<Relay> relay_;
  std::unique_ptr<Peer> client_;
  std::unique_ptr<Peer> backend_;
  bool over_ = false;
};

TEST_F(RelayTest, PassesTheSameBytesBothWaysAndCounts) {
  start();
  const std::string there = up("hello") + up("", true, Opcode::kBinary) + up("a", false) +
                            up("bc", true, Opcode::kContinuation);
  const std::string back = down(std::string(70'000, 'x'));
  client_->send(there);
  backend_->send(back);
  settle();
  EXPECT_EQ(backend_->got(), there);
  EXPECT_EQ(client_->got(), back);
  const telemetry::Counts counts = account_.counts();
  EXPECT_EQ(counts.messages_up, 3u);
  EXPECT_EQ(counts.bytes_up, 8u);
  EXPECT_EQ(counts.messages_down, 1u);
  EXPECT_EQ(counts.bytes_down, 70'000u);
}

TEST_F(RelayTest, PassesTheSameBytesWhenTheyComeOneByOne) {
  start(64 * 1024, 1);
  const std::string there = up("hello") + up(std::string(200, 'y')) +
                            make_frame(Opcode::kPing, std::string(125, 'p'), true, kMask);
  client_->send(there);
  for (int i = 0; i < 10; ++i) {
    settle();
  }
  EXPECT_EQ(backend_->got(), there);
}

TEST_F(RelayTest, KeepsEveryByteWhenTheReceiverIsSlow) {
  start(1000, 300);
  std::string there;
  for (int i = 0; i < 200; ++i) {
    there += up(std::string(static_cast<std::size_t>(i) * 7, static_cast<char>('a' + i % 26)));
  }
  client_->send(there);
  for (int i = 0; i < 40; ++i) {
    settle();
  }
  EXPECT_EQ(backend_->got(), there);
}

TEST_F(RelayTest, DropsAWholeMessageWithItsFragmentsAndTellsTheClient) {
  script_.up.push_back([] { return Verdict::pass(); });
  script_.up.push_back([] { return Verdict::notify("too fast"); });
  start();
  client_->send(up("one") + up("two", false) + make_frame(Opcode::kPing, "p", true, kMask) +
                up("more", true, Opcode::kContinuation) + up("three"));
  settle();
  EXPECT_EQ(backend_->got(), up("one") + make_frame(Opcode::kPing, "p", true, kMask) + up("three"));
  EXPECT_EQ(client_->got(), down("too fast"));
  EXPECT_EQ(account_.counts().messages_up, 2u);
}

TEST_F(RelayTest, ANoticeWaitsForTheEndOfTheBackendsMessage) {
  script_.up.push_back([] { return Verdict::notify("too fast"); });
  start();
  const std::string first = down("first part", false);
  const std::string rest = down("second part", true, Opcode::kContinuation);
  backend_->send(first + rest.substr(0, 5));
  settle();
  client_->send(up("dropped"));
  settle();
  EXPECT_EQ(client_->got(), first + rest.substr(0, 5));
  backend_->send(rest.substr(5) + down("next"));
  settle();
  EXPECT_EQ(client_->got(), first + rest + down("too fast") + down("next"));
}

TEST_F(RelayTest, AtMostOneNoticeASecond) {
  for (int i = 0; i < 3; ++i) {
    script_.up.push_back([] { return Verdict::notify("too fast"); });
  }
  start();
  client_->send(up("1") + up("2"));
  settle();
  EXPECT_EQ(client_->got(), down("too fast"));
  pass_time(seconds(1));
  client_->send(up("3"));
  settle();
  EXPECT_EQ(client_->got(), down("too fast") + down("too fast"));
}

TEST_F(RelayTest, AHeldMessageGoesOnLaterAndNothingIsLost) {
  const Mono until = loop_.clock().now() + seconds(2);
  script_.down.push_back([] { return Verdict::pass(); });
  script_.down.push_back([until] { return Verdict::hold(until); });
  start();
  const std::string all = down("one") + down("two") + down("three");
  backend_->send(all);
  settle();
  EXPECT_EQ(client_->got(), down("one"));
  pass_time(seconds(3));
  EXPECT_EQ(client_->got(), all);
  EXPECT_EQ(account_.counts().messages_down, 3u);
}

TEST_F(RelayTest, AThrottledCloseTellsBothSidesAndEndsPromptly) {
  script_.up.push_back([] { return Verdict::close(filter::CloseCause::kThrottled, "Gold, 9 s"); });
  start();
  client_->send(up("over"));
  settle();
  EXPECT_EQ(client_->got(), websocket::make_close(4003, "Gold, 9 s"));
  websocket::MessageReader reader(websocket::From::kClient, 1 << 20);
  EXPECT_EQ(backend_->got().size(), websocket::make_close(4003, "Gold, 9 s", kMask).size());
  EXPECT_FALSE(over_);
  client_->send(websocket::make_close(4003, "", kMask));
  backend_->send(websocket::make_close(4003, ""));
  settle();
  EXPECT_TRUE(over_);
  EXPECT_EQ(exchange_.ending.close_code, 4003);
  EXPECT_EQ(exchange_.ending.close_side, telemetry::CloseSide::kProxy);
}

TEST_F(RelayTest, ACloseWaitsForTheEndOfTheFrameUnderWay) {
  start();
  const std::string frame = down("a frame that comes in two parts");
  backend_->send(frame.substr(0, 10));
  settle();
  relay_->close(filter::CloseCause::kDraining);
  settle();
  EXPECT_EQ(client_->got(), frame.substr(0, 10));
  backend_->send(frame.substr(10) + down("never passed on"));
  settle();
  EXPECT_EQ(client_->got(), frame + websocket::make_close(
                                        1001, filter::close_reason(filter::CloseCause::kDraining)));
}

TEST_F(RelayTest, AHeldDirectionThatIsClosedStaysInStep) {
  const Mono until = loop_.clock().now() + seconds(60);
  script_.up.push_back([until] { return Verdict::hold(until); });
  start();
  const std::string held =
      up("held in the middle of its second frame") + up("as here, at this byte");
  client_->send(held.substr(0, held.size() - 9));
  settle();
  const std::string begun = down("a frame that keeps our close waiting");
  backend_->send(begun.substr(0, 10));
  settle();
  relay_->close(filter::CloseCause::kTokenRevoked);
  client_->send(held.substr(held.size() - 9) + websocket::make_close(4001, "", kMask));
  settle();
  backend_->send(begun.substr(10) + websocket::make_close(4001, ""));
  settle();
  EXPECT_EQ(client_->got(), begun + websocket::make_close(4001, "access token revoked"));
  EXPECT_TRUE(over_);
}

TEST_F(RelayTest, NothingIsWrittenOnceItIsOver) {
  start();
  client_->send(websocket::make_close(1000, "bye", kMask));
  settle();
  const Mono over = loop_.clock().now() + limits::kPeerCloseTimeout;
  script_.down.push_back([over] { return Verdict::hold(over); });
  backend_->send(down("held until the very end"));
  pass_time(limits::kPeerCloseTimeout + milliseconds(10));
  EXPECT_TRUE(over_);
  EXPECT_EQ(client_->got(), "");
  EXPECT_EQ(account_.counts().messages_down, 0U);
}

TEST_F(RelayTest, ACloseThatNobodyAnswersEndsAtItsDeadline) {
  start();
  relay_->close(filter::CloseCause::kDraining);
  settle();
  EXPECT_FALSE(over_);
  pass_time(limits::kCloseTimeout + milliseconds(10));
  EXPECT_TRUE(over_);
  EXPECT_TRUE(client_->ended());
}

TEST_F(RelayTest, TheClientsCloseIsPassedOnAndItsEchoComesBack) {
  start();
  const std::string close = websocket::make_close(1000, "bye", kMask);
  client_->send(up("last") + close + up("after the close"));
  settle();
  EXPECT_EQ(backend_->got(), up("last") + close);
  EXPECT_FALSE(over_);
  backend_->send(down("still coming") + websocket::make_close(1000, "bye"));
  settle();
  EXPECT_EQ(client_->got(), down("still coming") + websocket::make_close(1000, "bye"));
  EXPECT_TRUE(over_);
  EXPECT_EQ(exchange_.ending.close_code, 1000);
  EXPECT_EQ(exchange_.ending.close_side, telemetry::CloseSide::kClient);
}

TEST_F(RelayTest, ABackendGoneWithoutACloseFrameIs1014ToTheClient) {
  start();
  backend_->leave();
  settle();
  ASSERT_GE(client_->got().size(), 4u);
  EXPECT_EQ(client_->got().substr(2, 2), std::string("\x03\xf6", 2));  // 1014
  EXPECT_EQ(exchange_.ending.close_side, telemetry::CloseSide::kBackend);
  client_->send(websocket::make_close(1014, "", kMask));
  settle();
  EXPECT_TRUE(over_);
}

TEST_F(RelayTest, WhatReachesNobodyIsNotAskedForAndACloseBehindItIsFound) {
  const Mono until = loop_.clock().now() + seconds(60);
  bool asked_again = false;
  script_.up.push_back([until] { return Verdict::hold(until); });
  script_.up.push_back([&asked_again] {
    asked_again = true;
    return Verdict::pass();
  });
  start();
  client_->send(up("held") + up("waits behind it") + websocket::make_close(1000, "", kMask));
  settle();
  backend_->leave();
  settle();
  EXPECT_FALSE(asked_again);
  EXPECT_EQ(account_.counts().messages_up, 0U);
  EXPECT_TRUE(over_);
}

TEST_F(RelayTest, AClientGoneWithoutACloseFrameIs1001ToTheBackend) {
  start();
  client_->send(up("whole") + up("partly sent").substr(0, 8));
  settle();
  client_->leave();
  pass_time(limits::kCloseTimeout + milliseconds(10));
  EXPECT_TRUE(over_);
  EXPECT_EQ(exchange_.ending.close_side, telemetry::CloseSide::kClient);
}

TEST_F(RelayTest, ProtocolErrorsClose1002) {
  start();
  client_->send(down("not masked"));
  settle();
  ASSERT_GE(client_->got().size(), 4u);
  EXPECT_EQ(client_->got().substr(2, 2), std::string("\x03\xea", 2));
  EXPECT_TRUE(backend_->got().find("not masked") == std::string::npos);
}

TEST_F(RelayTest, AMessageOverTheLimitCloses1009BeforeItIsPassedOn) {
  api_.limits.message_bytes_max = 10;
  start();
  client_->send(up("12345", false) + up("6789012", true, Opcode::kContinuation));
  settle();
  ASSERT_GE(client_->got().size(), 4u);
  EXPECT_EQ(client_->got().substr(2, 2), std::string("\x03\xf1", 2));
}

TEST_F(RelayTest, PingsBothSidesSwallowsTheAnswersAndEndsAfterTwoMisses) {
  api_.limits.ping_interval = seconds(30);
  start();
  pass_time(seconds(31));
  const std::string ping = make_frame(Opcode::kPing, relay_->ping_payload());
  EXPECT_EQ(client_->got(), ping);
  ASSERT_EQ(backend_->got().size(), ping.size() + 4);
  client_->send(make_frame(Opcode::kPong, relay_->ping_payload(), true, kMask));
  backend_->send(make_frame(Opcode::kPong, relay_->ping_payload()));
  settle();
  EXPECT_EQ(client_->got(), ping);  // the backend's pong was for us
  pass_time(seconds(60));
  EXPECT_FALSE(exchange_.ending.close_code != 0) << exchange_.ending.reason;
  pass_time(seconds(60));
  EXPECT_EQ(exchange_.ending.close_code, 1014);
}

TEST_F(RelayTest, IdleTimeCountsDataOnly) {
  api_.limits.idle_timeout = seconds(10);
  start();
  pass_time(seconds(6));
  client_->send(up("data"));
  pass_time(seconds(6));
  EXPECT_EQ(exchange_.ending.close_code, 0);
  client_->send(make_frame(Opcode::kPing, "", true, kMask));
  pass_time(seconds(6));
  EXPECT_EQ(exchange_.ending.close_code, 1001);
}

TEST_F(RelayTest, ARecheckEndsACloseThatThePeerLeavesOpen) {
  script_.recheck = [] { return Verdict::close(filter::CloseCause::kTokenRevoked); };
  start();
  client_->send(websocket::make_close(1000, "bye", kMask));
  settle();
  backend_->send(down("still passes"));
  settle();
  EXPECT_EQ(client_->got(), down("still passes"));
  relay_->recheck();
  backend_->send(down("too late"));
  pass_time(limits::kCloseTimeout + milliseconds(10));
  EXPECT_EQ(client_->got(),
            down("still passes") + websocket::make_close(4001, "access token revoked"));
  EXPECT_TRUE(over_);
  EXPECT_EQ(exchange_.ending.close_code, 1000);
  EXPECT_EQ(exchange_.ending.close_side, telemetry::CloseSide::kClient);
}

TEST_F(RelayTest, RechecksInTimeWhileTheWallClockCatchesUp) {
  Wall rechecked{};
  script_.recheck = [&] {
    rechecked = loop_.clock().wall();
    return Verdict::pass();
  };
  const Wall at = loop_.clock().wall() + seconds(600);
  exchange_.recheck_at = at;
  start();
  // An hour ahead: a tenth faster for as long as this test looks.
  const Wall jumped = loop_.clock().wall() + std::chrono::hours(1);
  for (nanoseconds time{}; time < seconds(600); time += milliseconds(50)) {
    loop_.advance(loop_.clock().now() + milliseconds(50), jumped + time);
    loop_.turn(nanoseconds::zero());
  }
  EXPECT_GE(rechecked, at);
  EXPECT_LE(rechecked, at + milliseconds(100));
}

TEST_F(RelayTest, RechecksAtTheTimeThatAFilterSet) {
  script_.recheck = [] { return Verdict::close(filter::CloseCause::kTokenExpired); };
  exchange_.recheck_at = loop_.clock().wall() + seconds(5);
  start();
  pass_time(seconds(4));
  EXPECT_EQ(exchange_.ending.close_code, 0);
  pass_time(milliseconds(1100));
  EXPECT_EQ(exchange_.ending.close_code, 4001);
}

TEST_F(RelayTest, AFloodOfPingsIsClosed) {
  start();
  std::string flood;
  for (int i = 0; i <= limits::kControlFramesPerSecondMax; ++i) {
    flood += make_frame(Opcode::kPing, "", true, kMask);
  }
  client_->send(flood);
  settle();
  EXPECT_EQ(exchange_.ending.close_code, 1008);
}

// Random frames in random pieces both ways, with random drops, holds and notices: what arrives is
// the sequence of passed frames, with notices between messages only.
TEST_F(RelayTest, RandomTrafficArrivesAsItWasJudged) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    script_ = {};
    account_.messages_up = 0;
    over_ = false;
    std::string sent;
    std::string expected;
    std::uint64_t passed = 0;
    for (int message = 0; message < 30; ++message) {
      const std::uint64_t kind = rng.below(6);
      std::string frames;
      const std::uint64_t fragments = 1 + rng.below(3);
      for (std::uint64_t f = 0; f < fragments; ++f) {
        frames += up(std::string(rng.below(600), static_cast<char>('a' + message % 26)),
                     f + 1 == fragments, f == 0 ? Opcode::kBinary : Opcode::kContinuation);
      }
      sent += frames;
      const Mono until = loop_.clock().now() + milliseconds(20);
      if (kind == 0) {
        script_.up.push_back([] { return Verdict::notify("slow down"); });
        continue;
      }
      if (kind == 1) {
        script_.up.push_back([] { return Verdict::drop(); });
        continue;
      }
      if (kind == 2) {
        script_.up.push_back([until] { return Verdict::hold(until); });
      }
      script_.up.push_back([] { return Verdict::pass(); });
      expected += frames;
      ++passed;
    }
    start(200 + rng.below(3000), 1 + rng.below(500));
    std::string back;
    for (int i = 0; i < 40; ++i) {
      back += down(std::string(rng.below(300), 'z'));
    }
    backend_->send(back);
    client_->send(sent);
    for (int i = 0; i < 20; ++i) {
      pass_time(milliseconds(20));
    }
    ASSERT_EQ(backend_->got(), expected);
    ASSERT_EQ(account_.counts().messages_up, passed);
    websocket::MessageReader reader(websocket::From::kServer, 1 << 20);
    std::string rest = client_->got();
    std::string without_notices;
    const std::string notice = down("slow down");
    for (std::size_t at = 0; (at = rest.find(notice)) != std::string::npos;) {
      rest.erase(at, notice.size());
    }
    ASSERT_EQ(rest, back);
    relay_.reset();
    client_.reset();
    backend_.reset();
    settle();
  }
}

}  // namespace
}  // namespace sluice::session
