#include "proxy/upstream/pool.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

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
      : loop(1),
        pool(
            loop,
            [this](net::ConnectTarget target, Mono deadline) {
              return connect(this, std::move(target), deadline);
            },
            nullptr, states) {}

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

  absl::StatusOr<Dialled> dial(const std::shared_ptr<const Cluster>& cluster,
                               Use use = Use::kWebSocket) {
    Call call(pool, cluster, use, 0);
    return run_task(loop, call.dial());
  }

  // How often each host was tried in `count` calls that are all answered.
  std::map<std::string, int> spread(const std::shared_ptr<const Cluster>& cluster, int count) {
    std::map<std::string, int> hosts;
    for (int i = 0; i < count; ++i) {
      auto dialled = dial(cluster);
      EXPECT_TRUE(dialled.ok()) << dialled.status();
      ++hosts[tried.back()];
    }
    return hosts;
  }

  const EndpointState& state(std::string_view cluster, std::size_t index) {
    return *states.find(cluster)->endpoints().at(index);
  }

  StateTable states;
  net::Loop loop;
  Pool pool;
  std::vector<std::string> tried;
  std::vector<nanoseconds> shares;
  net::ConnectTarget last;
  std::vector<std::unique_ptr<net::Side>> peers;
};

TEST_F(PoolTest, UsesEndpointsInTurnAcrossSnapshots) {
  std::map<std::string, int> hosts;
  for (int i = 0; i < 10; ++i) {
    // A new object each time, as after a configuration change.
    auto dialled = dial(cluster_of("c", {"good-a", "good-b"}));
    ASSERT_TRUE(dialled.ok()) << dialled.status();
    EXPECT_EQ(dialled->lease.endpoint().host, tried.back());
    EXPECT_NE(dialled->connection.side, nullptr);
    ++hosts[tried.back()];
  }
  EXPECT_EQ(hosts, (std::map<std::string, int>{{"good-a", 5}, {"good-b", 5}}));
  EXPECT_NE(tried[0], tried[1]);
}

TEST_F(PoolTest, KeepsTheClusterAliveWithTheLease) {
  auto dialled = dial(cluster_of("c", {"good-a"}));
  ASSERT_TRUE(dialled.ok());
  EXPECT_EQ(&dialled->lease.endpoint(), &dialled->lease.cluster().endpoints[0]);
}

TEST_F(PoolTest, GoesByWeight) {
  auto cluster = std::make_shared<Cluster>(*cluster_of("c", {"good-a", "good-b"}));
  cluster->endpoints[1].weight = 3;
  EXPECT_EQ(spread(cluster, 40), (std::map<std::string, int>{{"good-a", 10}, {"good-b", 30}}));
}

TEST_F(PoolTest, UsesHigherPrioritiesOnlyWhereLowerOnesAreNotWell) {
  auto cluster = std::make_shared<Cluster>(*cluster_of("c", {"good-spare", "good-a", "good-b"}));
  cluster->endpoints[0].priority = 1;
  EXPECT_EQ(spread(cluster, 10), (std::map<std::string, int>{{"good-a", 5}, {"good-b", 5}}));
  // The last call's retry may go on to the next priority.
  auto broken = std::make_shared<Cluster>(*cluster_of("d", {"good-spare", "refused"}));
  broken->endpoints[0].priority = 1;
  ASSERT_TRUE(dial(broken).ok());
  EXPECT_EQ(tried.back(), "good-spare");
}

TEST_F(PoolTest, TriesTheNextEndpointWhenOneRefuses) {
  auto cluster = cluster_of("c", {"refused-a", "good-b"});
  for (int i = 0; i < 4; ++i) {
    auto dialled = dial(cluster);
    ASSERT_TRUE(dialled.ok()) << dialled.status();
    EXPECT_EQ(dialled->lease.endpoint().host, "good-b");
  }
  EXPECT_EQ(state("c", 0).connects_failed, 2u);
  EXPECT_EQ(state("c", 0).connects, 0u);
  EXPECT_EQ(state("c", 1).connects, 4u);
  EXPECT_EQ(states.find("c")->retries, 2u);
}

