#include "tests/simulation/world.h"

#include <fmt/format.h>

#include <charconv>

#include "proxy/base/encoding.h"

namespace sluice::simulation {
namespace {

using config::Kind;

constexpr std::string_view kNotice = "notice ";

google::protobuf::Duration milliseconds_of(int ms) {
  google::protobuf::Duration duration;
  duration.set_seconds(ms / 1000);
  duration.set_nanos(ms % 1000 * 1'000'000);
  return duration;
}

void set_policy(v1::Upstream& upstream, int generation) {
  constexpr const char* kBalances[] = {"round_robin", "least_connections", "consistent_hash"};
  upstream.set_balance(kBalances[generation % 3]);
  upstream.set_panic_percent(0);
  upstream.mutable_ejection()->set_failures(2);
  *upstream.mutable_ejection()->mutable_time() = milliseconds_of(3000);
  *upstream.mutable_ejection()->mutable_time_max() = milliseconds_of(3000);
  upstream.mutable_ejection()->set_percent_max(50);
  upstream.mutable_breakers()->set_websockets_max(kWebSocketsMax);
  v1::Retry& retry = *upstream.mutable_retry();
  retry.clear_statuses();
  retry.add_statuses(503);
  retry.set_budget_percent(0);
  retry.set_budget_min(kRetriesMax);
  v1::HealthCheck& check = *upstream.mutable_health_check();
  check.set_type("websocket");
  *check.mutable_interval() = milliseconds_of(300);
  *check.mutable_timeout() = milliseconds_of(600);
  check.set_failures(2);
}

}  // namespace

bool is_of_upstream(std::string_view api) { return api == "a1" || api == "a3"; }

std::string generation_path(std::string_view owner, int generation) {
  return fmt::format("/{}/g{}", owner, generation);
}

std::string generation_notice(int generation) { return fmt::format("{}g{}", kNotice, generation); }

int generation_of(std::string_view text) {
  const std::size_t at = text.rfind('g');
  int number = -1;
  if (at != std::string_view::npos) {
    std::from_chars(text.data() + at + 1, text.data() + text.size(), number);
  }
  return number;
}

bool is_notice(std::string_view message) { return message.starts_with(kNotice); }

bool is_bad(const v1::Api& api) { return api.endpoints().production(0).starts_with("ftp:"); }
bool is_bad(const v1::Plan& plan) { return plan.on_limit() == "explode"; }
void spoil(v1::Api& api) { api.mutable_endpoints()->set_production(0, "ftp://nowhere/g0"); }
void spoil(v1::Plan& plan) { plan.set_on_limit("explode"); }

std::string token_hash(std::string_view text) { return hex(sha256(text)); }

World::World() {
  v1::Listener listener;
  listener.set_address("127.0.0.1");
  listener.set_port(9099);
  served_.put(config::type_url(Kind::kListener), "ws", listener);
  const char* const actions[] = {"drop", "delay", "notify", "close"};
  for (int i = 0; i < 4; ++i) {
    v1::Plan& plan = plans[fmt::format("p{}", i)];
    plan.set_messages(static_cast<std::uint64_t>(5 + 3 * i));
    plan.mutable_per()->set_seconds(2);
    plan.set_on_limit(actions[i]);
  }
  renew_upstream(kUpstream);
  for (int i = 0; i < 4; ++i) {
    const std::string name = fmt::format("a{}", i);
    v1::Api& api = apis[name];
    api.set_context("/" + name);
    api.set_version("v1");
    api.set_state(v1::Api::PUBLISHED);
    api.add_plans("Unlimited");
    for (const auto& [plan, spec] : plans) {
      api.add_plans(plan);
    }
    renew_api(name);
  }
  apis["a1"].mutable_limits()->mutable_ping_interval()->set_seconds(1);
  apis["a2"].set_close_codes("standard");
  for (int i = 0; i < 3; ++i) {
    const std::string name = fmt::format("app{}", i);
    v1::Grants& grant = grants[name];
    grant.set_application_name(name);
    grant.mutable_application()->set_owner("owner");
    grant.mutable_application()->set_plan("Unlimited");
    for (const auto& [api, spec] : apis) {
      v1::Subscription& subscription = *grant.add_subscriptions();
      subscription.set_application(name);
      subscription.set_api(api);
      subscription.set_plan((i + spec.context().back()) % 2 == 0 ? fmt::format("p{}", i)
                                                                 : "Unlimited");
      subscription.set_status(v1::Subscription::UNBLOCKED);
    }
    make_token(name, false);
    make_token(name, false);
    make_token(name, true);
  }
  for (const auto& [name, spec] : plans) {
    edited(Kind::kPlan, name);
  }
  for (const auto& [name, spec] : grants) {
    edited(Kind::kGrants, name);
  }
  commit();
}

void World::renew_api(const std::string& name) {
  v1::Api& api = apis[name];
  const int generation = ++generations[name];
  api.set_throttle_notice(generation_notice(generation));
  v1::Endpoints& endpoints = *api.mutable_endpoints();
  if (endpoints.production_size() == 0) {
    endpoints.add_production();
  }
  const std::string url = fmt::format("ws://backend:9{}", generation_path(name, generation));
  endpoints.set_production(0, is_of_upstream(name) ? fmt::format("upstream:{}", kUpstream) : url);
  endpoints.clear_sandbox();
  endpoints.add_sandbox(url);
  edited(Kind::kApi, name);
}

void World::renew_upstream(const std::string& name) {
  v1::Upstream& upstream = upstreams[name];
  const std::string path = generation_path(name, ++generations[name]);
  upstream.clear_endpoints();
  upstream.clear_targets();
  upstream.add_endpoints(fmt::format("ws://b0:9{}", path));
  upstream.add_endpoints(fmt::format("ws://b1:9{}", path));
  v1::Target& target = *upstream.add_targets();
  target.set_url(fmt::format("ws://b2:9{}", path));
  target.set_weight(2);
  target.set_priority(static_cast<std::uint32_t>(generations[name] % 2));
  set_policy(upstream, generations[name]);
  edited(Kind::kUpstream, name);
}

void World::make_token(const std::string& application, bool sandbox) {
  issued.push_back({fmt::format("token{}", issued.size()), application, sandbox});
  const std::string hash = token_hash(issued.back().text);
  v1::Token& token = tokens[hash];
  token.set_sha256(hash);
  token.set_application(application);
  token.set_key_type(sandbox ? v1::SANDBOX : v1::PRODUCTION);
  edited(Kind::kToken, hash);
}

v1::Subscription* World::subscription(const std::string& application, const std::string& api) {
  const auto found = grants.find(application);
  if (found == grants.end()) {
    return nullptr;
  }
  for (v1::Subscription& subscription : *found->second.mutable_subscriptions()) {
    if (subscription.api() == api) {
      return &subscription;
    }
  }
  return nullptr;
}

void World::edited(Kind kind, const std::string& name) {
  const std::string_view type = config::type_url(kind);
  const auto take = [&](const auto& wishes) {
    const auto it = wishes.find(name);
    if (it == wishes.end()) {
      served_.erase(type, name);
    } else {
      served_.put(type, name, it->second);
    }
  };
  switch (kind) {
    case Kind::kApi:
      take(apis);
      break;
    case Kind::kPlan:
      take(plans);
      break;
    case Kind::kUpstream:
      take(upstreams);
      break;
    case Kind::kGrants:
      take(grants);
      break;
    case Kind::kToken:
      take(tokens);
      break;
    case Kind::kSecret:
    case Kind::kListener:
      break;
  }
  edits_.push_back({kind, name});
}

void World::commit() {
  ++revision_;
  std::vector<sync::ResourceChange> changes;
  for (const config::ResourceKey& key : edits_) {
    changes.push_back({config::type_url(key.kind), key.name});
  }
  if (on_commit) {
    on_commit(revision_, changes);
  }
  edits_.clear();
}

sync::ResourcePtr World::served(Kind kind, const std::string& name) const {
  const auto found = served_.view().get(config::type_url(kind), name);
  return found.ok() ? *found : nullptr;
}

}  // namespace sluice::simulation
