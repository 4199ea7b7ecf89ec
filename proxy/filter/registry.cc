#include "proxy/filter/registry.h"

#include <fmt/format.h>

#include <utility>

#include "proxy/base/check.h"

namespace sluice::filter {

void FilterRegistry::add(std::string name, MakeFactory make) {
  const bool added = makers_.emplace(std::move(name), std::move(make)).second;
  SLUICE_CHECK(added);
}

absl::StatusOr<std::shared_ptr<const FilterFactory>> FilterRegistry::make(
    std::string_view name, const google::protobuf::Struct& config, SharedState& shared) const {
  const auto found = makers_.find(name);
  if (found != makers_.end()) {
    return found->second(config, shared);
  }
  std::string names;
  for (const auto& [known, make] : makers_) {
    names += names.empty() ? known : ", " + known;
  }
  return not_found(fmt::format("there is no filter `{}`; there are: {}", name, names));
}

}  // namespace sluice::filter
