#include "filters/auth/auth.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "filters/auth/auth.pb.h"
#include "filters/auth/credentials.h"
#include "proxy/filter/config.h"

namespace sluice::filters::auth {
namespace {

using filter::CloseCause;
using filter::Exchange;
using filter::Refusal;
using filter::Verdict;
using model::ApiState;
using model::ApplicationStatus;
using model::Subject;
using model::SubscriptionStatus;

constexpr int kRetryLookupSeconds = 2;
constexpr int kRetryFloodSeconds = 1;

// What is wrong with an identity, as a refusal of a handshake and as a close of a live connection.
struct Fault {
  Refusal refusal;
  CloseCause cause;
  std::string text;
};

std::optional<Fault> application_fault(const model::Application& application) {
  switch (application.status) {
    case ApplicationStatus::kApproved:
      return std::nullopt;
    case ApplicationStatus::kBlocked:
      return Fault{Refusal::kSubscriptionBlocked, CloseCause::kApplicationBlocked,
                   fmt::format("The application {} is blocked.", application.name)};
    case ApplicationStatus::kOnHold:
      return Fault{Refusal::kSubscriptionInactive, CloseCause::kApplicationInactive,
                   fmt::format("The application {} waits for approval.", application.name)};
    case ApplicationStatus::kRejected:
      return Fault{Refusal::kSubscriptionInactive, CloseCause::kApplicationInactive,
                   fmt::format("The application {} was rejected.", application.name)};
  }
  return std::nullopt;
}

std::optional<Fault> subscription_fault(const model::Subscription& subscription,
                                        model::KeyType key_type) {
  const std::string what =
      fmt::format("The subscription of {} to {}", subscription.application, subscription.api);
  switch (subscription.status) {
    case SubscriptionStatus::kUnblocked:
      return std::nullopt;
    case SubscriptionStatus::kProdOnlyBlocked:
      if (key_type == model::KeyType::kSandbox) {
        return std::nullopt;
      }
      return Fault{Refusal::kSubscriptionBlocked, CloseCause::kSubscriptionBlocked,
                   what + " is blocked for production keys."};
    case SubscriptionStatus::kBlocked:
      return Fault{Refusal::kSubscriptionBlocked, CloseCause::kSubscriptionBlocked,
                   what + " is blocked."};
    case SubscriptionStatus::kOnHold:
      return Fault{Refusal::kSubscriptionInactive, CloseCause::kSubscriptionInactive,
                   what + " waits for approval."};
    case SubscriptionStatus::kRejected:
      return Fault{Refusal::kSubscriptionInactive, CloseCause::kSubscriptionInactive,
                   what + " was rejected."};
  }
  return std::nullopt;
}

std::optional<Fault> identity_fault(const model::Identity& identity, const model::Api& api,
                                    Wall now) {
  if (identity.token == nullptr) {
    return Fault{Refusal::kInvalidCredential, CloseCause::kTokenRevoked,
                 "The access token is not known. Check that it was copied whole."};
  }
  if (identity.token->revoked) {
    return Fault{Refusal::kRevoked, CloseCause::kTokenRevoked,
                 "The access token was revoked. Get a new one."};
  }
  if (identity.token->expires <= now) {
    return Fault{Refusal::kExpired, CloseCause::kTokenExpired,
                 "The access token has expired. Get a new one."};
  }
  if (identity.grants == nullptr) {
    return Fault{Refusal::kNotSubscribed, CloseCause::kApplicationDeleted,
                 fmt::format("The application {} does not exist any more. Use a token of one that "
                             "does.",
                             identity.token->application)};
  }
  if (std::optional<Fault> fault = application_fault(identity.grants->application)) {
    return fault;
  }
  const model::Subscription* subscription = identity.grants->find(api.name);
  if (subscription == nullptr) {
    return Fault{Refusal::kNotSubscribed, CloseCause::kSubscriptionDeleted,
                 fmt::format("The application {} has no subscription to {} {}. Subscribe it first.",
                             identity.token->application, api.name, api.version)};
  }
  return subscription_fault(*subscription, identity.token->key_type);
}

model::Principal principal_of(const model::Identity& identity, const model::Api& api) {
  const model::Token& token = *identity.token;
  const model::Application& application = identity.grants->application;
  model::Principal principal;
  principal.application = token.application;
  principal.application_plan = application.plan;
  principal.subscription_plan = identity.grants->find(api.name)->plan;
  principal.user = token.user.empty() ? application.owner : token.user;
  principal.credential = token.credential;
  principal.key_type = token.key_type;
  principal.token = token.hash;
  principal.expires = token.expires;
  return principal;
}

void depend_on_principal(Exchange& exchange) {
  const model::Principal& principal = *exchange.principal;
  exchange.depends_on(Subject::Kind::kToken, hex(principal.token));
  exchange.depends_on(Subject::Kind::kApplication, principal.application);
  exchange.recheck_at = std::min(exchange.recheck_at, principal.expires);
}

void depend_on_api(Exchange& exchange) {
  const Subject api{Subject::Kind::kApi, exchange.api->name};
  if (std::find(exchange.subjects.begin(), exchange.subjects.end(), api) ==
      exchange.subjects.end()) {
    exchange.subjects.push_back(api);
  }
}

// Origins are compared without case (RFC 6454 section 4 makes them lower case). A client that is no
// browser sends none.
bool origin_allowed(const Exchange& exchange) {
  const std::vector<std::string>& allowed = exchange.api->allowed_origins;
  const std::optional<std::string_view> origin = exchange.request.headers.find("Origin");
  if (allowed.empty() || !origin) {
    return true;
  }
  return std::any_of(allowed.begin(), allowed.end(), [&](const std::string& one) {
    return one == "*" || http::equal_ignoring_case(one, *origin);
  });
}

std::optional<Verdict> api_refusal(const Exchange& exchange) {
  switch (exchange.api->state) {
    case ApiState::kBlocked:
      return Verdict::refuse(Refusal::kApiBlocked, "The owner of this API has blocked it.");
    case ApiState::kCreated:
    case ApiState::kRetired:
      return Verdict::refuse(Refusal::kNoApi, "The API at this path is not published.");
    case ApiState::kPrototyped:
    case ApiState::kPublished:
    case ApiState::kDeprecated:
      break;
  }
  if (!origin_allowed(exchange)) {
    return Verdict::refuse(Refusal::kOriginNotAllowed,
                           "The Origin of this page is not among the API's allowed_origins.");
  }
  return std::nullopt;
}

bool has_scope(const model::Token& token, const model::ApiResource& resource) {
  return resource.scopes.empty() ||
         std::find_first_of(token.scopes.begin(), token.scopes.end(), resource.scopes.begin(),
                            resource.scopes.end()) != token.scopes.end();
}

std::string scope_text(const model::ApiResource& resource) {
  return fmt::format("The token needs one of the scopes: {}. Ask for it when you get the token.",
                     fmt::join(resource.scopes, ", "));
}

std::string places_text(const model::Api& api) {
  std::string text;
  for (const model::CredentialPlace place : api.credential_places) {
    text += text.empty() ? "" : "; ";
    switch (place) {
      case model::CredentialPlace::kAuthorization:
        text += "header Authorization: Bearer TOKEN";
        break;
      case model::CredentialPlace::kSubprotocol:
        text += "sub-protocols sluice.bearer, TOKEN";
        break;
      case model::CredentialPlace::kAccessToken:
        text += "query access_token=TOKEN";
        break;
      case model::CredentialPlace::kApiKey:
        text += "header or query apikey";
        break;
    }
  }
  return text;
}

Verdict lookup_refusal(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    return Verdict::refuse(Refusal::kLimitBurst,
                           "Too many unknown tokens came from this address. Slow down.",
                           kRetryFloodSeconds);
  }
  return Verdict::refuse(Refusal::kTokenUnchecked,
                         "The token cannot be checked because the control plane does not answer. "
                         "Try again.",
                         kRetryLookupSeconds);
}

class AuthFactory final : public filter::FilterFactory {
 public:
  filter::Hooks hooks() const override { return {.open = true, .recheck = true}; }
  std::unique_ptr<filter::Filter> make() const override { return std::make_unique<AuthFilter>(); }
};

}  // namespace

