#include "proxy/config/compile.h"

#include <chrono>

#include "proxy/config/default_plans.h"
#include "proxy/config/testing.h"

namespace sluice::config {
namespace {

using testing::api;
using testing::listener;
using testing::plan;
using testing::published;
using testing::secret;
using testing::Strings;
using testing::upstream;

class Compile : public testing::CompileTest {};

TEST_F(Compile, FillsAnApiWithItsDefaults) {
  give({api("echo", "context: '/echo' version: 'v1'")});
  const auto& compiled = snapshot->find_api("echo");
  ASSERT_NE(compiled, nullptr);
  const model::Api& model = compiled->api;
  EXPECT_EQ(model.state, model::ApiState::kCreated);
  EXPECT_EQ(model.api_plan, "Unlimited");
  EXPECT_EQ(model.throttle_notice, "Websocket frame throttled out");
  EXPECT_EQ(model.refuse_by, model::RefuseBy::kHttp);
  EXPECT_EQ(model.close_codes, model::CloseCodes::kReference);
  EXPECT_EQ(model.credential_places.size(), 4u);
  EXPECT_EQ(model.limits.message_bytes_max, 16u * 1024 * 1024);
  EXPECT_EQ(model.limits.ping_interval, seconds(30));
  EXPECT_EQ(model.limits.idle_timeout, nanoseconds::zero());
  EXPECT_EQ(compiled->groups, Strings{"default"});
  EXPECT_EQ(compiled->production, nullptr);
}

TEST_F(Compile, ReadsEveryFieldOfAnApi) {
  give({plan("Tiny", "messages: 1"), api("echo", published("/echo", "v1", R"(
      api_plan: 'Tiny' allowed_origins: 'https://a.example' allowed_origins: 'null'
      refuse_by: 'close' close_codes: 'standard' throttle_notice: 'slow down {seconds}'
      credential_places: 'apikey' credential_places: 'authorization'
      limits { message_bytes_max: 10 ping_interval { } idle_timeout { seconds: 5 }
               age_max { seconds: 60 } }
      groups: 'edge' plans: 'Tiny'
      endpoints { sandbox: 'ws://[::1]:9101/base/' sandbox: 'ws://other'
      })"))});
  const CompiledApi& compiled = *snapshot->find_api("echo");
  EXPECT_EQ(compiled.api.state, model::ApiState::kPublished);
  EXPECT_EQ(compiled.api.plans, (Strings{"Unlimited", "Tiny"}));
  EXPECT_EQ(compiled.api.api_plan, "Tiny");
  EXPECT_EQ(compiled.api.allowed_origins.size(), 2u);
  EXPECT_EQ(compiled.api.refuse_by, model::RefuseBy::kClose);
  EXPECT_EQ(compiled.api.close_codes, model::CloseCodes::kStandard);
  using enum model::CredentialPlace;
  EXPECT_EQ(compiled.api.credential_places,
            (std::vector<model::CredentialPlace>{kAuthorization, kApiKey}));
  EXPECT_EQ(compiled.api.limits.ping_interval, nanoseconds::zero());
  EXPECT_EQ(compiled.api.limits.age_max, seconds(60));
  EXPECT_EQ(compiled.groups, Strings{"edge"});
  ASSERT_EQ(compiled.sandbox->endpoints.size(), 2u);
  const model::Endpoint& endpoint = compiled.sandbox->endpoints[0];
  EXPECT_EQ(endpoint.host, "::1");
  EXPECT_EQ(endpoint.port, 9101);
  EXPECT_EQ(endpoint.path, "/base/");
  EXPECT_EQ(endpoint.authority, "[::1]:9101");
  EXPECT_EQ(compiled.sandbox->endpoints[1].authority, "other");
  EXPECT_EQ(compiled.sandbox->endpoints[1].port, 80);
  EXPECT_EQ(compiled.sandbox->name, "echo:sandbox");
}

TEST_F(Compile, NamesEveryFaultOfAnApi) {
  const CompileResult result = put({api("bad", R"(
      context: 'echo' version: '' state: PUBLISHED plans: 'Nope' api_plan: 'No'
      endpoints { production: 'ftp://x/' production: 'ws://u:p@x/' production: 'ws://x/?q'
                  production: 'upstream:U' sandbox: 'upstream:None' }
      allowed_origins: 'https://a/' allowed_origins: '*' refuse_by: 'htp' close_codes: 'x'
      credential_places: 'cookie' limits { idle_timeout { seconds: -1 } }
      filters { name: 'cache' } filters { name: 'auth' config { fields {
          key: 'bad' value { bool_value: true } } } }
      groups: '-x')")});
  EXPECT_EQ(
      fields(result),
      (Strings{"Api bad: spec.groups[0]", "Api bad: spec.context", "Api bad: spec.version",
               "Api bad: spec.endpoints.production[0]", "Api bad: spec.endpoints.production[1]",
               "Api bad: spec.endpoints.production[2]", "Api bad: spec.endpoints.production[3]",
               "Api bad: spec.endpoints.sandbox[0]",
               "Api bad: spec.plans[0]", "Api bad: spec.api_plan",
               "Api bad: spec.allowed_origins[0]", "Api bad: spec.allowed_origins[1]",
               "Api bad: spec.refuse_by", "Api bad: spec.close_codes",
               "Api bad: spec.credential_places[0]", "Api bad: spec.limits.idle_timeout",
               "Api bad: spec.filters[0].name", "Api bad: spec.filters[1].config"}))
      << text(result.faults);
  EXPECT_TRUE(result.changed.empty());
  EXPECT_EQ(snapshot->find_api("bad"), nullptr);
}

TEST_F(Compile, RefusesContextsThatAreNone) {
  for (const char* context : {"", "/", "echo", "/echo/", "/a//b", "/a b", "/%41", "/a/../b", "/.",
                              "/a?b", "/{version}/{version}", "/v{version}", "/{Version}"}) {
    const CompileResult result = put({api("a", published(context, "v1"))});
    EXPECT_EQ(fields(result), Strings{"Api a: spec.context"}) << context;
  }
  std::string deep;
  for (int i = 0; i < 17; ++i) {
    deep += "/a";
  }
  EXPECT_EQ(put({api("a", published(deep, "v1"))}).faults.size(), 1u);
  EXPECT_EQ(put({api("a", published("/" + std::string(255, 'a'), "v1"))}).faults.size(), 1u);
  for (const char* version : {"a/b", "..", "v 1", "{version}"}) {
    EXPECT_EQ(fields(put({api("a", published("/a", version))})), Strings{"Api a: spec.version"});
  }
  EXPECT_EQ(fields(put({api("a", published("/{version}", "v1", "default_version: true"))})),
            Strings{"Api a: spec.default_version"});
}

TEST_F(Compile, AsksPublishedApisForPlansAndEndpoints) {
  EXPECT_EQ(fields(put({api("a", "context: '/a' version: '1' state: PUBLISHED")})),
            (Strings{"Api a: spec.endpoints", "Api a: spec.plans"}));
  EXPECT_EQ(fields(put({api("a", "context: '/a' version: '1' state: PROTOTYPED")})),
            Strings{"Api a: spec.endpoints"});
  give({api("a", "context: '/a' version: '1' state: BLOCKED")});
}

TEST_F(Compile, RefusesEndpointsThatCannotBeDialled) {
  for (const char* url :
       {"", "backend:80", "ws:///path", "ws://", "ws://host:0/", "ws://host:65536/", "ws://a b/",
        "ws://h/#f", "ws://h/p?q=1", "ws://user@h/", "ws://0x7f.1/", "ws://2130706433/",
        "ws://[fe80::1%25eth0]/", "ws://h%41/", "tcp://h:1"}) {
    EXPECT_EQ(put({upstream("u", std::string("endpoints: '") + url + "'")}).faults.size(), 1u)
        << url;
  }
  EXPECT_EQ(fields(put({upstream("u", "")})), Strings{"Upstream u: spec.endpoints"});
}

TEST_F(Compile, RefusesLocalEndpointsUnlessTheGroupsAllowThem) {
  context.own_addresses = {"127.0.0.1:9901", "10.0.0.7:9443"};
  for (const char* url :
       {"ws://169.254.169.254/", "ws://[fe80::1]/", "ws://metadata.google.internal./",
        "ws://[::ffff:169.254.1.1]/", "ws://localhost:9901/", "ws://127.0.0.2:9901/",
        "ws://0.0.0.0:9901/", "ws://[::1]:9901/", "ws://10.0.0.7:9443/"}) {
    context.allows_local = nullptr;
    const auto resource =
        api("a", std::string("context: '/a' version: '1' endpoints { production: '") + url + "' }");
    EXPECT_EQ(fields(put({resource})), Strings{"Api a: spec.endpoints.production[0]"}) << url;
    context.allows_local = [](std::string_view group) { return group == "default"; };
    EXPECT_TRUE(put({resource}).faults.empty()) << url;
    remove({{Kind::kApi, "a"}});
  }
  context.allows_local = nullptr;
  give({api("a", published("/a", "1"))});  // 127.0.0.1:9100 is nobody's own
}

TEST_F(Compile, ChecksLocalEndpointsOfUpstreamsWhereTheyAreUsed) {
  context.allows_local = [](std::string_view group) { return group == "inside"; };
  give({upstream("u", "endpoints: 'ws://169.254.1.1/'"), upstream("v", "endpoints: 'ws://b/'")});
  const auto using_it = [](const char* name, const char* group) {
    return api("a", std::string("context: '/a' version: '1' groups: '") + group +
                        "' endpoints { production: 'upstream:" + name + "' }");
  };
  EXPECT_EQ(fields(put({using_it("u", "default")})),
            Strings{"Api a: spec.endpoints.production[0]"});
  give({using_it("u", "inside")});
  give({using_it("v", "default")});
  // The edit is refused where its users are not allowed it.
  const CompileResult result = put({upstream("v", "endpoints: 'ws://169.254.1.1/'")});
  EXPECT_EQ(fields(result), Strings{"Upstream v: spec.endpoints"});
  EXPECT_TRUE(result.changed.empty());
  EXPECT_EQ(snapshot->find_api("a")->production->endpoints[0].host, "b");
}

TEST_F(Compile, RoutesByLongestClaimThenVersionThenDefault) {
  give({api("v1", published("/echo", "v1.0")),
        api("v2", published("/echo", "v2", "default_version: true")),
        api("deep", published("/echo/deep", "v1")), api("t", published("/{version}/shop", "v1")),
        api("td", published("/x/{version}/y", "v9", "default_version: true")),
        api("blocked", published("/b", "v1", "state: BLOCKED"))});
  EXPECT_EQ(route("/echo/v1.0"), "v1 ");
  EXPECT_EQ(route("/echo/v1.0/"), "v1 /");
  EXPECT_EQ(route("/echo/v1.0/room/7"), "v1 /room/7");
  EXPECT_EQ(route("/echo/v1.00"), "v2 /v1.00");
  EXPECT_EQ(route("/echo"), "v2 ");
  EXPECT_EQ(route("/echo/room"), "v2 /room");
  EXPECT_EQ(route("/echo/v2/room"), "v2 /room");
  EXPECT_EQ(route("/echo/deep/v1/x"), "deep /x");
  EXPECT_EQ(route("/echo/deep"), "v2 /deep");
  EXPECT_EQ(route("/v1/shop/cart"), "t /cart");
  EXPECT_EQ(route("/x/v9/y"), "td ");
  EXPECT_EQ(route("/x/y/z"), "td /z");
  EXPECT_EQ(route("/b/v1"), "blocked ");
  for (const char* path : {"", "/", "echo/v1.0", "/echos", "/v2/shop", "/x", "/{version}/shop"}) {
    EXPECT_EQ(route(path), "") << path;
  }
  EXPECT_EQ(route("/" + std::string(100'000, '/')), "");
  EXPECT_EQ(route("/" + std::string(100'000, 'a')), "");
  EXPECT_EQ(route("/echo/v1.0/" + std::string(100'000, '/')).size(), 100'004u);
}

TEST_F(Compile, RoutesNothingToCreatedAndRetiredApis) {
  give({api("old", published("/a", "v1", "state: RETIRED default_version: true")),
        api("new", published("/a", "v2", "default_version: true"))});
  EXPECT_EQ(route("/a/v1/x"), "");
  EXPECT_EQ(route("/a/x"), "new /x");
  give({api("new", published("/a", "v2", "state: CREATED default_version: true"))});
  EXPECT_EQ(route("/a/v2"), "");
  EXPECT_EQ(route("/a"), "");
}

TEST_F(Compile, KeepsContextAndVersionUnique) {
  give({api("a", published("/a", "v1", "default_version: true"))});
  EXPECT_EQ(fields(put({api("b", published("/a", "v1"))})), Strings{"Api b: spec.context"});
  EXPECT_EQ(fields(put({api("b", "context: '/{version}/v1' version: 'a'")})),
            Strings{"Api b: spec.context"});
  EXPECT_EQ(fields(put({api("b", published("/a", "v2", "default_version: true"))})),
            Strings{"Api b: spec.default_version"});
  EXPECT_EQ(route("/a"), "a ");
}

TEST_F(Compile, LetsPathsChangeHandsWithinOneDelta) {
  give({api("a", published("/a", "v1", "default_version: true")), api("b", published("/a", "v2"))});
  give({api("b", published("/a", "v2", "default_version: true")), api("a", published("/a", "v1"))});
  EXPECT_EQ(route("/a"), "b ");
  EXPECT_EQ(route("/a/v1"), "a ");
  const CompileResult moved = apply({{api("c", published("/a", "v1"))}, {{Kind::kApi, "a"}}});
  EXPECT_TRUE(moved.faults.empty()) << text(moved.faults);
  EXPECT_EQ(route("/a/v1"), "c ");
}

TEST_F(Compile, TakesBackWhatDependsOnARefusedChange) {
  give({api("a", published("/a", "v1", "default_version: true")), api("b", published("/a", "v2"))});
  // b wants what a gives up, but a's change is refused for another reason.
  const CompileResult result =
      put({api("b", published("/a", "v2", "default_version: true")),
           api("a", published("/a", "v1", "endpoints { production: 'nonsense' }"))});
  EXPECT_EQ(fields(result),
            (Strings{"Api b: spec.default_version", "Api a: spec.endpoints.production[1]"}));
  EXPECT_TRUE(result.changed.empty());
  EXPECT_EQ(route("/a"), "a ");
  EXPECT_EQ(route("/a/v2"), "b ");
}

TEST_F(Compile, EvictsATakerWhenTheGiverIsRefused) {
  give({api("a", published("/a", "v1", "default_version: true")), api("b", published("/a", "v2")),
        api("z", published("/z", "v1", "default_version: true"))});
  // a leaves /a for /z, which z still holds: a is refused after b has taken /a.
  const CompileResult result = put(
      {api("b", published("/a", "v2", "default_version: true")), api("a", published("/z", "v1"))});
  EXPECT_EQ(result.faults.size(), 2u) << text(result.faults);
  EXPECT_EQ(route("/a"), "a ");
  EXPECT_EQ(route("/a/v1"), "a ");
  EXPECT_EQ(route("/a/v2"), "b ");
  EXPECT_EQ(route("/z"), "z ");
}

TEST_F(Compile, AppliesTheGoodOnesAndKeepsTheOldSelfOfTheBad) {
  give({api("a", published("/a", "v1")), plan("Tiny", "messages: 1")});
  const CompileResult result = put({plan("Tiny", "messages: 2 on_limit: 'explode'"),
                                    plan("Big", "messages: 9"), api("a", "context: 'a'")});
  EXPECT_EQ(fields(result),
            (Strings{"Plan Tiny: spec.on_limit", "Api a: spec.context", "Api a: spec.version"}));
  EXPECT_EQ(changed(result), Strings{"plan Big"});
  EXPECT_EQ(snapshot->find_plan("Tiny")->messages, 1u);
  EXPECT_EQ(route("/a/v1"), "a ");
}

TEST_F(Compile, ChangesNothingAtAllWhenAskedForAllOrNothing) {
  give({plan("Tiny", "messages: 1")});
  context.mode = Mode::kAllOrNothing;
  const auto before = snapshot;
  const CompileResult result = put({plan("Big", "messages: 9"), plan("Tiny", "levels: 'x'")});
  EXPECT_EQ(result.faults.size(), 1u);
  EXPECT_EQ(result.snapshot, before);
  EXPECT_TRUE(result.changed.empty());
}

TEST_F(Compile, RefusesBytesNamesAndKindsThatAreNone) {
  const CompileResult result = apply({{{Kind::kApi, "a", "1", "\xff"},
                                       {Kind::kPlan, "", "1", ""},
                                       {Kind::kPlan, "a/b", "1", ""},
                                       {Kind::kToken, "t", "1", ""},
                                       plan("twice", "messages: 1"),
                                       plan("twice", "messages: 2")},
                                      {}});
  EXPECT_EQ(result.faults.size(), 5u) << text(result.faults);
  EXPECT_EQ(snapshot->find_plan("twice")->messages, 1u);
}

TEST_F(Compile, ReportsOnlyWhatReallyChanged) {
  const std::vector<Resource> all = {
      upstream("u", "endpoints: 'ws://u/'"), plan("Tiny", "messages: 1"),
      listener("ws", "address: '127.0.0.1' port: 9099"), api("a", published("/a", "v1")),
      api("b", "context: '/b' version: '1' endpoints { production: 'upstream:u' }")};
  EXPECT_EQ(changed(put(all)),
            (Strings{"api a", "api b", "plan Tiny", "upstream u", "listener ws"}));
  const auto before = snapshot;
  EXPECT_TRUE(put(all).changed.empty());
  EXPECT_EQ(snapshot, before) << "the same content again is no new snapshot";
  EXPECT_EQ(changed(put({plan("Tiny", "messages: 2")})), Strings{"plan Tiny"});
  EXPECT_EQ(changed(put({upstream("u", "endpoints: 'ws://w/'")})),
            (Strings{"api b", "upstream u"}));
  EXPECT_EQ(snapshot->find_api("b")->production->endpoints[0].host, "w");
  EXPECT_EQ(snapshot->route("/b/1").api, nullptr);
  EXPECT_EQ(changed(remove({{Kind::kApi, "a"}, {Kind::kApi, "none"}})), Strings{"api a"});
}

TEST_F(Compile, GivesRoutesTheNewClusterOfAnEditedUpstream) {
  give({upstream("u", "endpoints: 'ws://u/'"),
        api("b",
            "context: '/b' version: '1' state: PUBLISHED plans: 'Unlimited' "
            "endpoints { production: 'upstream:u' sandbox: 'upstream:u' }")});
  give({upstream("u", "endpoints: 'ws://w/' connect_timeout { seconds: 1 }")});
  const auto match = snapshot->route("/b/1");
  EXPECT_EQ(match.api, snapshot->find_api("b"));
  EXPECT_EQ(match.api->sandbox->endpoints[0].host, "w");
  EXPECT_EQ(match.api->production, snapshot->find_upstream("u")->cluster);
  EXPECT_EQ(match.api->production->connect_timeout, seconds(1));
}

TEST_F(Compile, RefusesToRemoveWhatIsUsed) {
  const auto certificate = testing::make_certificate("x");
  give({secret("s", certificate), upstream("u", "endpoints: 'ws://u/'"), plan("P", "messages: 1"),
        plan("Q", "messages: 1"), listener("wss", "address: '::' port: 8099 tls { secret: 's' }"),
        api("a", published("/a", "v1", "plans: 'P' api_plan: 'Q'")),
        api("b", "context: '/b' version: '1' endpoints { production: 'upstream:u' }")});
  const Delta all = {
      {}, {{Kind::kSecret, "s"}, {Kind::kUpstream, "u"}, {Kind::kPlan, "P"}, {Kind::kPlan, "Q"}}};
  const CompileResult result = apply(all);
  EXPECT_EQ(result.faults.size(), 4u);
  EXPECT_EQ(result.faults[1].text(), "Upstream u: is used by Api b");
  EXPECT_TRUE(result.changed.empty());
  // Together with their users they go, in any order; and so do the refused removals by themselves.
  const CompileResult later =
      apply({{}, {{Kind::kApi, "a"}, {Kind::kApi, "b"}, {Kind::kListener, "wss"}}});
  EXPECT_TRUE(later.faults.empty()) << text(later.faults);
  EXPECT_EQ(later.recovered.removals.size(), 4u);
  EXPECT_TRUE(snapshot->keys().empty());
  EXPECT_TRUE(snapshot->refused().empty());
}

TEST_F(Compile, TriesRefusedResourcesAgainWhenWhatTheyNeedComes) {
  const auto waiting =
      api("b", "context: '/b' version: '1' endpoints { production: 'upstream:u' }");
  EXPECT_EQ(fields(put({waiting})), Strings{"Api b: spec.endpoints.production[0]"});
  EXPECT_EQ(snapshot->refused(), (std::vector<ResourceKey>{{Kind::kApi, "b"}}));
  const CompileResult other = put({plan("P", "")});
  EXPECT_TRUE(other.faults.empty()) << "a later delta is not blamed";
  const CompileResult result = put({upstream("u", "endpoints: 'ws://u/'")});
  EXPECT_TRUE(result.faults.empty());
  EXPECT_EQ(changed(result), (Strings{"api b", "upstream u"}));
  ASSERT_EQ(result.recovered.upserts.size(), 1u);
  EXPECT_EQ(result.recovered.upserts[0].name, "b");
  EXPECT_TRUE(snapshot->refused().empty());
}

TEST_F(Compile, ForgetsARefusedResourceWhenANewerOneComes) {
  put({api("b", "context: 'b'")});
  remove({{Kind::kApi, "b"}});
  EXPECT_TRUE(snapshot->refused().empty());
}

TEST_F(Compile, HoldsPlansToTheirLevels) {
  give({plan("Sub", "levels: 'subscription'"), plan("Api", "levels: 'api'")});
  EXPECT_EQ(fields(put({api("a", published("/a", "1", "plans: 'Api' api_plan: 'Sub'"))})),
            (Strings{"Api a: spec.plans[1]", "Api a: spec.api_plan"}));
  give({api("a", published("/a", "1", "plans: 'Sub' api_plan: 'Api'"))});
  EXPECT_EQ(fields(put({plan("Sub", "levels: 'api'")})), Strings{"Plan Sub: spec.levels"});
  EXPECT_EQ(fields(put({plan("Api", "levels: 'application'")})), Strings{"Plan Api: spec.levels"});
  EXPECT_TRUE(snapshot->find_compiled_plan("Sub")->for_subscription);
  give({plan("Sub", "levels: 'subscription' messages: 5")});
}

TEST_F(Compile, AlwaysHasUnlimited) {
  EXPECT_TRUE(Snapshot::empty()->find_plan("Unlimited")->unlimited());
  EXPECT_EQ(fields(put({plan("Unlimited", "messages: 1")})), Strings{"Plan Unlimited: spec"});
  give({plan("Unlimited", "description: 'x'")});
  EXPECT_EQ(snapshot->keys().size(), 1u);
  EXPECT_TRUE(remove({{Kind::kPlan, "Unlimited"}}).faults.empty());
  EXPECT_NE(snapshot->find_plan("Unlimited"), nullptr);
  EXPECT_TRUE(snapshot->keys().empty());
  EXPECT_TRUE(remove({{Kind::kPlan, "Unlimited"}}).changed.empty());
}

TEST_F(Compile, TakesTheDefaultPlans) {
  Delta delta;
  for (const NamedPlan& named : default_plans()) {
    delta.upserts.push_back({Kind::kPlan, named.name, "1", named.plan.SerializeAsString()});
  }
  const CompileResult result = apply(delta);
  EXPECT_TRUE(result.faults.empty()) << text(result.faults);
  EXPECT_EQ(snapshot->find_plan("Gold")->messages, 5000u);
  EXPECT_EQ(snapshot->find_plan("AsyncBronze")->per, std::chrono::hours(24));
  EXPECT_TRUE(snapshot->find_compiled_plan("50PerMin")->for_application);
  EXPECT_FALSE(snapshot->find_compiled_plan("50PerMin")->for_api);
}

}  // namespace
}  // namespace sluice::config
