// What a change to the desired state must satisfy beside what compile() checks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "controlplane/model/catalogue.h"

namespace sluice::controlplane::model {

inline constexpr char kDefaultGroup[] = "default";
inline constexpr char kUnlimitedPlan[] = "Unlimited";
inline constexpr char kAdmin[] = "admin";

struct Fault {
  Key key;
  std::string field;  // spec.plan; empty: the resource as such
  std::string message;
  bool in_use = false;  // a deletion is refused because something refers to the resource

  // Api echo-v1: spec.plan: message
  std::string text() const;
};

// One line each.
std::string text(const std::vector<Fault>& faults);

// "" if `name` may name a resource of that kind, else why not.
std::string name_fault(const Kind& kind, std::string_view name);

// APPLICATION:API or APPLICATION:KEYTYPE, from the spec; "" if a part is missing.
std::string composed_name(const Kind& kind, const Message& spec);

// Fills in what a caller left out: a composed name, or from it the fields; what an update keeps;
// the state in which a new resource starts; the owner, `user`. Says where the new spec would change
// what never changes.
std::vector<Fault> prepare(const Draft& draft, Resource& resource, const std::string& user);

// Every fault of the draft's changes: names, labels, references, states, what is in use.
std::vector<Fault> check(const Draft& draft);

// Takes `key` out of the draft; with `cascade` also what cannot be without it, and its name out of
// the lists of the rest. NOT_FOUND. Without cascade check() says whether it is in use.
absl::Status erase(Draft& draft, const Key& key, bool cascade);

}  // namespace sluice::controlplane::model
