#include <fmt/format.h>

#include "controlplane/api/differences.h"
#include "controlplane/api/test_world.h"
#include "proxy/config/manifest.h"

namespace sluice::controlplane::api {
namespace {

using admin::v1::ApplyRequest;
using admin::v1::ApplyResponse;
using admin::v1::Change;

bool says(const absl::Status& status, std::string_view text) {
  return message_of(status).find(text) != std::string_view::npos;
}

constexpr char kStory[] = R"yaml(
kind: Api
name: echo-v1
spec:
  display_name: EchoWebsocket
  context: /echowebsocket
  version: v1.0
  type: WS
  endpoints:
    production: ["ws://127.0.0.1:9100/"]
  plans: [Gold, Silver]
  state: PUBLISHED
---
kind: Subscription
spec: {application: app, api: echo-v1, plan: Gold}
---
kind: Application
name: app
labels: {team: a}
spec: {plan: 10PerMin}
)yaml";

ApplyRequest request_of(std::string_view yaml) {
  ApplyRequest request;
  const auto manifests = config::load_manifests(yaml, "story.yaml");
  EXPECT_TRUE(manifests.ok()) << manifests.status();
  for (const config::Manifest& manifest : *manifests) {
    admin::v1::Manifest& out = *request.add_manifests();
    out.set_kind(manifest.kind);
    out.set_name(manifest.name);
    out.mutable_labels()->insert(manifest.labels.begin(), manifest.labels.end());
    *out.mutable_spec() = manifest.spec;
    out.set_source(fmt::format("{}:{}", manifest.file, manifest.line));
  }
  return request;
}

absl::StatusOr<ApplyResponse> apply(World& world, const ApplyRequest& request) {
  return world.call<ApplyResponse>("ResourceService/Apply", request);
}

std::string actions(const ApplyResponse& response) {
  std::string text;
  for (const Change& change : response.changes()) {
    text += fmt::format("{} {} {}; ", change.kind(), change.name(),
                        Change::Action_Name(change.action()));
  }
  return text;
}

TEST(Apply, MakesAWholeStoryInOneTransactionAndIsIdempotent) {
  World world;
  const std::int64_t before = world.store->revision("default");
  const auto first = apply(world, request_of(kStory));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->revision(), before + 1);
  EXPECT_EQ(actions(*first),
            "Api echo-v1 CREATED; Application app CREATED; Subscription app:echo-v1 CREATED; ");
  const auto second = apply(world, request_of(kStory));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->revision(), before + 1);
  EXPECT_EQ(
      actions(*second),
      "Api echo-v1 UNCHANGED; Application app UNCHANGED; Subscription app:echo-v1 UNCHANGED; ");
}

