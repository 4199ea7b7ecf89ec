#include "proxy/config/compile.h"

#include <fmt/format.h>

#include <algorithm>

#include "proxy/config/compiler.h"
#include "proxy/config/default_plans.h"
#include "proxy/config/text.h"

namespace sluice::config {
namespace {

model::Subject::Kind subject_kind(Kind kind) {
  switch (kind) {
    case Kind::kUpstream:
      return model::Subject::Kind::kUpstream;
    case Kind::kPlan:
      return model::Subject::Kind::kPlan;
    case Kind::kListener:
      return model::Subject::Kind::kListener;
    default:
      return model::Subject::Kind::kApi;
  }
}

}  // namespace

Compiler::Compiler(std::shared_ptr<const Snapshot> base, const Delta& delta,
                   const CompileContext& context)
    : base_(std::move(base)),
      context_(context),
      secrets_(base_->secrets_),
      upstreams_(base_->upstreams_),
      plans_(base_->plans_),
      apis_(base_->apis_),
      routes_(base_->routes_),
      users_(base_->users_),
      listeners_(base_->listeners_) {
  collect(delta);
}

void Compiler::collect(const Delta& delta) {
  for (const Resource& resource : delta.upserts) {
    add_item({resource.key(), &resource, true, {}});
  }
  for (const ResourceKey& key : delta.removals) {
    add_item({key, nullptr, true, {}});
  }
  // After the delta's own, so that these win where both claim the same.
  if (base_->refused_ != nullptr && context_.mode == Mode::kPerResource) {
    for (const auto& [key, refused] : *base_->refused_) {
      if (seen_.count(key) == 0) {
        add_item({key, refused.upsert ? &*refused.upsert : nullptr, false, {}});
      }
    }
  }
}

void Compiler::add_item(Item item) {
  items_.push_back(std::make_unique<Item>(std::move(item)));
  Item& added = *items_.back();
  if (!seen_.insert(added.key).second) {
    refuse(added, "", "stands twice in one change");
  } else if (added.key.kind == Kind::kToken || added.key.kind == Kind::kGrants) {
    refuse(added, "", "is an identity and no configuration");
  } else if (!is_name(added.key.name)) {
    refuse(added, "name", fmt::format("'{}' is no name: {}", added.key.name, kNameRule));
  }
}

void Compiler::refuse(Item& item, std::string field, std::string message) {
  item.faults.push_back({item.key.kind, item.key.name, std::move(field), std::move(message)});
}

void Compiler::refuse(Item& item, Faults& faults) { item.faults = std::move(faults.list()); }

Surroundings Compiler::around() const {
  return {context_, secrets_.map(), upstreams_.map(), plans_.map(), listeners_};
}

CompileResult Compiler::run() {
  each(Kind::kSecret, false, [this](Item& item) { upsert_secret(item); });
  each(Kind::kUpstream, false, [this](Item& item) { upsert_upstream(item); });
  renew_client_certificates();  // of upstreams that stay and show a changed secret's
  each(Kind::kPlan, false, [this](Item& item) { upsert_plan(item); });
  change_listeners();      // they refer to secrets
  change_apis();           // they refer to all of the above
  check_plan_edits();      // now it is known who uses them
  check_upstream_edits();  // likewise
  each(Kind::kPlan, true, [this](Item& item) { remove_plan(item); });
  each(Kind::kUpstream, true, [this](Item& item) { remove_upstream(item); });
  each(Kind::kSecret, true, [this](Item& item) { remove_secret(item); });
  renew_clusters();  // of APIs whose upstream was edited, after refused edits were taken back
  renew_chains();    // of APIs with settings of their own, where a listener's chain was edited
  return finish();
}

void Compiler::upsert_secret(Item& item) {
  v1::Secret spec;
  Sha256 content{};
  if (!parse(item, spec, content)) {
    return;
  }
  const auto& old = secrets_.find(item.key.name);
  if (old != nullptr && old->content == content) {
    return;
  }
  Faults faults(item.key.kind, item.key.name);
  std::shared_ptr<CompiledSecret> secret = build_secret(spec, faults, item.key.name);
  if (secret == nullptr) {
    return refuse(item, faults);
  }
  secret->content = content;
  touched_.insert(item.key);
  secrets_.put(std::move(secret));
}

void Compiler::upsert_upstream(Item& item) {
  v1::Upstream spec;
  Sha256 content{};
  if (!parse(item, spec, content)) {
    return;
  }
  const auto& old = upstreams_.find(item.key.name);
  if (old != nullptr && old->content == content) {
    return;
  }
  Faults faults(item.key.kind, item.key.name);
  std::shared_ptr<CompiledUpstream> made =
      build_upstream(spec, faults, item.key.name, context_, secrets_.map());
  if (made == nullptr) {
    return refuse(item, faults);
  }
  made->content = content;
  touched_.insert(item.key);
  upstreams_.put(std::move(made));
}

// Secrets change seldom, so that a look at all upstreams then is cheaper than an index.
void Compiler::renew_client_certificates() {
  std::vector<std::shared_ptr<const CompiledUpstream>> concerned;
  const bool any = std::any_of(touched_.begin(), touched_.end(), [](const ResourceKey& key) {
    return key.kind == Kind::kSecret;
  });
  if (any) {
    upstreams_.map().visit([&](const std::shared_ptr<const CompiledUpstream>& one) {
      if (touched_.contains({Kind::kSecret, one->secret}) &&
          !touched_.contains({Kind::kUpstream, one->cluster->name})) {
        concerned.push_back(one);
      }
    });
  }
  for (const std::shared_ptr<const CompiledUpstream>& old : concerned) {
    touched_.insert({Kind::kUpstream, old->cluster->name});
    upstreams_.put(renew_certificate(*old, *secrets_.find(old->secret)));
  }
}

void Compiler::upsert_plan(Item& item) {
  v1::Plan spec;
  Sha256 content{};
  if (!parse(item, spec, content)) {
    return;
  }
  const auto& old = plans_.find(item.key.name);
  if (old != nullptr && old->content == content) {
    return;
  }
  Faults faults(item.key.kind, item.key.name);
  std::shared_ptr<CompiledPlan> plan = build_plan(spec, faults, item.key.name);
  if (plan == nullptr) {
    return refuse(item, faults);
  }
  plan->content = content;
  touched_.insert(item.key);
  plans_.put(std::move(plan));
}

void Compiler::check_plan_edits() {
  each(Kind::kPlan, false, [this](Item& item) {
    const auto& old = base_->plans_.find(item.key.name);
    const std::shared_ptr<const CompiledPlan> now = plans_.find(item.key.name);
    if (old == nullptr || old == now) {
      return;
    }
    std::vector<std::string> losers;
    if (old->for_subscription && !now->for_subscription) {
      losers = users('p', item.key.name);
    }
    if (losers.empty() && old->for_api && !now->for_api) {
      losers = users('a', item.key.name);
    }
    if (!losers.empty()) {
      refuse(item, "spec.levels", in_use_by("Api", losers) + " at a level that is left out");
      plans_.put(old);
    }
  });
}

void Compiler::check_upstream_edits() {
  each(Kind::kUpstream, false, [this](Item& item) {
    const auto& old = base_->upstreams_.find(item.key.name);
    const std::shared_ptr<const CompiledUpstream> now = upstreams_.find(item.key.name);
    if (old == nullptr || old == now || now->local_endpoint.empty()) {
      return;
    }
    std::vector<std::string> losers = users('u', item.key.name);
    std::erase_if(losers, [this](const std::string& name) {
      const std::vector<std::string>& groups = apis_.find(name)->groups;
      return context_.allows_local != nullptr &&
             std::all_of(groups.begin(), groups.end(), context_.allows_local);
    });
    if (!losers.empty()) {
      refuse(item, "spec.endpoints",
             fmt::format("{} is a link-local, metadata or gateway-internal address and {} in a "
                         "gateway group without allow_local_endpoints",
                         now->local_endpoint, in_use_by("Api", losers)));
      upstreams_.put(old);
    }
  });
}

void Compiler::remove_plan(Item& item) {
  if (item.key.name == kUnlimited) {
    if (plans_.find(kUnlimited)->content != Sha256{}) {
      touched_.insert(item.key);
      plans_.put(unlimited_plan());
    }
    return;
  }
  std::vector<std::string> left = users('p', item.key.name);
  if (left.empty()) {
    left = users('a', item.key.name);
  }
  if (!left.empty()) {
    return refuse(item, "", in_use_by("Api", left));
  }
  touched_.insert(item.key);
  plans_.erase(item.key.name);
}

void Compiler::remove_upstream(Item& item) {
  const std::vector<std::string> left = users('u', item.key.name);
  if (!left.empty()) {
    return refuse(item, "", in_use_by("Api", left));
  }
  touched_.insert(item.key);
  upstreams_.erase(item.key.name);
}

void Compiler::remove_secret(Item& item) {
  std::vector<std::string> left;
  for (const auto& listener : listeners_) {
    if (listener->secret == item.key.name) {
      left.push_back(listener->name);
    }
  }
  if (!left.empty()) {
    return refuse(item, "", in_use_by("Listener", left));
  }
  upstreams_.map().visit([&](const std::shared_ptr<const CompiledUpstream>& one) {
    if (one->secret == item.key.name) {
      left.push_back(one->cluster->name);
    }
  });
  if (!left.empty()) {
    return refuse(item, "", in_use_by("Upstream", left));
  }
  touched_.insert(item.key);
  secrets_.erase(item.key.name);
}

CompileResult Compiler::finish() {
  CompileResult result;
  for (std::unique_ptr<Item>& item : items_) {
    if (item->ours) {
      std::move(item->faults.begin(), item->faults.end(), std::back_inserter(result.faults));
    } else if (item->faults.empty() && item->upsert != nullptr) {
      result.recovered.upserts.push_back(*item->upsert);
    } else if (item->faults.empty()) {
      result.recovered.removals.push_back(item->key);
    }
  }
  if (context_.mode == Mode::kAllOrNothing && !result.faults.empty()) {
    result.snapshot = base_;
    return result;
  }
  auto next = std::make_shared<Snapshot>();
  next->listeners_ = std::move(listeners_);
  next->secrets_ = secrets_.map();
  next->upstreams_ = upstreams_.map();
  next->plans_ = plans_.map();
  next->apis_ = apis_.map();
  next->routes_ = routes_.map();
  next->users_ = users_.map();
  next->refused_ = refused_now();
  result.changed = changed_now(*next);
  const bool same = result.changed.empty() && next->refused_ == base_->refused_ &&
                    std::none_of(touched_.begin(), touched_.end(),
                                 [](const ResourceKey& key) { return key.kind == Kind::kSecret; });
  result.snapshot = same ? base_ : std::move(next);
  return result;
}

std::vector<model::Subject> Compiler::changed_now(const Snapshot& next) const {
  std::vector<model::Subject> changed;
  for (const ResourceKey& key : touched_) {
    const bool differs =
        key.kind == Kind::kApi ? next.find_api(key.name) != base_->find_api(key.name)
        : key.kind == Kind::kListener
            ? next.find_listener(key.name) != base_->find_listener(key.name)
        : key.kind == Kind::kUpstream
            ? next.find_upstream(key.name) != base_->find_upstream(key.name)
        : key.kind == Kind::kPlan ? next.find_plan(key.name) != base_->find_plan(key.name)
                                  : false;
    if (differs) {
      changed.push_back({subject_kind(key.kind), key.name});
    }
  }
  std::sort(changed.begin(), changed.end());
  return changed;
}

std::shared_ptr<const std::map<ResourceKey, Refused>> Compiler::refused_now() const {
  std::map<ResourceKey, Refused> refused;
  if (context_.mode == Mode::kPerResource) {
    for (const std::unique_ptr<Item>& item : items_) {
      if (!item->faults.empty() && item->key.kind < Kind::kToken) {
        refused[item->key].upsert =
            item->upsert == nullptr ? std::nullopt : std::optional<Resource>(*item->upsert);
      }
    }
  } else if (base_->refused_ != nullptr) {
    return base_->refused_;
  }
  const auto same = [&](const auto& a, const auto& b) {
    return a.first == b.first && a.second.upsert.has_value() == b.second.upsert.has_value() &&
           (!a.second.upsert || a.second.upsert->bytes == b.second.upsert->bytes);
  };
  if (base_->refused_ == nullptr
          ? refused.empty()
          : std::equal(refused.begin(), refused.end(), base_->refused_->begin(),
                       base_->refused_->end(), same)) {
    return base_->refused_;
  }
  return std::make_shared<const std::map<ResourceKey, Refused>>(std::move(refused));
}

CompileResult compile(std::shared_ptr<const Snapshot> base, const Delta& delta,
                      const CompileContext& context) {
  if (base == nullptr) {
    base = Snapshot::empty();
  }
  if (delta.empty()) {
    return {std::move(base), {}, {}, {}};
  }
  return Compiler(std::move(base), delta, context).run();
}

void add_removals(Delta& whole, const Snapshot& base) {
  std::set<ResourceKey> wanted;
  for (const Resource& resource : whole.upserts) {
    wanted.insert(resource.key());
  }
  for (ResourceKey& key : base.keys()) {
    if (wanted.count(key) == 0) {
      whole.removals.push_back(std::move(key));
    }
  }
}

}  // namespace sluice::config
