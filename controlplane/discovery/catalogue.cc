#include "controlplane/discovery/catalogue.h"

#include <fmt/format.h>

#include <utility>

#include "proxy/base/log.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::discovery {

namespace {

namespace v1 = ::sluice::config::v1;
using config::Kind;
using config::ResourceKey;

constexpr std::string_view kDefaultGroup = "default";
constexpr std::string_view kUpstreamPrefix = "upstream:";

absl::Status cannot_parse(const ResourceKey& key) {
  return invalid_argument(
      fmt::format("{} {} in the store cannot be parsed", config::kind_name(key.kind), key.name));
}

void refer_to_upstreams(const google::protobuf::RepeatedPtrField<std::string>& endpoints,
                        std::set<ResourceKey>& refers) {
  for (const std::string& endpoint : endpoints) {
    if (endpoint.starts_with(kUpstreamPrefix)) {
      refers.insert({Kind::kUpstream, endpoint.substr(kUpstreamPrefix.size())});
    }
  }
}

}  // namespace

bool allows_local(const std::string& gateway_group) {
  v1::GatewayGroup group;
  return group.ParseFromString(gateway_group) && group.allow_local_endpoints();
}

absl::StatusOr<Catalogue::Item> Catalogue::make_item(const ResourceKey& key,
                                                     std::string spec) const {
  Item item;
  if (key.kind == Kind::kApi) {
    v1::Api api;
    if (!api.ParseFromString(spec)) {
      return cannot_parse(key);
    }
    item.groups.insert(api.groups().begin(), api.groups().end());
    refer_to_upstreams(api.endpoints().production(), item.refers);
    refer_to_upstreams(api.endpoints().sandbox(), item.refers);
  } else if (key.kind == Kind::kListener) {
    v1::Listener listener;
    if (!listener.ParseFromString(spec)) {
      return cannot_parse(key);
    }
    if (!listener.group().empty()) {
      item.groups.insert(listener.group());
    }
    const bool allowed = local_groups_.contains(
        listener.group().empty() ? std::string(kDefaultGroup) : listener.group());
    if (listener.allow_local_endpoints() != allowed) {
      listener.set_allow_local_endpoints(allowed);
      item.resource = sync::make_resource(key.name, listener);
    }
    if (listener.has_tls()) {
      item.refers.insert({Kind::kSecret, listener.tls().secret()});
    }
  } else if (key.kind == Kind::kUpstream) {
    v1::Upstream upstream;
    if (!upstream.ParseFromString(spec)) {
      return cannot_parse(key);
    }
    if (!upstream.tls().client_certificate().empty()) {
      item.refers.insert({Kind::kSecret, upstream.tls().client_certificate()});
    }
  }
  const bool grouped = key.kind == Kind::kApi || key.kind == Kind::kListener;
  if (grouped && item.groups.empty()) {
    item.groups.insert(std::string(kDefaultGroup));
  }
  if (item.resource == nullptr) {
    auto resource = std::make_shared<sync::Resource>();
    resource->name = key.name;
    resource->version = sync::content_version(spec);
    resource->bytes = std::move(spec);
    item.resource = std::move(resource);
  }
  return item;
}

