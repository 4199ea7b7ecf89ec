#include "controlplane/model/lifecycle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

namespace sluice::controlplane::model {
namespace {

using config::v1::Api;
using config::v1::Subscription;

struct Transition {
  Api::State from;
  const char* action;
  Api::State to;
};

// Publishing what is published and prototyping a prototype change nothing, as with the reference.
constexpr Transition kTransitions[] = {
    {Api::CREATED, "publish", Api::PUBLISHED},       {Api::CREATED, "prototype", Api::PROTOTYPED},
    {Api::PROTOTYPED, "publish", Api::PUBLISHED},    {Api::PROTOTYPED, "demote", Api::CREATED},
    {Api::PROTOTYPED, "prototype", Api::PROTOTYPED}, {Api::PUBLISHED, "block", Api::BLOCKED},
    {Api::PUBLISHED, "prototype", Api::PROTOTYPED},  {Api::PUBLISHED, "demote", Api::CREATED},
    {Api::PUBLISHED, "deprecate", Api::DEPRECATED},  {Api::PUBLISHED, "publish", Api::PUBLISHED},
    {Api::BLOCKED, "deprecate", Api::DEPRECATED},    {Api::BLOCKED, "republish", Api::PUBLISHED},
    {Api::DEPRECATED, "retire", Api::RETIRED},
};

std::string allowed_from(Api::State from) {
  std::string text;
  for (const Transition& transition : kTransitions) {
    if (transition.from == from) {
      text += (text.empty() ? "" : ", ") + std::string(transition.action);
    }
  }
  return text.empty() ? "nothing; it is final" : text;
}

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

// A run of digits without its leading zeros.
std::string_view take_number(std::string_view& text) {
  std::size_t size = 0;
  while (size < text.size() && is_digit(text[size])) {
    ++size;
  }
  std::string_view digits = text.substr(0, size);
  text.remove_prefix(size);
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  return digits;
}

Resource with_state(const Resource& resource, Api::State state) {
  auto spec = std::make_shared<Api>(resource.as<Api>());
  spec->set_state(state);
  Resource changed = resource;
  changed.spec = std::move(spec);
  return changed;
}

void copy_subscriptions(Draft& draft, const Key& from, const Resource& to) {
  const auto& offered = to.as<Api>().plans();
  for (const Key& referrer : draft.referrers(from)) {
    if (referrer.kind != "Subscription") {
      continue;
    }
    const auto& old = draft.find(referrer)->as<Subscription>();
    const Key copy{"Subscription", fmt::format("{}:{}", old.application(), to.key.name)};
    const bool plan_offered =
        std::find(offered.begin(), offered.end(), old.plan()) != offered.end();
    if (!plan_offered || draft.find(copy) != nullptr) {
      continue;
    }
    auto spec = std::make_shared<Subscription>(old);
    spec->set_api(to.key.name);
    Resource made;
    made.key = copy;
    made.spec = std::move(spec);
    made.labels = draft.find(referrer)->labels;
    draft.put(std::move(made));
  }
}

}  // namespace

absl::StatusOr<ApiState> next_state(ApiState from, std::string_view action) {
  bool known = false;
  for (const Transition& transition : kTransitions) {
    if (transition.action == action) {
      known = true;
      if (transition.from == from) {
        return transition.to;
      }
    }
  }
  if (!known) {
    return invalid_argument(
        fmt::format("'{}' is no action; they are publish, prototype, block, republish, deprecate, "
                    "retire, demote",
                    action));
  }
  return failed_precondition(fmt::format("an API that is {} cannot {}; what can be done: {}",
                                         Api::State_Name(from), action, allowed_from(from)));
}

bool reachable(ApiState from, ApiState to) {
  std::set<ApiState> seen = {from};
  for (std::size_t before = 0; before != seen.size();) {
    before = seen.size();
    for (const Transition& transition : kTransitions) {
      if (seen.count(transition.from) > 0) {
        seen.insert(transition.to);
      }
    }
  }
  return seen.count(to) > 0;
}

int compare_versions(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    if (is_digit(a.front()) && is_digit(b.front())) {
      const std::string_view left = take_number(a);
      const std::string_view right = take_number(b);
      if (left.size() != right.size()) {
        return left.size() < right.size() ? -1 : 1;
      }
      if (const int order = left.compare(right); order != 0) {
        return order;
      }
      continue;
    }
    if (a.front() != b.front()) {
      return a.front() < b.front() ? -1 : 1;
    }
    a.remove_prefix(1);
    b.remove_prefix(1);
  }
  return a.empty() == b.empty() ? 0 : (a.empty() ? -1 : 1);
}

std::vector<Key> older_versions(const Draft& draft, const Key& api) {
  const auto& own = draft.find(api)->as<Api>();
  std::vector<const Resource*> older;
  draft.each("Api", [&](const Resource& other) {
    const auto& spec = other.as<Api>();
    if (other.key != api && spec.context() == own.context() &&
        compare_versions(spec.version(), own.version()) < 0) {
      older.push_back(&other);
    }
  });
  std::sort(older.begin(), older.end(), [](const Resource* a, const Resource* b) {
    return compare_versions(a->as<Api>().version(), b->as<Api>().version()) < 0;
  });
  std::vector<Key> keys;
  for (const Resource* resource : older) {
    keys.push_back(resource->key);
  }
  return keys;
}

absl::Status change_state(Draft& draft, const Key& api, std::string_view action,
                          const PublishOptions& options) {
  const Resource* found = draft.find(api);
  if (found == nullptr) {
    return not_found(
        fmt::format("Api {} does not exist; `sluicectl get Api` lists what does", api.name));
  }
  const Api::State from = found->as<Api>().state();
  SLUICE_ASSIGN_OR_RETURN(const Api::State to, next_state(from, action));
  const Resource changed = with_state(*found, to);
  draft.put(changed);
  if (to != Api::PUBLISHED || (from != Api::CREATED && from != Api::PROTOTYPED)) {
    return absl::OkStatus();
  }
  std::vector<Key> older = older_versions(draft, api);
  std::reverse(older.begin(), older.end());  // the newest one's subscriptions win
  for (const Key& key : older) {
    const Resource old = *draft.find(key);
    const Api::State state = old.as<Api>().state();
    if (!options.require_resubscription && state != Api::RETIRED) {
      copy_subscriptions(draft, key, changed);
    }
    if (options.deprecate_old_versions && state == Api::PUBLISHED) {
      draft.put(with_state(old, Api::DEPRECATED));
    }
  }
  return absl::OkStatus();
}

}  // namespace sluice::controlplane::model
