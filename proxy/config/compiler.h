// One run of compile(). For compile*.cc only.
#pragma once

#include <fmt/format.h>

#include <boost/unordered/unordered_flat_map.hpp>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/config/build.h"
#include "proxy/config/compile.h"

namespace sluice::config {

// The steps of run() stand in their order; each works on what those before it have left.
class Compiler {
 public:
  Compiler(std::shared_ptr<const Snapshot> base, const Delta& delta, const CompileContext& context);

  CompileResult run();

 private:
  // One wish: of the delta, or refused earlier and tried again.
  struct Item {
    ResourceKey key;
    const Resource* upsert = nullptr;  // null: a removal
    bool ours = true;                  // of the delta
    std::vector<Fault> faults;         // refused if not empty
  };
  struct ListenerChange {
    Item* item;
    std::shared_ptr<const CompiledListener> old;  // null: none
  };
  struct ApiChange {
    Item* item;
    std::shared_ptr<const CompiledApi> old;  // null: none
    std::shared_ptr<const CompiledApi> now;  // null: a removal
  };
  struct Claim {
    std::string path;
    bool live;
  };

  void collect(const Delta& delta);
  void add_item(Item item);
  template <class Act>
  void each(Kind kind, bool removals, const Act& act);
  void refuse(Item& item, std::string field, std::string message);
  void refuse(Item& item, Faults& faults);
  template <class Spec>
  bool parse(Item& item, Spec& spec, Sha256& content);
  Surroundings around() const;

  void upsert_secret(Item& item);
  void upsert_upstream(Item& item);
  void renew_client_certificates();
  void upsert_plan(Item& item);
  void change_listeners();
  void upsert_listener(Item& item);
  void settle_addresses();
  void renew_certificates();
  void change_apis();
  void upsert_api(Item& item);
  void settle_routes();
  void check_plan_edits();
  void check_upstream_edits();
  void remove_plan(Item& item);
  void remove_upstream(Item& item);
  void remove_secret(Item& item);
  void renew_clusters();
  void renew_chains();
  CompileResult finish();
  std::shared_ptr<const std::map<ResourceKey, Refused>> refused_now() const;
  std::vector<model::Subject> changed_now(const Snapshot& next) const;

  static std::vector<Claim> claims_of(const CompiledApi& api);
  void put_routes(const std::shared_ptr<const CompiledApi>& api);
  void drop_routes(const CompiledApi& api);
  void place(ApiChange& change);
  void restore(ApiChange& change);
  void replace_api(std::shared_ptr<const CompiledApi> fresh);

  // Who uses what: 'p' a plan for subscriptions, 'a' a plan for the API, 'u' an upstream, 'f'
  // filters (target empty).
  static std::set<std::string> uses_of(const CompiledApi* api);
  void index(const CompiledApi* old, const CompiledApi* now);
  std::vector<std::string> users(char what, std::string_view target) const;
  static std::string in_use_by(std::string_view kind, const std::vector<std::string>& users);

  std::shared_ptr<const Snapshot> base_;
  const CompileContext& context_;
  std::vector<std::unique_ptr<Item>> items_;
  std::set<ResourceKey> seen_;

  ShardedMapEditor<CompiledSecret> secrets_;
  ShardedMapEditor<CompiledUpstream> upstreams_;
  ShardedMapEditor<CompiledPlan> plans_;
  ShardedMapEditor<CompiledApi> apis_;
  ShardedMapEditor<Route> routes_;
  ShardedMapEditor<Users> users_;
  std::vector<std::shared_ptr<const CompiledListener>> listeners_;  // by name, as in the snapshot
  std::map<std::string, std::shared_ptr<const CompiledListener>, std::less<>> listeners_by_name_;
  std::vector<ListenerChange> listener_changes_;
  std::vector<ApiChange> api_changes_;
  boost::unordered_flat_map<const CompiledApi*, ApiChange*> changes_by_now_;
  std::set<ResourceKey> touched_;  // may differ from the base
};

template <class Act>
void Compiler::each(Kind kind, bool removals, const Act& act) {
  for (const std::unique_ptr<Item>& item : items_) {
    if (item->key.kind == kind && (item->upsert == nullptr) == removals && item->faults.empty()) {
      act(*item);
    }
  }
}

template <class Spec>
bool Compiler::parse(Item& item, Spec& spec, Sha256& content) {
  if (!spec.ParseFromString(item.upsert->bytes)) {
    refuse(item, "", fmt::format("cannot be read as a {}", type_url(item.key.kind)));
    return false;
  }
  content = sha256(canonical(spec));
  return true;
}

}  // namespace sluice::config
