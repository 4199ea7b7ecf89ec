// What an Upstream says beyond its URLs.
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "proxy/config/testing.h"

namespace sluice::config {
namespace {

using testing::CompileTest;
using testing::make_certificate;
using testing::secret;
using testing::Strings;
using testing::upstream;

class CompileUpstream : public CompileTest {
 protected:
  // The cluster of an Upstream with this text besides an endpoint.
  upstream::Cluster cluster(const std::string& text) {
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

TEST_F(CompileUpstream, ReadsNamesToVerify) {
  const std::string tls = "endpoints: 'wss://b/' tls { subject_names: 'spiffe://x/y' } ";
  EXPECT_EQ(cluster(tls).tls->subject_names(), Strings{"spiffe://x/y"});
  EXPECT_NE(cluster(tls).tls, cluster("endpoints: 'wss://b/'").tls);
  EXPECT_EQ(faults("endpoints: 'wss://b/' tls { subject_names: 'a b' }"),
            Strings{"Upstream bad: spec.tls.subject_names[0]"});
}

TEST_F(CompileUpstream, ShowsASecretsCertificateAndFollowsItsChanges) {
  const std::string tls = "endpoints: 'wss://b/' tls { client_certificate: 's' }";
  EXPECT_EQ(faults(tls), Strings{"Upstream bad: spec.tls.client_certificate"});
  give({secret("s", make_certificate("one")), upstream("u", tls), upstream("v", tls)});
  const auto before = snapshot->find_upstream("u")->cluster;
  ASSERT_NE(SSL_CTX_get0_certificate(before->tls->get()), nullptr);
  const CompileResult result =
      put({secret("s", make_certificate("two")), upstream("v", tls + " panic_percent: 1")});
  EXPECT_TRUE(result.faults.empty());
  const auto after = result.snapshot->find_upstream("u")->cluster;
  EXPECT_NE(X509_cmp(SSL_CTX_get0_certificate(before->tls->get()),
                     SSL_CTX_get0_certificate(after->tls->get())),
            0);
  EXPECT_EQ(X509_cmp(SSL_CTX_get0_certificate(
                         result.snapshot->find_upstream("v")->cluster->tls->get()),
                     SSL_CTX_get0_certificate(after->tls->get())),
            0);
  EXPECT_EQ(after->endpoints.size(), 1u);
  EXPECT_EQ(fields(remove({{Kind::kSecret, "s"}})), Strings{"Secret s: "});
}

TEST_F(CompileUpstream, ReadsHealthChecks) {
  using Type = upstream::HealthCheck::Type;
  EXPECT_EQ(cluster("").health_check, nullptr);
  const upstream::HealthCheck tcp = *cluster("health_check { type: 'tcp' }").health_check;
  EXPECT_EQ(tcp.type, Type::kTcp);
  EXPECT_EQ(tcp.interval, seconds(5));
  EXPECT_EQ(tcp.timeout, seconds(2));
  EXPECT_EQ(tcp.failures, 3u);
  EXPECT_EQ(tcp.passes, 2u);
  const upstream::HealthCheck http =
      *cluster("health_check { type: 'http' path: '/up?x' interval { seconds: 1 } failures: 1 }")
           .health_check;
  EXPECT_EQ(http.type, Type::kHttp);
  EXPECT_EQ(http.path, "/up?x");
  EXPECT_EQ(http.failures, 1u);
  EXPECT_EQ(cluster("health_check { type: 'websocket' }").health_check->type, Type::kWebSocket);
  EXPECT_EQ(faults("health_check { type: 'ping' }"),
            Strings{"Upstream bad: spec.health_check.type"});
  EXPECT_EQ(faults("health_check { type: 'tcp' path: '/' timeout {} }"),
            (Strings{"Upstream bad: spec.health_check.path",
                     "Upstream bad: spec.health_check.timeout"}));
  EXPECT_EQ(faults("health_check { type: 'http' path: 'up' }"),
            Strings{"Upstream bad: spec.health_check.path"});
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