TEST_F(PoolTest, SaysUnavailableWithEachReasonWhenAllRefuse) {
  auto dialled = dial(cluster_of("c", {"refused-a", "refused-b"}));
  EXPECT_TRUE(absl::IsUnavailable(dialled.status()));
  const std::string message(message_of(dialled.status()));
  EXPECT_NE(message.find("ws://refused-a/: refused"), std::string::npos) << message;
  EXPECT_NE(message.find("ws://refused-b/"), std::string::npos) << message;
  EXPECT_EQ(tried.size(), 2u);
}

TEST_F(PoolTest, TriesNoMoreOftenThanRetrySays) {
  auto cluster = std::make_shared<Cluster>(
      *cluster_of("c", {"refused-a", "refused-b", "refused-c", "refused-d", "refused-e"}));
  EXPECT_FALSE(dial(cluster).ok());
  EXPECT_EQ(tried.size(), 3u);
  tried.clear();
  auto none = std::make_shared<Cluster>(*cluster);
  none->retry.tries = 0;
  EXPECT_FALSE(dial(none).ok());
  EXPECT_EQ(tried.size(), 1u);
}

TEST_F(PoolTest, TriesNoMoreThanTheBudgetAllows) {
  auto cluster = std::make_shared<Cluster>(*cluster_of("c", {"refused-a", "refused-b"}));
  cluster->retry.budget_min = 1;
  cluster->retry.budget_percent = 0;
  Call waiting(pool, cluster, Use::kWebSocket, 0);
  EXPECT_FALSE(run_task(loop, waiting.dial()).ok());
  EXPECT_EQ(tried.size(), 2u);
  // The first one still holds its unit.
  EXPECT_FALSE(dial(cluster).ok());
  EXPECT_EQ(tried.size(), 3u);
  EXPECT_EQ(states.find("c")->overflows(Unit::kRetry), 1u);
}

TEST_F(PoolTest, RetriesStatusesThatAreListed) {
  auto cluster = std::make_shared<Cluster>(*cluster_of("c", {"good-a", "good-b"}));
  cluster->retry.statuses = {503};
  Call call(pool, cluster, Use::kWebSocket, 0);
  ASSERT_TRUE(run_task(loop, call.dial()).ok());
  EXPECT_FALSE(call.may_retry(502));
  ASSERT_TRUE(call.may_retry(503));
  ASSERT_TRUE(run_task(loop, call.dial()).ok());
  EXPECT_NE(tried[0], tried[1]);
  EXPECT_FALSE(call.may_retry(503)) << "no endpoint is left";
}

TEST_F(PoolTest, TakesIdleConnections) {
  auto cluster = cluster_of("c", {"good-a"});
  std::optional<Connected> idle = std::move(dial(cluster)->connection);
  const EndpointState* key = states.find("c")->endpoints().front().get();
  Call call(pool, cluster, Use::kRequest, 0);
  const Call::TakeIdle take = [&](const Lease& lease) {
    EXPECT_EQ(lease.key(), key);
    return std::exchange(idle, std::nullopt);
  };
  auto reused = run_task(loop, call.dial(take));
  ASSERT_TRUE(reused.ok());
  EXPECT_TRUE(reused->reused);
  EXPECT_EQ(tried.size(), 1u);
  call.was_stale();
  auto fresh = run_task(loop, call.dial(take));
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  EXPECT_FALSE(fresh->reused);
  EXPECT_EQ(tried.size(), 2u);
}

TEST_F(PoolTest, RefusesWhatABreakerDoesNotAllow) {
  auto cluster = std::make_shared<Cluster>(*cluster_of("c", {"good-a"}));
  cluster->breakers.websockets_max = 2;
  cluster->breakers.requests_max = 1;
  auto one = dial(cluster);
  auto two = dial(cluster);
  ASSERT_TRUE(two.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(dial(cluster).status()));
  auto request = dial(cluster, Use::kRequest);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_TRUE(absl::IsResourceExhausted(dial(cluster, Use::kRequest).status()));
  one = absl::CancelledError();
  EXPECT_TRUE(dial(cluster).ok());
  EXPECT_EQ(states.find("c")->overflows(Unit::kWebSocket), 1u);

  auto connections = std::make_shared<Cluster>(*cluster);
  connections->breakers.connections_max = 2;
  EXPECT_TRUE(absl::IsResourceExhausted(dial(connections).status()));
  auto pending = std::make_shared<Cluster>(*cluster_of("p", {"good-a"}));
  pending->breakers.pending_max = 1;
  Call waiting(pool, pending, Use::kRequest, 0);
  ASSERT_TRUE(run_task(loop, waiting.dial()).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(dial(pending).status()));
}