Task<Verdict> AuthFilter::open(Exchange& exchange) {
  depend_on_api(exchange);
  // Credentials go first, so that they are gone whatever the answer will be.
  const std::vector<std::string> credentials = take_credentials(exchange);
  if (std::optional<Verdict> refusal = api_refusal(exchange)) {
    co_return *std::move(refusal);
  }
  const model::ApiResource* resource = exchange.resource;
  if (resource != nullptr && !resource->authenticated) {
    co_return Verdict::pass();
  }
  if (credentials.size() > 1) {
    co_return Verdict::refuse(Refusal::kSeveralCredentials,
                              "The request holds more than one credential, and they differ. Send "
                              "one.");
  }
  if (exchange.api->state == ApiState::kPrototyped) {
    co_return Verdict::pass();
  }
  if (credentials.empty()) {
    co_return Verdict::refuse(
        Refusal::kNoCredential,
        fmt::format("Send an access token in one of: {}.", places_text(*exchange.api)));
  }
  if (credentials.front().empty()) {
    co_return Verdict::refuse(Refusal::kInvalidCredential,
                              "The credential is empty, too long or cannot be read.");
  }
  const Sha256 hash = sha256(credentials.front());
  const absl::StatusOr<model::Identity> identity =
      co_await exchange.services->find_token(hash, exchange.client_address);
  if (!identity.ok()) {
    co_return lookup_refusal(identity.status());
  }
  if (std::optional<Fault> fault =
          identity_fault(*identity, *exchange.api, exchange.services->clock->wall())) {
    co_return Verdict::refuse(fault->refusal, std::move(fault->text));
  }
  if (resource != nullptr && !has_scope(*identity->token, *resource)) {
    co_return Verdict::refuse(Refusal::kScopeMissing, scope_text(*resource));
  }
  exchange.principal = principal_of(*identity, *exchange.api);
  depend_on_principal(exchange);
  co_return Verdict::pass();
}

