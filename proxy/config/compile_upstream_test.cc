// What an Upstream says beyond its URLs.
#include <gtest/gtest.h>

#include "proxy/config/testing.h"

namespace sluice::config {
namespace {

using testing::CompileTest;
using testing::Strings;
using testing::upstream;

class CompileUpstream : public CompileTest {
 protected:
  // The cluster of an Upstream with this text besides an endpoint.
  const upstream::Cluster& cluster(const std::string& text) {
    give({upstream("u", "endpoints: 'ws://a/' " + text)});
    return *snapshot->find_upstream("u")->cluster;
  }
  Strings faults(const std::string& text) {
    return fields(put({upstream("bad", "endpoints: 'ws://a/' " + text)}));
  }
};

TEST_F(CompileUpstream, HasTheDefaultsThatItsCommentsSay) {
  const upstream::Cluster& c = cluster("");
  EXPECT_EQ(c.balance, upstream::Balance::kRoundRobin);
  EXPECT_EQ(c.endpoints[0].weight, 1u);
  EXPECT_EQ(c.endpoints[0].priority, 0u);
  EXPECT_EQ(c.ejection.failures, 5u);
  EXPECT_EQ(c.ejection.time, seconds(30));
  EXPECT_EQ(c.ejection.time_max, seconds(300));
  EXPECT_EQ(c.ejection.percent_max, 10u);
  EXPECT_EQ(c.breakers.connections_max, 0u);
  EXPECT_EQ(c.breakers.websockets_max, 0u);
  EXPECT_EQ(c.retry.tries, 2u);
  EXPECT_EQ(c.retry.budget_percent, 20u);
  EXPECT_EQ(c.retry.budget_min, 3u);
  EXPECT_EQ(c.panic_percent, 50u);
  EXPECT_EQ(c.slow_start, seconds(0));
  EXPECT_EQ(c.dns_refresh, seconds(5));
  EXPECT_EQ(c.request_timeout, seconds(60));
  EXPECT_EQ(c.idle_timeout, seconds(60));
  EXPECT_EQ(c.age_max, seconds(0));
}

TEST_F(CompileUpstream, ReadsTargetsBesideEndpoints) {
  const upstream::Cluster& c =
      cluster("targets { url: 'wss://b/x' weight: 3 } targets { url: 'ws://c/' priority: 2 }");
  ASSERT_EQ(c.endpoints.size(), 3u);
  EXPECT_EQ(c.endpoints[1].weight, 3u);
  EXPECT_EQ(c.endpoints[1].path, "/x");
  EXPECT_EQ(c.endpoints[2].weight, 1u);
  EXPECT_EQ(c.endpoints[2].priority, 2u);
  EXPECT_NE(c.tls, nullptr);
  EXPECT_EQ(faults("targets { url: 'ftp://b/' weight: 1001 priority: 16 }"),
            (Strings{"Upstream bad: spec.targets[0].url", "Upstream bad: spec.targets[0].weight",
                     "Upstream bad: spec.targets[0].priority"}));
}

TEST_F(CompileUpstream, ReadsHowEndpointsAreChosen) {
  using Kind = upstream::HashOn::Kind;
  EXPECT_EQ(cluster("balance: 'least_connections'").balance,
            upstream::Balance::kLeastConnections);
  EXPECT_EQ(cluster("balance: 'consistent_hash'").hash_on.kind, Kind::kAddress);
  EXPECT_EQ(cluster("balance: 'consistent_hash' hash_on: 'user'").hash_on.kind, Kind::kUser);
  const upstream::Cluster& c = cluster("balance: 'consistent_hash' hash_on: 'header:X-Room'");
  EXPECT_EQ(c.hash_on.kind, Kind::kHeader);
  EXPECT_EQ(c.hash_on.name, "X-Room");
  EXPECT_EQ(cluster("balance: 'consistent_hash' hash_on: 'query:room'").hash_on.name, "room");
  EXPECT_EQ(faults("balance: 'random'"), Strings{"Upstream bad: spec.balance"});
  EXPECT_EQ(faults("hash_on: 'user'"), Strings{"Upstream bad: spec.hash_on"});
  for (const char* wrong : {"header:", "query:", "header:a b", "cookie:c"}) {
    EXPECT_EQ(faults(std::string("balance: 'consistent_hash' hash_on: '") + wrong + "'"),
              Strings{"Upstream bad: spec.hash_on"})
        << wrong;
  }
}

TEST_F(CompileUpstream, ReadsLimitsAndTries) {
  const upstream::Cluster& c = cluster(
      "ejection { failures: 0 time { seconds: 600 } percent_max: 50 } "
      "breakers { connections_max: 4 pending_max: 3 requests_max: 2 websockets_max: 1 } "
      "retry { tries: 0 statuses: [502, 503] budget_percent: 0 budget_min: 0 } panic_percent: 0 "
      "slow_start { seconds: 30 } age_max {}");
  EXPECT_EQ(c.ejection.failures, 0u);
  EXPECT_EQ(c.ejection.time_max, seconds(600));
  EXPECT_EQ(c.ejection.percent_max, 50u);
  EXPECT_EQ(c.breakers.connections_max, 4u);
  EXPECT_EQ(c.breakers.pending_max, 3u);
  EXPECT_EQ(c.breakers.requests_max, 2u);
  EXPECT_EQ(c.breakers.websockets_max, 1u);
  EXPECT_EQ(c.retry.tries, 0u);
  EXPECT_EQ(c.retry.statuses, (std::vector<int>{502, 503}));
  EXPECT_EQ(c.retry.budget_percent, 0u);
  EXPECT_EQ(c.retry.budget_min, 0u);
  EXPECT_EQ(c.panic_percent, 0u);
  EXPECT_EQ(c.slow_start, seconds(30));
  EXPECT_EQ(faults("ejection { time { seconds: 4 } time_max { seconds: 3 } percent_max: 101 }"),
            (Strings{"Upstream bad: spec.ejection.time_max",
                     "Upstream bad: spec.ejection.percent_max"}));
  EXPECT_EQ(faults("retry { tries: 11 statuses: [500] budget_percent: 101 } panic_percent: 101"),
            (Strings{"Upstream bad: spec.retry.tries", "Upstream bad: spec.retry.statuses[0]",
                     "Upstream bad: spec.retry.budget_percent",
                     "Upstream bad: spec.panic_percent"}));
  EXPECT_EQ(faults("dns_refresh { nanos: 1 } idle_timeout {}"),
            (Strings{"Upstream bad: spec.idle_timeout", "Upstream bad: spec.dns_refresh"}));
}

}  // namespace
}  // namespace sluice::config
