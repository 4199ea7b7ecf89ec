#include "proxy/upstream/idle_connections.h"

#include <gtest/gtest.h>

#include "proxy/net/pipe.h"

namespace sluice::upstream {
namespace {

class IdleConnectionsTest : public testing::Test {
 protected:
  IdleConnectionsTest() : loop_(1, net::Loop::ClockMode::kManual), idle_(loop_) {
    cluster_ = std::make_shared<Cluster>();
    cluster_->name = "c";
    for (const char* host : {"a", "b"}) {
      model::Endpoint endpoint;
      endpoint.host = host;
      endpoint.url = std::string("http://") + host + "/";
      cluster_->endpoints.push_back(endpoint);
    }
    state_ = std::make_shared<ClusterState>("c");
    states_ = state_->adopt({{"http://a/", "a"}, {"http://b/", "b"}}, loop_.clock().now());
  }

  Lease lease(std::size_t of) {
    Host host;
    host.endpoint = &cluster_->endpoints[of];
    host.state = states_[of];
    (void)state_->take(Unit::kRequest, 0);
    return Lease(cluster_, state_, host, Unit::kRequest);
  }
  // Puts a connection; its far end is the result.
  std::unique_ptr<net::Side> put(std::size_t of) {
    auto [far, near] = net::make_pipe(loop_, std::make_shared<net::PipeRules>());
    const Lease one = lease(of);
    (void)state_->take(Unit::kConnection, 0);
    Connected connection{std::move(near),
                         ConnectionHold(Held(state_, Unit::kConnection), states_[of]), made_};
    idle_.put(one, std::move(connection));
    return std::move(far);
  }
  bool take(std::size_t of) { return idle_.take(lease(of)).has_value(); }
  void settle() {
    for (int i = 0; i < 20; ++i) {
      loop_.turn(nanoseconds::zero());
    }
  }

  net::Loop loop_;
  std::shared_ptr<Cluster> cluster_;
  std::shared_ptr<ClusterState> state_;
  std::vector<std::shared_ptr<EndpointState>> states_;
  IdleConnections idle_;
  Mono made_ = loop_.clock().now();
};

TEST_F(IdleConnectionsTest, GivesBackToTheSameEndpointOnly) {
  const auto far = put(0);
  EXPECT_FALSE(take(1));
  EXPECT_TRUE(take(0));
  EXPECT_FALSE(take(0));
  EXPECT_EQ(idle_.size(), 0u);
  EXPECT_EQ(state_->in_use(Unit::kConnection), 0u) << "the taken one was dropped by the test";
}

TEST_F(IdleConnectionsTest, DropsOneThatEndsOrSpeaks) {
  auto ends = put(0);
  auto speaks = put(0);
  ends->end();
  speaks->write(as_bytes("HTTP/1.1 200 OK\r\n"));
  settle();
  EXPECT_EQ(idle_.size(), 0u);
  EXPECT_FALSE(take(0));
}

TEST_F(IdleConnectionsTest, DropsWhatNobodyTakes) {
  const auto far = put(0);
  loop_.advance(loop_.clock().now() + cluster_->idle_timeout + seconds(1), loop_.clock().wall());
  settle();
  EXPECT_EQ(idle_.size(), 0u);
}

TEST_F(IdleConnectionsTest, DropsWhatComesToItsAgeAndTakesNothingOlder) {
  cluster_->age_max = seconds(5);
  const auto first = put(0);
  loop_.advance(loop_.clock().now() + seconds(4), loop_.clock().wall());
  settle();
  EXPECT_TRUE(take(0));
  const auto second = put(0);
  loop_.advance(loop_.clock().now() + seconds(2), loop_.clock().wall());
  settle();
  EXPECT_EQ(idle_.size(), 0u);
  const auto third = put(0);
  EXPECT_EQ(idle_.size(), 0u);
}

TEST_F(IdleConnectionsTest, DropsWhatWasMadeWithOtherTrust) {
  const auto far = put(0);
  cluster_ = std::make_shared<Cluster>(*cluster_);
  cluster_->server_name = "another";
  EXPECT_FALSE(take(0));
  EXPECT_EQ(idle_.size(), 0u);
}

TEST_F(IdleConnectionsTest, IsBounded) {
  std::vector<std::unique_ptr<net::Side>> fars;
  for (std::size_t i = 0; i < limits::kUpstreamIdlePerEndpointMax + 5; ++i) {
    fars.push_back(put(0));
  }
  EXPECT_EQ(idle_.size(), limits::kUpstreamIdlePerEndpointMax);
}

}  // namespace
}  // namespace sluice::upstream