Verdict AuthFilter::recheck(Exchange& exchange) {
  depend_on_api(exchange);
  switch (exchange.api->state) {
    case ApiState::kRetired:
      return Verdict::close(CloseCause::kApiRetired);
    case ApiState::kCreated:
      return Verdict::close(CloseCause::kApiCreated);
    case ApiState::kBlocked:
      return Verdict::close(CloseCause::kApiBlocked);
    case ApiState::kPrototyped:
      return Verdict::pass();  // open to everyone; a change of its state comes back here
    case ApiState::kPublished:
    case ApiState::kDeprecated:
      break;
  }
  if (!exchange.principal) {
    return Verdict::pass();  // it came while the API was a prototype, and stays
  }
  const Wall now = exchange.services->clock->wall();
  const absl::StatusOr<model::Identity> identity =
      exchange.services->known_token(exchange.principal->token);
  if (identity.ok()) {
    if (const std::optional<Fault> fault = identity_fault(*identity, *exchange.api, now)) {
      return Verdict::close(fault->cause);
    }
    exchange.principal = principal_of(*identity, *exchange.api);
  } else if (exchange.principal->expires <= now) {
    return Verdict::close(CloseCause::kTokenExpired);
  }
  depend_on_principal(exchange);
  return Verdict::pass();
}

void add_to(filter::FilterRegistry& registry) {
  filter::add_filter<AuthConfig>(
      registry, "auth",
      [](const AuthConfig&,
         filter::SharedState&) -> absl::StatusOr<std::shared_ptr<const filter::FilterFactory>> {
        return std::make_shared<AuthFactory>();
      });
}

}  // namespace sluice::filters::auth
