#include "proxy/config/snapshot.h"

#include <algorithm>

#include "proxy/base/limits.h"
#include "proxy/config/build.h"

namespace sluice::config {
const std::shared_ptr<const filter::FilterChain>& CompiledApi::chain_for(
    const CompiledListener& listener) const {
  for (const ListenerChain& own : chains) {
    if (own.listener == listener.name) {
      return own.chain;
    }
  }
  return listener.chain;
}

std::shared_ptr<const Snapshot> Snapshot::empty() {
  auto snapshot = std::make_shared<Snapshot>();
  ShardedMapEditor<CompiledPlan> plans({});
  plans.put(unlimited_plan());
  snapshot->plans_ = plans.map();
  return snapshot;
}

bool Snapshot::allows_local_endpoints() const {
  return std::any_of(listeners_.begin(), listeners_.end(),
                     [](const auto& listener) { return listener->allow_local_endpoints; });
}

const std::shared_ptr<const CompiledListener>& Snapshot::find_listener(
    std::string_view name) const {
  static const std::shared_ptr<const CompiledListener> none;
  const auto it = std::lower_bound(
      listeners_.begin(), listeners_.end(), name,
      [](const auto& listener, std::string_view wanted) { return listener->name < wanted; });
  return it == listeners_.end() || (*it)->name != name ? none : *it;
}

RouteMatch Snapshot::route(std::string_view path) const {
  // No claim is longer than a context and a version, so that a long path costs no more look-ups.
  std::size_t ends[limits::kContextSegmentsMax + 2];
  std::size_t count = 0;
  for (std::size_t i = 1;
       i <= path.size() && i <= limits::kContextBytesMax + 64 && count < std::size(ends); ++i) {
    if (i == path.size() || path[i] == '/') {
      ends[count++] = i;
    }
  }
  while (count > 0) {
    const std::size_t end = ends[--count];
    if (const std::shared_ptr<const Route>& route = routes_.find(path.substr(0, end))) {
      if (!route->live) {
        return {};
      }
      return {route->api, path.substr(end)};
    }
  }
  return {};
}

std::shared_ptr<const model::Plan> Snapshot::find_plan(std::string_view name) const {
  const std::shared_ptr<const CompiledPlan>& plan = plans_.find(name);
  if (plan == nullptr) {
    return nullptr;
  }
  return {plan, &plan->plan};
}

std::vector<ResourceKey> Snapshot::refused() const {
  std::vector<ResourceKey> keys;
  if (refused_ != nullptr) {
    for (const auto& [key, what] : *refused_) {
      keys.push_back(key);
    }
  }
  return keys;
}

std::vector<ResourceKey> Snapshot::keys() const {
  std::vector<ResourceKey> keys;
  const auto add = [&keys](Kind kind) {
    return [&keys, kind](const auto& value) {
      if (kind != Kind::kPlan || value->content != Sha256{}) {
        keys.push_back({kind, std::string(value->key())});
      }
    };
  };
  secrets_.visit(add(Kind::kSecret));
  upstreams_.visit(add(Kind::kUpstream));
  plans_.visit(add(Kind::kPlan));
  for (const auto& listener : listeners_) {
    keys.push_back({Kind::kListener, listener->name});
  }
  apis_.visit(add(Kind::kApi));
  std::sort(keys.begin(), keys.end());
  return keys;
}

}  // namespace sluice::config