TEST(Apply, ShowsWhatAnUpdateChanges) {
  World world;
  ASSERT_TRUE(apply(world, request_of(kStory)).ok());
  const auto updated = apply(world, request_of(R"yaml(
kind: Api
name: echo-v1
labels: {team: b}
spec:
  context: /echowebsocket
  version: v1.0
  endpoints: {production: ["ws://127.0.0.1:9100/"], sandbox: ["ws://127.0.0.1:9101/"]}
  plans: [Gold]
  limits: {ping_interval: 10s}
)yaml"));
  ASSERT_TRUE(updated.ok()) << updated.status();
  ASSERT_EQ(updated->changes_size(), 1);
  std::string lines;
  for (const std::string& line : updated->changes(0).differences()) {
    lines += line + "\n";
  }
  for (const char* line :
       {"spec.display_name: EchoWebsocket -> (none)\n",
        "spec.endpoints.sandbox: [] -> [ws://127.0.0.1:9101/]\n",
        "spec.plans: [Gold, Silver] -> [Gold]\n", "spec.limits.ping_interval: (none) -> 10s\n",
        "meta.labels.team: (none) -> b\n"}) {
    EXPECT_NE(lines.find(line), std::string::npos) << line << " in\n" << lines;
  }
  EXPECT_EQ(lines.find("spec.state"), std::string::npos) << lines;
}

TEST(Apply, ChangesNothingWhenOneManifestIsBadAndSaysWhere) {
  World world;
  ApplyRequest request = request_of(kStory);
  ApplyRequest bad = request_of(R"yaml(
kind: Subscription
spec: {application: app, api: nothing, plan: Gold}
)yaml");
  *request.add_manifests() = bad.manifests(0);
  const std::int64_t before = world.store->revision("default");
  const absl::Status status = apply(world, request).status();
  EXPECT_TRUE(
      says(status, "story.yaml:2: Subscription app:nothing: spec.api: there is no Api nothing"))
      << status;
  EXPECT_EQ(world.store->revision("default"), before);
}

TEST(Apply, NamesUnknownFieldsKindsAndDoubles) {
  World world;
  ApplyRequest request = request_of(kStory);
  (*request.mutable_manifests(0)->mutable_spec()->mutable_fields())["contxt"].set_string_value(
      "/x");
  (*request.mutable_manifests(2)->mutable_spec()->mutable_fields())["plan"].set_number_value(7);
  admin::v1::Manifest& token = *request.add_manifests();
  token.set_kind("Token");
  token.set_name("x");
  const absl::Status status = apply(world, request).status();
  EXPECT_TRUE(says(status, "spec.contxt")) << status;
  EXPECT_TRUE(says(status, "did you mean context")) << status;
  EXPECT_TRUE(says(status, "kind 'Token'")) << status;
  request = request_of(kStory);
  *request.add_manifests() = request.manifests(0);
  EXPECT_TRUE(says(apply(world, request).status(), "stands twice among the manifests"));
}

TEST(Apply, PrunesByOwner) {
  World world;
  ApplyRequest request = request_of(kStory);
  request.set_owner("me");
  ASSERT_TRUE(apply(world, request).ok());
  request.mutable_manifests()->DeleteSubrange(1, 1);  // the subscription
  request.set_prune(true);
  request.set_owner("");
  EXPECT_TRUE(absl::IsInvalidArgument(apply(world, request).status()));
  request.set_owner("somebody else");
  request.set_dry_run(true);
  EXPECT_EQ(actions(*apply(world, request)).find("DELETED"), std::string::npos);
  request.set_dry_run(false);
  request.set_owner("me");
  const auto pruned = apply(world, request);
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_NE(actions(*pruned).find("Subscription app:echo-v1 DELETED"), std::string::npos);
  EXPECT_TRUE(world.store->get("default", "Plan", "Gold").ok());
  // Everything of one's own at once, whatever refers to what.
  request.clear_manifests();
  const auto all = apply(world, request);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(actions(*all), "Api echo-v1 DELETED; Application app DELETED; ");
}

TEST(Apply, DoesNotPruneWhatOthersUse) {
  World world;
  ApplyRequest request = request_of(kStory);
  ApplyRequest api_alone = request;
  api_alone.mutable_manifests()->DeleteSubrange(1, 2);
  api_alone.set_owner("me");
  ASSERT_TRUE(apply(world, api_alone).ok());
  request.mutable_manifests()->DeleteSubrange(0, 1);
  ASSERT_TRUE(apply(world, request).ok());
  api_alone.clear_manifests();
  api_alone.set_prune(true);
  const absl::Status status = apply(world, api_alone).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(says(status, "Subscription app:echo-v1")) << status;
}

TEST(Apply, DryRunAndDiffChangeNothing) {
  World world;
  ApplyRequest request = request_of(kStory);
  request.set_dry_run(true);
  const std::int64_t before = world.store->revision("default");
  EXPECT_EQ(apply(world, request)->changes_size(), 3);
  admin::v1::DiffRequest diff;
  *diff.mutable_manifests() = request.manifests();
  const auto answer = world.call<admin::v1::DiffResponse>("ResourceService/Diff", diff);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->changes_size(), 3);
  EXPECT_EQ(world.store->revision("default"), before);
}

