#include "proxy/sync/identity_client.h"

#include <gtest/gtest.h>

#include "proxy/sync/test_proxy.h"

namespace sluice::sync {
namespace {

using config::Kind;
namespace v1 = sluice::config::v1;
using Request = xds::DeltaDiscoveryRequest;
using Response = xds::DeltaDiscoveryResponse;

const std::string kToken(config::type_url(Kind::kToken));
const std::string kGrants(config::type_url(Kind::kGrants));

Sha256 hash_of(int n) { return sha256("token" + std::to_string(n)); }

class IdentityStream : public ::testing::Test {
 protected:
  void connect() {
    sent.clear();
    proxy.identity.on_connected(
        {}, [this](Request request) { sent.push_back(std::move(request)); }, [this] { ++reads; });
  }
  void lookup(int n, const std::string& address = "1.2.3.4") {
    proxy.identity.lookup(hash_of(n), address, [this](absl::StatusOr<model::Identity> answer) {
      if (!answer.ok()) {
        answers.push_back(std::string(absl::StatusCodeToString(answer.status().code())));
      } else if (answer->token == nullptr) {
        answers.push_back("absent");
      } else {
        answers.push_back(answer->token->application + (answer->grants ? "" : " without grants"));
      }
    });
  }
  Response response(const std::string& type) {
    Response response;
    response.set_type_url(type);
    response.set_nonce("n" + std::to_string(++nonce));
    return response;
  }
  void give(const std::string& type, const std::string& name,
            const google::protobuf::MessageLite& message) {
    Response one = response(type);
    auto* resource = one.add_resources();
    resource->set_name(name);
    resource->mutable_resource()->set_type_url(type);
    resource->mutable_resource()->set_value(deterministic_bytes(message));
    resource->set_version(content_version(resource->resource().value()));
    proxy.identity.on_response(one);
  }
  void give_token(int n, const std::string& application, bool revoked = false) {
    v1::Token token;
    token.set_sha256(hex(hash_of(n)));
    token.set_application(application);
    token.set_key_type(v1::PRODUCTION);
    token.set_revoked(revoked);
    give(kToken, hex(hash_of(n)), token);
  }
  void give_grants(const std::string& application, const std::string& plan = "Gold") {
    v1::Grants grants;
    grants.set_application_name(application);
    grants.mutable_application()->set_plan("Unlimited");
    auto* subscription = grants.add_subscriptions();
    subscription->set_application(application);
    subscription->set_api("echo");
    subscription->set_plan(plan);
    give(kGrants, application, grants);
  }
  void give_absent(const std::string& type, const std::string& name) {
    Response one = response(type);
    one.add_removed_resources(name);
    proxy.identity.on_response(one);
  }
  bool acknowledged() {
    for (const Request& request : sent) {
      if (request.response_nonce() == "n" + std::to_string(nonce)) {
        return !request.has_error_detail();
      }
    }
    return false;
  }
  // Names subscribed since the last call.
  std::vector<std::string> subscribed() {
    std::vector<std::string> names;
    for (const Request& request : sent) {
      names.insert(names.end(), request.resource_names_subscribe().begin(),
                   request.resource_names_subscribe().end());
    }
    sent.clear();
    return names;
  }
  void learn(int n, const std::string& application) {
    lookup(n);
    give_token(n, application);
    give_grants(application);
    answers.clear();
    sent.clear();
  }