TEST_F(PoolTest, GivesBackAllThatWasHeld) {
  auto cluster = cluster_of("c", {"good-a", "refused-b"});
  for (int i = 0; i < 6; ++i) {
    (void)dial(cluster, i % 2 == 0 ? Use::kWebSocket : Use::kRequest);
  }
  {
    std::vector<absl::StatusOr<Dialled>> live;
    live.push_back(dial(cluster));
    live.push_back(dial(cluster));
    EXPECT_EQ(states.find("c")->in_use(Unit::kConnection), 2u);
    EXPECT_EQ(states.find("c")->in_use(Unit::kPending), 0u);
    EXPECT_EQ(state("c", 0).active, 2u);
  }
  for (std::size_t unit = 0; unit < kUnits; ++unit) {
    EXPECT_EQ(states.find("c")->in_use(static_cast<Unit>(unit)), 0u) << unit;
  }
  EXPECT_EQ(state("c", 0).active, 0u);
  EXPECT_EQ(state("c", 1).active, 0u);
  EXPECT_EQ(state("c", 0).connections, 0u);
  EXPECT_EQ(state("c", 1).connections, 0u);
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
  EXPECT_EQ(state("c", 0).connects_timed_out, 1u);

  auto mixed = std::make_shared<Cluster>(*cluster_of("m", {"slow-a", "refused-b"}));
  mixed->connect_timeout = milliseconds(20);
  EXPECT_TRUE(absl::IsUnavailable(dial(mixed).status()));
}

TEST_F(PoolTest, GivesTrustOnlyToEndpointsWithTls) {
  auto cluster = std::make_shared<Cluster>(*cluster_of("c", {"good-plain", "good-tls"}));
  cluster->endpoints[1].tls = true;
  cluster->tls = net::TlsClientContext::create_unverified();
  cluster->server_name = "name";
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(dial(cluster).ok());
    const bool tls = last.host == "good-tls";
    EXPECT_EQ(last.tls, tls ? cluster->tls : nullptr);
    EXPECT_EQ(last.server_name, tls ? "name" : "");
  }
  cluster->server_name.clear();
  while (last.host != "good-tls" || last.server_name == "name") {
    ASSERT_TRUE(dial(cluster).ok());
  }
  EXPECT_EQ(last.server_name, "good-tls");
}

TEST_F(PoolTest, RefusesAClusterWithoutEndpoints) {
  EXPECT_TRUE(absl::IsUnavailable(dial(cluster_of("c", {})).status()));
}

Task<int> dial_many(Pool& pool, int count) {
  int failed = 0;
  const std::vector<std::string> hosts(1, "refused");
  for (int i = 0; i < count; ++i) {
    auto cluster = cluster_of("c" + std::to_string(i), hosts);
    Call call(pool, std::move(cluster), Use::kWebSocket, 0);
    auto dialled = co_await call.dial();
    failed += dialled.ok() ? 0 : 1;
  }
  co_return failed;
}

TEST_F(PoolTest, ForgetsClustersThatAreGone) {
  const auto kept = cluster_of("kept", {"refused"});
  (void)dial(kept);
  EXPECT_EQ(run_task(loop, dial_many(pool, 1000)), 1000);
  EXPECT_LE(states.all().size(), 520u);
  (void)dial(kept);
  EXPECT_EQ(state("kept", 0).leases, 2u);
}

Task<void> dial_into(Call& call, absl::Status& out) { out = (co_await call.dial()).status(); }

TEST_F(PoolTest, EndsWhenCancelled) {
  TaskGroup group(loop.executor());
  absl::Status status;
  {
    Call call(pool, cluster_of("c", {"slow-a", "slow-b"}), Use::kWebSocket, 0);
    group.spawn(dial_into(call, status));
    loop.turn(milliseconds(1));
    group.cancel();
    ASSERT_TRUE(net::testing::run_until(loop, [&] { return group.size() == 0; }));
  }
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(tried.size(), 1u);
  EXPECT_EQ(state("c", 0).connects_timed_out + state("c", 1).connects_timed_out, 0u);
}