absl::Status Catalogue::load(const store::Store& store, const std::string& organisation) {
  Touched ignored;
  items_.clear();
  groups_.clear();
  SLUICE_ASSIGN_OR_RETURN(const std::vector<store::Row> groups,
                          store.all(organisation, "GatewayGroup"));
  for (const store::Row& row : groups) {
    set_group(row.name, allows_local(row.spec), ignored);
  }
  for (const Kind kind : config::kCompiledKinds) {
    SLUICE_ASSIGN_OR_RETURN(std::vector<store::Row> rows,
                            store.all(organisation, std::string(config::kind_name(kind))));
    for (store::Row& row : rows) {
      const absl::Status put = this->put({kind, row.name}, std::move(row.spec), ignored);
      if (!put.ok()) {
        log::error("{}: proxies do not get it", message_of(put));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Catalogue::put(const ResourceKey& key, std::string spec, Touched& touched) {
  SLUICE_ASSIGN_OR_RETURN(const Item item, make_item(key, std::move(spec)));
  replace(key, &item, touched);
  return absl::OkStatus();
}

void Catalogue::set_group(const std::string& name, bool allow_local_endpoints, Touched& touched) {
  const bool changed =
      allow_local_endpoints ? local_groups_.insert(name).second : local_groups_.erase(name) > 0;
  if (!changed) {
    return;
  }
  std::map<ResourceKey, std::string> listeners;
  for (const auto& [key, item] : items_) {
    if (key.kind == Kind::kListener && item.groups.contains(name)) {
      listeners.emplace(key, item.resource->bytes);
    }
  }
  for (auto& [key, spec] : listeners) {
    put(key, std::move(spec), touched).IgnoreError();  // it was parsed before
  }
}

void Catalogue::erase(const ResourceKey& key, Touched& touched) { replace(key, nullptr, touched); }

// A group that is first heard of sees the plans.
Catalogue::Group& Catalogue::group_of(const std::string& name) {
  const auto [it, made] = groups_.try_emplace(name);
  if (made) {
    for (auto item = items_.lower_bound({Kind::kPlan, ""});
         item != items_.end() && item->first.kind == Kind::kPlan; ++item) {
      it->second.visible[Kind::kPlan][item->first.name] = item->second.resource;
    }
  }
  return it->second;
}

void Catalogue::show(const std::string& name, Group& group, const ResourceKey& key, bool seen,
                     Touched& touched) {
  const auto item = items_.find(key);
  if (seen && item != items_.end()) {
    group.visible[key.kind][key.name] = item->second.resource;
  } else {
    group.visible[key.kind].erase(key.name);
  }
  touched[name].insert(key);
}

void Catalogue::refer(const std::string& name, Group& group, const std::set<ResourceKey>& targets,
                      Touched& touched) {
  for (const ResourceKey& target : targets) {
    if (++group.referred[target] == 1) {
      show(name, group, target, true, touched);
      const auto item = items_.find(target);
      if (item != items_.end()) {
        refer(name, group, item->second.refers, touched);
      }
    }
  }
}

void Catalogue::forget(const std::string& name, Group& group, const std::set<ResourceKey>& targets,
                       Touched& touched) {
  for (const ResourceKey& target : targets) {
    if (--group.referred[target] == 0) {
      group.referred.erase(target);
      show(name, group, target, false, touched);
      const auto item = items_.find(target);
      if (item != items_.end()) {
        forget(name, group, item->second.refers, touched);
      }
    }
  }
}

void Catalogue::replace(const ResourceKey& key, const Item* item, Touched& touched) {
  Item old;
  if (const auto it = items_.find(key); it != items_.end()) {
    old = std::move(it->second);
    items_.erase(it);
  }
  if (item != nullptr) {
    items_.emplace(key, *item);
  }
  if (key.kind != Kind::kApi && key.kind != Kind::kListener) {
    for (auto& [name, group] : groups_) {
      const bool seen = key.kind == Kind::kPlan || group.referred.contains(key);
      if (seen) {
        show(name, group, key, true, touched);
        forget(name, group, old.refers, touched);
        refer(name, group, item == nullptr ? std::set<ResourceKey>() : item->refers, touched);
      }
    }
    return;
  }
  for (const std::string& name : old.groups) {
    Group& group = group_of(name);
    show(name, group, key, false, touched);
    forget(name, group, old.refers, touched);
  }
  if (item == nullptr) {
    return;
  }
  for (const std::string& name : item->groups) {
    Group& group = group_of(name);
    show(name, group, key, true, touched);
    refer(name, group, item->refers, touched);
  }
}

std::vector<std::string> Catalogue::names(std::string_view group, Kind kind) const {
  std::vector<std::string> names;
  const auto it = groups_.find(group);
  if (it == groups_.end()) {
    return names;
  }
  const auto visible = it->second.visible.find(kind);
  if (visible != it->second.visible.end()) {
    for (const auto& [name, resource] : visible->second) {
      names.push_back(name);
    }
  }
  return names;
}

sync::ResourcePtr Catalogue::get(std::string_view group, Kind kind, std::string_view name) const {
  const auto it = groups_.find(group);
  if (it == groups_.end()) {
    return nullptr;
  }
  const auto visible = it->second.visible.find(kind);
  if (visible == it->second.visible.end()) {
    return nullptr;
  }
  const auto found = visible->second.find(name);
  return found == visible->second.end() ? nullptr : found->second;
}

}  // namespace sluice::controlplane::discovery
