// The steps of a compile that concern APIs, what they claim and who uses what.
#include <algorithm>

#include "proxy/config/compiler.h"

namespace sluice::config {

void Compiler::change_apis() {
  each(Kind::kApi, false, [this](Item& item) { upsert_api(item); });
  each(Kind::kApi, true, [this](Item& item) {
    if (const auto& old = apis_.find(item.key.name)) {
      api_changes_.push_back({&item, old, nullptr});
    }
  });
  settle_routes();
  for (const ApiChange& change : api_changes_) {
    if (!change.item->faults.empty()) {
      continue;
    }
    touched_.insert(change.item->key);
    index(change.old.get(), change.now.get());
    if (change.now == nullptr) {
      apis_.erase(change.item->key.name);
    } else {
      apis_.put(change.now);
    }
  }
}

void Compiler::upsert_api(Item& item) {
  v1::Api spec;
  Sha256 content{};
  if (!parse(item, spec, content)) {
    return;
  }
  const std::shared_ptr<const CompiledApi>& old = apis_.find(item.key.name);
  if (old != nullptr && old->content == content) {
    return;
  }
  Faults faults(item.key.kind, item.key.name);
  std::shared_ptr<CompiledApi> api = build_api(spec, faults, item.key.name, old.get(), around());
  if (api == nullptr) {
    return refuse(item, faults);
  }
  api->content = content;
  api_changes_.push_back({&item, old, std::move(api)});
}

// ---- routes

std::vector<Compiler::Claim> Compiler::claims_of(const CompiledApi& api) {
  const bool live = is_routed(api.api.state);
  std::vector<Claim> claims = {{versioned_path(api.api), live}};
  // A default version that serves nobody leaves its path to the next one.
  if (std::string path = default_path(api.api); live && !path.empty()) {
    claims.push_back({std::move(path), true});
  }
  return claims;
}

void Compiler::put_routes(const std::shared_ptr<const CompiledApi>& api) {
  for (Claim& claim : claims_of(*api)) {
    routes_.put(std::make_shared<const Route>(Route{std::move(claim.path), api, claim.live}));
  }
}

void Compiler::drop_routes(const CompiledApi& api) {
  for (const Claim& claim : claims_of(api)) {
    const auto& route = routes_.find(claim.path);
    if (route != nullptr && route->api.get() == &api) {
      routes_.erase(claim.path);
    }
  }
}

// All changed APIs give up what they claim before any claims anew, so that paths can change hands
// within one delta.
void Compiler::settle_routes() {
  for (ApiChange& change : api_changes_) {
    if (change.old != nullptr) {
      drop_routes(*change.old);
    }
    changes_by_now_[change.now.get()] = &change;
  }
  for (ApiChange& change : api_changes_) {
    if (change.now != nullptr) {
      place(change);
    }
  }
}

void Compiler::place(ApiChange& change) {
  bool versioned = true;  // the first claim
  for (const Claim& claim : claims_of(*change.now)) {
    if (const auto& taken = routes_.find(claim.path)) {
      const std::string& holder = taken->api->api.name;
      refuse(*change.item, versioned ? "spec.context" : "spec.default_version",
             versioned ? fmt::format("{} is the path of Api {} already", claim.path, holder)
                       : fmt::format("{} is served by Api {} already; unset its default_version "
                                     "in the same change",
                                     claim.path, holder));
      return restore(change);
    }
    versioned = false;
  }
  put_routes(change.now);
}

// The change was refused: its old self claims again what it had, and a changed API that has taken
// it meanwhile is refused too. The base had no conflicts, so this ends.
void Compiler::restore(ApiChange& change) {
  if (change.old == nullptr) {
    return;
  }
  for (const Claim& claim : claims_of(*change.old)) {
    const std::shared_ptr<const Route> taken = routes_.find(claim.path);
    if (taken == nullptr || taken->api == change.old) {
      continue;
    }
    ApiChange& taker = *changes_by_now_.at(taken->api.get());
    drop_routes(*taker.now);
    refuse(*taker.item, "spec.context",
           fmt::format("{} is still the path of Api {}, whose change was refused", claim.path,
                       change.item->key.name));
    restore(taker);
  }
  put_routes(change.old);
}

void Compiler::replace_api(std::shared_ptr<const CompiledApi> fresh) {
  touched_.insert({Kind::kApi, fresh->api.name});
  put_routes(fresh);
  apis_.put(std::move(fresh));
}

// ---- what follows from changes elsewhere

void Compiler::renew_clusters() {
  for (const ResourceKey& key : std::set<ResourceKey>(touched_)) {
    if (key.kind != Kind::kUpstream || upstreams_.find(key.name) == nullptr) {
      continue;
    }
    const std::shared_ptr<const upstream::Cluster> cluster = upstreams_.find(key.name)->cluster;
    for (const std::string& name : users('u', key.name)) {
      const std::shared_ptr<const CompiledApi>& api = apis_.find(name);
      const bool production = api->production_upstream == key.name && api->production != cluster;
      const bool sandbox = api->sandbox_upstream == key.name && api->sandbox != cluster;
      if (!production && !sandbox) {
        continue;
      }
      auto fresh = std::make_shared<CompiledApi>(*api);
      fresh->production = production ? cluster : fresh->production;
      fresh->sandbox = sandbox ? cluster : fresh->sandbox;
      replace_api(std::move(fresh));
    }
  }
}

void Compiler::renew_chains() {
  const auto& old = base_->listeners_;
  const bool same = std::equal(
      listeners_.begin(), listeners_.end(), old.begin(), old.end(),
      [](const auto& a, const auto& b) { return a->name == b->name && a->chain == b->chain; });
  if (same) {
    return;
  }
  for (const std::string& name : users('f', "")) {
    auto fresh = std::make_shared<CompiledApi>(*apis_.find(name));
    fresh->chains = chains_of(*fresh, listeners_);
    replace_api(std::move(fresh));
  }
}

// ---- who uses what

namespace {

std::string use_id(char what, std::string_view target, std::size_t shard) {
  return fmt::format("{}{}/{}", what, target, shard);
}

}  // namespace

std::set<std::string> Compiler::uses_of(const CompiledApi* api) {
  std::set<std::string> uses;
  if (api == nullptr) {
    return uses;
  }
  const std::size_t shard = ShardedMap<CompiledApi>::shard_of(api->api.name);
  for (const std::string& plan : api->api.plans) {
    uses.insert(use_id('p', plan, shard));
  }
  uses.insert(use_id('a', api->api.api_plan, shard));
  for (const model::ApiResource& resource : api->api.resources) {
    if (!resource.plan.empty()) {
      uses.insert(use_id('a', resource.plan, shard));
    }
  }
  for (const std::string& upstream : {api->production_upstream, api->sandbox_upstream}) {
    if (!upstream.empty()) {
      uses.insert(use_id('u', upstream, shard));
    }
  }
  if (!api->filters.empty()) {
    uses.insert(use_id('f', "", shard));
  }
  return uses;
}

void Compiler::index(const CompiledApi* old, const CompiledApi* now) {
  const std::set<std::string> before = uses_of(old);
  const std::set<std::string> after = uses_of(now);
  const std::string& name = old != nullptr ? old->api.name : now->api.name;
  for (const std::string& id : before) {
    if (after.count(id) > 0) {
      continue;
    }
    auto users = std::make_shared<Users>(*users_.find(id));
    std::erase(users->apis, name);
    if (users->apis.empty()) {
      users_.erase(id);
    } else {
      users_.put(std::move(users));
    }
  }
  for (const std::string& id : after) {
    if (before.count(id) > 0) {
      continue;
    }
    const auto& known = users_.find(id);
    auto users = known == nullptr ? std::make_shared<Users>() : std::make_shared<Users>(*known);
    users->id = id;
    users->apis.insert(std::lower_bound(users->apis.begin(), users->apis.end(), name), name);
    users_.put(std::move(users));
  }
}

std::vector<std::string> Compiler::users(char what, std::string_view target) const {
  std::vector<std::string> all;
  for (std::size_t shard = 0; shard < ShardedMap<CompiledApi>::kShards; ++shard) {
    if (const auto& some = users_.find(use_id(what, target, shard))) {
      all.insert(all.end(), some->apis.begin(), some->apis.end());
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

std::string Compiler::in_use_by(std::string_view kind, const std::vector<std::string>& users) {
  constexpr std::size_t kShown = 3;
  std::string text = fmt::format("is used by {} ", kind);
  for (std::size_t i = 0; i < users.size() && i < kShown; ++i) {
    text += (i == 0 ? "" : ", ") + users[i];
  }
  return users.size() > kShown ? fmt::format("{} and {} more", text, users.size() - kShown) : text;
}

}  // namespace sluice::config
