#include "tests/simulation/limit_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace sluice::simulation {
namespace {

using Level = LimitKey::Level;

// An edit reaches every connection within it, and the window it fell into is over.
constexpr nanoseconds kSettling = milliseconds(3500);
// A held message is asked for anew at the end of its window as monotonic time foresaw it; what
// comes meanwhile waits behind it.
constexpr nanoseconds kReopening = milliseconds(300);

bool drops(model::LimitAction action) { return action != model::LimitAction::kDelay; }

std::string plan_of(const LimitKey& key, const Belief& belief) {
  if (key.level == Level::kApi) {
    const auto api = belief.apis.find(key.api);
    return api == belief.apis.end() || !api->second.spec ? "" : api->second.spec->api_plan();
  }
  const auto grants = belief.grants.find(key.application);
  if (grants == belief.grants.end() || !grants->second.spec) {
    return "";
  }
  if (key.level == Level::kApplication) {
    return grants->second.spec->application().plan();
  }
  for (const v1::Subscription& subscription : grants->second.spec->subscriptions()) {
    if (subscription.api() == key.api) {
      return subscription.plan();
    }
  }
  return "";
}

Limit limit_of(const std::string& name, const config::Snapshot& snapshot) {
  const std::shared_ptr<const model::Plan> plan = snapshot.find_plan(name);
  if (plan == nullptr || plan->unlimited()) {
    return {};
  }
  return {plan->messages, drops(plan->on_limit), drops(plan->on_limit_backend)};
}

}  // namespace

void LimitBook::join(Talk& talk) {
  const std::array<std::string, 3> names = {
      fmt::format("api {}", talk.api),
      fmt::format("subscription {} {}", talk.application, talk.api),
      fmt::format("application {}", talk.application)};
  constexpr std::array kLevels = {Level::kApi, Level::kSubscription, Level::kApplication};
  for (std::size_t i = 0; i < names.size(); ++i) {
    LimitKey& key = keys_[names[i]];
    key.level = kLevels[i];
    key.application = talk.application;
    key.api = talk.api;
    talk.limits[i] = &key;
  }
}

void LimitBook::refresh(const Belief& belief, const config::Snapshot& snapshot) {
  for (auto& [name, key] : keys_) {
    const Limit limit = limit_of(plan_of(key, belief), snapshot);
    if (limit != key.limit) {
      key.past.push_back({key.limit, schedule_.now()});
      key.changed = schedule_.now();
      key.limit = limit;
      report_.trace("limit {} is {} {}{}", name, limit.messages, limit.drops_up ? "up " : "",
                    limit.drops_down ? "down" : "");
    }
  }
}

void LimitBook::roll(LimitKey& key, Wall wall) const {
  const std::int64_t window = wall.time_since_epoch() / kWindow;
  if (window != key.window) {
    key.window = window;
    key.passed = 0;
  }
}

void LimitBook::pass(const Talk& talk, Wall wall) {
  for (LimitKey* key : talk.limits) {
    roll(*key, wall);
    ++key->passed;
    std::uint64_t most = key->limit.messages;
    bool limited = most != 0;
    for (const LimitKey::Past& past : key->past) {
      if (past.until >= schedule_.now() - kSettling) {
        most = std::max(most, past.limit.messages);
        limited = limited && past.limit.messages != 0;
      }
    }
    if (limited && key->passed > most) {
      report_.broken(
          "exactly N in a window",
          fmt::format("{} messages passed of {} (application {}, API {}, level {})", key->passed,
                      most, key->application, key->api, static_cast<int>(key->level)));
    }
  }
}

void LimitBook::murky(const Talk& talk) {
  for (LimitKey* key : talk.limits) {
    key->murky_until = schedule_.now() + kSettling;
  }
}

bool LimitBook::settled(const LimitKey& key) const {
  return key.changed + kSettling < schedule_.now() && key.murky_until < schedule_.now();
}

bool LimitBook::explains(LimitKey& key, Wall wall) const {
  roll(key, wall);
  if (!settled(key)) {
    return true;
  }
  if (key.limit.messages == 0) {
    return false;
  }
  const bool reopening = wall.time_since_epoch() % kWindow < kReopening;
  return reopening || key.passed >= key.limit.messages;
}

bool LimitBook::explains(const Talk& talk, Wall wall) {
  return std::ranges::any_of(talk.limits,
                             [&](LimitKey* key) { return explains(*key, wall); });
}

bool LimitBook::used_up(const Talk& talk, Wall wall, Level level) {
  return std::ranges::any_of(talk.limits, [&](LimitKey* key) {
    return key->level == level && explains(*key, wall);
  });
}

bool LimitBook::may_drop(const Talk& talk, bool up) const {
  const auto drops = [up](const Limit& limit) { return up ? limit.drops_up : limit.drops_down; };
  return std::ranges::any_of(talk.limits, [&](const LimitKey* key) {
    return drops(key->limit) || std::ranges::any_of(key->past, [&](const LimitKey::Past& past) {
             return past.until >= talk.began - kSettling && drops(past.limit);
           });
  });
}

}  // namespace sluice::simulation
