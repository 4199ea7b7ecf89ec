#include "proxy/config/static_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "proxy/config/build.h"
#include "proxy/config/default_plans.h"
#include "proxy/config/identities.h"
#include "proxy/config/manifest.h"

namespace sluice::config {
namespace {

const std::vector<std::string> kKinds = {"Listener",    "Upstream",     "Api",   "Plan",
                                         "Application", "Subscription", "Token", "Secret"};

class Loader {
 public:
  StaticConfig load(ManifestFile file);

 private:
  template <class Spec>
  struct Entry {
    const Manifest* manifest;
    Spec spec;
  };

  void read(Manifest& manifest);
  void add_resource(Kind kind, const Manifest& manifest, const google::protobuf::Message& spec);
  void add_default_plans();
  void warn_of(const Entry<v1::Api>& api);
  void check_subscription(const Entry<v1::Subscription>& entry);
  void add_grants();
  void add_token(const Entry<v1::Token>& entry);
  const v1::Plan* find_plan(const std::string& name) const;

  void fault(const Manifest& manifest, std::string_view field, std::string_view message) {
    if (!manifest.is_unread(field)) {
      config_.faults.push_back(fmt::format("{}{} {}: {}: {}", manifest.place(field), manifest.kind,
                                           manifest.name, field, message));
    }
  }
  void warn(const Manifest& manifest, std::string_view field, std::string_view message) {
    config_.warnings.push_back(
        fmt::format("{}{} {}: {}", manifest.place(field), manifest.kind, manifest.name, message));
  }

