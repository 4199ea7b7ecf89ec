#include "proxy/sync/config_client.h"

#include <gtest/gtest.h>

#include "proxy/sync/test_proxy.h"

namespace sluice::sync {
namespace {

using config::Kind;
namespace v1 = sluice::config::v1;
using Request = xds::DeltaDiscoveryRequest;
using Response = xds::DeltaDiscoveryResponse;

v1::Plan plan(std::uint64_t messages) {
  v1::Plan plan;
  plan.set_messages(messages);
  return plan;
}

v1::Api api(const std::string& context, const std::string& plan = "Unlimited") {
  v1::Api api;
  api.set_context(context);
  api.set_version("v1");
  api.mutable_endpoints()->add_production("ws://127.0.0.1:9/");
  api.add_plans(plan);
  api.set_state(v1::Api::PUBLISHED);
  return api;
}

class ConfigStream : public ::testing::Test {
 protected:
  void connect() {
    envoy::config::core::v3::Node node;
    node.set_id("n1");
    sent.clear();
    proxy.config.on_connected(
        node, [this](Request request) { sent.push_back(std::move(request)); }, [this] { ++reads; });
  }
  Response response(Kind kind) {
    Response response;
    response.set_type_url(std::string(config::type_url(kind)));
    response.set_nonce("n" + std::to_string(++nonce));
    return response;
  }
  void add(Response& response, const std::string& name,
           const google::protobuf::MessageLite& message) {
    auto* resource = response.add_resources();
    resource->set_name(name);
    const std::string bytes = deterministic_bytes(message);
    resource->set_version(content_version(bytes));
    resource->mutable_resource()->set_type_url(response.type_url());
    resource->mutable_resource()->set_value(bytes);
  }
  void give(Kind kind, const std::string& name, const google::protobuf::MessageLite& message) {
    Response one = response(kind);
    add(one, name, message);
    proxy.config.on_response(std::move(one));
  }
  void remove(Kind kind, const std::string& name) {
    Response one = response(kind);
    one.add_removed_resources(name);
    proxy.config.on_response(std::move(one));
  }
  // The answer to the response given last: "ACK", "NACK kind name field ...", or "none".
  std::string answer() {
    for (const Request& request : sent) {
      if (request.response_nonce() != "n" + std::to_string(nonce)) {
        continue;
      }
      if (!request.has_error_detail()) {
        return "ACK";
      }
      std::string text = "NACK";
      for (const Refusal& refusal : refusals_of(request.error_detail())) {
        text += " " + refusal.kind() + " " + refusal.name() + " " + refusal.field();
      }
      return text;
    }
    return "none";
  }

