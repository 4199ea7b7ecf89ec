// The whole desired state in memory, who refers to whom, and drafts of changes to it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controlplane/model/kinds.h"
#include "proxy/base/status.h"

namespace sluice::controlplane::model {

struct Key {
  std::string kind;
  std::string name;

  friend bool operator==(const Key&, const Key&) = default;
  friend auto operator<=>(const Key&, const Key&) = default;
};

using Labels = std::map<std::string, std::string>;

struct Resource {
  Key key;
  std::shared_ptr<const Message> spec;  // sluice.config.v1.<kind>; never null
  Labels labels;
  std::int64_t revision = 0;
  std::int64_t create_ms = 0;
  std::int64_t update_ms = 0;

  template <class Spec>
  const Spec& as() const {
    return static_cast<const Spec&>(*spec);
  }
};

struct Reference {
  const ReferenceRule* rule = nullptr;
  int index = -1;  // in a list
  Key target;

  // spec.endpoints.production[0]
  std::string path() const;
};

// In order of fields. The built-in plan Unlimited and the group `default` are references like
// others.
std::vector<Reference> references_of(const Kind& kind, const Message& spec);

// One thread at a time, or behind a lock.
class Catalogue {
 public:
  using Shelf = std::map<std::string, Resource, std::less<>>;

  // Null: no such resource. Valid until that resource changes.
  const Resource* find(const Key& key) const;
  // By name.
  const Shelf& all(const std::string& kind) const;
  // Those whose specs name `target`.
  const std::set<Key>& referrers(const Key& target) const;

  void put(Resource resource);
  void erase(const Key& key);

 private:
  void index(const Resource& resource, bool add);

  std::map<std::string, Shelf, std::less<>> shelves_;
  std::map<Key, std::set<Key>> referrers_;
};

// Wanted changes over a catalogue, seen as if they were made. Refers to the catalogue.
class Draft {
 public:
  struct Edit {
    std::optional<Resource> now;  // none: deleted
  };

  explicit Draft(const Catalogue& base) : base_(base) {}

  const Resource* find(const Key& key) const;
  const Resource* before(const Key& key) const { return base_.find(key); }
  std::set<Key> referrers(const Key& target) const;
  // Calls `visit` for each resource of a kind, by no particular order.
  template <class Visit>
  void each(const std::string& kind, Visit visit) const {
    for (const auto& [name, resource] : base_.all(kind)) {
      if (edits_.count(resource.key) == 0) {
        visit(resource);
      }
    }
    for (const auto& [key, edit] : edits_) {
      if (key.kind == kind && edit.now) {
        visit(*edit.now);
      }
    }
  }

  void put(Resource resource);
  void erase(const Key& key);

  // Put with the same content is none.
  const std::map<Key, Edit>& edits() const { return edits_; }

 private:
  const Catalogue& base_;
  std::map<Key, Edit> edits_;
};

}  // namespace sluice::controlplane::model
