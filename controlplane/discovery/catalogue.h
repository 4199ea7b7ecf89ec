// The configuration as proxies receive it: every resource serialised once and shared by all
// streams, and which gateway group sees which.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/store/store.h"
#include "proxy/base/status.h"
#include "proxy/config/resource.h"
#include "proxy/sync/resource.h"

namespace sluice::controlplane::discovery {

// Whether a serialised sluice.config.v1.GatewayGroup has allow_local_endpoints.
bool allows_local(const std::string& gateway_group);

// A group sees its own APIs and listeners, the Upstreams that those APIs and the Secrets that those
// listeners refer to, and every Plan. One thread.
class Catalogue {
 public:
  // Resources whose content or visibility may have changed, by group.
  using Touched = std::map<std::string, std::set<config::ResourceKey>, std::less<>>;

  // Everything that the store has. Blocks.
  absl::Status load(const store::Store& store, const std::string& organisation);

  // The resource is now `spec` (serialised sluice.config.v1.<kind>), or gone. INVALID_ARGUMENT: it
  // cannot be parsed; then nothing changed.
  absl::Status put(const config::ResourceKey& key, std::string spec, Touched& touched);
  void erase(const config::ResourceKey& key, Touched& touched);

  // What a GatewayGroup says (absent: nothing is allowed): its listeners carry it to its proxies.
  void set_group(const std::string& name, bool allow_local_endpoints, Touched& touched);

  // A proxy of the group has come: from now on it is told of changes, though nothing is its own.
  void add_group(const std::string& group) { group_of(group); }

  // Of a group that was added or that something belongs to.
  std::vector<std::string> names(std::string_view group, config::Kind kind) const;
  // Null: there is none that the group may see.
  sync::ResourcePtr get(std::string_view group, config::Kind kind, std::string_view name) const;

 private:
  struct Item {
    sync::ResourcePtr resource;
    std::set<std::string> groups;          // Api, Listener
    // Upstreams of an Api, Secrets of a Listener or an Upstream.
    std::set<config::ResourceKey> refers;
  };
  struct Group {
    std::map<config::Kind, std::map<std::string, sync::ResourcePtr, std::less<>>> visible;
    // By how many of what the group sees.
    std::map<config::ResourceKey, int> referred;
  };

  absl::StatusOr<Item> make_item(const config::ResourceKey& key, std::string spec) const;
  void replace(const config::ResourceKey& key, const Item* item, Touched& touched);
  void show(const std::string& name, Group& group, const config::ResourceKey& key, bool seen,
            Touched& touched);
  // One of what the group sees refers to `targets`, or does no more; what these refer to follows.
  void refer(const std::string& name, Group& group, const std::set<config::ResourceKey>& targets,
             Touched& touched);
  void forget(const std::string& name, Group& group, const std::set<config::ResourceKey>& targets,
              Touched& touched);
  Group& group_of(const std::string& name);

  std::set<std::string> local_groups_;  // that allow local endpoints
  std::map<config::ResourceKey, Item> items_;
  std::map<std::string, Group, std::less<>> groups_;
};

}  // namespace sluice::controlplane::discovery
