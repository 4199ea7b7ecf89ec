#include "tests/simulation/actions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

namespace sluice::simulation {
namespace {

using config::Kind;

constexpr std::size_t kClientsMax = 10;
constexpr std::size_t kRecentTokens = 9;
constexpr const char* kLimitActions[] = {"notify", "drop", "delay", "close"};

}  // namespace

void Actions::begin() {
  calm_ = false;
  next();
}

void Actions::calm() {
  calm_ = true;
  parts_.control_plane_up = true;
  parts_.proxy.disk_full = false;
  parts_.proxy.sink().failing = false;
  parts_.records.store_fails = false;
  parts_.backends.mend_all();
}

void Actions::next() {
  static constexpr Choice kChoices[] = {
      {220, &Actions::use_client},      {60, &Actions::open_client},
      {10, &Actions::leave},            {20, &Actions::edit_apis},
      {10, &Actions::change_state},     {3, &Actions::delete_api},
      {8, &Actions::change_plan},       {4, &Actions::change_upstream},
      {14, &Actions::change_subscription}, {7, &Actions::change_application},
      {2, &Actions::delete_application}, {8, &Actions::revoke_token},
      {8, &Actions::expire_token},      {4, &Actions::delete_token},
      {6, &Actions::cut_stream},        {1, &Actions::restart_control_plane},
      {4, &Actions::jump_clock},        {4, &Actions::break_disk},
      {5, &Actions::lose_backend},      {6, &Actions::trouble_endpoint},
  };
  parts_.schedule.after(parts_.chance.ms_between(0, 60), [this] {
    if (calm_) {
      return;
    }
    int sum = 0;
    for (const Choice& choice : kChoices) {
      sum += choice.weight;
    }
    int draw = parts_.chance.between(0, sum - 1);
    const Choice* choice = kChoices;
    for (; draw >= choice->weight; ++choice) {
      draw -= choice->weight;
    }
    (this->*choice->act)();
    next();
  });
}

void Actions::repair_later(std::function<void()> repair) {
  ++repairs_;
  parts_.schedule.after(parts_.chance.ms_between(100, 2500), [this, repair = std::move(repair)] {
    --repairs_;
    repair();
    parts_.world.commit();
  });
}

// ---- edits

std::string Actions::any_plan() {
  return parts_.chance.percent(40) ? "Unlimited" : parts_.chance.pick(parts_.world.plans).first;
}

// Several at once, so that they come in one response; one of them bad now and then.
void Actions::edit_apis() {
  World& world = parts_.world;
  const int count = parts_.chance.between(1, 3);
  for (int i = 0; i < count && !world.apis.empty(); ++i) {
    auto& [name, api] = parts_.chance.pick(world.apis);
    if (parts_.chance.percent(20)) {
      api.set_api_plan(any_plan());
    }
    world.renew_api(name);
    if (parts_.chance.percent(20)) {
      spoil(api);
      world.edited(Kind::kApi, name);
    }
    parts_.report.trace("edit API {} g{}{}", name, world.generations[name],
                        is_bad(api) ? " (bad)" : "");
  }
  world.commit();
}

void Actions::change_state() {
  World& world = parts_.world;
  if (world.apis.empty()) {
    return;
  }
  auto& [name, api] = parts_.chance.pick(world.apis);
  constexpr std::array kStates = {v1::Api::BLOCKED, v1::Api::BLOCKED, v1::Api::RETIRED,
                                  v1::Api::CREATED, v1::Api::DEPRECATED};
  api.set_state(parts_.chance.pick(kStates));
  parts_.report.trace("API {} becomes {}", name, v1::Api::State_Name(api.state()));
  world.edited(Kind::kApi, name);
  world.commit();
  repair_later([&world, name = name] {
    if (world.apis.contains(name)) {
      world.apis[name].set_state(v1::Api::PUBLISHED);
      world.edited(Kind::kApi, name);
    }
  });
}

void Actions::delete_api() {
  World& world = parts_.world;
  if (world.apis.empty()) {
    return;
  }
  auto& [name, api] = parts_.chance.pick(world.apis);
  parts_.report.trace("delete API {}", name);
  repair_later([&world, name = name, api = api] {
    world.apis[name] = api;
    world.apis[name].set_state(v1::Api::PUBLISHED);
    world.renew_api(name);
  });
  const std::string gone = name;
  world.apis.erase(gone);
  world.edited(Kind::kApi, gone);
  world.commit();
}

void Actions::edit_plan(v1::Plan& plan) {
  plan.set_messages(static_cast<std::uint64_t>(parts_.chance.between(3, 14)));
  plan.set_on_limit(parts_.chance.pick(kLimitActions));
  plan.set_on_limit_backend(parts_.chance.percent(50) ? "delay"
                                                      : parts_.chance.pick(kLimitActions));
  if (parts_.chance.percent(15)) {
    spoil(plan);
  }
}

void Actions::change_plan() {
  const int count = parts_.chance.between(1, 2);
  for (int i = 0; i < count; ++i) {
    auto& [name, plan] = parts_.chance.pick(parts_.world.plans);
    edit_plan(plan);
    parts_.report.trace("plan {}: {} {} {}", name, plan.messages(), plan.on_limit(),
                        plan.on_limit_backend());
    parts_.world.edited(Kind::kPlan, name);
  }
  parts_.world.commit();
}

void Actions::change_upstream() {
  parts_.world.renew_upstream("u0");
  parts_.world.commit();
}

void Actions::change_subscription() {
  World& world = parts_.world;
  if (world.grants.empty() || world.apis.empty()) {
    return;
  }
  const std::string application = parts_.chance.pick(world.grants).first;
  const std::string api = parts_.chance.pick(world.apis).first;
  v1::Subscription* subscription = world.subscription(application, api);
  if (subscription == nullptr) {
    return;
  }
  const v1::Subscription before = *subscription;
  constexpr std::array kStatuses = {v1::Subscription::BLOCKED, v1::Subscription::PROD_ONLY_BLOCKED,
                                    v1::Subscription::ON_HOLD, v1::Subscription::REJECTED};
  if (parts_.chance.percent(40)) {
    subscription->set_plan(any_plan());
    parts_.report.trace("subscription {} {} gets plan {}", application, api, subscription->plan());
  } else if (parts_.chance.percent(20)) {
    parts_.report.trace("delete subscription {} {}", application, api);
    auto& all = *world.grants[application].mutable_subscriptions();
    all.erase(std::remove_if(all.begin(), all.end(),
                             [&](const v1::Subscription& one) { return one.api() == api; }),
              all.end());
    repair_later([&world, application, api, before] {
      if (world.grants.contains(application) && world.subscription(application, api) == nullptr) {
        *world.grants[application].add_subscriptions() = before;
        world.edited(Kind::kGrants, application);
      }
    });
  } else {
    subscription->set_status(parts_.chance.pick(kStatuses));
    parts_.report.trace("subscription {} {} becomes {}", application, api,
                        v1::Subscription::Status_Name(subscription->status()));
    repair_later([&world, application, api] {
      if (v1::Subscription* blocked = world.subscription(application, api)) {
        blocked->set_status(v1::Subscription::UNBLOCKED);
        world.edited(Kind::kGrants, application);
      }
    });
  }
  world.edited(Kind::kGrants, application);
  world.commit();
}

void Actions::change_application() {
  World& world = parts_.world;
  if (world.grants.empty()) {
    return;
  }
  auto& [name, grants] = parts_.chance.pick(world.grants);
  constexpr std::array kStatuses = {v1::Application::BLOCKED, v1::Application::ON_HOLD,
                                    v1::Application::REJECTED};
  if (parts_.chance.percent(40)) {
    grants.mutable_application()->set_plan(any_plan());
  } else {
    grants.mutable_application()->set_status(parts_.chance.pick(kStatuses));
    repair_later([&world, name = name] {
      if (world.grants.contains(name)) {
        world.grants[name].mutable_application()->set_status(v1::Application::APPROVED);
        world.edited(Kind::kGrants, name);
      }
    });
  }
  parts_.report.trace("application {} becomes {} with plan {}", name,
                      v1::Application::Status_Name(grants.application().status()),
                      grants.application().plan());
  world.edited(Kind::kGrants, name);
  world.commit();
}

void Actions::delete_application() {
  World& world = parts_.world;
  if (world.grants.empty()) {
    return;
  }
  auto& [name, grants] = parts_.chance.pick(world.grants);
  parts_.report.trace("delete application {}", name);
  repair_later([&world, name = name, grants = grants]() mutable {
    grants.mutable_application()->set_status(v1::Application::APPROVED);
    for (v1::Subscription& subscription : *grants.mutable_subscriptions()) {
      subscription.set_status(v1::Subscription::UNBLOCKED);
    }
    world.grants[name] = grants;
    world.edited(Kind::kGrants, name);
  });
  const std::string gone = name;
  world.grants.erase(gone);
  world.edited(Kind::kGrants, gone);
  world.commit();
}

// ---- tokens

const World::Issued& Actions::recent_token() {
  const std::size_t size = parts_.world.issued.size();
  const std::size_t back = parts_.chance.rng().below(std::min(size, kRecentTokens));
  return parts_.world.issued[size - 1 - back];
}

void Actions::revoke_token() {
  World& world = parts_.world;
  const World::Issued token = recent_token();
  const std::string hash = token_hash(token.text);
  const auto found = world.tokens.find(hash);
  if (found == world.tokens.end() || found->second.revoked()) {
    return;
  }
  parts_.report.trace("revoke {}", token.text);
  found->second.set_revoked(true);
  world.edited(Kind::kToken, hash);
  world.make_token(token.application, token.sandbox);
  world.commit();
}

void Actions::expire_token() {
  World& world = parts_.world;
  const World::Issued token = recent_token();
  const std::string hash = token_hash(token.text);
  const auto found = world.tokens.find(hash);
  if (found == world.tokens.end()) {
    return;
  }
  const std::int64_t at = to_ms(parts_.proxy.worker().loop().clock().wall()) +
                          parts_.chance.between(200, 4000);
  parts_.report.trace("{} expires at {} ms", token.text, at);
  google::protobuf::Timestamp& expires = *found->second.mutable_expires();
  expires.set_seconds(at / 1000);
  expires.set_nanos(static_cast<int>(at % 1000) * 1'000'000);
  world.edited(Kind::kToken, hash);
  world.make_token(token.application, token.sandbox);
  world.commit();
}

void Actions::delete_token() {
  World& world = parts_.world;
  const World::Issued token = recent_token();
  const std::string hash = token_hash(token.text);
  const auto found = world.tokens.find(hash);
  if (found == world.tokens.end()) {
    return;
  }
  parts_.report.trace("delete {}", token.text);
  repair_later([&world, hash, spec = found->second] {
    world.tokens[hash] = spec;
    world.edited(Kind::kToken, hash);
  });
  world.tokens.erase(found);
  world.edited(Kind::kToken, hash);
  world.commit();
}

// ---- faults of the surroundings

void Actions::cut_stream() {
  switch (parts_.chance.between(0, 2)) {
    case 0:
      return parts_.config.cut();
    case 1:
      return parts_.identity.cut();
    default:
      return parts_.records.cut();
  }
}

void Actions::restart_control_plane() {
  parts_.report.trace("control plane down");
  parts_.control_plane_up = false;
  parts_.config.cut();
  parts_.identity.cut();
  parts_.records.cut();
  parts_.schedule.after(parts_.chance.ms_between(100, 3000),
                        [this] { parts_.control_plane_up = true; });
}

void Actions::jump_clock() {
  const int low = parts_.chance.percent(50) ? 1 : 1000;
  const nanoseconds jump = parts_.chance.ms_between(low, low * 3600);
  parts_.wall_jump += parts_.chance.percent(50) ? jump : -jump;
  parts_.report.trace("the wall clock is off by {} s",
                      duration_cast<seconds>(parts_.wall_jump).count());
}

void Actions::break_disk() {
  bool* broken = nullptr;
  switch (parts_.chance.between(0, 2)) {
    case 0:
      broken = &parts_.proxy.disk_full;
      break;
    case 1:
      broken = &parts_.proxy.sink().failing;
      break;
    default:
      broken = &parts_.records.store_fails;
  }
  parts_.report.trace("a disk is full");
  *broken = true;
  parts_.schedule.after(parts_.chance.ms_between(200, 4000), [broken] { *broken = false; });
}

void Actions::lose_backend() {
  if (parts_.backends.all().empty()) {
    return;
  }
  Backend& backend = *parts_.chance.pick(parts_.backends.all());
  if (backend.open()) {
    parts_.chance.percent(50) ? backend.die() : backend.close();
  }
}

// One of the Upstream's endpoints fails all handshakes for a while.
void Actions::trouble_endpoint() {
  using Trouble = Backends::Trouble;
  constexpr std::array kTroubles = {Trouble::kRefuses, Trouble::kHangs, Trouble::kBusy,
                                    Trouble::kGarbage};
  const std::string host = fmt::format("b{}", parts_.chance.between(0, 2));
  parts_.report.trace("{} is in trouble", host);
  parts_.backends.trouble(host, parts_.chance.pick(kTroubles));
  parts_.schedule.after(parts_.chance.ms_between(200, 6000),
                        [this, host] { parts_.backends.mend(host); });
}

// ---- clients

Client& Actions::connect(const World::Issued& token, const std::string& api) {
  auto talk = std::make_unique<Talk>();
  talk->index = static_cast<int>(parts_.talks.size());
  talk->token = token_hash(token.text);
  talk->application = token.application;
  talk->api = api;
  talk->sandbox = token.sandbox;
  talk->began = parts_.schedule.now();
  talk->client_silent = parts_.chance.percent(8);
  parts_.report.trace("client {}: {} of {} to {}", talk->index, token.text, token.application, api);
  parts_.talks.push_back(std::move(talk));
  Talk& begun = *parts_.talks.back();
  parts_.checks.began(begun);
  auto [ours, theirs] = net::make_pipe(parts_.proxy.worker().loop(), parts_.rules);
  parts_.proxy.worker().serve(std::move(theirs), "ws");
  clients_.push_back(std::make_unique<Client>(
      Endpoint::Parts{parts_.schedule, parts_.chance, parts_.checks, parts_.talks}, begun,
      std::move(ours), token.text));
  return *clients_.back();
}

void Actions::open_client() {
  const auto live = std::ranges::count_if(
      clients_, [](const auto& client) { return client->talk().state != Talk::State::kOver; });
  if (static_cast<std::size_t>(live) >= kClientsMax) {
    return;
  }
  // APIs that are deleted just now, too.
  const std::string api = fmt::format("a{}", parts_.chance.between(0, 3));
  connect(parts_.chance.percent(3) ? World::Issued{"nobody", "nobody"} : recent_token(), api);
}

Client* Actions::live_client() {
  std::vector<Client*> live;
  for (const auto& client : clients_) {
    if (client->talk().state != Talk::State::kOver) {
      live.push_back(client.get());
    }
  }
  return live.empty() ? nullptr : parts_.chance.pick(live);
}

void Actions::use_client() {
  Client* client = live_client();
  if (client == nullptr) {
    return;
  }
  const int draw = parts_.chance.between(0, 99);
  if (draw < 65) {
    client->burst(parts_.chance.percent(15) ? 12 : parts_.chance.between(1, 4));
  } else if (draw < 95) {
    client->piece();
  } else {
    client->ping();
  }
}

void Actions::leave() {
  if (Client* client = live_client()) {
    parts_.chance.percent(60) ? client->close() : client->vanish();
  }
}

int Actions::open_probes() {
  World& world = parts_.world;
  int count = 0;
  for (const auto& [name, api] : world.apis) {
    if (is_bad(api) || api.state() != v1::Api::PUBLISHED) {
      continue;
    }
    const auto good = std::ranges::find_if(world.issued, [&](const World::Issued& token) {
      const auto spec = world.tokens.find(token_hash(token.text));
      const auto grants = world.grants.find(token.application);
      const v1::Subscription* subscription = world.subscription(token.application, name);
      return spec != world.tokens.end() && !spec->second.revoked() &&
             !spec->second.has_expires() && grants != world.grants.end() &&
             grants->second.application().status() <= v1::Application::APPROVED &&
             subscription != nullptr && subscription->status() <= v1::Subscription::UNBLOCKED;
    });
    if (good != world.issued.end()) {
      Talk& talk = connect(*good, name).talk();
      talk.probe = true;
      talk.client_silent = false;
      ++count;
    }
  }
  return count;
}

void Actions::close_clients() {
  for (const auto& client : clients_) {
    client->close();
  }
}

}  // namespace sluice::simulation
