#include "proxy/sync/delta_server.h"

#include <gtest/gtest.h>

#include <initializer_list>

#include "proxy/sync/test_world.h"

namespace sluice::sync {
namespace {

using config::Kind;
using Request = xds::DeltaDiscoveryRequest;
using Response = xds::DeltaDiscoveryResponse;

const std::string kApi(config::type_url(Kind::kApi));
const std::string kPlan(config::type_url(Kind::kPlan));
const std::string kUpstream(config::type_url(Kind::kUpstream));
const std::string kListener(config::type_url(Kind::kListener));
const std::string kSecret(config::type_url(Kind::kSecret));
const std::string kToken(config::type_url(Kind::kToken));

Request request(const std::string& type, std::initializer_list<const char*> subscribe = {},
                std::initializer_list<const char*> unsubscribe = {}) {
  Request request;
  request.set_type_url(type);
  for (const char* name : subscribe) {
    request.add_resource_names_subscribe(name);
  }
  for (const char* name : unsubscribe) {
    request.add_resource_names_unsubscribe(name);
  }
  return request;
}

Request answer(const Response& response) {
  Request request;
  request.set_type_url(response.type_url());
  request.set_response_nonce(response.nonce());
  return request;
}

Request nack(const Response& response, const std::string& kind,
             std::initializer_list<const char*> names) {
  Request request = answer(response);
  std::vector<Refusal> refusals;
  for (const char* name : names) {
    Refusal refusal;
    refusal.set_kind(kind);
    refusal.set_name(name);
    refusal.set_field("spec.f");
    refusal.set_reason("bad");
    refusals.push_back(refusal);
  }
  *request.mutable_error_detail() = make_nack(refusals, 1);
  return request;
}

// "kind +upserted -removed !error" in order.
std::string text(const std::optional<Response>& response) {
  if (!response) {
    return "nothing";
  }
  std::string text(kind_of_type(response->type_url()));
  for (const auto& resource : response->resources()) {
    text += " +" + resource.name();
  }
  for (const auto& name : response->removed_resources()) {
    text += " -" + name;
  }
  for (const auto& error : response->resource_errors()) {
    text += " !" + error.resource_name().name();
  }
  return text;
}

class DeltaServer : public ::testing::Test {
 protected:
  DeltaServerStream& stream() {
    if (!stream_) {
      stream_.emplace(world.view(), revision_, std::move(options));
    }
    return *stream_;
  }
  void reconnect() { stream_.emplace(world.view(), revision_, DeltaServerStream::Options{}); }
  void send(const Request& request) { ASSERT_TRUE(stream().on_request(request).ok()); }
  void change(std::initializer_list<ResourceChange> changes) {
    stream().on_changes(++revision_, std::vector<ResourceChange>(changes));
  }
  void put(const std::string& type, const char* name, std::string bytes) {
    world.put(type, name, std::move(bytes));
    change({{type, name}});
  }
  void erase(const std::string& type, const char* name) {
    world.erase(type, name);
    change({{type, name}});
  }
  // The next response, answered with an ACK.
  std::string next() {
    const auto response = stream().next();
    if (response) {
      send(answer(*response));
    }
    return text(response);
  }

