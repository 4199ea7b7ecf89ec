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
  // What is wrong already: what cannot be read, and subscriptions, applications and tokens that do
  // not fit what the file holds. The rest is for compile() with Mode::kAllOrNothing, which is to be
  // asked all the same, so that people hear of all faults at once; none of it may be used then.
  std::vector<std::string> faults;

  // `faults` and what compile() found: FILE:LINE: Kind name: field: message, one line each; without
  // what compile() says of a field that could not be read.
  std::string text(const std::vector<Fault>& compiled) const;
};

// Kinds Listener, Upstream, Api, Plan, Application, Subscription, Token, Secret. Not OK: the file
// cannot be read at all.
StaticConfig load_static(std::string_view text, std::string_view file);
absl::StatusOr<StaticConfig> load_static_file(const std::string& path);

}  // namespace sluice::config
