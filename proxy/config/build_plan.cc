#include <fmt/format.h>

#include "proxy/config/build.h"
#include "proxy/config/default_plans.h"
#include "proxy/config/text.h"

namespace sluice::config {
namespace {

void read_action(const std::string& word, std::string_view field, model::LimitAction& action,
                 Faults& faults) {
  if (word == "notify") {
    action = model::LimitAction::kNotify;
  } else if (word == "drop") {
    action = model::LimitAction::kDrop;
  } else if (word == "delay") {
    action = model::LimitAction::kDelay;
  } else if (word == "close") {
    action = model::LimitAction::kClose;
  } else if (!word.empty()) {
    faults.add(std::string(field),
               fmt::format("'{}' is not notify, drop, delay or close{}", word,
                           did_you_mean(word, {"notify", "drop", "delay", "close"})));
  }
}

void read_levels(const v1::Plan& spec, CompiledPlan& plan, Faults& faults) {
  if (spec.levels().empty()) {
    return;
  }
  plan.for_subscription = plan.for_application = plan.for_api = false;
  for (int i = 0; i < spec.levels_size(); ++i) {
    const std::string& level = spec.levels(i);
    if (level == "subscription") {
      plan.for_subscription = true;
    } else if (level == "application") {
      plan.for_application = true;
    } else if (level == "api") {
      plan.for_api = true;
    } else {
      faults.add(fmt::format("spec.levels[{}]", i),
                 fmt::format("'{}' is not subscription, application or api{}", level,
                             did_you_mean(level, {"subscription", "application", "api"})));
    }
  }
}

NamedPlan counted(std::string name, std::uint64_t messages, std::int64_t per_seconds,
                  const char* level) {
  NamedPlan named;
  named.name = std::move(name);
  named.plan.set_messages(messages);
  named.plan.mutable_per()->set_seconds(per_seconds);
  named.plan.add_levels(level);
  named.plan.set_description(
      fmt::format("Allows {} messages per {}", messages, per_seconds == 60 ? "minute" : "day"));
  return named;
}

}  // namespace

std::shared_ptr<CompiledPlan> unlimited_plan() {
  auto plan = std::make_shared<CompiledPlan>();
  plan->plan.name = kUnlimited;
  return plan;
}

std::shared_ptr<CompiledPlan> build_plan(const v1::Plan& spec, Faults& faults,
                                         const std::string& name) {
  auto compiled = std::make_shared<CompiledPlan>();
  model::Plan& plan = compiled->plan;
  plan.name = name;
  plan.messages = spec.messages();
  plan.bytes = spec.bytes();
  if (spec.has_per()) {
    plan.per =
        read_duration(spec.per(), {seconds(1), std::chrono::hours(24 * 366)}, "spec.per", faults);
  }
  read_action(spec.on_limit(), "spec.on_limit", plan.on_limit, faults);
  read_action(spec.on_limit_backend(), "spec.on_limit_backend", plan.on_limit_backend, faults);
  read_levels(spec, *compiled, faults);
  const bool all_levels =
      compiled->for_subscription && compiled->for_application && compiled->for_api;
  if (name == kUnlimited && (!plan.unlimited() || !all_levels)) {
    faults.add("spec",
               "Unlimited has no limit and stands for all levels; make a plan of another "
               "name");
  }
  return faults.any() ? nullptr : compiled;
}

std::vector<NamedPlan> default_plans() {
  constexpr std::int64_t kMinute = 60;
  constexpr std::int64_t kDay = 24 * 60 * kMinute;
  std::vector<NamedPlan> plans = {
      counted("Gold", 5000, kMinute, "subscription"),
      counted("Silver", 2000, kMinute, "subscription"),
      counted("Bronze", 1000, kMinute, "subscription"),
      counted("Unauthenticated", 500, kMinute, "subscription"),
      counted("50PerMin", 50, kMinute, "application"),
      counted("20PerMin", 20, kMinute, "application"),
      counted("10PerMin", 10, kMinute, "application"),
      counted("50KPerMin", 50'000, kMinute, "api"),
      counted("20KPerMin", 20'000, kMinute, "api"),
      counted("10KPerMin", 10'000, kMinute, "api"),
      counted("AsyncGold", 50'000, kDay, "subscription"),
      counted("AsyncSilver", 25'000, kDay, "subscription"),
      counted("AsyncBronze", 5'000, kDay, "subscription"),
  };
  NamedPlan unlimited{kUnlimited, {}};
  unlimited.plan.set_description("Allows unlimited messages");
  plans.push_back(unlimited);
  unlimited.name = "AsyncUnlimited";
  unlimited.plan.add_levels("subscription");
  plans.push_back(std::move(unlimited));
  return plans;
}

}  // namespace sluice::config