  TestWorld world;
  DeltaServerStream::Options options;
  std::int64_t revision_ = 10;
  std::optional<DeltaServerStream> stream_;
};

TEST_F(DeltaServer, SendsAllToALegacyWildcardAndWhatIsCreatedLater) {
  world.put(kApi, "a", "1");
  world.put(kApi, "b", "1");
  send(request(kApi));
  EXPECT_EQ(next(), "Api +a +b");
  EXPECT_EQ(next(), "nothing");
  put(kApi, "c", "1");
  EXPECT_EQ(next(), "Api +c");
  erase(kApi, "a");
  EXPECT_EQ(next(), "Api -a");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(DeltaServer, SendsAllToAnExplicitWildcard) {
  world.put(kApi, "a", "1");
  send(request(kApi, {"*"}));
  EXPECT_EQ(next(), "Api +a");
}

TEST_F(DeltaServer, AnswersAnEmptyWildcardOnce) {
  send(request(kApi, {"*"}));
  EXPECT_EQ(next(), "Api");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(DeltaServer, FillsResponsesAsTheProtocolSays) {
  options.control_plane = "here";
  world.put(kApi, "a", "bytes");
  send(request(kApi));
  const auto response = stream().next();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->control_plane().identifier(), "here");
  EXPECT_FALSE(response->nonce().empty());
  ASSERT_EQ(response->resources().size(), 1);
  EXPECT_EQ(response->resources(0).version(), content_version("bytes"));
  EXPECT_EQ(response->resources(0).resource().type_url(), kApi);
  EXPECT_EQ(response->resources(0).resource().value(), "bytes");
}

TEST_F(DeltaServer, SendsOnlyWhatIsNamedAndTellsWhatIsAbsent) {
  world.put(kApi, "a", "1");
  world.put(kApi, "b", "1");
  send(request(kApi, {"a", "x"}));
  EXPECT_EQ(next(), "Api +a -x");
  put(kApi, "b", "2");
  EXPECT_EQ(next(), "nothing");
  put(kApi, "x", "1");
  EXPECT_EQ(next(), "Api +x");
  erase(kApi, "x");
  EXPECT_EQ(next(), "Api -x");
  erase(kApi, "x");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(DeltaServer, KeepsALegacyWildcardWhenANameIsAddedAndLeavesItByUnsubscribing) {
  world.put(kApi, "a", "1");
  world.put(kApi, "b", "1");
  send(request(kApi));
  EXPECT_EQ(next(), "Api +a +b");
  send(request(kApi, {"a"}));
  EXPECT_EQ(next(), "Api +a");
  put(kApi, "b", "2");
  EXPECT_EQ(next(), "Api +b");
  send(request(kApi, {}, {"*"}));
  put(kApi, "b", "3");
  put(kApi, "a", "3");
  EXPECT_EQ(next(), "Api +a");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(DeltaServer, TakesAnEmptySubscribeOfALaterRequestForNothing) {
  world.put(kApi, "a", "1");
  world.put(kApi, "b", "1");
  send(request(kApi, {"a"}));
  EXPECT_EQ(next(), "Api +a");
  send(request(kApi));
  EXPECT_EQ(next(), "nothing");
  put(kApi, "b", "2");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(DeltaServer, AnswersANameThatIsUnsubscribedUnderAWildcard) {
  world.put(kApi, "a", "1");
  send(request(kApi, {"*", "a", "x"}));
  EXPECT_EQ(next(), "Api +a -x");
  send(request(kApi, {}, {"a", "x"}));
  EXPECT_EQ(next(), "Api +a -x");
}

TEST_F(DeltaServer, ForgetsANameThatIsUnsubscribedWithoutAWildcard) {
  world.put(kApi, "a", "1");
  send(request(kApi, {"a"}));
  EXPECT_EQ(next(), "Api +a");
  send(request(kApi, {}, {"a"}));
  put(kApi, "a", "2");
  EXPECT_EQ(next(), "nothing");
  send(request(kApi, {"a"}));
  EXPECT_EQ(next(), "Api +a");
}

TEST_F(DeltaServer, AnswersANewlyNamedResourceThoughTheClientHasIt) {
  world.put(kApi, "a", "1");
  send(request(kApi, {"a"}));
  EXPECT_EQ(next(), "Api +a");
  send(request(kApi, {"a"}));
  EXPECT_EQ(next(), "Api +a");
}

TEST_F(DeltaServer, ResendsNothingUnchanged) {
  world.put(kApi, "a", "1");
  send(request(kApi));
  EXPECT_EQ(next(), "Api +a");
  put(kApi, "a", "1");
  EXPECT_EQ(next(), "nothing");
  EXPECT_EQ(stream().acknowledged_revision(), revision_);
  put(kApi, "a", "2");
  put(kApi, "a", "1");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(DeltaServer, SendsAReconnectingWildcardClientTheDifferenceAlone) {
  world.put(kApi, "same", "1");
  world.put(kApi, "changed", "2");
  world.put(kApi, "created", "1");
  Request first = request(kApi, {"*"});
  (*first.mutable_initial_resource_versions())["same"] = content_version("1");
  (*first.mutable_initial_resource_versions())["changed"] = content_version("1");
  (*first.mutable_initial_resource_versions())["gone"] = content_version("1");
  send(first);
  EXPECT_EQ(next(), "Api +changed +created -gone");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(DeltaServer, SendsAReconnectingNamedClientTheDifferenceInEveryBatch) {
  world.put(kToken, "a", "1");
  world.put(kToken, "b", "2");
  Request first = request(kToken, {"a", "gone", "unheld"});
  (*first.mutable_initial_resource_versions())["a"] = content_version("1");
  (*first.mutable_initial_resource_versions())["gone"] = content_version("1");
  send(first);
  EXPECT_EQ(next(), "Token -gone -unheld");
  Request second = request(kToken, {"b"});
  (*second.mutable_initial_resource_versions())["b"] = content_version("2");
  send(second);
  EXPECT_EQ(next(), "nothing");
}

TEST_F(DeltaServer, DoesNotServeATypeOfNamesByWildcard) {
  world.put(kToken, "a", "1");
  send(request(kToken, {"*"}));
  EXPECT_EQ(next(), "Token");
  put(kToken, "a", "2");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(DeltaServer, SplitsAtTheLimitOfAResponse) {
  options.response_bytes_max = 1000;
  for (int i = 0; i < 10; ++i) {
    world.put(kApi, "a" + std::to_string(i), std::string(300, 'x'));
  }
  world.put(kApi, "big", std::string(5000, 'x'));
  send(request(kApi));
  std::size_t responses = 0;
  int resources = 0;
  while (const auto response = stream().next()) {
    ++responses;
    resources += response->resources().size();
    EXPECT_TRUE(response->resources().size() == 1 || response->ByteSizeLong() < 1200);
    send(answer(*response));
  }
  EXPECT_EQ(resources, 11);
  EXPECT_GE(responses, 5U);
}

TEST_F(DeltaServer, MakesBeforeItBreaks) {
  for (const auto& type : {kApi, kListener, kPlan, kUpstream, kSecret}) {
    world.put(type, "old", "1");
    send(request(type, {"*"}));
  }
  while (next() != "nothing") {
  }
  for (const auto& type : {kApi, kListener, kPlan, kUpstream, kSecret}) {
    world.put(type, "new", "1");
    world.erase(type, "old");
  }
  change({{kApi, "new"}, {kApi, "old"}, {kPlan, "new"}, {kPlan, "old"}, {kListener, "old"},
          {kListener, "new"}, {kSecret, "new"}, {kSecret, "old"}, {kUpstream, "old"},
          {kUpstream, "new"}});
  EXPECT_EQ(next(), "Secret +new");
  EXPECT_EQ(next(), "Upstream +new");
  EXPECT_EQ(next(), "Plan +new");
  EXPECT_EQ(next(), "Listener +new -old");
  EXPECT_EQ(next(), "Api +new -old");
  EXPECT_EQ(next(), "Plan -old");
  EXPECT_EQ(next(), "Upstream -old");
  EXPECT_EQ(next(), "Secret -old");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(DeltaServer, HoldsRemovalsOfAReconnectingClientUntilItHasAnswered) {
  world.put(kApi, "a", "2");
  Request upstreams = request(kUpstream, {"*"});
  (*upstreams.mutable_initial_resource_versions())["old"] = "v";
  Request apis = request(kApi, {"*"});
  (*apis.mutable_initial_resource_versions())["a"] = "v";
  send(upstreams);
  const auto first = stream().next();
  EXPECT_EQ(text(first), "Upstream");
  EXPECT_EQ(text(stream().next()), "nothing");
  send(apis);
  send(answer(*first));
  EXPECT_EQ(next(), "Api +a");
  EXPECT_EQ(next(), "Upstream -old");
}

TEST_F(DeltaServer, CountsARevisionAsAcknowledgedWhenAllThatItSendsIsAnswered) {
  world.put(kApi, "a", "1");
  world.put(kPlan, "p", "1");
  EXPECT_EQ(stream().acknowledged_revision(), 10);  // nothing was asked for
  send(request(kApi));
  EXPECT_EQ(stream().acknowledged_revision(), 0);
  EXPECT_EQ(next(), "Api +a");
  EXPECT_EQ(stream().acknowledged_revision(), 10);
  put(kApi, "a", "2");
  EXPECT_EQ(stream().acknowledged_revision(), 10);
  const auto sent = stream().next();
  EXPECT_EQ(stream().acknowledged_revision(), 10);
  put(kPlan, "p", "2");  // not subscribed
  put(kApi, "b", "1");
  EXPECT_EQ(stream().acknowledged_revision(), 10);
  send(answer(*sent));
  EXPECT_EQ(stream().acknowledged_revision(), 12);
  EXPECT_EQ(next(), "Api +b");
  EXPECT_EQ(stream().acknowledged_revision(), 13);
}

TEST_F(DeltaServer, KnowsWhatWasRefusedAndDoesNotSendItAgainByItself) {
  world.put(kApi, "bad", "1");
  world.put(kApi, "good", "1");
  send(request(kApi));
  const auto response = stream().next();
  send(nack(*response, "Api", {"bad"}));
  ASSERT_EQ(stream().refusals().size(), 1U);
  EXPECT_EQ(stream().refusals()[0].name(), "bad");
  EXPECT_EQ(stream().refusals()[0].field(), "spec.f");
  EXPECT_EQ(stream().acknowledged_revision(), 10);
  EXPECT_EQ(next(), "nothing");
  put(kApi, "bad", "1");
  EXPECT_EQ(next(), "nothing");
  put(kApi, "bad", "2");
  EXPECT_EQ(next(), "Api +bad");
  EXPECT_TRUE(stream().refusals().empty());
}

TEST_F(DeltaServer, TriesWhatWasRefusedAgainOnceWhenSomethingElseChanges) {
  world.put(kApi, "bad", "1");
  send(request(kApi));
  send(request(kPlan));
  EXPECT_EQ(next(), "Plan");
  const auto response = stream().next();
  send(nack(*response, "Api", {"bad"}));
  put(kPlan, "p", "1");
  EXPECT_EQ(next(), "Plan +p");
  const auto retried = stream().next();
  EXPECT_EQ(text(retried), "Api +bad");
  send(nack(*retried, "Api", {"bad"}));
  EXPECT_EQ(next(), "nothing");
  EXPECT_EQ(stream().refusals().size(), 1U);
}

TEST_F(DeltaServer, TriesARefusedRemovalAgain) {
  world.put(kUpstream, "u", "1");
  send(request(kUpstream));
  EXPECT_EQ(next(), "Upstream +u");
  world.erase(kUpstream, "u");
  change({{kUpstream, "u"}});
  const auto removal = stream().next();
  EXPECT_EQ(text(removal), "Upstream -u");
  send(nack(*removal, "Upstream", {"u"}));
  EXPECT_EQ(stream().refusals().size(), 1U);
  put(kUpstream, "v", "1");
  EXPECT_EQ(next(), "Upstream +v");
  EXPECT_EQ(next(), "Upstream -u");
  EXPECT_TRUE(stream().refusals().empty());
}

TEST_F(DeltaServer, TakesANackWithoutDetailsForTheWholeResponse) {
  world.put(kApi, "a", "1");
  world.put(kApi, "b", "1");
  send(request(kApi));
  const auto response = stream().next();
  Request whole = answer(*response);
  whole.mutable_error_detail()->set_message("no");
  send(whole);
  ASSERT_EQ(stream().refusals().size(), 2U);
  EXPECT_EQ(stream().refusals()[1].reason(), "no");
}

TEST_F(DeltaServer, TakesSubscriptionsOfARequestWithAnUnknownNonce) {
  world.put(kApi, "a", "1");
  Request stale = request(kApi, {"a"});
  stale.set_response_nonce("of-another-stream");
  send(stale);
  EXPECT_EQ(next(), "Api +a");
}

TEST_F(DeltaServer, TellsAnErrorOfTheViewOnceAndAnswersWhenItIsOver) {
  world.fail(unavailable("disk"));
  send(request(kToken, {"a", "b"}));
  EXPECT_EQ(next(), "Token !a !b");
  EXPECT_TRUE(stream().wants_retry());
  EXPECT_EQ(next(), "nothing");
  world.fail(absl::OkStatus());
  world.put(kToken, "a", "1");
  EXPECT_EQ(next(), "Token +a -b");
  EXPECT_FALSE(stream().wants_retry());
  EXPECT_EQ(stream().acknowledged_revision(), 10);
}

TEST_F(DeltaServer, LosesNoChangeToAFailingView) {
  world.put(kToken, "a", "1");
  send(request(kToken, {"a"}));
  EXPECT_EQ(next(), "Token +a");
  world.fail(unavailable("disk"));
  put(kToken, "a", "2");
  EXPECT_EQ(next(), "nothing");
  EXPECT_EQ(stream().acknowledged_revision(), 10);
  world.fail(absl::OkStatus());
  EXPECT_EQ(next(), "Token +a");
}

TEST_F(DeltaServer, WaitsForAnswersBeyondTheWindow) {
  options.unanswered_max = 2;
  options.response_bytes_max = 1;
  for (const char* name : {"a", "b", "c"}) {
    world.put(kApi, name, "1");
  }
  send(request(kApi));
  const auto first = stream().next();
  EXPECT_TRUE(first && stream().next());
  EXPECT_FALSE(stream().next());
  send(answer(*first));
  EXPECT_EQ(text(stream().next()), "Api +c");
}

TEST_F(DeltaServer, AnswersTypesThatItDoesNotServe) {
  send(request("type.googleapis.com/other.Thing", {"x"}));
  EXPECT_EQ(next(), "Thing -x");
}

TEST_F(DeltaServer, RefusesRequestsWithoutATypeAndTooManyTypes) {
  EXPECT_EQ(stream().on_request(Request()).code(), absl::StatusCode::kInvalidArgument);
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    status = stream().on_request(request("t" + std::to_string(i)));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace sluice::sync
