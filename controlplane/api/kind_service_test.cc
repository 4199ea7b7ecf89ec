#include <fmt/format.h>

#include "controlplane/api/test_world.h"

namespace sluice::controlplane::api {
namespace {

using config::v1::Api;
using config::v1::Application;
using config::v1::Subscription;

bool says(const absl::Status& status, std::string_view text) {
  return message_of(status).find(text) != std::string_view::npos;
}

absl::StatusOr<admin::v1::Api> get_api(World& world, const std::string& name) {
  admin::v1::GetApiRequest request;
  request.set_name(name);
  return world.call<admin::v1::Api>("ApiService/GetApi", request);
}

absl::StatusOr<admin::v1::DeletePlanResponse> delete_plan(World& world, const std::string& name,
                                                          bool cascade) {
  admin::v1::DeletePlanRequest request;
  request.set_name(name);
  request.set_cascade(cascade);
  return world.call<admin::v1::DeletePlanResponse>("PlanService/DeletePlan", request);
}

TEST(KindService, HasFiveMethodsForEachOfTenKinds) {
  World world;
  for (const model::Kind& kind : model::kinds()) {
    for (const char* verb : {"Get", "List", "Create", "Update", "Delete"}) {
      const std::string path = fmt::format("sluice.admin.v1.{0}Service/{1}{0}", kind.name, verb);
      EXPECT_NE(world.table->find(path), nullptr) << path;
      EXPECT_NE(world.table->find("/" + path), nullptr) << path;
    }
  }
  EXPECT_EQ(world.table->find("sluice.admin.v1.ApiService/Nothing"), nullptr);
  EXPECT_EQ(world.table->find("nonsense"), nullptr);
}

TEST(KindService, EveryGeneratedMethodHasAHandler) {
  World world;
  for (const auto* file :
       {admin::v1::Api::descriptor()->file(), admin::v1::LoginRequest::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        const auto* method = file->service(i)->method(j);
        EXPECT_NE(
            world.table->find(fmt::format("{}/{}", file->service(i)->full_name(), method->name())),
            nullptr)
            << method->full_name();
      }
    }
  }
}

TEST(KindService, CreatesGetsUpdatesAndDeletes) {
  World world;
  const auto created = world.create_api("echo", World::echo_spec());
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->api().spec().state(), Api::CREATED);
  EXPECT_EQ(created->revision(), created->api().meta().revision());
  EXPECT_GT(created->api().meta().create_time().seconds(), 0);
  EXPECT_TRUE(absl::IsAlreadyExists(world.create_api("echo", World::echo_spec()).status()));

  admin::v1::UpdateApiRequest update;
  *update.mutable_api() = created->api();
  update.mutable_api()->mutable_spec()->set_description("new");
  update.mutable_api()->mutable_spec()->clear_state();
  const auto updated = world.call<admin::v1::UpdateApiResponse>("ApiService/UpdateApi", update);
  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->api().spec().state(), Api::CREATED);
  EXPECT_GT(updated->revision(), created->revision());
  EXPECT_EQ(get_api(world, "echo")->spec().description(), "new");
  // The revision that it saw is stale now.
  const auto stale = world.call<admin::v1::UpdateApiResponse>("ApiService/UpdateApi", update);
  EXPECT_TRUE(absl::IsFailedPrecondition(stale.status())) << stale.status();

  admin::v1::DeleteApiRequest remove;
  remove.set_name("echo");
  EXPECT_TRUE(world.call<admin::v1::DeleteApiResponse>("ApiService/DeleteApi", remove).ok());
  EXPECT_TRUE(absl::IsNotFound(get_api(world, "echo").status()));
  EXPECT_TRUE(absl::IsNotFound(
      world.call<admin::v1::DeleteApiResponse>("ApiService/DeleteApi", remove).status()));
  update.mutable_api()->mutable_meta()->clear_revision();
  EXPECT_TRUE(absl::IsNotFound(
      world.call<admin::v1::UpdateApiResponse>("ApiService/UpdateApi", update).status()));
}

TEST(KindService, MakesNoRevisionOfAnUpdateThatChangesNothing) {
  World world;
  const auto created = world.create_api("echo", World::echo_spec());
  admin::v1::UpdateApiRequest update;
  *update.mutable_api() = created->api();
  const auto same = world.call<admin::v1::UpdateApiResponse>("ApiService/UpdateApi", update);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(same->revision(), created->revision());
}

TEST(KindService, RefusesWithEveryFaultAndItsPath) {
  World world;
  Api spec;
  spec.set_context("no slash");
  spec.set_state(Api::PUBLISHED);
  spec.mutable_endpoints()->add_production("ftp://x/");
  spec.mutable_endpoints()->add_sandbox("ws://169.254.169.254/");
  spec.add_plans("Nonsense");
  spec.add_groups("nowhere");
  const absl::Status status = world.create_api("bad", spec).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  for (const char* text :
       {"Api bad: spec.context: ", "Api bad: spec.version: ",
        "Api bad: spec.endpoints.production[0]: ", "Api bad: spec.endpoints.sandbox[0]: ",
        "Api bad: spec.plans[0]: there is no Plan Nonsense", "Api bad: spec.groups[0]: "}) {
    EXPECT_TRUE(says(status, text)) << text << " in:\n" << status;
  }
  EXPECT_TRUE(absl::IsNotFound(get_api(world, "bad").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      world
          .call<admin::v1::CreateApiResponse>("ApiService/CreateApi", admin::v1::CreateApiRequest())
          .status()));
}

