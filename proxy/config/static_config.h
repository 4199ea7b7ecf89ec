// `--static FILE`: a whole gateway in one resource file, without a control plane.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/status.h"
#include "proxy/config/directory.h"
#include "proxy/config/resource.h"
#include "proxy/config/source.h"

namespace sluice::config {

struct StaticConfig {
  // Upserts of all compiled kinds, default plans included; see add_removals() for reading it again.
  Delta delta;
  Identities identities;
  // For people: an API that is CREATED serves nobody, and the like.
  std::vector<std::string> warnings;
  std::map<ResourceKey, Source> sources;

  // FILE:LINE: Kind name: field: message, one line each.
  std::string text(const std::vector<Fault>& faults) const;
};

// Kinds Listener, Upstream, Api, Plan, Application, Subscription, Token, Secret. INVALID_ARGUMENT
// lists every fault, one a line. Subscriptions, applications and tokens are checked against what
// the file holds; the rest is for compile() with Mode::kAllOrNothing.
absl::StatusOr<StaticConfig> load_static(std::string_view text, std::string_view file);
absl::StatusOr<StaticConfig> load_static_file(const std::string& path);

}  // namespace sluice::config
