#include "controlplane/discovery/hub.h"

#include <gtest/gtest.h>

#include <future>

#include "controlplane/store/test_store.h"
#include "proxy/base/encoding.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::discovery {
namespace {

namespace v1 = ::sluice::config::v1;
using State = admin::v1::ProxyRollout;

constexpr nanoseconds kPatience = seconds(20);

// A delta stream whose client the test plays.
struct FakeStream final : AdsStream {
  void on_changes(std::int64_t revision, std::span<const sync::ResourceChange> changes) override {
    machine->on_changes(revision, changes);
  }
  void on_reset(std::int64_t revision) override { machine->on_reset(revision); }
  void pump() override {
    while (auto response = machine ? machine->next() : std::nullopt) {
      responses.push_back(*response);
      if (answers) {
        sync::xds::DeltaDiscoveryRequest ack;
        ack.set_type_url(response->type_url());
        ack.set_response_nonce(response->nonce());
        EXPECT_TRUE(machine->on_request(ack).ok());
      }
    }
  }
  bool wants_retry() const override { return machine->wants_retry(); }
  void retry() override { pump(); }
  bool requested(std::string_view type) const override { return machine->requested(type); }
  std::int64_t acknowledged_revision() const override { return machine->acknowledged_revision(); }
  std::vector<sync::Refusal> refusals() const override { return machine->refusals(); }
  void finish(absl::Status status, bool) override { finished = std::move(status); }

  std::optional<sync::DeltaServerStream> machine;
  std::vector<sync::xds::DeltaDiscoveryResponse> responses;
  bool answers = true;
  std::optional<absl::Status> finished;
};

class HubOfProxies : public ::testing::Test {
 protected:
  HubOfProxies() {
    options.insecure_plaintext = true;
    hub = std::make_unique<Hub>(*store, nullptr, options, thread);
    put("Plan", "P", "");
    EXPECT_TRUE(hub->start().ok());
  }
  ~HubOfProxies() override {
    hub->stop_following();
    thread.stop();
  }
  std::int64_t put(const std::string& kind, const std::string& name, const std::string& spec) {
    return *store->commit("default", {{kind, name, spec}});
  }
  template <class Result>
  Result on_thread(std::function<Result()> work) {
    return thread.run<Result>(std::move(work), Result());
  }
  absl::Status connect(FakeStream& stream, const std::string& node_id, const std::string& instance,
                       const std::string& name = "config") {
    return on_thread<absl::Status>([&]() -> absl::Status {
      envoy::config::core::v3::Node node;
      node.set_id(node_id);
      auto& fields = *node.mutable_metadata()->mutable_fields();
      fields["instance"].set_string_value(instance);
      fields["stream"].set_string_value(name);
      SLUICE_ASSIGN_OR_RETURN(const Hub::Admission admission,
                              hub->admit(stream, {"1.2.3.4:5", ""}, node));
      stream.machine.emplace(admission.view, admission.revision,
                             sync::DeltaServerStream::Options{});
      return absl::OkStatus();
    });
  }
  void subscribe(FakeStream& stream, config::Kind kind, const std::string& name = "*") {
    on_thread<bool>([&] {
      sync::xds::DeltaDiscoveryRequest request;
      request.set_type_url(std::string(config::type_url(kind)));
      request.add_resource_names_subscribe(name);
      EXPECT_TRUE(stream.machine->on_request(request).ok());
      hub->on_progress(stream);
      return true;
    });
  }
  void subscribe_all(FakeStream& stream) {
    for (const config::Kind kind : config::kCompiledKinds) {
      subscribe(stream, kind);
    }
  }
  admin::v1::RolloutStatus wait(std::int64_t revision, nanoseconds timeout = kPatience) {
    std::promise<admin::v1::RolloutStatus> promise;
    thread.post([&] {
      hub->wait(revision, "", timeout,
                [&](admin::v1::RolloutStatus status) { promise.set_value(std::move(status)); });
    });
    return promise.get_future().get();
  }
  void gone(FakeStream& stream) {
    on_thread<bool>([&] {
      hub->on_gone(stream);
      return true;
    });
  }