TEST(KindService, KeepsContextAndVersionUnique) {
  World world;
  ASSERT_TRUE(world.create_api("one", World::echo_spec()).ok());
  const absl::Status status = world.create_api("two", World::echo_spec()).status();
  EXPECT_TRUE(says(status, "Api two: spec.context")) << status;
  EXPECT_TRUE(world.create_api("two", World::echo_spec("/echo", "v2.0")).ok());
}

TEST(KindService, NeverShowsWriteOnlyFieldsAndKeepsThem) {
  World world;
  admin::v1::GetSecretRequest get;
  get.set_name("wss-default");
  const auto secret = world.call<admin::v1::Secret>("SecretService/GetSecret", get);
  ASSERT_TRUE(secret.ok());
  EXPECT_FALSE(secret->spec().certificate_pem().empty());
  EXPECT_TRUE(secret->spec().private_key_pem().empty());
  admin::v1::UpdateSecretRequest update;
  *update.mutable_secret() = *secret;
  (*update.mutable_secret()->mutable_meta()->mutable_labels())["a"] = "b";
  ASSERT_TRUE(
      world.call<admin::v1::UpdateSecretResponse>("SecretService/UpdateSecret", update).ok());
  config::v1::Secret kept;
  kept.ParseFromString(world.store->get("default", "Secret", "wss-default")->spec);
  EXPECT_FALSE(kept.private_key_pem().empty());
}

TEST(KindService, ListsInPages) {
  World world;
  admin::v1::ListPlanRequest request;
  request.set_page_size(7);
  std::vector<std::string> names;
  for (int pages = 0; pages < 20; ++pages) {
    const auto page = world.call<admin::v1::ListPlanResponse>("PlanService/ListPlan", request);
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LE(page->items_size(), 7);
    for (const auto& plan : page->items()) {
      names.push_back(plan.name());
    }
    if (page->next_page_token().empty()) {
      break;
    }
    request.set_page_token(page->next_page_token());
  }
  EXPECT_EQ(static_cast<std::int64_t>(names.size()), world.store->count("default", "Plan").value());
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  request.set_page_token("%%%");
  EXPECT_TRUE(absl::IsInvalidArgument(
      world.call<admin::v1::ListPlanResponse>("PlanService/ListPlan", request).status()));
  request.clear_page_token();
  request.set_page_size(-1);
  EXPECT_TRUE(absl::IsInvalidArgument(
      world.call<admin::v1::ListPlanResponse>("PlanService/ListPlan", request).status()));
}

TEST(KindService, RefusesToDeleteWhatIsInUseUnlessCascading) {
  World world;
  world.tell_the_story();
  const absl::Status refused = delete_plan(world, "Gold", false).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_TRUE(says(refused, "Subscription app:echo")) << refused;
  ASSERT_TRUE(delete_plan(world, "Gold", true).ok());
  EXPECT_TRUE(absl::IsNotFound(world.store->get("default", "Subscription", "app:echo").status()));
  EXPECT_EQ(get_api(world, "echo")->spec().plans_size(), 1);
  EXPECT_TRUE(absl::IsFailedPrecondition(delete_plan(world, "Unlimited", true).status()));
}

int revoked_tokens(World& world, const std::string& application) {
  int revoked = 0;
  const std::vector<store::Row> rows = world.store->tokens_of("default", application).value();
  for (const store::Row& row : rows) {
    config::v1::Token token;
    token.ParseFromString(row.spec);
    revoked += token.revoked() ? 1 : 0;
  }
  return revoked;
}