  StaticConfig config_;
  std::map<std::string, v1::Plan> plans_;
  std::map<std::string, Entry<v1::Api>> apis_;
  std::map<std::string, Entry<v1::Application>> applications_;
  std::vector<Entry<v1::Subscription>> subscriptions_;
  std::vector<Entry<v1::Token>> tokens_;
};

Resource resource_of(Kind kind, std::string name, const google::protobuf::Message& spec) {
  std::string bytes = canonical(spec);
  std::string version = hex(sha256(bytes)).substr(0, 16);
  return {kind, std::move(name), std::move(version), std::move(bytes)};
}

template <class Spec>
Spec as(const google::protobuf::Message& message) {
  Spec spec;
  spec.CopyFrom(message);
  return spec;
}

void Loader::add_resource(Kind kind, const Manifest& manifest,
                          const google::protobuf::Message& spec) {
  config_.delta.upserts.push_back(resource_of(kind, manifest.name, spec));
  config_.sources[{kind, manifest.name}] = manifest;
}

void Loader::read(Manifest& manifest) {
  if (std::find(kKinds.begin(), kKinds.end(), manifest.kind) == kKinds.end()) {
    config_.faults.push_back(fmt::format("{}{} {}: a static file holds {} only",
                                         manifest.place("kind"), manifest.kind, manifest.name,
                                         one_of(kKinds)));
    return;
  }
  // What of it can be read is there for others to refer to.
  Decoded decoded = decode(manifest);
  std::move(decoded.faults.begin(), decoded.faults.end(), std::back_inserter(config_.faults));
  manifest.unread.insert(decoded.unread.begin(), decoded.unread.end());
  const google::protobuf::Message& message = *decoded.message;
  if (manifest.kind == "Application") {
    applications_[manifest.name] = {&manifest, as<v1::Application>(message)};
  } else if (manifest.kind == "Subscription") {
    subscriptions_.push_back({&manifest, as<v1::Subscription>(message)});
  } else if (manifest.kind == "Token") {
    tokens_.push_back({&manifest, as<v1::Token>(message)});
  } else {
    if (manifest.kind == "Plan") {
      plans_[manifest.name] = as<v1::Plan>(message);
    } else if (manifest.kind == "Api") {
      apis_[manifest.name] = {&manifest, as<v1::Api>(message)};
    }
    add_resource(*kind_from_name(manifest.kind), manifest, message);
  }
}

void Loader::add_default_plans() {
  for (NamedPlan& plan : default_plans()) {
    if (plan.name != kUnlimited && plans_.count(plan.name) == 0) {
      config_.delta.upserts.push_back(resource_of(Kind::kPlan, plan.name, plan.plan));
    }
    plans_.try_emplace(plan.name, std::move(plan.plan));
  }
}

void Loader::warn_of(const Entry<v1::Api>& api) {
  if (api.spec.state() == v1::Api::STATE_UNSPECIFIED || api.spec.state() == v1::Api::CREATED) {
    warn(*api.manifest, "spec.state",
         "is CREATED and answers 404; write `state: PUBLISHED` to serve it");
  }
  if (!api.spec.groups().empty()) {
    warn(*api.manifest, "spec.groups", "groups have no meaning in a static file; it is served");
  }
}

const v1::Plan* Loader::find_plan(const std::string& name) const {
  const auto it = plans_.find(name);
  return it == plans_.end() ? nullptr : &it->second;
}

void Loader::check_subscription(const Entry<v1::Subscription>& entry) {
  const Manifest& at = *entry.manifest;
  if (applications_.count(entry.spec.application()) == 0) {
    fault(at, "spec.application",
          fmt::format("there is no Application '{}' in this file", entry.spec.application()));
  }
  const auto api = apis_.find(entry.spec.api());
  if (api == apis_.end()) {
    return fault(at, "spec.api",
                 fmt::format("there is no Api '{}' in this file", entry.spec.api()));
  }
  const auto& plans = api->second.spec.plans();
  if (std::find(plans.begin(), plans.end(), entry.spec.plan()) == plans.end()) {
    fault(at, "spec.plan",
          fmt::format("'{}' is not one of the plans of Api {} ({})", entry.spec.plan(),
                      entry.spec.api(), fmt::join(plans, ", ")));
  }
}

void Loader::add_grants() {
  std::map<std::string, v1::Grants> grants;
  for (const auto& [name, entry] : applications_) {
    const std::string plan = entry.spec.plan().empty() ? kUnlimited : entry.spec.plan();
    const v1::Plan* found = find_plan(plan);
    if (found == nullptr) {
      fault(*entry.manifest, "spec.plan", fmt::format("there is no Plan '{}'", plan));
    } else if (!found->levels().empty() && std::find(found->levels().begin(), found->levels().end(),
                                                     "application") == found->levels().end()) {
      fault(*entry.manifest, "spec.plan",
            fmt::format("Plan {} is not for applications (its levels say)", plan));
    }
    grants[name].set_application_name(name);
    *grants[name].mutable_application() = entry.spec;
  }
  for (const Entry<v1::Subscription>& entry : subscriptions_) {
    check_subscription(entry);
    if (const auto it = grants.find(entry.spec.application()); it != grants.end()) {
      *it->second.add_subscriptions() = entry.spec;
    }
  }
  for (const auto& [name, granted] : grants) {
    auto model = to_model(granted);
    if (model.ok()) {
      config_.identities.grants.push_back(*std::move(model));
    } else {
      fault(*applications_[name].manifest, "spec", message_of(model.status()));
    }
  }
}

void Loader::add_token(const Entry<v1::Token>& entry) {
  const Manifest& at = *entry.manifest;
  auto token = to_model(entry.spec);
  if (!token.ok()) {
    return fault(at, "spec", message_of(token.status()));
  }
  if (applications_.count(token->application) == 0) {
    return fault(at, "spec.application",
                 fmt::format("there is no Application '{}' in this file", token->application));
  }
  if (token->expires <= system_wall()) {
    warn(at, "spec.expires", "has expired");
  }
  config_.identities.tokens.push_back(*std::move(token));
}

StaticConfig Loader::load(ManifestFile file) {
  config_.faults = std::move(file.faults);
  for (Manifest& manifest : file.manifests) {
    read(manifest);
  }
  add_default_plans();
  for (const auto& [name, api] : apis_) {
    warn_of(api);
  }
  add_grants();
  for (const Entry<v1::Token>& token : tokens_) {
    add_token(token);
  }
  // The same hash in capitals is the same token.
  std::set<Sha256> hashes;
  for (const model::Token& token : config_.identities.tokens) {
    if (!hashes.insert(token.hash).second) {
      config_.faults.push_back(fmt::format(
          "{}Token {} stands twice", file.manifests.empty() ? "" : file.manifests[0].file + ": ",
          hex(token.hash)));
    }
  }
  const bool listens = std::any_of(config_.delta.upserts.begin(), config_.delta.upserts.end(),
                                   [](const Resource& r) { return r.kind == Kind::kListener; });
  if (!listens) {
    config_.warnings.emplace_back("there is no Listener, so nothing is served");
  }
  return std::move(config_);
}

}  // namespace

std::string StaticConfig::text(const std::vector<Fault>& compiled) const {
  std::string lines = fmt::format("{}", fmt::join(faults, "\n"));
  for (const Fault& fault : compiled) {
    const auto source = sources.find(fault.key());
    if (source != sources.end() && source->second.is_unread(fault.field)) {
      continue;
    }
    lines += lines.empty() ? "" : "\n";
    lines += (source == sources.end() ? "" : source->second.place(fault.field)) + fault.text();
  }
  return lines;
}

StaticConfig load_static(std::string_view text, std::string_view file) {
  return Loader().load(parse_manifests(text, file));
}

absl::StatusOr<StaticConfig> load_static_file(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(ManifestFile file, parse_manifest_file(path));
  return Loader().load(std::move(file));
}

}  // namespace sluice::config
