#include "proxy/config/identities.h"

#include <fmt/format.h>

#include <algorithm>

#include "proxy/config/default_plans.h"

namespace sluice::config {
namespace {

model::ApplicationStatus to_model(v1::Application::Status status) {
  switch (status) {
    case v1::Application::BLOCKED:
      return model::ApplicationStatus::kBlocked;
    case v1::Application::ON_HOLD:
      return model::ApplicationStatus::kOnHold;
    case v1::Application::REJECTED:
      return model::ApplicationStatus::kRejected;
    default:
      return model::ApplicationStatus::kApproved;
  }
}

model::SubscriptionStatus to_model(v1::Subscription::Status status) {
  switch (status) {
    case v1::Subscription::BLOCKED:
      return model::SubscriptionStatus::kBlocked;
    case v1::Subscription::PROD_ONLY_BLOCKED:
      return model::SubscriptionStatus::kProdOnlyBlocked;
    case v1::Subscription::ON_HOLD:
      return model::SubscriptionStatus::kOnHold;
    case v1::Subscription::REJECTED:
      return model::SubscriptionStatus::kRejected;
    default:
      return model::SubscriptionStatus::kUnblocked;
  }
}

// A status of a newer control plane must not pass for the most generous one.
template <class Message>
absl::Status check_status(const Message& message, std::string_view name) {
  if (!Message::Status_IsValid(message.status())) {
    return invalid_argument(fmt::format("{}: status {} is not known to this program", name,
                                        static_cast<int>(message.status())));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<model::Token> to_model(const v1::Token& token) {
  model::Token out;
  const std::optional<Sha256> hash = sha256_from_hex(token.sha256());
  if (!hash) {
    return invalid_argument("sha256: 64 hex digits are needed");
  }
  if (token.application().empty()) {
    return invalid_argument("application: is needed");
  }
  switch (token.key_type()) {
    case v1::KEY_TYPE_UNSPECIFIED:
    case v1::PRODUCTION:
      out.key_type = model::KeyType::kProduction;
      break;
    case v1::SANDBOX:
      out.key_type = model::KeyType::kSandbox;
      break;
    default:
      return invalid_argument("key_type: is not PRODUCTION or SANDBOX");
  }
  if (token.has_expires()) {
    constexpr std::int64_t kLatest = 9'000'000'000;  // what nanoseconds can tell, and some
    const std::int64_t at = std::clamp<std::int64_t>(token.expires().seconds(), 0, kLatest);
    if (token.expires().nanos() < 0 || token.expires().nanos() > 999'999'999) {
      return invalid_argument("expires: is no time");
    }
    out.expires = Wall(seconds(at) + nanoseconds(token.expires().nanos()));
  }
  out.hash = *hash;
  out.application = token.application();
  out.scopes.assign(token.scopes().begin(), token.scopes().end());
  out.credential = token.credential();
  out.user = token.user();
  out.revoked = token.revoked();
  return out;
}

absl::StatusOr<model::Grants> to_model(const v1::Grants& grants) {
  const std::string& name = grants.application_name();
  if (name.empty()) {
    return invalid_argument("application_name: is needed");
  }
  SLUICE_RETURN_IF_ERROR(check_status(grants.application(), name));
  model::Grants out;
  out.application.name = name;
  out.application.plan =
      grants.application().plan().empty() ? kUnlimited : grants.application().plan();
  out.application.owner = grants.application().owner();
  out.application.status = to_model(grants.application().status());
  for (const v1::Subscription& subscription : grants.subscriptions()) {
    if (subscription.application() != name) {
      return invalid_argument(fmt::format("subscriptions: one is of application {}, not {}",
                                          subscription.application(), name));
    }
    SLUICE_RETURN_IF_ERROR(check_status(subscription, name));
    out.subscriptions.push_back(
        {name, subscription.api(), subscription.plan(), to_model(subscription.status())});
  }
  std::sort(out.subscriptions.begin(), out.subscriptions.end(),
            [](const auto& a, const auto& b) { return a.api < b.api; });
  return out;
}

absl::StatusOr<model::Token> token_from(const Resource& resource) {
  v1::Token token;
  if (resource.kind != Kind::kToken || !token.ParseFromString(resource.bytes)) {
    return invalid_argument("cannot be read as a Token");
  }
  SLUICE_ASSIGN_OR_RETURN(model::Token out, to_model(token));
  if (hex(out.hash) != resource.name) {
    return invalid_argument("sha256: is not the resource's name");
  }
  return out;
}

absl::StatusOr<model::Grants> grants_from(const Resource& resource) {
  v1::Grants grants;
  if (resource.kind != Kind::kGrants || !grants.ParseFromString(resource.bytes)) {
    return invalid_argument("cannot be read as Grants");
  }
  if (grants.application_name() != resource.name) {
    return invalid_argument("application_name: is not the resource's name");
  }
  return to_model(grants);
}

}  // namespace sluice::config