  TestProxy proxy;
  std::vector<Request> sent;
  std::vector<std::string> answers;
  int reads = 0;
  int nonce = 0;
};

TEST_F(IdentityStream, AsksForATokenAndThenForItsApplication) {
  connect();
  EXPECT_TRUE(sent.empty());  // an empty subscription would mean everything
  lookup(1);
  EXPECT_EQ(subscribed(), std::vector<std::string>{hex(hash_of(1))});
  give_token(1, "app");
  EXPECT_TRUE(answers.empty());
  EXPECT_TRUE(acknowledged());
  EXPECT_EQ(subscribed(), std::vector<std::string>{"app"});
  give_grants("app");
  EXPECT_EQ(answers, std::vector<std::string>{"app"});
  EXPECT_EQ(reads, 2);
  lookup(1);
  EXPECT_EQ(answers.size(), 2U);
  EXPECT_TRUE(subscribed().empty());
  EXPECT_EQ(proxy.disk.size(), 2U);
}

TEST_F(IdentityStream, AsksOnceForManyWaiters) {
  connect();
  lookup(1);
  lookup(1);
  lookup(2);
  EXPECT_EQ(subscribed().size(), 2U);
  give_token(1, "app");
  give_token(2, "app");
  EXPECT_EQ(subscribed().size(), 1U);
  give_grants("app");
  EXPECT_EQ(answers, (std::vector<std::string>{"app", "app", "app"}));
}

TEST_F(IdentityStream, TellsAbsenceAndHearsOfCreation) {
  connect();
  lookup(1);
  give_absent(kToken, hex(hash_of(1)));
  EXPECT_EQ(answers, std::vector<std::string>{"absent"});
  lookup(1);
  EXPECT_EQ(answers.size(), 2U);  // from what is known
  give_token(1, "app");
  give_grants("app");
  lookup(1);
  EXPECT_EQ(answers.back(), "app");
}

TEST_F(IdentityStream, TellsATokenWhoseApplicationIsGone) {
  connect();
  lookup(1);
  give_token(1, "app");
  give_absent(kGrants, "app");
  EXPECT_EQ(answers, std::vector<std::string>{"app without grants"});
}

TEST_F(IdentityStream, AcknowledgesARevocationWhenItIsInForceAndSaved) {
  connect();
  learn(1, "app");
  proxy.rechecked.clear();
  proxy.hold = true;
  give_token(1, "app", true);
  EXPECT_FALSE(acknowledged());
  proxy.run();
  EXPECT_TRUE(acknowledged());
  ASSERT_EQ(proxy.rechecked.size(), 1U);
  EXPECT_EQ(proxy.rechecked[0].kind, model::Subject::Kind::kToken);
  EXPECT_EQ(proxy.rechecked[0].name, hex(hash_of(1)));
}

TEST_F(IdentityStream, RechecksAnApplicationWhoseGrantsChangeOrGo) {
  connect();
  learn(1, "app");
  proxy.rechecked.clear();
  give_grants("app", "Silver");
  ASSERT_EQ(proxy.rechecked.size(), 1U);
  EXPECT_EQ(proxy.rechecked[0].kind, model::Subject::Kind::kApplication);
  give_grants("app", "Silver");
  EXPECT_EQ(proxy.rechecked.size(), 1U);
  give_absent(kGrants, "app");
  EXPECT_EQ(proxy.rechecked.size(), 2U);
}

TEST_F(IdentityStream, AnswersUnavailableWhileTheStreamIsAway) {
  lookup(1);
  EXPECT_EQ(answers, std::vector<std::string>{"UNAVAILABLE"});
  connect();
  lookup(2);
  proxy.identity.on_disconnected();
  EXPECT_EQ(answers.back(), "UNAVAILABLE");
  EXPECT_EQ(answers.size(), 2U);
}

TEST_F(IdentityStream, KeepsKnownTokensAndForgetsAbsentOnesWithTheStream) {
  connect();
  learn(1, "app");
  lookup(2);
  give_absent(kToken, hex(hash_of(2)));
  proxy.identity.on_disconnected();
  answers.clear();
  lookup(1);
  lookup(2);
  EXPECT_EQ(answers, (std::vector<std::string>{"app", "UNAVAILABLE"}));
  connect();
  proxy.identity.on_writable();
  std::vector<std::string> names = subscribed();
  EXPECT_EQ(names, (std::vector<std::string>{"app", hex(hash_of(1))}));
}

TEST_F(IdentityStream, KeepsAnAbsentTokenThatAConnectionHolds) {
  connect();
  learn(1, "app");
  EXPECT_TRUE(proxy.directory.pin(hash_of(1)));
  proxy.hold = true;  // the recheck is on its way when the stream is lost
  give_absent(kToken, hex(hash_of(1)));
  proxy.identity.on_disconnected();
  proxy.run();
  EXPECT_FALSE(proxy.rechecked.empty());
  const auto known = proxy.directory.find(hash_of(1));
  ASSERT_TRUE(known.has_value());
  EXPECT_EQ(known->token, nullptr);
  connect();
  proxy.identity.on_writable();
  EXPECT_EQ(subscribed(), (std::vector<std::string>{"app", hex(hash_of(1))}));
}

TEST_F(IdentityStream, HearsOfAnApplicationForAsLongAsAConnectionHoldsItsToken) {
  connect();
  learn(1, "app");
  EXPECT_TRUE(proxy.directory.pin(hash_of(1)));
  give_absent(kToken, hex(hash_of(1)));  // the application's last one
  give_token(1, "app");                  // before the connection was rechecked
  proxy.rechecked.clear();
  give_absent(kGrants, "app");
  proxy.run();
  ASSERT_EQ(proxy.rechecked.size(), 1U);
  EXPECT_EQ(proxy.rechecked[0].kind, model::Subject::Kind::kApplication);
  EXPECT_EQ(proxy.rechecked[0].name, "app");
  give_absent(kToken, hex(hash_of(1)));
  sent.clear();
  proxy.directory.unpin(hash_of(1));
  lookup(2);
  give_absent(kToken, hex(hash_of(2)));  // whatever comes next drops what is not used
  EXPECT_TRUE(std::ranges::any_of(sent, [](const Request& request) {
    return request.resource_names_unsubscribe_size() == 1 &&
           request.resource_names_unsubscribe(0) == "app";
  }));
}

TEST_F(IdentityStream, AsksAgainOnTheStreamThatFollowsAtOnce) {
  connect();
  lookup(1);
  lookup(2);
  give_token(2, "app");  // its grants are missing
  proxy.identity.on_disconnected(true);
  EXPECT_TRUE(answers.empty());
  connect();
  proxy.identity.on_writable();
  const std::vector<std::string> names = subscribed();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()),
            (std::set<std::string>{"app", hex(hash_of(1)), hex(hash_of(2))}));
  give_grants("app");
  give_absent(kToken, hex(hash_of(1)));
  EXPECT_EQ(answers, (std::vector<std::string>{"app", "absent"}));
}

