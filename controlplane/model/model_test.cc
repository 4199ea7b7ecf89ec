#include <fmt/format.h>
#include <gtest/gtest.h>

#include "controlplane/model/defaults.h"
#include "controlplane/model/lifecycle.h"
#include "controlplane/model/rules.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::model {
namespace {

using config::v1::Api;
using config::v1::Application;
using config::v1::Credential;
using config::v1::GatewayGroup;
using config::v1::Listener;
using config::v1::Plan;
using config::v1::Subscription;

template <class Spec>
Resource resource(const char* kind, std::string name, Spec spec) {
  Resource made;
  made.key = {kind, std::move(name)};
  made.spec = std::make_shared<Spec>(std::move(spec));
  return made;
}

Resource api(const std::string& name, const std::string& version, Api::State state,
             std::vector<std::string> plans = {"Gold"}) {
  Api spec;
  spec.set_context("/echo");
  spec.set_version(version);
  spec.set_state(state);
  for (std::string& plan : plans) {
    spec.add_plans(std::move(plan));
  }
  return resource("Api", name, spec);
}

Resource subscription(const std::string& application, const std::string& api,
                      const std::string& plan = "Gold") {
  Subscription spec;
  spec.set_application(application);
  spec.set_api(api);
  spec.set_plan(plan);
  spec.set_status(Subscription::UNBLOCKED);
  return resource("Subscription", fmt::format("{}:{}", application, api), spec);
}

// Group, plans Gold and Small (for applications alone), application app, API echo PUBLISHED.
Catalogue world() {
  Catalogue catalogue;
  catalogue.put(resource("GatewayGroup", "default", GatewayGroup()));
  catalogue.put(resource("Plan", "Gold", Plan()));
  Plan small;
  small.add_levels("application");
  catalogue.put(resource("Plan", "Small", small));
  catalogue.put(resource("Application", "app", Application()));
  catalogue.put(api("echo", "v1.0", Api::PUBLISHED));
  return catalogue;
}

std::string faults_of(const Draft& draft) { return text(check(draft)); }

std::string faults_with(const Resource& resource) {
  const Catalogue catalogue = world();
  Draft draft(catalogue);
  draft.put(resource);
  return faults_of(draft);
}

Api::State state_of(const Draft& draft, const std::string& name) {
  return draft.find({"Api", name})->as<Api>().state();
}

TEST(Kinds, AreCompleteAndNameFieldsThatExist) {
  EXPECT_EQ(kinds().size(), 10U);
  for (const Kind& kind : kinds()) {
    EXPECT_NE(kind.resource->FindFieldByName("spec"), nullptr) << kind.name;
    const std::unique_ptr<Message> spec = kind.new_spec();
    for (const auto* fields : {&kind.write_only, &kind.immutable, &kind.kept}) {
      for (const std::string& field : *fields) {
        EXPECT_FALSE(is_set(*spec, field)) << kind.name;
      }
    }
    EXPECT_TRUE(references_of(kind, *spec).size() <= 2) << kind.name;
  }
  EXPECT_EQ(find_kind("Nothing"), nullptr);
}

TEST(Kinds, CopyAndBlankSingleFields) {
  config::v1::Secret from;
  from.set_certificate_pem("cert");
  from.set_private_key_pem("key");
  config::v1::Secret to;
  to.set_certificate_pem("other");
  copy_field(from, to, "private_key_pem");
  EXPECT_EQ(to.private_key_pem(), "key");
  EXPECT_EQ(to.certificate_pem(), "other");
  blank_write_only(*find_kind("Secret"), to);
  EXPECT_EQ(to.private_key_pem(), "");
}

TEST(References, AreFoundWithTheirPaths) {
  Api spec;
  spec.mutable_endpoints()->add_production("ws://a/");
  spec.mutable_endpoints()->add_production("upstream:u");
  spec.add_plans("Gold");
  const std::vector<Reference> references = references_of(*find_kind("Api"), spec);
  ASSERT_EQ(references.size(), 4U);
  EXPECT_EQ(references[0].path(), "spec.endpoints.production[1]");
  EXPECT_EQ(references[0].target, (Key{"Upstream", "u"}));
  EXPECT_EQ(references[1].path(), "spec.plans[0]");
  EXPECT_EQ(references[2].target, (Key{"Plan", "Unlimited"}));
  EXPECT_EQ(references[3].target, (Key{"GatewayGroup", "default"}));
}

TEST(Catalogue, KnowsWhoRefersToWhomThroughDrafts) {
  Catalogue catalogue = world();
  catalogue.put(subscription("app", "echo"));
  EXPECT_EQ(catalogue.referrers({"Plan", "Gold"}).size(), 2U);
  Draft draft(catalogue);
  draft.put(subscription("app", "echo", "Silver"));
  EXPECT_EQ(draft.referrers({"Plan", "Gold"}).size(), 1U);
  EXPECT_EQ(draft.referrers({"Plan", "Silver"}).size(), 1U);
  draft.erase({"Subscription", "app:echo"});
  EXPECT_TRUE(draft.referrers({"Application", "app"}).empty());
  catalogue.erase({"Subscription", "app:echo"});
  EXPECT_EQ(catalogue.referrers({"Plan", "Gold"}).size(), 1U);
}

TEST(Draft, DropsAnEditThatChangesNothing) {
  const Catalogue catalogue = world();
  Draft draft(catalogue);
  draft.put(api("echo", "v1.0", Api::BLOCKED));
  EXPECT_EQ(draft.edits().size(), 1U);
  draft.put(api("echo", "v1.0", Api::PUBLISHED));
  EXPECT_TRUE(draft.edits().empty());
}

TEST(Lifecycle, AllowsTheReferencesTransitionsAndNoOthers) {
  const std::map<Api::State, std::map<std::string, Api::State>> expected = {
      {Api::CREATED, {{"publish", Api::PUBLISHED}, {"prototype", Api::PROTOTYPED}}},
      {Api::PROTOTYPED,
       {{"publish", Api::PUBLISHED}, {"demote", Api::CREATED}, {"prototype", Api::PROTOTYPED}}},
      {Api::PUBLISHED,
       {{"block", Api::BLOCKED},
        {"prototype", Api::PROTOTYPED},
        {"demote", Api::CREATED},
        {"deprecate", Api::DEPRECATED},
        {"publish", Api::PUBLISHED}}},
      {Api::BLOCKED, {{"deprecate", Api::DEPRECATED}, {"republish", Api::PUBLISHED}}},
      {Api::DEPRECATED, {{"retire", Api::RETIRED}}},
      {Api::RETIRED, {}}};
  for (const auto& [from, actions] : expected) {
    for (const char* action :
         {"publish", "prototype", "block", "republish", "deprecate", "retire", "demote"}) {
      const auto to = next_state(from, action);
      const auto wanted = actions.find(action);
      if (wanted == actions.end()) {
        EXPECT_TRUE(absl::IsFailedPrecondition(to.status())) << from << action;
      } else {
        ASSERT_TRUE(to.ok()) << from << action;
        EXPECT_EQ(*to, wanted->second);
      }
    }
  }
  EXPECT_TRUE(absl::IsInvalidArgument(next_state(Api::CREATED, "explode").status()));
  EXPECT_TRUE(reachable(Api::CREATED, Api::RETIRED));
  EXPECT_FALSE(reachable(Api::RETIRED, Api::CREATED));
  EXPECT_FALSE(reachable(Api::DEPRECATED, Api::PUBLISHED));
}

TEST(Versions, AreOrderedAsPeopleCount) {
  EXPECT_LT(compare_versions("v1.9", "v1.10"), 0);
  EXPECT_LT(compare_versions("1.0", "1.0.1"), 0);
  EXPECT_LT(compare_versions("1.0", "2"), 0);
  EXPECT_EQ(compare_versions("v01", "v1"), 0);
  EXPECT_GT(compare_versions("v2", "v1.99999999999999999999"), 0);
  EXPECT_LT(compare_versions("1.0-alpha", "1.0-beta"), 0);
}

TEST(Publish, CopiesSubscriptionsOfOlderVersionsForward) {
  Catalogue catalogue = world();
  catalogue.put(resource("Application", "other", Application()));
  catalogue.put(api("echo-old", "v0.9", Api::RETIRED));
  catalogue.put(api("echo2", "v2.0", Api::CREATED));
  catalogue.put(api("echo3", "v3.0", Api::PUBLISHED));
  catalogue.put(subscription("app", "echo"));
  catalogue.put(subscription("other", "echo", "Bronze"));
  catalogue.put(subscription("other", "echo-old"));
  Draft draft(catalogue);
  ASSERT_TRUE(change_state(draft, {"Api", "echo2"}, "publish", {}).ok());
  EXPECT_EQ(state_of(draft, "echo2"), Api::PUBLISHED);
  EXPECT_EQ(state_of(draft, "echo"), Api::PUBLISHED);
  const Resource* copy = draft.find({"Subscription", "app:echo2"});
  ASSERT_NE(copy, nullptr);
  EXPECT_EQ(copy->as<Subscription>().plan(), "Gold");
  EXPECT_EQ(draft.find({"Subscription", "other:echo2"}), nullptr);
  EXPECT_EQ(draft.find({"Subscription", "app:echo3"}), nullptr);
}

TEST(Publish, DeprecatesOldVersionsAndRequiresResubscriptionWhenAsked) {
  Catalogue catalogue = world();
  catalogue.put(api("echo2", "v2.0", Api::PROTOTYPED));
  catalogue.put(subscription("app", "echo"));
  Draft draft(catalogue);
  PublishOptions options;
  options.deprecate_old_versions = true;
  options.require_resubscription = true;
  ASSERT_TRUE(change_state(draft, {"Api", "echo2"}, "publish", options).ok());
  EXPECT_EQ(state_of(draft, "echo"), Api::DEPRECATED);
  EXPECT_EQ(draft.find({"Subscription", "app:echo2"}), nullptr);
  EXPECT_TRUE(absl::IsNotFound(change_state(draft, {"Api", "none"}, "publish", {})));
}

TEST(Prepare, KeepsStateStatusAndOwnerThatAnUpdateLeavesOut) {
  const Catalogue catalogue = world();
  const Draft draft(catalogue);
  Resource update = api("echo", "v1.0", Api::STATE_UNSPECIFIED);
  ASSERT_TRUE(prepare(draft, update, "eve").empty());
  EXPECT_EQ(update.as<Api>().state(), Api::PUBLISHED);
  Resource fresh = api("fresh", "v1.0", Api::STATE_UNSPECIFIED);
  ASSERT_TRUE(prepare(draft, fresh, "eve").empty());
  EXPECT_EQ(fresh.as<Api>().state(), Api::CREATED);
  Resource application = resource("Application", "new", Application());
  ASSERT_TRUE(prepare(draft, application, "eve").empty());
  EXPECT_EQ(application.as<Application>().owner(), "eve");
  EXPECT_EQ(application.as<Application>().status(), Application::APPROVED);
}

TEST(Prepare, RefusesToChangeContextAndVersion) {
  const Catalogue catalogue = world();
  const Draft draft(catalogue);
  Resource update = api("echo", "v2.0", Api::PUBLISHED);
  const std::string faults = text(prepare(draft, update, ""));
  EXPECT_NE(faults.find("Api echo: spec.version: never changes"), std::string::npos) << faults;
}

TEST(Prepare, ComposesNamesOrTakesThemApart) {
  const Catalogue catalogue = world();
  const Draft draft(catalogue);
  Resource by_fields = subscription("app", "echo");
  by_fields.key.name.clear();
  EXPECT_TRUE(prepare(draft, by_fields, "").empty());
  EXPECT_EQ(by_fields.key.name, "app:echo");
  Resource by_name = resource("Credential", "app:SANDBOX", Credential());
  EXPECT_TRUE(prepare(draft, by_name, "").empty());
  EXPECT_EQ(by_name.as<Credential>().application(), "app");
  EXPECT_EQ(by_name.as<Credential>().key_type(), config::v1::SANDBOX);
  Resource wrong = subscription("app", "echo");
  wrong.key.name = "app:other";
  EXPECT_FALSE(prepare(draft, wrong, "").empty());
}

TEST(Check, WantsSubscriptionsOfOpenApisOnOfferedPlans) {
  EXPECT_EQ(faults_with(subscription("app", "echo")), "");
  EXPECT_NE(faults_with(subscription("app", "echo", "Small")).find("does not offer Small"),
            std::string::npos);
  EXPECT_NE(faults_with(subscription("nobody", "echo")).find("there is no Application nobody"),
            std::string::npos);
  EXPECT_NE(faults_with(subscription("app", "none")).find("spec.api: there is no Api none"),
            std::string::npos);
  for (const Api::State state : {Api::CREATED, Api::BLOCKED, Api::DEPRECATED, Api::RETIRED}) {
    Catalogue catalogue = world();
    catalogue.put(api("echo", "v1.0", state));
    Draft draft(catalogue);
    draft.put(subscription("app", "echo"));
    EXPECT_NE(faults_of(draft).find(Api::State_Name(state)), std::string::npos);
  }
}

TEST(Check, LeavesSubscriptionsThatExistToDeprecatedApis) {
  Catalogue catalogue = world();
  catalogue.put(api("echo", "v1.0", Api::DEPRECATED, {}));
  catalogue.put(subscription("app", "echo"));
  Draft draft(catalogue);
  Resource blocked = subscription("app", "echo");
  Subscription spec = blocked.as<Subscription>();
  spec.set_status(Subscription::BLOCKED);
  draft.put(resource("Subscription", "app:echo", spec));
  EXPECT_EQ(faults_of(draft), "");
}

TEST(Check, WantsPlansOfTheRightLevelForApplications) {
  Application spec;
  spec.set_plan("Small");
  EXPECT_EQ(faults_with(resource("Application", "a", spec)), "");
  spec.set_plan("None");
  EXPECT_NE(faults_with(resource("Application", "a", spec)).find("there is no Plan None"),
            std::string::npos);
  spec.set_plan("Unlimited");
  EXPECT_EQ(faults_with(resource("Application", "a", spec)), "");
}

TEST(Check, NamesEveryFault) {
  Resource bad = subscription("nobody", "none", "");
  bad.labels = {{"bad label", "x"}, {"good", std::string(300, 'x')}};
  const Catalogue catalogue = world();
  Draft draft(catalogue);
  draft.put(bad);
  EXPECT_EQ(check(draft).size(), 5U) << faults_of(draft);
  EXPECT_NE(faults_with(resource("Application", "-x", Application())).find("is no name"),
            std::string::npos);
  GatewayGroup group;
  group.add_public_urls("ftp://x");
  EXPECT_NE(faults_with(resource("GatewayGroup", "g", group)).find("spec.public_urls[0]"),
            std::string::npos);
  Credential credential;
  credential.set_application("app");
  credential.set_consumer_key("a b");
  credential.set_secret_sha256("xyz");
  credential.mutable_token_validity();
  const Resource made = resource("Credential", "app:PRODUCTION", credential);
  Draft second(catalogue);
  second.put(made);
  EXPECT_EQ(check(second).size(), 4U) << faults_of(second);
}

TEST(Check, RefusesStatesThatCannotBeReached) {
  Catalogue catalogue = world();
  catalogue.put(api("echo", "v1.0", Api::RETIRED));
  Draft draft(catalogue);
  draft.put(api("echo", "v1.0", Api::PUBLISHED));
  EXPECT_NE(faults_of(draft).find("cannot become PUBLISHED"), std::string::npos);
}

TEST(Erase, RefusesWhatIsInUseAndSaysByWhom) {
  Catalogue catalogue = world();
  catalogue.put(subscription("app", "echo"));
  Draft draft(catalogue);
  ASSERT_TRUE(erase(draft, {"Api", "echo"}, false).ok());
  const std::vector<Fault> faults = check(draft);
  ASSERT_EQ(faults.size(), 1U);
  EXPECT_TRUE(faults[0].in_use);
  EXPECT_NE(faults[0].message.find("Subscription app:echo"), std::string::npos);
  EXPECT_TRUE(absl::IsNotFound(erase(draft, {"Api", "none"}, true)));
}

TEST(Erase, TakesAlongWhatCannotBeWithoutAndEditsTheRest) {
  Catalogue catalogue = world();
  catalogue.put(api("both", "v5", Api::PUBLISHED, {"Gold", "Small"}));
  catalogue.put(subscription("app", "echo"));
  Credential credential;
  credential.set_application("app");
  catalogue.put(resource("Credential", "app:PRODUCTION", credential));
  Draft plan(catalogue);
  ASSERT_TRUE(erase(plan, {"Plan", "Gold"}, true).ok());
  EXPECT_EQ(plan.find({"Subscription", "app:echo"}), nullptr);
  ASSERT_NE(plan.find({"Api", "both"}), nullptr);
  EXPECT_EQ(plan.find({"Api", "both"})->as<Api>().plans_size(), 1);
  EXPECT_EQ(faults_of(plan), "");
  Draft application(catalogue);
  ASSERT_TRUE(erase(application, {"Application", "app"}, true).ok());
  EXPECT_EQ(application.find({"Credential", "app:PRODUCTION"}), nullptr);
  EXPECT_EQ(application.find({"Subscription", "app:echo"}), nullptr);
  EXPECT_NE(application.find({"Api", "echo"}), nullptr);
  EXPECT_EQ(faults_of(application), "");
}

TEST(Erase, NeverMovesAnApiToTheDefaultGroup) {
  Catalogue catalogue = world();
  catalogue.put(resource("GatewayGroup", "g", GatewayGroup()));
  Api spec = api("mine", "v7", Api::PUBLISHED).as<Api>();
  spec.add_groups("g");
  catalogue.put(resource("Api", "mine", spec));
  spec.add_groups("default");
  spec.set_version("v8");
  catalogue.put(resource("Api", "shared", spec));
  Draft draft(catalogue);
  ASSERT_TRUE(erase(draft, {"GatewayGroup", "g"}, true).ok());
  EXPECT_EQ(draft.find({"Api", "mine"}), nullptr);
  ASSERT_NE(draft.find({"Api", "shared"}), nullptr);
  EXPECT_EQ(draft.find({"Api", "shared"})->as<Api>().groups_size(), 1);
}

TEST(Erase, KeepsBuiltInsAndTheLastUser) {
  Catalogue catalogue = world();
  for (Resource& resource : first_resources({})) {
    catalogue.put(std::move(resource));
  }
  for (const Key& key :
       {Key{"Plan", "Unlimited"}, Key{"GatewayGroup", "default"}, Key{"User", "admin"}}) {
    Draft draft(catalogue);
    ASSERT_TRUE(erase(draft, key, false).ok());
    EXPECT_FALSE(check(draft).empty()) << key.name;
  }
}

TEST(Defaults, SatisfyTheRules) {
  const Catalogue nothing;
  Draft draft(nothing);
  for (Resource& resource : first_resources({})) {
    draft.put(std::move(resource));
  }
  EXPECT_EQ(faults_of(draft), "");
  EXPECT_NE(draft.find({"Plan", "Gold"}), nullptr);
  EXPECT_EQ(draft.find({"Listener", "wss"})->as<Listener>().tls().secret(), "wss-default");
}

}  // namespace
}  // namespace sluice::controlplane::model
