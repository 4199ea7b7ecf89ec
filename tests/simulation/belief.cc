#include "tests/simulation/belief.h"

#include "proxy/config/resource.h"

namespace sluice::simulation {
namespace {

using config::Kind;

template <class Spec>
const Held<Spec>* find(const std::map<std::string, Held<Spec>, std::less<>>& among,
                       const std::string& name) {
  const auto it = among.find(name);
  return it == among.end() ? nullptr : &it->second;
}

template <class Spec>
void take_into(std::map<std::string, Held<Spec>, std::less<>>& held,
               std::map<std::string, Held<Spec>, std::less<>>& former,
               const xds::DeltaDiscoveryResponse& response, const std::set<std::string>& refused) {
  const auto replace = [&](const std::string& name, Held<Spec> now) {
    const auto [it, added] = held.try_emplace(name);
    if (!added) {
      former[name] = std::move(it->second);
    }
    it->second = std::move(now);
  };
  for (const xds::Resource& resource : response.resources()) {
    Spec spec;
    if (!refused.contains(resource.name()) &&
        spec.ParseFromString(resource.resource().value())) {
      replace(resource.name(), {resource.version(), std::move(spec)});
    }
  }
  for (const std::string& name : response.removed_resources()) {
    if (!refused.contains(name)) {
      // A name may be removed twice: these are two versions of its absence.
      replace(name, {"removed " + response.system_version_info(), std::nullopt});
    }
  }
}

std::string_view application_fault(v1::Application::Status status) {
  switch (status) {
    case v1::Application::BLOCKED:
      return "application blocked";
    case v1::Application::ON_HOLD:
    case v1::Application::REJECTED:
      return "application on hold or rejected";
    default:
      return "";
  }
}

std::string_view subscription_fault(const v1::Grants& grants, const Talk& talk) {
  for (const v1::Subscription& subscription : grants.subscriptions()) {
    if (subscription.api() != talk.api) {
      continue;
    }
    switch (subscription.status()) {
      case v1::Subscription::PROD_ONLY_BLOCKED:
        return talk.sandbox ? "" : "subscription blocked";
      case v1::Subscription::BLOCKED:
        return "subscription blocked";
      case v1::Subscription::ON_HOLD:
      case v1::Subscription::REJECTED:
        return "subscription on hold or rejected";
      default:
        return "";
    }
  }
  return "subscription deleted";
}

std::string_view api_fault(v1::Api::State state) {
  switch (state) {
    case v1::Api::BLOCKED:
      return "API blocked";
    case v1::Api::RETIRED:
      return "API retired";
    case v1::Api::CREATED:
      return "API is no longer published";
    default:
      return "";
  }
}

void token_faults(const Held<v1::Token>* token, std::set<std::string_view>& out) {
  if (token != nullptr && (!token->spec || token->spec->revoked())) {
    out.insert("access token revoked");
  }
}

void grants_faults(const Held<v1::Grants>* grants, const Talk& talk,
                   std::set<std::string_view>& out) {
  if (grants == nullptr) {
    return;
  }
  if (!grants->spec) {
    out.insert("application deleted");
    return;
  }
  out.insert(application_fault(grants->spec->application().status()));
  out.insert(subscription_fault(*grants->spec, talk));
}

void api_faults(const Held<v1::Api>* api, std::set<std::string_view>& out) {
  if (api != nullptr) {
    out.insert(api->spec ? api_fault(api->spec->state()) : "API deleted");
  }
}

template <class Spec>
const Held<Spec>* still(const Held<Spec>* acknowledged, const Held<Spec>* delivered) {
  const bool same = acknowledged != nullptr && delivered != nullptr &&
                    acknowledged->version == delivered->version;
  return same ? acknowledged : nullptr;
}

}  // namespace

Belief Belief::take(const xds::DeltaDiscoveryResponse& response,
                    const std::set<std::string>& refused) {
  Belief former;
  const auto kind = config::kind_from_type_url(response.type_url());
  if (kind == Kind::kToken) {
    take_into(tokens, former.tokens, response, refused);
  } else if (kind == Kind::kGrants) {
    take_into(grants, former.grants, response, refused);
  } else if (kind == Kind::kApi) {
    take_into(apis, former.apis, response, refused);
  }
  return former;
}

std::set<std::string_view> faults(const Belief& belief, const Talk& talk) {
  std::set<std::string_view> out;
  token_faults(find(belief.tokens, talk.token), out);
  grants_faults(find(belief.grants, talk.application), talk, out);
  api_faults(find(belief.apis, talk.api), out);
  out.erase("");
  return out;
}

std::set<std::string_view> common_faults(const Belief& acknowledged, const Belief& delivered,
                                         const Talk& talk) {
  std::set<std::string_view> out;
  token_faults(still(find(acknowledged.tokens, talk.token), find(delivered.tokens, talk.token)),
               out);
  grants_faults(still(find(acknowledged.grants, talk.application),
                      find(delivered.grants, talk.application)),
                talk, out);
  api_faults(still(find(acknowledged.apis, talk.api), find(delivered.apis, talk.api)), out);
  out.erase("");
  return out;
}

Wall expiry(const Belief& belief, const Talk& talk) {
  const Held<v1::Token>* token = find(belief.tokens, talk.token);
  if (token == nullptr || !token->spec || !token->spec->has_expires()) {
    return Wall::max();
  }
  return Wall(seconds(token->spec->expires().seconds())) +
         nanoseconds(token->spec->expires().nanos());
}

}  // namespace sluice::simulation
