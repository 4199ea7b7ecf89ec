// A whole control plane without ports, for tests: a real store, editor, users, keys and
// certificates.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/api/services.h"
#include "controlplane/model/defaults.h"
#include "controlplane/store/test_store.h"
#include "filters/all.h"
#include "sluice/admin/v1/resources.pb.h"

namespace sluice::controlplane::api {

class World {
 public:
  World() : users(*store, "default"), tokens(*store, "default") {
    filters::add_all_to(registry);
    editor =
        Editor::open({*store, registry, "default", {"127.0.0.1:9901", "127.0.0.1:9443"}}).value();
    authority = pki::Authority::open(store.directory() + "/tls", system_wall()).value();
    pki::Subject subject;
    subject.names = {"localhost"};
    subject.server = true;
    subject.life = std::chrono::hours(24);
    const pki::KeyPair pair = authority->issue(subject, system_wall()).value();
    config::v1::Secret secret;
    secret.set_certificate_pem(pair.certificate_pem);
    secret.set_private_key_pem(pair.private_key_pem);
    const absl::Status seeded = editor->seed(model::first_resources(secret));
    EXPECT_TRUE(seeded.ok()) << seeded;
    EXPECT_TRUE(users.set_password("admin", "correct horse").ok());
    proxies = pki::Proxies::open(*store, "default").value();
    joining = std::make_unique<pki::Joining>(
        *store, *authority, *proxies, [](const std::string&) { return false; }, "default");
    services = std::make_unique<Services>(
        Services{*store, *editor, users, tokens, *proxies, *joining, fake_rollouts(),
                 [this](const std::string& proxy, const std::string& connection) {
                   closed.push_back(proxy + "/" + connection);
                   return proxy == "edge";
                 }});
    table = make_service_table(*services);
  }

  // `sluice.admin.v1.ApiService/GetApi`, as the user admin.
  template <class Response>
  absl::StatusOr<Response> call(const std::string& path, const Message& request) {
    const Method* method = table->find("sluice.admin.v1." + path);
    if (method == nullptr) {
      return absl::UnimplementedError(path);
    }
    CallContext context;
    context.user = "admin";
    context.client_address = "127.0.0.1";
    Answer answer = method->handler(context, request);
    if (!answer.ok()) {
      return answer.status();
    }
    return Response(static_cast<const Response&>(**answer));
  }

  absl::StatusOr<admin::v1::CreateApiResponse> create_api(const std::string& name,
                                                          const config::v1::Api& spec) {
    admin::v1::CreateApiRequest request;
    request.mutable_api()->set_name(name);
    *request.mutable_api()->mutable_spec() = spec;
    return call<admin::v1::CreateApiResponse>("ApiService/CreateApi", request);
  }

  // A published API `echo` and an application `app` with a Gold subscription.
  void tell_the_story() {
    ASSERT_TRUE(create_api("echo", echo_spec()).ok());
    admin::v1::ChangeApiStateRequest publish;
    publish.set_name("echo");
    publish.set_action("publish");
    ASSERT_TRUE(call<admin::v1::ChangeApiStateResponse>("ApiService/ChangeApiState", publish).ok());
    admin::v1::CreateApplicationRequest application;
    application.mutable_application()->set_name("app");
    ASSERT_TRUE(call<admin::v1::CreateApplicationResponse>("ApplicationService/CreateApplication",
                                                           application)
                    .ok());
    admin::v1::CreateSubscriptionRequest subscription;
    auto* spec = subscription.mutable_subscription()->mutable_spec();
    spec->set_application("app");
    spec->set_api("echo");
    spec->set_plan("Gold");
    ASSERT_TRUE(call<admin::v1::CreateSubscriptionResponse>(
                    "SubscriptionService/CreateSubscription", subscription)
                    .ok());
  }

  static config::v1::Api echo_spec(const std::string& context = "/echo",
                                   const std::string& version = "v1.0") {
    config::v1::Api spec;
    spec.set_context(context);
    spec.set_version(version);
    spec.mutable_endpoints()->add_production("ws://127.0.0.1:9100/");
    spec.add_plans("Gold");
    spec.add_plans("Silver");
    return spec;
  }

  Rollouts fake_rollouts() {
    Rollouts rollouts;
    rollouts.get = [](const std::string& group, std::int64_t revision) {
      admin::v1::RolloutStatus status;
      status.set_group(group);
      status.set_revision(revision);
      return status;
    };
    rollouts.wait = [get = rollouts.get](const std::string& group, std::int64_t revision,
                                         nanoseconds timeout) {
      admin::v1::RolloutStatus status = get(group, revision);
      status.set_complete(timeout > nanoseconds(0));
      return status;
    };
    rollouts.proxies = [this] { return connected; };
    rollouts.disconnect = [this](const std::string& node) { disconnected.push_back(node); };
    return rollouts;
  }

  store::TestStore store;
  filter::FilterRegistry registry;
  std::unique_ptr<Editor> editor;
  oauth::Users users;
  oauth::Tokens tokens;
  std::unique_ptr<pki::Authority> authority;
  std::unique_ptr<pki::Proxies> proxies;
  std::unique_ptr<pki::Joining> joining;
  std::unique_ptr<Services> services;
  std::unique_ptr<ServiceTable> table;
  std::vector<admin::v1::Proxy> connected;  // what discovery says
  std::vector<std::string> disconnected;
  std::vector<std::string> closed;  // PROXY/CONNECTION
};

}  // namespace sluice::controlplane::api