TEST_F(IdentityStream, ResubscribesInBatchesWithVersions) {
  TestProxy::directory_max() = 20'000;
  TestProxy big;
  TestProxy::directory_max() = 1000;
  config::Delta saved;
  for (int i = 0; i < 10'000; ++i) {
    v1::Token token;
    token.set_sha256(hex(hash_of(i)));
    token.set_application("app");
    token.set_key_type(v1::PRODUCTION);
    saved.upserts.push_back({Kind::kToken, token.sha256(), "v" + std::to_string(i),
                             deterministic_bytes(token)});
  }
  big.identity.restore(saved);
  EXPECT_EQ(big.directory.size().tokens, 10'000U);
  std::vector<Request> requests;
  big.identity.on_connected({}, [&](Request request) { requests.push_back(std::move(request)); },
                            nullptr);
  EXPECT_EQ(requests.size(), 1U);
  for (int i = 0; i < 10; ++i) {
    big.identity.on_writable();
  }
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_TRUE(requests[0].has_node());
  EXPECT_FALSE(requests[1].has_node());
  EXPECT_EQ(requests[0].resource_names_subscribe().size(), 4096);
  EXPECT_EQ(requests[0].initial_resource_versions().size(), 4096U);
  EXPECT_EQ(requests[2].resource_names_subscribe().size(), 10'000 - 2 * 4096);
}

TEST_F(IdentityStream, GivesUpAfterThreeSeconds) {
  connect();
  lookup(1);
  proxy.advance(milliseconds(2990));
  EXPECT_TRUE(answers.empty());
  proxy.advance(milliseconds(20));
  EXPECT_EQ(answers, std::vector<std::string>{"UNAVAILABLE"});
  give_token(1, "app");  // late
  give_grants("app");
  lookup(1);
  EXPECT_EQ(answers.back(), "app");
}

TEST_F(IdentityStream, LimitsLookupsThatFindNothingByAddress) {
  connect();
  for (int i = 0; i < 20; ++i) {
    lookup(i);
    give_absent(kToken, hex(hash_of(i)));
  }
  lookup(100);
  EXPECT_EQ(answers.back(), "RESOURCE_EXHAUSTED");
  lookup(101, "5.6.7.8");
  EXPECT_EQ(answers.size(), 21U);  // asked
  proxy.advance(seconds(1));
  lookup(102);
  EXPECT_EQ(answers.size(), 21U);
  EXPECT_EQ(proxy.identity.state().limited, 1U);
}

TEST_F(IdentityStream, UnsubscribesWhatTheDirectoryHasNoRoomFor) {
  TestProxy::directory_max() = 64;
  TestProxy small;
  TestProxy::directory_max() = 1000;
  std::vector<Request> requests;
  small.identity.on_connected({}, [&](Request request) { requests.push_back(std::move(request)); },
                              nullptr);
  for (int i = 0; i < 1000; ++i) {
    small.identity.lookup(hash_of(i), "1.1.1.1", [](const auto&) {});
    v1::Token token;
    token.set_sha256(hex(hash_of(i)));
    token.set_application("app" + std::to_string(i));
    token.set_key_type(v1::PRODUCTION);
    v1::Grants grants;
    grants.set_application_name(token.application());
    for (const auto& [type, name, bytes] :
         {std::tuple(kToken, token.sha256(), deterministic_bytes(token)),
          std::tuple(kGrants, token.application(), deterministic_bytes(grants))}) {
      Response one = response(type);
      auto* resource = one.add_resources();
      resource->set_name(name);
      resource->mutable_resource()->set_type_url(type);
      resource->mutable_resource()->set_value(bytes);
      small.identity.on_response(one);
    }
  }
  EXPECT_EQ(small.identity.state().found, 1000U);
  int unsubscribed = 0;
  for (const Request& request : requests) {
    unsubscribed += request.resource_names_unsubscribe().size();
  }
  EXPECT_EQ(small.identity.state().tokens, small.directory.size().tokens);
  EXPECT_LE(small.identity.state().applications, small.identity.state().tokens + 1);
  EXPECT_GT(unsubscribed, 1500);
  EXPECT_EQ(small.disk.size(),
            small.identity.state().tokens + small.identity.state().applications);
}

TEST_F(IdentityStream, AnswersUnavailableOnAResourceErrorAndAsksAnew) {
  connect();
  lookup(1);
  sent.clear();
  Response one = response(kToken);
  auto* error = one.add_resource_errors();
  error->mutable_resource_name()->set_name(hex(hash_of(1)));
  error->mutable_error_detail()->set_code(14);
  proxy.identity.on_response(one);
  EXPECT_EQ(answers, std::vector<std::string>{"UNAVAILABLE"});
  EXPECT_TRUE(acknowledged());
  sent.clear();
  lookup(1);
  EXPECT_EQ(subscribed().size(), 1U);
}

TEST_F(IdentityStream, RefusesWhatIsNoToken) {
  connect();
  lookup(1);
  v1::Token token;  // without its hash
  give(kToken, hex(hash_of(1)), token);
  EXPECT_FALSE(acknowledged());
  EXPECT_EQ(answers, std::vector<std::string>{"UNAVAILABLE"});
  give("type.googleapis.com/other.Thing", "x", token);
  EXPECT_FALSE(acknowledged());
}

TEST_F(IdentityStream, StartsFromTheDisk) {
  connect();
  learn(1, "app");
  TestProxy again;
  again.identity.restore(proxy.saved());
  std::string found;
  again.identity.lookup(hash_of(1), "", [&](absl::StatusOr<model::Identity> answer) {
    found = answer.ok() && answer->token && answer->grants ? answer->token->application : "none";
  });
  EXPECT_EQ(found, "app");
}

}  // namespace
}  // namespace sluice::sync
