// Large frames over real sockets, where what remains of a frame is spliced.
#include <csignal>

#include "proxy/base/limits.h"
#include "proxy/net/testing.h"
#include "proxy/session/relay.h"
#include "proxy/websocket/close.h"

namespace sluice::session {
namespace {

using net::testing::make_tcp_pair;
using net::testing::pattern;
using net::testing::run_until;
using net::testing::TcpPair;
using net::testing::Witness;
using websocket::Opcode;

constexpr websocket::MaskKey kMask{1, 2, 3, 4};

std::string up(std::string_view text) {
  return websocket::make_frame(Opcode::kBinary, text, true, kMask);
}
std::string down(std::string_view text) { return websocket::make_frame(Opcode::kBinary, text); }

class LargeFrames : public ::testing::Test {
 protected:
  LargeFrames() : loop_(1) {
    std::signal(SIGPIPE, SIG_IGN);  // as the proxy does
    TcpPair client = make_tcp_pair(loop_);
    TcpPair backend = make_tcp_pair(loop_);
    client_ = std::make_unique<Witness>(std::move(client.client));
    backend_ = std::make_unique<Witness>(std::move(backend.server));
    api_.limits.ping_interval = nanoseconds::zero();
    exchange_.api = std::make_shared<const model::Api>(api_);
    exchange_.account = &account_;
    filters_ = std::make_unique<filter::FilterInstances>(
        std::make_shared<const filter::FilterChain>(std::vector<filter::FilterChain::Entry>{}));
    Relay::Parts parts;
    parts.client = std::move(client.server);
    parts.backend = std::move(backend.client);
    parts.exchange = &exchange_;
    parts.filters = filters_.get();
    relay_ = std::make_unique<Relay>(loop_, std::move(parts),
                                     [this] { loop_.post([this] { relay_.reset(); }); });
    relay_->start({}, {});
  }

  net::Loop loop_;
  model::Api api_;
  telemetry::Account account_;
  filter::Exchange exchange_;
  std::unique_ptr<filter::FilterInstances> filters_;
  std::unique_ptr<Witness> client_;
  std::unique_ptr<Witness> backend_;
  std::unique_ptr<Relay> relay_;
};

TEST_F(LargeFrames, PassByteForByteBothWaysAmongSmallOnes) {
  std::string sent_up;
  std::string sent_down;
  for (const std::size_t size : {10, 400'000, 131'072, 3'000'000, 5, 700'000}) {
    sent_up += up(pattern(size, size)) + up("small");
    sent_down += down("small") + down(pattern(size, size + 1));
  }
  client_->send(sent_up);
  backend_->send(sent_down);
  ASSERT_TRUE(run_until(loop_, [&] {
    return backend_->total == sent_up.size() && client_->total == sent_down.size();
  }));
  EXPECT_TRUE(backend_->received == sent_up);
  EXPECT_TRUE(client_->received == sent_down);
  EXPECT_EQ(account_.messages_up, 12U);
  EXPECT_EQ(account_.bytes_up, 4'231'087U + 6 * 5);
}

TEST_F(LargeFrames, WaitForASlowReader) {
  const std::string sent = up(pattern(9'000'000)) + up("last");
  backend_->pause_each = true;
  client_->send(sent);
  ASSERT_TRUE(run_until(loop_, [&] {
    if (backend_->paused) backend_->resume();
    return backend_->total == sent.size();
  }));
  EXPECT_TRUE(backend_->received == sent);
}

TEST_F(LargeFrames, LetACloseWaitForTheFramesEnd) {
  const std::string frame = down(pattern(2'000'000));
  backend_->send(frame.substr(0, 1'000'000));
  ASSERT_TRUE(run_until(loop_, [&] { return client_->total == 1'000'000; }));
  relay_->close(filter::CloseCause::kTooOld);
  backend_->send(frame.substr(1'000'000));
  ASSERT_TRUE(run_until(loop_, [&] { return client_->total > frame.size(); }));
  EXPECT_TRUE(client_->received.starts_with(frame));
  EXPECT_EQ(client_->received[frame.size()], '\x88');
}

TEST_F(LargeFrames, OfAClientThatLeavesMidwayCloseTheBackend) {
  client_->send(up(pattern(2'000'000)).substr(0, 1'000'000));
  ASSERT_TRUE(run_until(loop_, [&] { return backend_->total == 1'000'000; }));
  client_->side.reset();
  EXPECT_TRUE(run_until(loop_, [&] { return backend_->ended && relay_ == nullptr; }));
}

TEST_F(LargeFrames, ToABackendThatLeavesMidwayCloseTheClient) {
  client_->send(up(pattern(8'000'000)).substr(0, 1'000'000));
  ASSERT_TRUE(run_until(loop_, [&] { return backend_->total == 1'000'000; }));
  backend_->side.reset();
  ASSERT_TRUE(run_until(loop_, [&] { return client_->total > 0; }));
  EXPECT_EQ(client_->received.front(), '\x88');
  client_->side.reset();
  EXPECT_TRUE(run_until(loop_, [&] { return relay_ == nullptr; }));
}

}  // namespace
}  // namespace sluice::session
