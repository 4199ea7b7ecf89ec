#include "proxy/upstream/pool.h"

#include <gtest/gtest.h>

#include "proxy/net/testing.h"

namespace sluice::upstream {
namespace {

using net::testing::run_task;

std::shared_ptr<const Cluster> cluster_of(std::string name, std::vector<std::string> hosts) {
  auto cluster = std::make_shared<Cluster>();
  cluster->name = std::move(name);
  for (const std::string& host : hosts) {
    model::Endpoint endpoint;
    endpoint.host = host;
    endpoint.url = "ws://" + host + "/";
    endpoint.port = 80;
    cluster->endpoints.push_back(endpoint);
  }
  return cluster;
}

// Answers by the host's name: good, refused, slow.
class PoolTest : public ::testing::Test {
 protected:
  PoolTest()
      : loop(1), pool(loop, [this](net::ConnectTarget target, Mono deadline) {
          return connect(this, std::move(target), deadline);
        }) {}

  static Task<absl::StatusOr<std::unique_ptr<net::Side>>> connect(PoolTest* self,
                                                                  net::ConnectTarget target,
                                                                  Mono deadline) {
    self->tried.push_back(target.host);
    self->shares.push_back(deadline - self->loop.clock().now());
    self->last = target;
    if (target.host.starts_with("good")) {
      net::testing::TcpPair pair = net::testing::make_tcp_pair(self->loop);
      self->peers.push_back(std::move(pair.server));
      co_return std::move(pair.client);
    }
    if (target.host.starts_with("slow")) {
      SLUICE_CO_RETURN_IF_ERROR(co_await sleep_until(self->loop.timers(), deadline));
      co_return deadline_exceeded("too slow");
    }
    co_return unavailable("refused");
  }

  absl::StatusOr<Dialled> dial(const std::shared_ptr<const Cluster>& cluster) {
    return run_task(loop, pool.dial(cluster));
  }

  ClusterCounters counters(std::string_view wanted) {
    ClusterCounters found;
    pool.visit([&](std::string_view name, const ClusterCounters& counters) {
      if (name == wanted) {
        found = counters;
      }
    });
    return found;
  }

