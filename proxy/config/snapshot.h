// The compiled plan of listeners, APIs, upstreams and plans: what a worker serves by. Immutable,
// shared, swapped. Made by compile().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/encoding.h"
#include "proxy/config/ip.h"
#include "proxy/config/resource.h"
#include "proxy/config/sharded_map.h"
#include "proxy/filter/chain.h"
#include "proxy/model/resources.h"
#include "proxy/net/tls.h"
#include "proxy/upstream/cluster.h"

namespace sluice::config {

// A filter's settings as compiled. The factory stays the same object for as long as the settings
// do.
struct CompiledFilter {
  std::string name;
  std::string settings;  // canonical bytes, for comparison
  std::shared_ptr<const filter::FilterFactory> factory;
};

struct CompiledSecret {
  std::string name;
  std::shared_ptr<const net::TlsServerContext> tls;
  Sha256 content{};

  std::string_view key() const { return name; }
};

struct CompiledListener {
  std::string name;
  std::string address;     // literal IP; a --listen override applied
  std::uint16_t port = 0;  // 0: takes a free one
  std::string group;
  bool plaintext_exposed = false;  // plain text beyond loopback, as asked for: shown as a warning
  std::string secret;              // empty: plain text
  std::shared_ptr<const net::TlsServerContext> tls;  // null: plain text
  std::vector<CompiledFilter> filters;
  std::shared_ptr<const filter::FilterChain> chain;
  std::vector<IpPrefix> trusted_hops;
  std::size_t request_head_bytes_max = 0;
  nanoseconds request_head_timeout{};
  bool allow_local_endpoints = false;
  Sha256 content{};

  std::string_view key() const { return name; }
};

struct CompiledUpstream {
  std::shared_ptr<const upstream::Cluster> cluster;
  std::string local_endpoint;  // one that only some groups allow (link-local ...), if any
  std::string ca;              // of its tls
  std::string secret;          // whose certificate it shows to endpoints; empty: none
  Sha256 content{};

  std::string_view key() const { return cluster->name; }
};

struct CompiledPlan {
  model::Plan plan;
  bool for_subscription = true;
  bool for_application = true;
  bool for_api = true;
  Sha256 content{};

  std::string_view key() const { return plan.name; }
};

struct CompiledApi {
  model::Api api;
  std::shared_ptr<const upstream::Cluster> production;  // null: none
  std::shared_ptr<const upstream::Cluster> sandbox;     // null: none
  std::string production_upstream;  // the Upstream's name where `upstream:NAME` stood
  std::string sandbox_upstream;
  std::vector<std::string> groups;
  std::vector<CompiledFilter> filters;  // its own settings, in place of the listener's
  struct ListenerChain {
    std::string listener;
    std::shared_ptr<const filter::FilterChain> chain;
  };
  std::vector<ListenerChain> chains;  // for each listener, only if `filters` is not empty
  Sha256 content{};

  std::string_view key() const { return api.name; }

  // The chain for exchanges of this API on `listener`, of the same snapshot.
  const std::shared_ptr<const filter::FilterChain>& chain_for(
      const CompiledListener& listener) const;
  // Null: no endpoint of that kind.
  const std::shared_ptr<const upstream::Cluster>& cluster_for(model::KeyType type) const {
    return type == model::KeyType::kProduction ? production : sandbox;
  }
};

// What exchanges hold: keeps the whole CompiledApi alive.
inline std::shared_ptr<const model::Api> model_of(std::shared_ptr<const CompiledApi> api) {
  const model::Api* model = &api->api;
  return {std::move(api), model};
}

struct RouteMatch {
  std::shared_ptr<const CompiledApi> api;  // null: no API at the path
  std::string_view topic;                  // of the path: "" or "/..."
};

// One path prefix that an API claims: /context/version, and /context for a default version.
struct Route {
  std::string prefix;
  std::shared_ptr<const CompiledApi> api;
  bool live = false;  // false: the claim stands (context and version are unique), but it is a 404

  std::string_view key() const { return prefix; }
};

// The APIs of one shard that use one thing, so that adding a user never copies all users.
struct Users {
  std::string id;
  std::vector<std::string> apis;  // sorted

  std::string_view key() const { return id; }
};

// A resource or removal that compile() refused; tried again with each later delta that is not
// empty, until something newer for the same key comes.
struct Refused {
  std::optional<Resource> upsert;  // none: a removal
};

// Any thread; complete before it is shared.
class Snapshot {
 public:
  // Without anything but the plan Unlimited.
  static std::shared_ptr<const Snapshot> empty();

  // By name.
  const std::vector<std::shared_ptr<const CompiledListener>>& listeners() const {
    return listeners_;
  }
  // Null if there is none. This and the references below are valid as long as the snapshot.
  const std::shared_ptr<const CompiledListener>& find_listener(std::string_view name) const;
  // Whether a listener says that names may lead to link-local and metadata addresses.
  bool allows_local_endpoints() const;

  // `path`: of a request, without query, as received. The longest claimed prefix that ends at a
  // segment decides; a longer path's rest is the topic. RETIRED and CREATED APIs match nothing.
  RouteMatch route(std::string_view path) const;

  const std::shared_ptr<const CompiledApi>& find_api(std::string_view name) const {
    return apis_.find(name);
  }
  // Unlimited always exists.
  std::shared_ptr<const model::Plan> find_plan(std::string_view name) const;
  const std::shared_ptr<const CompiledPlan>& find_compiled_plan(std::string_view name) const {
    return plans_.find(name);
  }
  const std::shared_ptr<const CompiledUpstream>& find_upstream(std::string_view name) const {
    return upstreams_.find(name);
  }
  const std::shared_ptr<const CompiledSecret>& find_secret(std::string_view name) const {
    return secrets_.find(name);
  }

  // For lists; in no order but listeners().
  const ShardedMap<CompiledApi>& apis() const { return apis_; }
  const ShardedMap<CompiledPlan>& plans() const { return plans_; }
  const ShardedMap<CompiledUpstream>& upstreams() const { return upstreams_; }
  const ShardedMap<CompiledSecret>& secrets() const { return secrets_; }

  // Keys of what was refused and waits for something that it refers to.
  std::vector<ResourceKey> refused() const;
  // Every compiled resource; Unlimited only if somebody defined it.
  std::vector<ResourceKey> keys() const;

 private:
  friend class Compiler;

  std::vector<std::shared_ptr<const CompiledListener>> listeners_;
  ShardedMap<CompiledSecret> secrets_;
  ShardedMap<CompiledUpstream> upstreams_;
  ShardedMap<CompiledPlan> plans_;
  ShardedMap<CompiledApi> apis_;
  ShardedMap<Route> routes_;
  ShardedMap<Users> users_;
  std::shared_ptr<const std::map<ResourceKey, Refused>> refused_;
};

}  // namespace sluice::config
