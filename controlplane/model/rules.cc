#include "controlplane/model/rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "controlplane/model/kind_rules.h"
#include "controlplane/model/lifecycle.h"
#include "controlplane/model/limits.h"
#include "proxy/config/text.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::model {
namespace {

using config::v1::Api;
using config::v1::Application;
using config::v1::Credential;
using config::v1::KeyType;
using config::v1::Subscription;

constexpr std::size_t kNamedUsersMax = 5;

bool is_compiled(const std::string& kind) {
  return kind == "Secret" || kind == "Upstream" || kind == "Plan" || kind == "Listener" ||
         kind == "Api";
}

// The fields behind a composed name, left and right of the colon.
void split_name(const std::string& kind, std::string_view name, Message& spec) {
  const std::size_t colon = name.find(':');
  if (colon == std::string_view::npos) {
    return;
  }
  const std::string left(name.substr(0, colon));
  const std::string right(name.substr(colon + 1));
  if (kind == "Subscription") {
    auto& subscription = static_cast<Subscription&>(spec);
    subscription.set_application(subscription.application().empty() ? left
                                                                    : subscription.application());
    subscription.set_api(subscription.api().empty() ? right : subscription.api());
  } else if (kind == "Credential") {
    auto& credential = static_cast<Credential&>(spec);
    credential.set_application(credential.application().empty() ? left : credential.application());
    KeyType type = credential.key_type();
    if (type == config::v1::KEY_TYPE_UNSPECIFIED && config::v1::KeyType_Parse(right, &type)) {
      credential.set_key_type(type);
    }
  }
}

void start_state(const std::string& kind, Message& spec, const std::string& user) {
  if (kind == "Api") {
    auto& api = static_cast<Api&>(spec);
    api.set_state(api.state() == Api::STATE_UNSPECIFIED ? Api::CREATED : api.state());
  } else if (kind == "Application") {
    auto& application = static_cast<Application&>(spec);
    if (application.status() == Application::STATUS_UNSPECIFIED) {
      application.set_status(Application::APPROVED);
    }
    application.set_owner(application.owner().empty() ? user : application.owner());
  } else if (kind == "Subscription") {
    auto& subscription = static_cast<Subscription&>(spec);
    if (subscription.status() == Subscription::STATUS_UNSPECIFIED) {
      subscription.set_status(Subscription::UNBLOCKED);
    }
  }
}

void check_labels(const Resource& resource, std::vector<Fault>& faults) {
  if (resource.labels.size() > limits::kLabelsMax) {
    faults.push_back({resource.key, "meta.labels",
                      fmt::format("more than {} labels", limits::kLabelsMax), false});
  }
  for (const auto& [label, value] : resource.labels) {
    if (!config::is_name(label)) {
      faults.push_back({resource.key, fmt::format("meta.labels.{}", label),
                        fmt::format("a label's {}", config::kNameRule), false});
    }
    if (value.size() > limits::kLabelValueBytesMax) {
      faults.push_back({resource.key, fmt::format("meta.labels.{}", label),
                        fmt::format("longer than {} bytes", limits::kLabelValueBytesMax), false});
    }
  }
}

// References that compile() does not follow.
void check_references(const Draft& draft, const Resource& resource, std::vector<Fault>& faults) {
  const Kind& kind = *find_kind(resource.key.kind);
  for (const Reference& reference : references_of(kind, *resource.spec)) {
    const bool built_in =
        reference.target.kind == "Plan" && reference.target.name == kUnlimitedPlan;
    const bool followed = is_compiled(resource.key.kind) && is_compiled(reference.target.kind);
    if (!built_in && !followed && draft.find(reference.target) == nullptr) {
      faults.push_back(
          {resource.key, reference.path(),
           fmt::format("there is no {0} {1}; `sluicectl get {0}` lists those that are there",
                       reference.target.kind, reference.target.name),
           false});
    }
  }
}

void check_put(const Draft& draft, const Resource& resource, std::vector<Fault>& faults) {
  const Kind& kind = *find_kind(resource.key.kind);
  if (std::string fault = name_fault(kind, resource.key.name); !fault.empty()) {
    faults.push_back({resource.key, "name", std::move(fault), false});
  }
  if (resource.spec->ByteSizeLong() > limits::kSpecBytesMax) {
    faults.push_back({resource.key, "spec",
                      fmt::format("is longer than {} bytes", limits::kSpecBytesMax), false});
  }
  check_labels(resource, faults);
  check_references(draft, resource, faults);
  check_kind(draft, resource, faults);
}

void check_erase(const Draft& draft, const Key& key, std::vector<Fault>& faults) {
  if ((key.kind == "Plan" && key.name == kUnlimitedPlan) ||
      (key.kind == "GatewayGroup" && key.name == kDefaultGroup)) {
    faults.push_back({key, "", "is built in and cannot be deleted", true});
    return;
  }
  if (key.kind == "User") {
    std::size_t left = 0;
    draft.each("User", [&](const Resource&) { ++left; });
    if (left == 0) {
      faults.push_back({key, "", "is the last user; make another first", true});
    }
  }
  const std::set<Key> users = draft.referrers(key);
  if (users.empty()) {
    return;
  }
  std::string list;
  std::size_t named = 0;
  for (const Key& user : users) {
    if (named++ == kNamedUsersMax) {
      list += fmt::format(" and {} more", users.size() - kNamedUsersMax);
      break;
    }
    list += fmt::format("{}{} {}", named == 1 ? "" : ", ", user.kind, user.name);
  }
  faults.push_back({key, "",
                    fmt::format("is used by {}; delete with cascade, or change these first", list),
                    true});
}

// Takes the entries that are `value` out of a list; how many are left.
int strip(Message& spec, const std::string& path, const std::string& value) {
  Message* message = &spec;
  std::size_t begin = 0;
  for (std::size_t dot; (dot = path.find('.', begin)) != std::string::npos; begin = dot + 1) {
    message = message->GetReflection()->MutableMessage(
        message, message->GetDescriptor()->FindFieldByName(path.substr(begin, dot - begin)));
  }
  const auto* field = message->GetDescriptor()->FindFieldByName(path.substr(begin));
  const auto* reflection = message->GetReflection();
  std::vector<std::string> left;
  for (int i = 0; i < reflection->FieldSize(*message, field); ++i) {
    if (std::string entry = reflection->GetRepeatedString(*message, field, i); entry != value) {
      left.push_back(std::move(entry));
    }
  }
  reflection->ClearField(message, field);
  for (std::string& entry : left) {
    reflection->AddString(message, field, std::move(entry));
  }
  return static_cast<int>(left.size());
}

}  // namespace

