// The kinds as people name and see them.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/cli/output.h"
#include "proxy/base/status.h"

namespace sluice::controlplane::cli {

struct KindView {
  std::string_view name;
  std::vector<Column> columns;
};

// By name, in any case, singular or plural. NOT_FOUND lists the kinds.
absl::StatusOr<const KindView*> find_kind(std::string_view word);

// The proxies of a RolloutStatus, with their refusals.
std::string show_rollout(const boost::json::object& status);

}  // namespace sluice::controlplane::cli
