#include "controlplane/model/kind_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/url/parse.hpp>

#include "controlplane/model/lifecycle.h"
#include "controlplane/model/limits.h"
#include "proxy/base/encoding.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::model {
namespace {

using config::v1::Api;
using config::v1::Application;
using config::v1::Credential;
using config::v1::GatewayGroup;
using config::v1::Plan;
using config::v1::Subscription;

class Checker {
 public:
  Checker(const Draft& draft, const Resource& resource, std::vector<Fault>& faults)
      : draft_(draft), resource_(resource), old_(draft.before(resource.key)), faults_(faults) {}

  void gateway_group() const;
  void api() const;
  void application() const;
  void subscription() const;
  void credential() const;

 private:
  void add(std::string field, std::string message) const {
    faults_.push_back({resource_.key, std::move(field), std::move(message), false});
  }
  void plan_level(const std::string& plan, const char* level) const;
  void subscribable(const Subscription& subscription) const;

  const Draft& draft_;
  const Resource& resource_;
  const Resource* old_;
  std::vector<Fault>& faults_;
};

void Checker::gateway_group() const {
  const auto& urls = resource_.as<GatewayGroup>().public_urls();
  for (int i = 0; i < urls.size(); ++i) {
    const auto url = boost::urls::parse_uri(urls[i]);
    const bool good = url && !url->host().empty() &&
                      (url->scheme() == "ws" || url->scheme() == "wss" || url->scheme() == "http" ||
                       url->scheme() == "https");
    if (!good) {
      add(fmt::format("spec.public_urls[{}]", i),
          fmt::format("'{}' is no ws://, wss://, http:// or https:// URL", urls[i]));
    }
  }
}

void Checker::api() const {
  if (old_ == nullptr) {
    return;  // what comes from an export may begin in any state
  }
  const Api::State from = old_->as<Api>().state();
  const Api::State to = resource_.as<Api>().state();
  if (!reachable(from, to)) {
    add("spec.state", fmt::format("an API that is {} cannot become {}", Api::State_Name(from),
                                  Api::State_Name(to)));
  }
}

void Checker::plan_level(const std::string& plan, const char* level) const {
  const Resource* found = draft_.find({"Plan", plan});
  if (found == nullptr) {
    return;
  }
  const auto& levels = found->as<Plan>().levels();
  if (!levels.empty() && std::find(levels.begin(), levels.end(), level) == levels.end()) {
    add("spec.plan", fmt::format("Plan {} is not for {}s (its levels say)", plan, level));
  }
}

void Checker::application() const {
  const auto& application = resource_.as<Application>();
  if (!Application::Status_IsValid(application.status())) {
    add("spec.status", "is not a status that this program knows");
  }
  if (!application.plan().empty()) {
    plan_level(application.plan(), "application");
  }
}

void Checker::subscription() const {
  const auto& subscription = resource_.as<Subscription>();
  for (const auto& [field, value] :
       {std::pair("spec.application", &subscription.application()),
        std::pair("spec.api", &subscription.api()), std::pair("spec.plan", &subscription.plan())}) {
    if (value->empty()) {
      add(field, "is required");
    }
  }
  if (!Subscription::Status_IsValid(subscription.status())) {
    add("spec.status", "is not a status that this program knows");
  }
  subscribable(subscription);
}

void Checker::subscribable(const Subscription& subscription) const {
  const Key key{"Api", subscription.api()};
  const Resource* found = draft_.find(key);
  if (found == nullptr) {
    return;  // a fault of its own
  }
  const auto& api = found->as<Api>();
  const bool imported = draft_.before(key) == nullptr;
  const bool open = api.state() == Api::PUBLISHED || api.state() == Api::PROTOTYPED;
  if (old_ == nullptr && !open && !imported) {
    add("spec.api", fmt::format("Api {} is {}; it takes new subscriptions only when PUBLISHED or "
                                "PROTOTYPED (`sluicectl api publish {}`)",
                                key.name, Api::State_Name(api.state()), key.name));
  }
  const bool same_plan = old_ != nullptr && old_->as<Subscription>().plan() == subscription.plan();
  if (same_plan || subscription.plan().empty()) {
    return;  // an API that offers a plan no more leaves it to those who have it
  }
  if (std::find(api.plans().begin(), api.plans().end(), subscription.plan()) == api.plans().end()) {
    std::string offered;
    for (const std::string& plan : api.plans()) {
      offered += (offered.empty() ? "" : ", ") + plan;
    }
    add("spec.plan", fmt::format("Api {} does not offer {}; it offers {}", key.name,
                                 subscription.plan(), offered.empty() ? "no plan" : offered));
  }
  plan_level(subscription.plan(), "subscription");
}

void Checker::credential() const {
  const auto& credential = resource_.as<Credential>();
  if (credential.key_type() != config::v1::PRODUCTION &&
      credential.key_type() != config::v1::SANDBOX) {
    add("spec.key_type", "PRODUCTION or SANDBOX is required");
  }
  const std::string& key = credential.consumer_key();
  const bool plain = std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (!plain || key.size() > limits::kConsumerKeyBytesMax) {
    add("spec.consumer_key",
        fmt::format("must be at most {} of A-Z a-z 0-9 . _ -", limits::kConsumerKeyBytesMax));
  }
  if (!credential.secret_sha256().empty() && !sha256_from_hex(credential.secret_sha256())) {
    add("spec.secret_sha256", "is no SHA-256 in hex");
  }
  const std::int64_t validity = credential.token_validity().seconds();
  if (credential.has_token_validity() && (validity == 0 || validity > limits::kTokenValidityMaxS)) {
    add("spec.token_validity",
        fmt::format("must be 1 s to {} s, or negative for tokens that never expire",
                    limits::kTokenValidityMaxS));
  }
}

}  // namespace

void check_kind(const Draft& draft, const Resource& resource, std::vector<Fault>& faults) {
  const Checker checker(draft, resource, faults);
  const std::string& kind = resource.key.kind;
  if (kind == "GatewayGroup") {
    checker.gateway_group();
  } else if (kind == "Api") {
    checker.api();
  } else if (kind == "Application") {
    checker.application();
  } else if (kind == "Subscription") {
    checker.subscription();
  } else if (kind == "Credential") {
    checker.credential();
  }
}

}  // namespace sluice::controlplane::model