  TestProxy proxy;
  std::vector<Request> sent;
  int reads = 0;
  int nonce = 0;
};

TEST_F(ConfigStream, SubscribesToEveryTypeWithNodeInTheFirstMessageAlone) {
  connect();
  ASSERT_EQ(sent.size(), 5U);
  EXPECT_EQ(sent[0].node().id(), "n1");
  EXPECT_FALSE(sent[1].has_node());
  EXPECT_EQ(sent[0].type_url(), config::type_url(Kind::kSecret));
  EXPECT_EQ(sent[4].type_url(), config::type_url(Kind::kApi));
  for (const Request& request : sent) {
    EXPECT_EQ(request.resource_names_subscribe(0), "*");
    EXPECT_TRUE(request.response_nonce().empty());
  }
}

TEST_F(ConfigStream, AcknowledgesWhenInForceAndSaved) {
  connect();
  proxy.hold = true;
  give(Kind::kPlan, "P", plan(5));
  EXPECT_EQ(answer(), "none");
  proxy.later.front()();  // the workers
  proxy.later.pop_front();
  EXPECT_NE(proxy.in_force->find_plan("P"), nullptr);
  EXPECT_EQ(answer(), "none");
  proxy.run();  // the disk
  EXPECT_EQ(answer(), "ACK");
  EXPECT_EQ(reads, 1);
  EXPECT_EQ(proxy.disk.size(), 1U);
}

TEST_F(ConfigStream, HandlesOneResponseAfterTheOther) {
  connect();
  proxy.hold = true;
  give(Kind::kPlan, "P", plan(5));
  give(Kind::kApi, "a", api("/a", "P"));
  EXPECT_EQ(proxy.compiles, 1);
  proxy.run();
  EXPECT_EQ(answer(), "ACK");
  EXPECT_NE(proxy.in_force->find_api("a"), nullptr);
  EXPECT_EQ(reads, 2);
}

TEST_F(ConfigStream, RefusesABadResourceByNameAndTakesTheGoodOnes) {
  connect();
  Response mixed = response(Kind::kApi);
  add(mixed, "bad", api("/bad", "NoSuchPlan"));
  add(mixed, "good", api("/good"));
  proxy.config.on_response(mixed);
  EXPECT_EQ(answer().rfind("NACK Api bad spec.plans", 0), 0U) << answer();
  EXPECT_NE(proxy.in_force->find_api("good"), nullptr);
  EXPECT_EQ(proxy.in_force->find_api("bad"), nullptr);
  EXPECT_EQ(proxy.config.refused().size(), 1U);
  EXPECT_EQ(proxy.disk.size(), 1U);
}

TEST_F(ConfigStream, KeepsTheOldSelfOfARefusedResource) {
  connect();
  give(Kind::kApi, "a", api("/a"));
  give(Kind::kApi, "a", api("/a", "NoSuchPlan"));
  EXPECT_EQ(answer().rfind("NACK Api a", 0), 0U);
  EXPECT_NE(proxy.in_force->find_api("a"), nullptr);
  connect();
  EXPECT_EQ(sent[4].initial_resource_versions().size(), 0U);  // asked for again, to be refused
}

TEST_F(ConfigStream, TakesARefusedResourceBackWhenWhatItLackedComes) {
  connect();
  give(Kind::kApi, "a", api("/a", "P"));
  EXPECT_EQ(answer().rfind("NACK Api a", 0), 0U);
  give(Kind::kPlan, "P", plan(1));
  EXPECT_EQ(answer(), "ACK");
  EXPECT_NE(proxy.in_force->find_api("a"), nullptr);
  EXPECT_TRUE(proxy.config.refused().empty());
  EXPECT_EQ(proxy.disk.size(), 2U);
  const int compiles = proxy.compiles;
  give(Kind::kApi, "a", api("/a", "P"));  // the server's retry
  EXPECT_EQ(answer(), "ACK");
  EXPECT_EQ(proxy.compiles, compiles);
}

TEST_F(ConfigStream, RefusesARemovalOfWhatIsInUse) {
  connect();
  give(Kind::kPlan, "P", plan(1));
  give(Kind::kApi, "a", api("/a", "P"));
  remove(Kind::kPlan, "P");
  EXPECT_EQ(answer().rfind("NACK Plan P", 0), 0U) << answer();
  remove(Kind::kApi, "a");
  EXPECT_EQ(answer(), "ACK");
  remove(Kind::kPlan, "P");
  EXPECT_EQ(answer(), "ACK");
  EXPECT_TRUE(proxy.disk.empty());
}

TEST_F(ConfigStream, IgnoresRemovalsOfWhatItDoesNotKnow) {
  connect();
  give(Kind::kPlan, "P", plan(1));
  remove(Kind::kApi, "never-seen");
  EXPECT_EQ(answer(), "ACK");
}

TEST_F(ConfigStream, RefusesAResponseThatNamesAResourceTwice) {
  connect();
  Response twice = response(Kind::kPlan);
  add(twice, "P", plan(1));
  add(twice, "P", plan(2));
  proxy.config.on_response(twice);
  EXPECT_EQ(answer(), "NACK");
  Response both = response(Kind::kPlan);
  add(both, "P", plan(1));
  both.add_removed_resources("P");
  proxy.config.on_response(both);
  EXPECT_EQ(answer(), "NACK");
  EXPECT_EQ(proxy.in_force->find_plan("P"), nullptr);
}

TEST_F(ConfigStream, RefusesTypesThatItDidNotAskFor) {
  connect();
  give(Kind::kToken, "x", plan(1));
  EXPECT_EQ(answer(), "NACK");
  EXPECT_EQ(reads, 1);
}

TEST_F(ConfigStream, RefusesAResourceOfAnotherTypeAlone) {
  connect();
  Response mixed = response(Kind::kPlan);
  add(mixed, "P", plan(1));
  add(mixed, "Q", plan(1));
  mixed.mutable_resources(0)->mutable_resource()->set_type_url("type.googleapis.com/other.Thing");
  proxy.config.on_response(mixed);
  EXPECT_EQ(answer().rfind("NACK Plan P", 0), 0U);
  EXPECT_NE(proxy.in_force->find_plan("Q"), nullptr);
}

TEST_F(ConfigStream, CompilesNothingThatIsHeldAlready) {
  connect();
  give(Kind::kPlan, "P", plan(1));
  const int compiles = proxy.compiles;
  give(Kind::kPlan, "P", plan(1));
  EXPECT_EQ(answer(), "ACK");
  EXPECT_EQ(proxy.compiles, compiles);
  EXPECT_EQ(proxy.config.state().unchanged, 1U);
}

TEST_F(ConfigStream, TakesAHeartbeatForNothingNew) {
  connect();
  give(Kind::kPlan, "P", plan(1));
  Response beat = response(Kind::kPlan);
  beat.add_resources()->set_name("P");
  proxy.config.on_response(beat);
  EXPECT_EQ(answer(), "ACK");
  EXPECT_NE(proxy.in_force->find_plan("P"), nullptr);
}

TEST_F(ConfigStream, SaysInTheAckThatSavingFailed) {
  connect();
  proxy.disk_status = unavailable("disk full");
  give(Kind::kPlan, "P", plan(1));
  EXPECT_EQ(answer(), "ACK");
  ASSERT_TRUE(sent.back().has_node());
  EXPECT_NE(sent.back().node().ShortDebugString().find("disk full"), std::string::npos);
  EXPECT_EQ(proxy.config.state().not_persisted, 1U);
  proxy.disk_status = absl::OkStatus();
  give(Kind::kPlan, "Q", plan(1));
  ASSERT_TRUE(sent.back().has_node());
  EXPECT_EQ(sent.back().node().ShortDebugString().find("disk full"), std::string::npos);
  give(Kind::kPlan, "R", plan(1));
  EXPECT_FALSE(sent.back().has_node());
}

TEST_F(ConfigStream, ReconnectsWithTheVersionsInForce) {
  connect();
  give(Kind::kPlan, "P", plan(1));
  proxy.hold = true;
  give(Kind::kPlan, "Q", plan(1));
  proxy.config.on_disconnected();
  connect();  // before Q is in force
  EXPECT_TRUE(sent.empty());
  proxy.run();
  EXPECT_EQ(answer(), "none");  // it belonged to the stream that is gone
  ASSERT_EQ(sent.size(), 5U);
  EXPECT_EQ(sent[2].initial_resource_versions().size(), 2U);
}

TEST_F(ConfigStream, StartsFromTheDisk) {
  connect();
  give(Kind::kPlan, "P", plan(1));
  give(Kind::kApi, "a", api("/a", "P"));
  TestProxy again;
  EXPECT_FALSE(again.config.state().in_force);
  bool done = false;
  EXPECT_TRUE(again.config.restore(proxy.saved(), [&done] { done = true; }).empty());
  EXPECT_TRUE(done);
  EXPECT_TRUE(again.config.state().in_force);
  EXPECT_NE(again.in_force->find_api("a"), nullptr);
  EXPECT_EQ(again.config.state().resources, 2U);
}

TEST_F(ConfigStream, IsInForceWhenEveryTypeHasComeOnce) {
  connect();
  for (const Kind kind : config::kCompiledKinds) {
    EXPECT_FALSE(proxy.config.state().in_force);
    proxy.config.on_response(response(kind));
    EXPECT_EQ(answer(), "ACK");
  }
  EXPECT_TRUE(proxy.config.state().in_force);
  EXPECT_TRUE(proxy.config.state().synced);
}

TEST_F(ConfigStream, RefusesAListenerThatCannotBindUntilItChanges) {
  connect();
  v1::Listener listener;
  listener.set_address("127.0.0.1");
  listener.set_port(1);
  proxy.unbound = {{Kind::kListener, "ws", "spec.port", "port 1 is taken"}};
  give(Kind::kListener, "ws", listener);
  EXPECT_EQ(answer(), "NACK Listener ws spec.port");
  give(Kind::kListener, "ws", listener);
  EXPECT_EQ(answer(), "NACK Listener ws spec.port");
  EXPECT_EQ(proxy.config.refused().size(), 1U);
  connect();
  EXPECT_EQ(sent[3].initial_resource_versions().size(), 0U);
  listener.set_port(2);
  give(Kind::kListener, "ws", listener);
  EXPECT_EQ(answer(), "ACK");
  EXPECT_TRUE(proxy.config.refused().empty());
}

}  // namespace
}  // namespace sluice::sync