std::string Fault::text() const {
  return field.empty() ? fmt::format("{} {}: {}", key.kind, key.name, message)
                       : fmt::format("{} {}: {}: {}", key.kind, key.name, field, message);
}

std::string text(const std::vector<Fault>& faults) {
  std::string all;
  for (const Fault& fault : faults) {
    all += (all.empty() ? "" : "\n") + fault.text();
  }
  return all;
}

std::string name_fault(const Kind& kind, std::string_view name) {
  if (!kind.composed_name) {
    return config::is_name(name) ? "" : fmt::format("'{}' is no name: {}", name, config::kNameRule);
  }
  const std::size_t colon = name.find(':');
  const char* right = kind.name == "Subscription" ? "API" : "PRODUCTION or APPLICATION:SANDBOX";
  if (colon == std::string_view::npos || !config::is_name(name.substr(0, colon)) ||
      !config::is_name(name.substr(colon + 1))) {
    return fmt::format("'{}' is no name of a {}: it is APPLICATION:{}", name, kind.name, right);
  }
  return "";
}

std::string composed_name(const Kind& kind, const Message& spec) {
  std::string left, right;
  if (kind.name == "Subscription") {
    left = static_cast<const Subscription&>(spec).application();
    right = static_cast<const Subscription&>(spec).api();
  } else if (kind.name == "Credential") {
    const auto& credential = static_cast<const Credential&>(spec);
    left = credential.application();
    right = credential.key_type() == config::v1::KEY_TYPE_UNSPECIFIED
                ? ""
                : config::v1::KeyType_Name(credential.key_type());
  }
  return left.empty() || right.empty() ? "" : left + ":" + right;
}

std::vector<Fault> prepare(const Draft& draft, Resource& resource, const std::string& user) {
  const Kind& kind = *find_kind(resource.key.kind);
  std::unique_ptr<Message> spec = kind.new_spec();
  spec->CopyFrom(*resource.spec);
  std::vector<Fault> faults;
  if (kind.composed_name) {
    split_name(kind.name, resource.key.name, *spec);
    const std::string name = composed_name(kind, *spec);
    if (resource.key.name.empty()) {
      resource.key.name = name;
    } else if (!name.empty() && name != resource.key.name) {
      faults.push_back({resource.key, "name",
                        fmt::format("does not fit its fields; by these it would be {}", name),
                        false});
    }
  }
  if (const Resource* old = draft.find(resource.key)) {
    for (const std::string& field : kind.kept) {
      if (!is_set(*spec, field) && is_set(*old->spec, field)) {
        copy_field(*old->spec, *spec, field);
      }
    }
    for (const std::string& field : kind.immutable) {
      if (!is_set(*spec, field)) {
        copy_field(*old->spec, *spec, field);
      } else if (!same_field(*old->spec, *spec, field)) {
        faults.push_back(
            {resource.key, "spec." + field, "never changes; make a new resource instead", false});
      }
    }
    resource.create_ms = old->create_ms;
    resource.revision = old->revision;
  }
  start_state(kind.name, *spec, user);
  resource.spec = std::move(spec);
  return faults;
}

std::vector<Fault> check(const Draft& draft) {
  std::vector<Fault> faults;
  for (const auto& [key, edit] : draft.edits()) {
    if (edit.now) {
      check_put(draft, *edit.now, faults);
    } else {
      check_erase(draft, key, faults);
    }
  }
  return faults;
}

absl::Status erase(Draft& draft, const Key& key, bool cascade) {
  if (draft.find(key) == nullptr) {
    return not_found(fmt::format("{0} {1} does not exist; `sluicectl get {0}` lists what does",
                                 key.kind, key.name));
  }
  draft.erase(key);
  if (!cascade) {
    return absl::OkStatus();
  }
  for (const Key& referrer : draft.referrers(key)) {
    const Resource* found = draft.find(referrer);
    if (found == nullptr) {
      continue;  // an earlier one took it along
    }
    Resource changed = *found;
    const Kind& kind = *find_kind(referrer.kind);
    std::unique_ptr<Message> spec = kind.new_spec();
    spec->CopyFrom(*changed.spec);
    bool gone = false;
    for (const Reference& reference : references_of(kind, *changed.spec)) {
      if (reference.target != key) {
        continue;
      }
      const OnCascade rule = reference.rule->on_cascade;
      gone = gone || rule == OnCascade::kDelete || reference.index < 0 ||
             (strip(*spec, reference.rule->field, reference.rule->prefix + key.name) == 0 &&
              rule == OnCascade::kStripOrDelete);
    }
    if (gone) {
      SLUICE_RETURN_IF_ERROR(erase(draft, referrer, true));
    } else {
      changed.spec = std::move(spec);
      draft.put(std::move(changed));
    }
  }
  return absl::OkStatus();
}

}  // namespace sluice::controlplane::model