  net::Loop loop;
  Pool pool;
  std::vector<std::string> tried;
  std::vector<nanoseconds> shares;
  net::ConnectTarget last;
  std::vector<std::unique_ptr<net::Side>> peers;
};

TEST_F(PoolTest, UsesEndpointsInTurnAcrossSnapshots) {
  for (int i = 0; i < 4; ++i) {
    // A new object each time, as after a configuration change.
    auto dialled = dial(cluster_of("c", {"good-a", "good-b"}));
    ASSERT_TRUE(dialled.ok()) << dialled.status();
    EXPECT_EQ(dialled->endpoint->host, tried.back());
    EXPECT_NE(dialled->side, nullptr);
  }
  EXPECT_EQ(tried, (std::vector<std::string>{"good-a", "good-b", "good-a", "good-b"}));
}

TEST_F(PoolTest, KeepsTheClusterAliveWithTheEndpoint) {
  auto dialled = dial(cluster_of("c", {"good-a"}));
  ASSERT_TRUE(dialled.ok());
  EXPECT_EQ(dialled->endpoint, &dialled->cluster->endpoints[0]);
}

TEST_F(PoolTest, TriesTheNextEndpointWhenOneRefuses) {
  auto cluster = cluster_of("c", {"refused-a", "good-b", "good-c"});
  auto dialled = dial(cluster);
  ASSERT_TRUE(dialled.ok()) << dialled.status();
  EXPECT_EQ(dialled->endpoint->host, "good-b");
  const ClusterCounters counted = counters("c");
  EXPECT_EQ(counted.dials, 2u);
  EXPECT_EQ(counted.refused, 1u);
  EXPECT_EQ(counted.connected, 1u);
}

TEST_F(PoolTest, SaysUnavailableWithEachReasonWhenAllRefuse) {
  auto dialled = dial(cluster_of("c", {"refused-a", "refused-b"}));
  EXPECT_TRUE(absl::IsUnavailable(dialled.status()));
  const std::string message(message_of(dialled.status()));
  EXPECT_NE(message.find("ws://refused-a/: refused"), std::string::npos) << message;
  EXPECT_NE(message.find("ws://refused-b/"), std::string::npos) << message;
  EXPECT_EQ(tried.size(), 2u);
}

TEST_F(PoolTest, SharesTheTimeAndTellsTimeFromRefusal) {
  auto cluster = std::make_shared<Cluster>(*cluster_of("c", {"slow-a", "slow-b"}));
  cluster->connect_timeout = milliseconds(40);
  const Mono begin = system_mono();
  auto dialled = dial(cluster);
  EXPECT_TRUE(absl::IsDeadlineExceeded(dialled.status())) << dialled.status();
  EXPECT_GE(system_mono() - begin, milliseconds(39));
  ASSERT_EQ(shares.size(), 2u);
  EXPECT_LE(shares[0], milliseconds(20));
  EXPECT_EQ(counters("c").timed_out, 2u);

  auto mixed = std::make_shared<Cluster>(*cluster_of("m", {"slow-a", "refused-b"}));
  mixed->connect_timeout = milliseconds(20);
  EXPECT_TRUE(absl::IsUnavailable(dial(mixed).status()));
}

TEST_F(PoolTest, GivesTrustOnlyToEndpointsWithTls) {
  auto cluster = std::make_shared<Cluster>(*cluster_of("c", {"good-plain", "good-tls"}));
  cluster->endpoints[1].tls = true;
  cluster->tls = net::TlsClientContext::create_unverified();
  cluster->server_name = "name";
  ASSERT_TRUE(dial(cluster).ok());
  EXPECT_EQ(last.tls, nullptr);
  ASSERT_TRUE(dial(cluster).ok());
  EXPECT_EQ(last.tls, cluster->tls);
  EXPECT_EQ(last.server_name, "name");
}

TEST_F(PoolTest, RefusesAClusterWithoutEndpoints) {
  EXPECT_TRUE(absl::IsUnavailable(dial(cluster_of("c", {})).status()));
}

Task<int> dial_many(Pool& pool, int count) {
  int failed = 0;
  const std::vector<std::string> hosts(1, "refused");
  for (int i = 0; i < count; ++i) {
    auto cluster = cluster_of("c" + std::to_string(i), hosts);
    auto dialled = co_await pool.dial(std::move(cluster));
    failed += dialled.ok() ? 0 : 1;
  }
  co_return failed;
}

TEST_F(PoolTest, ForgetsClustersThatAreGone) {
  const auto kept = cluster_of("kept", {"refused"});
  (void)dial(kept);
  EXPECT_EQ(run_task(loop, dial_many(pool, 1000)), 1000);
  int seen = 0;
  pool.visit([&](std::string_view name, const ClusterCounters&) {
    EXPECT_EQ(name, "kept");
    ++seen;
  });
  EXPECT_EQ(seen, 1);
  (void)dial(kept);
  EXPECT_EQ(counters("kept").dials, 2u);
}

Task<void> dial_into(Pool& pool, std::shared_ptr<const Cluster> cluster, absl::Status& out) {
  out = (co_await pool.dial(std::move(cluster))).status();
}

TEST_F(PoolTest, EndsWhenCancelled) {
  TaskGroup group(loop.executor());
  absl::Status status;
  group.spawn(dial_into(pool, cluster_of("c", {"slow-a", "good-b"}), status));
  loop.turn(milliseconds(1));
  group.cancel();
  ASSERT_TRUE(net::testing::run_until(loop, [&] { return group.size() == 0; }));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(tried.size(), 1u);
}

TEST(Pool, DialsARealBackend) {
  net::Loop loop(1);
  net::Resolver resolver;
  std::unique_ptr<net::Side> accepted;
  auto acceptor = net::Acceptor::listen(
      loop, {"127.0.0.1", 0, false},
      [&accepted](std::unique_ptr<net::Side> side) { accepted = std::move(side); });
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  auto cluster = std::make_shared<Cluster>(*cluster_of("real", {"127.0.0.1"}));
  cluster->endpoints[0].port = (*acceptor)->port();
  Pool pool(loop, resolver);
  auto dialled = run_task(loop, pool.dial(cluster));
  ASSERT_TRUE(dialled.ok()) << dialled.status();
  EXPECT_TRUE(net::testing::run_until(loop, [&] { return accepted != nullptr; }));
}

}  // namespace
}  // namespace sluice::upstream
