// The plans that exist before anybody makes one (behaviour.md, "Default plans"): put into the store
// at the control plane's first start, and known to static files.
#pragma once

#include <string>
#include <vector>

#include "sluice/config/v1/config.pb.h"

namespace sluice::config {

inline constexpr char kUnlimited[] = "Unlimited";

struct NamedPlan {
  std::string name;
  v1::Plan plan;
};

// Unlimited included.
std::vector<NamedPlan> default_plans();

}  // namespace sluice::config
