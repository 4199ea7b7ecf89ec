#include "filters/throttling/throttling.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "filters/throttling/throttling.pb.h"
#include "proxy/base/plant.h"
#include "proxy/filter/config.h"
#include "proxy/http/body.h"

namespace sluice::filters::throttling {
namespace {

using filter::DataUnit;
using filter::Direction;
using filter::Exchange;
using filter::Refusal;
using filter::Verdict;
using model::LimitAction;
using model::Plan;

constexpr std::string_view kDefaultNotice = "Websocket frame throttled out";
constexpr int kRetryPlanSeconds = 1;
constexpr std::array kAllLevels = {Level::kApi, Level::kResource, Level::kSubscription,
                                   Level::kApplication};

std::string_view name_of(Level level) {
  switch (level) {
    case Level::kApi:
      return "API";
    case Level::kResource:
      return "resource";
    case Level::kSubscription:
      return "subscription";
    case Level::kApplication:
      return "application";
  }
  return "";
}

Refusal refusal_of(Level level) {
  switch (level) {
    case Level::kApi:
      return Refusal::kLimitApi;
    case Level::kResource:
      return Refusal::kLimitTopic;
    case Level::kSubscription:
      return Refusal::kLimitSubscription;
    case Level::kApplication:
      return Refusal::kLimitApplication;
  }
  return Refusal::kLimitApi;
}

// Empty: the level does not apply.
std::string plan_name(const Exchange& exchange, Level level) {
  if (level == Level::kApi) {
    return exchange.api->api_plan;
  }
  if (level == Level::kResource) {
    return exchange.resource != nullptr ? exchange.resource->plan : "";
  }
  if (!exchange.principal) {
    return "";
  }
  return level == Level::kSubscription ? exchange.principal->subscription_plan
                                       : exchange.principal->application_plan;
}

// Names have no NUL, so keys are unambiguous. Production and sandbox keys share a counter.
std::string counter_key(const Exchange& exchange, Level level) {
  std::string key(name_of(level));
  const auto append = [&key](std::string_view part) {
    key += '\0';
    key += part;
  };
  if (level != Level::kApplication) {
    append(exchange.api->name);
  }
  if (level == Level::kResource) {
    append(exchange.resource->path);
    for (const std::string& method : exchange.resource->methods) {
      append(method);
    }
    return key;
  }
  if (level != Level::kApi) {
    append(exchange.principal->application);
  }
  if (level == Level::kApplication) {
    append(exchange.principal->user);
  }
  return key;
}

Allowance allowance_of(const Plan& plan) {
  Allowance allowance;
  if (plan.messages != 0) {
    allowance.messages = std::min(plan.messages, Allowance::kNoLimit - 1);
  }
  if (SLUICE_PLANT(kOneTooMany)) ++allowance.messages;
  if (plan.bytes != 0) {
    allowance.bytes = std::min(plan.bytes, Allowance::kNoLimit - 1);
  }
  return allowance;
}

bool drops(LimitAction action) {
  return action == LimitAction::kNotify || action == LimitAction::kDrop;
}

LimitAction action(const Exchange& exchange, const Plan& plan, Direction direction) {
  const LimitAction wanted = direction == Direction::kUp ? plan.on_limit : plan.on_limit_backend;
  // To drop one message of a compressed stream whose contexts are kept would break all that follow.
  return exchange.contexts_kept && drops(wanted) ? LimitAction::kDelay : wanted;
}

// A message that is larger than a whole window would be delayed for ever; it takes a whole one.
std::uint64_t bytes_of(const Exchange& exchange, const Plan& plan, const Allowance& allowance,
                       const DataUnit& unit) {
  if (unit.payload_bytes > allowance.bytes &&
      action(exchange, plan, unit.direction) == LimitAction::kDelay) {
    return allowance.bytes;
  }
  return unit.payload_bytes;
}

std::int64_t seconds_until(Wall end, Wall now) {
  return std::max<std::int64_t>(1, std::chrono::ceil<seconds>(end - now).count());
}

std::string limit_text(const Plan& plan) {
  std::string text;
  if (plan.messages != 0) {
    text = fmt::format("{} messages", plan.messages);
  }
  if (plan.bytes != 0) {
    text += fmt::format("{}{} bytes", text.empty() ? "" : ", ", plan.bytes);
  }
  return fmt::format("{} per {} s", text, std::chrono::duration<double>(plan.per).count());
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (std::size_t at = text.find(what); at != std::string::npos;
       at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
}

class ThrottlingFactory final : public filter::FilterFactory {
 public:
  explicit ThrottlingFactory(std::shared_ptr<CounterTable> table) : table_(std::move(table)) {}

  filter::Hooks hooks() const override { return {.open = true, .data = true, .recheck = true}; }
  std::unique_ptr<filter::Filter> make() const override {
    return std::make_unique<ThrottlingFilter>(*table_);
  }

 private:
  std::shared_ptr<CounterTable> table_;
};

}  // namespace

void ThrottlingFilter::set_limit(Level level, const std::string& key) {
  const std::shared_ptr<const Plan>& plan = plans_[static_cast<std::size_t>(level)];
  if (plan == nullptr || plan->unlimited()) {
    return;
  }
  const Wall now = clock_->wall();
  std::shared_ptr<Counter>& counter = counters_[static_cast<std::size_t>(level)];
  counter = table_.get(key, now);
  counter->adopt(now, plan->per);
  counts_bytes_ = counts_bytes_ || plan->bytes != 0;
  limits_[limit_count_] = {counter.get(), plan.get()};
  levels_[limit_count_] = level;
  ++limit_count_;
}

void ThrottlingFilter::set_limits(Exchange& exchange) {
  clock_ = exchange.services->clock;
  limit_count_ = 0;
  counts_bytes_ = false;
  for (const Level level : kAllLevels) {
    if (!plan_name(exchange, level).empty()) {
      set_limit(level, counter_key(exchange, level));
    }
  }
}

Task<Verdict> ThrottlingFilter::open(Exchange& exchange) { co_return admit(exchange); }

Verdict ThrottlingFilter::admit(Exchange& exchange) {
  for (const Level level : kAllLevels) {
    const std::string name = plan_name(exchange, level);
    if (name.empty()) {
      continue;
    }
    exchange.depends_on(model::Subject::Kind::kPlan, name);
    std::shared_ptr<const Plan> plan = exchange.services->find_plan(name);
    if (plan == nullptr) {
      // The two streams of the control plane are not ordered: a subscription may overtake its plan.
      return Verdict::refuse(Refusal::kTokenUnchecked,
                             fmt::format("The {} plan {} has not reached this proxy. Try again.",
                                         name_of(level), name),
                             kRetryPlanSeconds);
    }
    plans_[static_cast<std::size_t>(level)] = std::move(plan);
  }
  set_limits(exchange);
  if (exchange.api->type == model::ApiType::kHttp) {
    return admit_request(exchange);
  }
  for (std::size_t i = 0; i < limit_count_; ++i) {
    const Limit& limit = limits_[i];
    if (limit.counter->used_up(allowance_of(*limit.plan))) {
      return refuse(i);
    }
    exchange.may_drop =
        exchange.may_drop || drops(limit.plan->on_limit) || drops(limit.plan->on_limit_backend);
  }
  return Verdict::pass();
}

Verdict ThrottlingFilter::refuse(std::size_t index) const {
  const Limit& limit = limits_[index];
  const Level level = levels_[index];
  return Verdict::refuse(refusal_of(level),
                         fmt::format("The {} plan {} ({}) is used up.", name_of(level),
                                     limit.plan->name, limit_text(*limit.plan)),
                         static_cast<int>(seconds_until(limit.counter->end(), clock_->wall())));
}

Verdict ThrottlingFilter::admit_request(Exchange& exchange) {
  const http::BodyFraming body = http::request_body(exchange.request);
  body_charged_ = body.kind == http::BodyFraming::kLength;
  for (std::size_t i = 0; i < limit_count_; ++i) {
    const auto& [counter, plan] = limits_[i];
    const Allowance allowance = allowance_of(*plan);
    if (counter->used_up(allowance) || !counter->admits(allowance, body.length)) {
      return refuse(i);
    }
  }
  for (std::size_t i = 0; i < limit_count_; ++i) {
    const auto& [counter, plan] = limits_[i];
    if (counter->charge(allowance_of(*plan), body.length, charges_[i])) {
      continue;
    }
    for (std::size_t charged = 0; charged < i; ++charged) {  // another worker was faster
      const Limit& one = limits_[charged];
      one.counter->give_back(allowance_of(*one.plan), body.length, charges_[charged]);
    }
    return refuse(i);
  }
  return Verdict::pass();
}

Verdict ThrottlingFilter::data(Exchange& exchange, const DataUnit& unit) {
  const std::size_t count = limit_count_;
  if (count == 0) {
    return Verdict::pass();
  }
  if (!unit.begins_message) {
    const bool charged = body_charged_ && unit.direction == Direction::kUp;
    if (counts_bytes_ && !charged) {
      for (std::size_t i = 0; i < count; ++i) {
        if (limits_[i].plan->bytes != 0) {
          limits_[i].counter->add_bytes(unit.payload_bytes);
        }
      }
    }
    return Verdict::pass();
  }
  const Wall now = clock_->wall();
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [counter, plan] = limits_[i];
    counter->roll(now, plan->per);
    const Allowance allowance = allowance_of(*plan);
    if (!counter->admits(allowance, bytes_of(exchange, *plan, allowance, unit))) [[unlikely]] {
      return act(exchange, i, unit);
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [counter, plan] = limits_[i];
    const Allowance allowance = allowance_of(*plan);
    if (!counter->charge(allowance, bytes_of(exchange, *plan, allowance, unit), charges_[i]))
        [[unlikely]] {
      // Another worker was faster since the check.
      give_back(exchange, unit, i);
      return act(exchange, i, unit);
    }
  }
  held_[static_cast<std::size_t>(unit.direction)] = false;
  return Verdict::pass();
}

void ThrottlingFilter::give_back(const Exchange& exchange, const DataUnit& unit,
                                 std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [counter, plan] = limits_[i];
    const Allowance allowance = allowance_of(*plan);
    counter->give_back(allowance, bytes_of(exchange, *plan, allowance, unit), charges_[i]);
  }
}

void ThrottlingFilter::undo(Exchange& exchange, const DataUnit& unit) {
  if (unit.begins_message) {
    give_back(exchange, unit, limit_count_);
  }
}

Verdict ThrottlingFilter::act(Exchange& exchange, std::size_t index, const DataUnit& unit) {
  const Limit& limit = limits_[index];
  const Clock& clock = *exchange.services->clock;
  const Wall end = limit.counter->end();
  const LimitAction what = action(exchange, *limit.plan, unit.direction);
  bool& held = held_[static_cast<std::size_t>(unit.direction)];
  if (exchange.account != nullptr && !(what == LimitAction::kDelay && held)) {
    telemetry::Account& account = *exchange.account;
    telemetry::Account::add(
        unit.direction == Direction::kUp ? account.throttled_up : account.throttled_down, 1);
  }
  held = what == LimitAction::kDelay;
  const std::int64_t left_s = seconds_until(end, clock.wall());
  const std::string named = fmt::format("{} plan {}", name_of(levels_[index]), limit.plan->name);
  switch (what) {
    case LimitAction::kDrop:
      return Verdict::drop();
    case LimitAction::kDelay:
      return Verdict::hold(clock.now() +
                           std::max(end - clock.wall(), nanoseconds(milliseconds(1))));
    case LimitAction::kClose:
      return Verdict::close(filter::CloseCause::kThrottled,
                            fmt::format("{} is used up; it opens in {} s", named, left_s));
    case LimitAction::kNotify:
      break;
  }
  std::string notice(exchange.api->throttle_notice.empty()
                         ? kDefaultNotice
                         : std::string_view(exchange.api->throttle_notice));
  replace_all(notice, "{limit}", named);
  replace_all(notice, "{seconds}", fmt::format("{}", left_s));
  return Verdict::notify(std::move(notice));
}

Verdict ThrottlingFilter::recheck(Exchange& exchange) {
  for (const Level level : kAllLevels) {
    std::shared_ptr<const Plan>& present = plans_[static_cast<std::size_t>(level)];
    const std::string name = plan_name(exchange, level);
    if (name.empty()) {
      present = nullptr;
      continue;
    }
    exchange.depends_on(model::Subject::Kind::kPlan, name);
    std::shared_ptr<const Plan> plan = exchange.services->find_plan(name);
    if (plan != nullptr) {
      present = std::move(plan);
    } else if (present != nullptr && present->name == name) {
      return Verdict::close(filter::CloseCause::kPlanWithdrawn);
    }
    // Else another plan was chosen and has not come yet: the present one stays until it does.
  }
  set_limits(exchange);
  return Verdict::pass();
}

void add_to(filter::FilterRegistry& registry) {
  filter::add_filter<ThrottlingConfig>(
      registry, "throttling",
      [](const ThrottlingConfig&, filter::SharedState& shared)
          -> absl::StatusOr<std::shared_ptr<const filter::FilterFactory>> {
        return std::make_shared<ThrottlingFactory>(shared.get<CounterTable>());
      });
}

}  // namespace sluice::filters::throttling