  store::TestStore store;
  DiscoveryOptions options;
  EventThread thread;
  std::unique_ptr<Hub> hub;
};

TEST_F(HubOfProxies, WaitsUntilEveryConnectedProxyHasAnswered) {
  FakeStream a;
  FakeStream b;
  ASSERT_TRUE(connect(a, "a", "1").ok());
  ASSERT_TRUE(connect(b, "b", "2").ok());
  subscribe_all(a);
  subscribe_all(b);
  EXPECT_TRUE(wait(put("Plan", "Q", "")).complete());
  on_thread<bool>([&] { return b.answers = false; });
  const admin::v1::RolloutStatus late = wait(put("Plan", "R", ""), milliseconds(50));
  EXPECT_FALSE(late.complete()) << late.DebugString();
  ASSERT_EQ(late.proxies().size(), 2);
  EXPECT_EQ(late.proxies(0).state(), State::IN_FORCE);
  EXPECT_EQ(late.proxies(1).state(), State::LAGGING);
  gone(b);
  EXPECT_TRUE(wait(late.revision()).complete());
  EXPECT_EQ(wait(late.revision()).proxies(1).state(), State::AWAY);
}

TEST_F(HubOfProxies, CountsNothingToSendAsDone) {
  FakeStream a;
  ASSERT_TRUE(connect(a, "a", "1").ok());
  subscribe_all(a);
  EXPECT_TRUE(wait(put("User", "kim", "")).complete());
  EXPECT_TRUE(wait(put("Plan", "P", "")).complete());
}

TEST_F(HubOfProxies, DoesNotCountAProxyThatHasNotAskedForEverything) {
  FakeStream a;
  ASSERT_TRUE(connect(a, "a", "1").ok());
  subscribe(a, config::Kind::kPlan);
  EXPECT_FALSE(wait(put("Plan", "Q", ""), milliseconds(50)).complete());
  subscribe_all(a);
  EXPECT_TRUE(wait(0).complete());
}

TEST_F(HubOfProxies, RefusesASecondProcessOfTheSameName) {
  FakeStream first;
  FakeStream second;
  FakeStream identity;
  FakeStream again;
  ASSERT_TRUE(connect(first, "a", "1").ok());
  ASSERT_TRUE(connect(identity, "a", "1", "identity").ok());
  EXPECT_EQ(connect(second, "a", "2").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(hub->connected("a"));
  // The same process again: its old stream is half-open.
  ASSERT_TRUE(connect(again, "a", "1").ok());
  EXPECT_TRUE(first.finished);
  EXPECT_FALSE(identity.finished);
  gone(again);
  gone(identity);
  EXPECT_FALSE(hub->connected("a"));
  EXPECT_TRUE(connect(second, "a", "2").ok());
}

TEST_F(HubOfProxies, SendsTokensAndGrantsToThoseThatAskedForThem) {
  FakeStream asked;
  FakeStream other;
  const std::string hash = hex(sha256("t"));
  ASSERT_TRUE(connect(asked, "a", "1", "identity").ok());
  ASSERT_TRUE(connect(other, "b", "2", "identity").ok());
  subscribe(asked, config::Kind::kToken, hash);
  subscribe(asked, config::Kind::kGrants, "app");
  subscribe(other, config::Kind::kToken, hex(sha256("u")));
  v1::Token token;
  token.set_sha256(hash);
  v1::Subscription subscription;
  subscription.set_application("app");
  subscription.set_plan("Gold");
  put("Application", "app", "");
  put("Application", "app2", "");
  put("Subscription", "app:x", subscription.SerializeAsString());
  put("Subscription", "app2:x", subscription.SerializeAsString());
  const std::int64_t revision = put("Token", hash, token.SerializeAsString());
  hub->stop_following();  // waits for what was posted
  on_thread<bool>([&] {
    EXPECT_EQ(hub->revision(), revision);
    EXPECT_EQ(other.responses.size(), 1U);  // absent
    EXPECT_EQ(asked.responses.back().resources(0).name(), hash);
    v1::Grants grants;
    for (const auto& response : asked.responses) {
      if (!response.resources().empty() && response.resources(0).name() == "app") {
        EXPECT_TRUE(response.resources(0).resource().UnpackTo(&grants));
      }
    }
    EXPECT_EQ(grants.application_name(), "app");
    EXPECT_EQ(grants.subscriptions().size(), 1);
    return true;
  });
}

}  // namespace
}  // namespace sluice::controlplane::discovery