TEST(Apply, SetsAPasswordOnceAndLeavesTheSessionsOfAnUnchangedOne) {
  World world;
  const char* user = "kind: User\nname: eve\nspec: {password: long enough}\n";
  ASSERT_TRUE(apply(world, request_of(user)).ok());
  const auto session = world.users.login("eve", "long enough", "");
  ASSERT_TRUE(session.ok());
  const auto again = apply(world, request_of(user));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(actions(*again), "User eve UNCHANGED; ");
  EXPECT_TRUE(world.users.authenticate(session->token).ok());
}

TEST(Export, GivesBackWhatCanBeAppliedToAnEmptyPlane) {
  World world;
  ASSERT_TRUE(apply(world, request_of(kStory)).ok());
  admin::v1::GenerateKeysRequest keys;
  keys.set_application("app");
  keys.set_key_type(config::v1::PRODUCTION);
  ASSERT_TRUE(
      world.call<admin::v1::GenerateKeysResponse>("CredentialService/GenerateKeys", keys).ok());
  admin::v1::ExportRequest some;
  for (const char* kind : {"Api", "Application", "Subscription", "Plan", "Credential"}) {
    some.add_kinds(kind);
  }
  const auto exported = world.call<admin::v1::ExportResponse>("ResourceService/Export", some);
  ASSERT_TRUE(exported.ok()) << exported.status();
  World other;
  ApplyRequest request;
  *request.mutable_manifests() = exported->manifests();
  const auto applied = apply(other, request);
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_EQ(other.store->get("default", "Api", "echo-v1")->spec,
            world.store->get("default", "Api", "echo-v1")->spec);
  EXPECT_EQ(other.store->get("default", "Application", "app")->labels,
            (store::Labels{{"team", "a"}}));
}

TEST(Export, HoldsNoSecrets) {
  World world;
  world.tell_the_story();
  admin::v1::GenerateKeysRequest keys;
  keys.set_application("app");
  keys.set_key_type(config::v1::PRODUCTION);
  ASSERT_TRUE(
      world.call<admin::v1::GenerateKeysResponse>("CredentialService/GenerateKeys", keys).ok());
  const auto all =
      world.call<admin::v1::ExportResponse>("ResourceService/Export", admin::v1::ExportRequest());
  ASSERT_TRUE(all.ok());
  const std::string text = all->ShortDebugString();
  EXPECT_NE(text.find("consumer_key"), std::string::npos);
  EXPECT_EQ(text.find("secret_sha256"), std::string::npos);
  EXPECT_EQ(text.find("PRIVATE KEY"), std::string::npos);
  EXPECT_EQ(text.find("password"), std::string::npos);
  admin::v1::ExportRequest wrong;
  wrong.add_kinds("Nothing");
  EXPECT_TRUE(absl::IsInvalidArgument(
      world.call<admin::v1::ExportResponse>("ResourceService/Export", wrong).status()));
}

TEST(Differences, HideWriteOnlyFieldsAndCutLongOnes) {
  config::v1::Secret before, now;
  before.set_private_key_pem("old key");
  now.set_private_key_pem("new key");
  now.set_certificate_pem(std::string(500, 'x'));
  model::Resource a, b;
  a.key = b.key = {"Secret", "s"};
  a.spec = std::make_shared<config::v1::Secret>(before);
  b.spec = std::make_shared<config::v1::Secret>(now);
  const std::vector<std::string> lines = differences(*model::find_kind("Secret"), a, b);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_LT(lines[0].size(), 150U);
  EXPECT_EQ(lines[1], "spec.private_key_pem: (hidden) -> (hidden)");
}

}  // namespace
}  // namespace sluice::controlplane::api