TEST(KindService, RevokesTokensWithTheirCredentialAndWhenTheirApplicationIsMadeAnew) {
  World world;
  world.tell_the_story();
  for (const config::v1::KeyType type : {config::v1::PRODUCTION, config::v1::SANDBOX}) {
    admin::v1::GenerateKeysRequest keys;
    keys.set_application("app");
    keys.set_key_type(type);
    ASSERT_TRUE(
        world.call<admin::v1::GenerateKeysResponse>("CredentialService/GenerateKeys", keys).ok());
    admin::v1::IssueTokenRequest issue;
    issue.set_application("app");
    issue.set_key_type(type);
    ASSERT_TRUE(world.call<admin::v1::IssueTokenResponse>("TokenService/IssueToken", issue).ok());
  }
  admin::v1::DeleteCredentialRequest credential;
  credential.set_name("app:SANDBOX");
  ASSERT_TRUE(world
                  .call<admin::v1::DeleteCredentialResponse>("CredentialService/DeleteCredential",
                                                             credential)
                  .ok());
  EXPECT_EQ(world.store->tokens_of("default", "app")->size(), 2U);
  EXPECT_EQ(revoked_tokens(world, "app"), 1);
  admin::v1::DeleteApplicationRequest application;
  application.set_name("app");
  application.set_cascade(true);
  ASSERT_TRUE(world
                  .call<admin::v1::DeleteApplicationResponse>(
                      "ApplicationService/DeleteApplication", application)
                  .ok());
  EXPECT_EQ(world.store->count("default", "Credential").value(), 0);
  // The tokens stay as they were until they expire: a proxy says why it refuses them.
  EXPECT_EQ(revoked_tokens(world, "app"), 1);
  EXPECT_EQ(world.store->tokens_of("default", "app")->size(), 2U);
  // Another application of that name has nothing to do with them.
  admin::v1::CreateApplicationRequest again;
  again.mutable_application()->set_name("app");
  ASSERT_TRUE(world
                  .call<admin::v1::CreateApplicationResponse>(
                      "ApplicationService/CreateApplication", again)
                  .ok());
  EXPECT_EQ(revoked_tokens(world, "app"), 2);
}

TEST(KindService, NeverStoresAPasswordInTheUser) {
  World world;
  admin::v1::CreateUserRequest create;
  create.mutable_user()->set_name("eve");
  create.mutable_user()->mutable_spec()->set_password("short");
  EXPECT_TRUE(
      says(world.call<admin::v1::CreateUserResponse>("UserService/CreateUser", create).status(),
           "User eve: spec.password"));
  create.mutable_user()->mutable_spec()->set_password("long enough");
  const auto created = world.call<admin::v1::CreateUserResponse>("UserService/CreateUser", create);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_TRUE(created->user().spec().password().empty());
  EXPECT_EQ(world.store->get("default", "User", "eve")->spec.find("long"), std::string::npos);
  EXPECT_TRUE(world.users.password_is("eve", "long enough").value());
  admin::v1::DeleteUserRequest remove;
  remove.set_name("eve");
  ASSERT_TRUE(world.call<admin::v1::DeleteUserResponse>("UserService/DeleteUser", remove).ok());
  EXPECT_FALSE(world.users.has_password("eve").value());
  remove.set_name("admin");
  EXPECT_TRUE(absl::IsFailedPrecondition(
      world.call<admin::v1::DeleteUserResponse>("UserService/DeleteUser", remove).status()));
}

TEST(StateMethods, ChangeStatesAndAnswerWithTheResource) {
  World world;
  world.tell_the_story();
  admin::v1::ChangeApiStateRequest state;
  state.set_name("echo");
  state.set_action("block");
  const auto blocked =
      world.call<admin::v1::ChangeApiStateResponse>("ApiService/ChangeApiState", state);
  ASSERT_TRUE(blocked.ok()) << blocked.status();
  EXPECT_EQ(blocked->api().spec().state(), Api::BLOCKED);
  state.set_action("prototype");
  EXPECT_TRUE(absl::IsFailedPrecondition(
      world.call<admin::v1::ChangeApiStateResponse>("ApiService/ChangeApiState", state).status()));

  admin::v1::ChangeSubscriptionStatusRequest subscription;
  subscription.set_name("app:echo");
  subscription.set_status(Subscription::PROD_ONLY_BLOCKED);
  EXPECT_EQ(world
                .call<admin::v1::ChangeSubscriptionStatusResponse>(
                    "SubscriptionService/ChangeSubscriptionStatus", subscription)
                ->subscription()
                .spec()
                .status(),
            Subscription::PROD_ONLY_BLOCKED);
  subscription.clear_status();
  EXPECT_FALSE(world
                   .call<admin::v1::ChangeSubscriptionStatusResponse>(
                       "SubscriptionService/ChangeSubscriptionStatus", subscription)
                   .ok());
  admin::v1::ChangeApplicationStatusRequest application;
  application.set_name("app");
  application.set_status(Application::BLOCKED);
  EXPECT_TRUE(world
                  .call<admin::v1::ChangeApplicationStatusResponse>(
                      "ApplicationService/ChangeApplicationStatus", application)
                  .ok());
  application.set_name("none");
  EXPECT_TRUE(absl::IsNotFound(world
                                   .call<admin::v1::ChangeApplicationStatusResponse>(
                                       "ApplicationService/ChangeApplicationStatus", application)
                                   .status()));
}

TEST(StateMethods, PublishNeedsAPlan) {
  World world;
  Api spec = World::echo_spec();
  spec.clear_plans();
  ASSERT_TRUE(world.create_api("echo", spec).ok());
  admin::v1::ChangeApiStateRequest state;
  state.set_name("echo");
  state.set_action("publish");
  const absl::Status status =
      world.call<admin::v1::ChangeApiStateResponse>("ApiService/ChangeApiState", state).status();
  EXPECT_TRUE(says(status, "spec.plans")) << status;
  EXPECT_EQ(get_api(world, "echo")->spec().state(), Api::CREATED);
}

}  // namespace
}  // namespace sluice::controlplane::api