// All hosts are names; `addresses` answers for each.
class PoolNames : public PoolTest {
 protected:
  PoolNames()
      : named(
            loop,
            [this](net::ConnectTarget target, Mono deadline) {
              target.host = target.host.starts_with("10.0.") ? "good" : "refused";
              return connect(this, std::move(target), deadline);
            },
            [this](std::string host, nanoseconds age_max, Mono) {
              return resolve(this, std::move(host), age_max);
            },
            states) {}
  ~PoolNames() override {
    named.cancel();
    EXPECT_TRUE(net::testing::run_until(loop, [&] { return !named.busy(); }));
  }

  static Task<absl::StatusOr<std::vector<std::string>>> resolve(PoolNames* self, std::string host,
                                                                nanoseconds age_max) {
    self->asked.push_back(host);
    EXPECT_EQ(age_max, milliseconds(20));
    const auto found = self->addresses.find(host);
    if (found == self->addresses.end()) {
      co_return unavailable("there is no such name");
    }
    co_return found->second;
  }
  std::shared_ptr<const Cluster> names(std::vector<std::string> hosts) {
    auto cluster = std::make_shared<Cluster>(*cluster_of("n", std::move(hosts)));
    cluster->dns_refresh = milliseconds(20);
    return cluster;
  }
  // The addresses that so many calls went to.
  std::set<std::string> used(const std::shared_ptr<const Cluster>& cluster, int calls) {
    std::set<std::string> found;
    for (int i = 0; i < calls; ++i) {
      Call call(named, cluster, Use::kWebSocket, 0);
      auto dialled = run_task(loop, call.dial());
      if (dialled.ok()) {
        found.insert(dialled->lease.key()->address());
      }
    }
    return found;
  }

  std::map<std::string, std::vector<std::string>> addresses;
  std::vector<std::string> asked;
  Pool named;
};

TEST_F(PoolNames, UsesAllAddressesOfAName) {
  addresses["a"] = {"10.0.0.2", "10.0.0.1"};
  const auto cluster = names({"a"});
  EXPECT_EQ(used(cluster, 4), (std::set<std::string>{"10.0.0.1", "10.0.0.2"}));
  EXPECT_EQ(asked.size(), 1u) << "an answer serves until it is old";
  EXPECT_EQ(state("n", 0).address(), "10.0.0.1");
}

TEST_F(PoolNames, LooksUpAgainAndKeepsWhatItHasWhereThatFails) {
  addresses["a"] = {"10.0.0.1"};
  const auto cluster = names({"a"});
  EXPECT_EQ(used(cluster, 1), std::set<std::string>{"10.0.0.1"});
  addresses["a"] = {"10.0.0.9"};
  ASSERT_TRUE(net::testing::run_until(
      loop, [&] { return used(cluster, 1) == std::set<std::string>{"10.0.0.9"}; }));
  addresses.clear();
  const std::size_t before = asked.size();
  ASSERT_TRUE(net::testing::run_until(loop, [&] {
    EXPECT_EQ(used(cluster, 1), std::set<std::string>{"10.0.0.9"});
    return asked.size() > before + 1;
  }));
}

TEST_F(PoolNames, SaysWhyThereIsNoAddress) {
  const auto cluster = names({"nowhere"});
  Call call(named, cluster, Use::kWebSocket, 0);
  const absl::Status status = run_task(loop, call.dial()).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(message_of(status), "there is no such name");
  // One that is known need not wait for the other.
  addresses["a"] = {"10.0.0.1"};
  EXPECT_EQ(used(names({"nowhere", "a"}), 2), std::set<std::string>{"10.0.0.1"});
}

TEST(Pool, DialsARealBackend) {
  net::Loop loop(1);
  net::Resolver resolver;
  StateTable states;
  std::unique_ptr<net::Side> accepted;
  auto acceptor = net::Acceptor::listen(
      loop, {"127.0.0.1", 0, false},
      [&accepted](std::unique_ptr<net::Side> side) { accepted = std::move(side); });
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  // Both by its address and by a name of it.
  for (const char* host : {"127.0.0.1", "localhost"}) {
    auto cluster = std::make_shared<Cluster>(*cluster_of(host, {host}));
    cluster->endpoints[0].port = (*acceptor)->port();
    Pool pool(loop, resolver, states);
    Call call(pool, cluster, Use::kWebSocket, 0);
    auto dialled = run_task(loop, call.dial());
    ASSERT_TRUE(dialled.ok()) << dialled.status();
    EXPECT_TRUE(net::testing::run_until(loop, [&] { return accepted != nullptr; }));
    accepted.reset();
  }
}

}  // namespace
}  // namespace sluice::upstream
