// What the two planes do together, over real gRPC and TLS.
#include <gtest/gtest.h>

#include <filesystem>

#include "proxy/control/join.h"
#include "tests/planes/planes.h"

namespace sluice::planes {
namespace {

using State = admin::v1::ProxyRollout;

TEST(Planes, JoinAndServeWhatIsPushed) {
  ControlPlane plane;
  plane.put("Plan", "P", plan(1));
  plane.put("Api", "a", api("/a", "P"));
  Proxy proxy(plane, "edge-1");
  ASSERT_TRUE(proxy.start().ok());
  ASSERT_TRUE(proxy.until_connected());
  EXPECT_TRUE(proxy.run<bool>([&] { return proxy.inside().in_force->find_api("a") != nullptr; }));

  const std::int64_t revision = plane.put("Plan", "P", plan(2));
  const admin::v1::RolloutStatus status = plane.wait(revision);
  EXPECT_TRUE(status.complete()) << status.DebugString();
  ASSERT_EQ(status.proxies().size(), 1);
  EXPECT_EQ(status.proxies(0).proxy(), "edge-1");
  EXPECT_EQ(status.proxies(0).state(), State::IN_FORCE);
  EXPECT_GE(status.proxies(0).acknowledged_revision(), revision);
  EXPECT_TRUE(proxy.run<bool>(
      [&] { return proxy.inside().in_force->find_plan("P")->messages == 2; }));

  EXPECT_TRUE(plane.wait(plane.erase("Api", "a")).complete());
  EXPECT_TRUE(plane.wait(plane.erase("Plan", "P")).complete());
  EXPECT_TRUE(proxy.run<bool>([&] { return proxy.inside().in_force->find_plan("P") == nullptr; }));
  const auto listed = plane.discovery().list_proxies("");
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_TRUE(listed[0].connected());
  EXPECT_EQ(listed[0].software(), "test");
  EXPECT_EQ(listed[0].lag(), 0);
  EXPECT_GT(listed[0].certificate_expires().seconds(), 0);
}

TEST(Planes, CountARevisionOnlyWhenItIsInForce) {
  ControlPlane plane;
  Proxy proxy(plane, "edge-1");
  ASSERT_TRUE(proxy.start().ok());
  ASSERT_TRUE(proxy.until_connected());
  proxy.run<bool>([&] { return proxy.inside().hold = true; });
  const std::int64_t revision = plane.put("Plan", "P", plan(1));
  ASSERT_TRUE(proxy.until([&] { return !proxy.inside().later.empty(); }));
  const auto lagging = plane.discovery().rollout(revision, "");
  EXPECT_FALSE(lagging.complete());
  EXPECT_EQ(lagging.proxies(0).state(), State::LAGGING);
  proxy.run<bool>([&] {
    proxy.inside().run();
    return proxy.inside().hold = false;
  });
  EXPECT_TRUE(plane.wait(revision).complete());
}

TEST(Planes, TellWhoRefusedWhatAndWhy) {
  ControlPlane plane;
  Proxy proxy(plane, "edge-1");
  ASSERT_TRUE(proxy.start().ok());
  ASSERT_TRUE(proxy.until_connected());
  const auto refused = plane.wait(plane.put("Api", "a", api("/a", "Missing")));
  EXPECT_FALSE(refused.complete());
  ASSERT_EQ(refused.proxies(0).state(), State::REFUSED) << refused.DebugString();
  EXPECT_EQ(refused.proxies(0).refusals(0).kind(), "Api");
  EXPECT_EQ(refused.proxies(0).refusals(0).name(), "a");
  EXPECT_EQ(refused.proxies(0).refusals(0).field().rfind("spec.plans", 0), 0U);
  const auto mended = plane.wait(plane.put("Plan", "Missing", plan(1)));
  EXPECT_TRUE(mended.complete() || mended.proxies(0).state() == State::REFUSED);
  EXPECT_TRUE(proxy.until([&] { return proxy.inside().config.refused().empty(); }));
  EXPECT_TRUE(plane.wait(plane.put("Plan", "Other", plan(1))).complete());
}

TEST(Planes, AnswerLookupsAndPushWhatChanges) {
  ControlPlane plane;
  Proxy proxy(plane, "edge-1");
  ASSERT_TRUE(proxy.start().ok());
  ASSERT_TRUE(proxy.until_connected());
  EXPECT_EQ(proxy.lookup("t1"), "absent");
  plane.put("Application", "app", v1::Application());
  v1::Subscription subscription;
  subscription.set_application("app");
  subscription.set_api("a");
  subscription.set_plan("Gold");
  plane.put("Subscription", "app:a", subscription);
  ASSERT_TRUE(plane.wait(plane.put("Token", hex(sha256("t1")), token("t1", "app"))).complete());
  EXPECT_EQ(proxy.lookup("t1"), "app");
  EXPECT_EQ(proxy.lookup("t2"), "absent");

  // Revocation and a new plan are in force when they count as acknowledged.
  plane.wait(plane.put("Token", hex(sha256("t1")), token("t1", "app", true)));
  subscription.set_plan("Silver");
  plane.wait(plane.put("Subscription", "app:a", subscription));
  proxy.run<bool>([&] {
    const auto identity = proxy.inside().directory.find(sha256("t1"));
    EXPECT_TRUE(identity && identity->token && identity->token->revoked);
    EXPECT_EQ(identity->grants->find("a")->plan, "Silver");
    EXPECT_GE(proxy.inside().rechecked.size(), 2U);
    return true;
  });
  plane.wait(plane.erase("Token", hex(sha256("t1"))));
  EXPECT_EQ(proxy.lookup("t1"), "absent");
}

TEST(Planes, ComeTogetherAgainAfterTheControlPlaneRestarts) {
  ControlPlane plane;
  plane.put("Plan", "P", plan(1));
  plane.put("Application", "app", v1::Application());
  plane.put("Token", hex(sha256("t1")), token("t1", "app"));
  Proxy proxy(plane, "edge-1");
  ASSERT_TRUE(proxy.start().ok());
  ASSERT_TRUE(proxy.until_connected());
  EXPECT_EQ(proxy.lookup("t1"), "app");
  plane.stop();
  ASSERT_TRUE(proxy.until([&] { return !proxy.inside().identity.state().connected; }));
  EXPECT_EQ(proxy.lookup("t1"), "app");
  EXPECT_EQ(proxy.lookup("t2"), "UNAVAILABLE");
  EXPECT_FALSE(proxy.state().problem.empty());
  plane.put("Plan", "P", plan(2));
  plane.put("Token", hex(sha256("t1")), token("t1", "app", true));
  plane.start();
  EXPECT_TRUE(proxy.until_plan("P", 2));
  EXPECT_TRUE(proxy.until([&] {
    const auto identity = proxy.inside().directory.find(sha256("t1"));
    return identity && identity->token && identity->token->revoked;
  }));
  EXPECT_EQ(proxy.run<bool>([&] { return proxy.inside().config.state().unchanged == 0; }), true);
  ASSERT_TRUE(proxy.until_connected());
  EXPECT_EQ(proxy.lookup("t2"), "absent");
  EXPECT_EQ(proxy.state().connects, 2U);
}

TEST(Planes, DeliverRecords) {
  ControlPlane plane;
  Proxy proxy(plane, "edge-1");
  ASSERT_TRUE(proxy.start().ok());
  ASSERT_TRUE(proxy.until_connected());
  proxy.add_records(2500);
  EXPECT_TRUE(proxy.until([&] { return proxy.acknowledged_records() == 2500; }));
  plane.stop();
  proxy.add_records(10);
  plane.start();
  EXPECT_TRUE(proxy.until([&] { return proxy.acknowledged_records() == 2510; }));
  EXPECT_EQ(*plane.store().last_sequence("default", "edge-1", 9), 2510U);
}

TEST(Planes, RefuseASecondLiveProxyOfTheSameName) {
  ControlPlane plane;
  Proxy first(plane, "edge-1");
  ASSERT_TRUE(first.start().ok());
  ASSERT_TRUE(first.until_connected());
  Proxy second(Proxy::options(plane, "edge-1"), "");
  std::filesystem::copy(first.control_options().data_dir + "/tls",
                        second.control_options().data_dir + "/tls");
  ASSERT_TRUE(second.start().ok());
  EXPECT_TRUE(second.until([&] { return second.inside().config.state().responses == 0; }));
  std::string problem;
  while (problem.empty()) {
    problem = second.state().problem;
  }
  EXPECT_NE(problem.find("--node-id"), std::string::npos) << problem;
  first.stop();
  EXPECT_TRUE(second.until_connected());
}

TEST(Planes, RefuseAProxyThatWasRemovedUntilItJoinsAnew) {
  ControlPlane plane;
  Proxy proxy(plane, "edge-1");
  ASSERT_TRUE(proxy.start().ok());
  ASSERT_TRUE(proxy.until_connected());
  ASSERT_TRUE(plane.proxies().remove("edge-1").ok());
  plane.discovery().disconnect("edge-1");
  std::string problem;
  while (problem.find("refused by") == std::string::npos) {
    problem = proxy.state().problem;
  }
  EXPECT_TRUE(plane.discovery().list_proxies("").empty());
  std::ofstream(proxy.control_options().join_token_file) << plane.join_token();
  EXPECT_TRUE(proxy.until_connected());
}

TEST(Planes, RefuseTokensOfAnotherControlPlane) {
  ControlPlane plane;
  ControlPlane other;
  Proxy proxy(Proxy::options(plane, "edge-1"), other.join_token());
  ASSERT_TRUE(proxy.start().ok());
  std::string problem;
  while (problem.empty()) {
    problem = proxy.state().problem;
  }
  EXPECT_NE(problem.find("is not the control plane that made the join token"), std::string::npos)
      << problem;
}

TEST(Planes, SayWhatIsMissingToJoin) {
  ControlPlane plane;
  Proxy proxy(Proxy::options(plane, "edge-1"), "");
  const absl::Status started = proxy.start();
  EXPECT_EQ(started.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(started.message().find("join-token create"), absl::string_view::npos);
}

TEST(Planes, GoOnWhenStreamsReachTheirAge) {
  DiscoveryOptions options;
  options.stream_age_max = milliseconds(1200);
  ControlPlane plane(options);
  Proxy proxy(plane, "edge-1");
  ASSERT_TRUE(proxy.start().ok());
  ASSERT_TRUE(proxy.until_connected());
  // A look-up at any moment is answered.
  int n = 0;
  while (proxy.state().connects < 3) {
    EXPECT_EQ(proxy.lookup("unknown" + std::to_string(++n % 15)), "absent");
  }
  ASSERT_TRUE(proxy.until([&] { return proxy.inside().config.state().responses >= 15; }));
  EXPECT_GE(proxy.state().connects, 3U);
  EXPECT_EQ(proxy.state().failures, 0U);
  EXPECT_TRUE(proxy.until_connected());
}

TEST(Planes, RenewACertificateThatIsTwoThirdsOver) {
  ControlPlane plane;
  Proxy first(plane, "edge-1");
  ASSERT_TRUE(first.start().ok());
  ASSERT_TRUE(first.until_connected());
  first.stop();
  // The same proxy, whose certificate has one of its ten hours left.
  const std::string data_dir = first.control_options().data_dir;
  const auto key = *control::make_key_request("edge-1");
  std::string join;
  for (const std::string digits = plane.proxies().find("edge-1")->join;
       join.size() < digits.size() / 2;) {
    join += static_cast<char>(std::stoi(digits.substr(join.size() * 2, 2), nullptr, 16));
  }
  const auto old = *plane.authority().sign(
      key.csr_pem, {{}, "spiffe://sluice/default/edge-1", join, false, std::chrono::hours(10)},
      system_wall() - std::chrono::hours(9));
  ASSERT_TRUE(control::save_credentials(
                  data_dir, {old, key.key_pem, plane.authority().certificate_pem()})
                  .ok());
  control::ControlOptions options = Proxy::options(plane, "edge-1");
  options.data_dir = data_dir;
  Proxy second(options, "");
  ASSERT_TRUE(second.start().ok());
  while (second.state().renewals == 0) {
  }
  EXPECT_GT(second.state().certificate_expires, system_wall() + std::chrono::hours(2));
  const auto saved = control::load_credentials(data_dir);
  ASSERT_TRUE(saved.ok());
  EXPECT_NE(saved->key_pem, key.key_pem);
  EXPECT_TRUE(second.until_connected());
}

TEST(Planes, TryTheNextControlPlane) {
  ControlPlane plane;
  control::ControlOptions options = Proxy::options(plane, "edge-1");
  options.addresses = {"127.0.0.1:1", plane.address()};
  Proxy proxy(options, plane.join_token());
  ASSERT_TRUE(proxy.start().ok());
  EXPECT_TRUE(proxy.until_connected());
  EXPECT_EQ(proxy.state().address, plane.address());
}

TEST(Planes, SpeakInPlainTextWhenAskedTo) {
  DiscoveryOptions options;
  options.insecure_plaintext = true;
  ControlPlane plane(options);
  plane.put("Plan", "P", plan(3));
  Proxy proxy(Proxy::options(plane, "edge-1", true), "");
  ASSERT_TRUE(proxy.start().ok());
  EXPECT_TRUE(proxy.until_plan("P", 3));
  EXPECT_TRUE(proxy.until_connected());
  const auto listed = plane.discovery().list_proxies("default");
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_EQ(listed[0].node_id(), "edge-1");
  EXPECT_FALSE(listed[0].warnings().empty());
}

TEST(Planes, SendAGroupOnlyWhatConcernsIt) {
  ControlPlane plane;
  v1::Api elsewhere = api("/elsewhere");
  elsewhere.add_groups("other");
  elsewhere.mutable_endpoints()->set_production(0, "upstream:hidden");
  v1::Upstream upstream;
  upstream.add_endpoints("ws://127.0.0.1:9/");
  plane.put("Upstream", "hidden", upstream);
  plane.put("Api", "elsewhere", elsewhere);
  plane.put("Api", "here", api("/here"));
  Proxy proxy(plane, "edge-1");
  ASSERT_TRUE(proxy.start().ok());
  ASSERT_TRUE(proxy.until_connected());
  proxy.run<bool>([&] {
    EXPECT_NE(proxy.inside().in_force->find_api("here"), nullptr);
    EXPECT_EQ(proxy.inside().in_force->find_api("elsewhere"), nullptr);
    EXPECT_EQ(proxy.inside().in_force->find_upstream("hidden"), nullptr);
    return true;
  });
  elsewhere.add_groups("default");
  EXPECT_TRUE(plane.wait(plane.put("Api", "elsewhere", elsewhere)).complete());
  proxy.run<bool>([&] {
    EXPECT_NE(proxy.inside().in_force->find_api("elsewhere"), nullptr);
    EXPECT_NE(proxy.inside().in_force->find_upstream("hidden"), nullptr);
    return true;
  });
  elsewhere.clear_groups();
  elsewhere.add_groups("other");
  EXPECT_TRUE(plane.wait(plane.put("Api", "elsewhere", elsewhere)).complete());
  proxy.run<bool>([&] {
    EXPECT_EQ(proxy.inside().in_force->find_api("elsewhere"), nullptr);
    EXPECT_EQ(proxy.inside().in_force->find_upstream("hidden"), nullptr);
    return true;
  });
}

}  // namespace
}  // namespace sluice::planes
