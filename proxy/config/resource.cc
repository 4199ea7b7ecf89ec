#include "proxy/config/resource.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace sluice::config {
namespace {

constexpr std::string_view kUrlPrefix = "type.googleapis.com/sluice.config.v1.";

// By the order of Kind.
constexpr std::array<std::string_view, 7> kUrls = {
    "type.googleapis.com/sluice.config.v1.Secret", "type.googleapis.com/sluice.config.v1.Upstream",
    "type.googleapis.com/sluice.config.v1.Plan",   "type.googleapis.com/sluice.config.v1.Listener",
    "type.googleapis.com/sluice.config.v1.Api",    "type.googleapis.com/sluice.config.v1.Token",
    "type.googleapis.com/sluice.config.v1.Grants",
};

}  // namespace

std::string_view type_url(Kind kind) { return kUrls[static_cast<std::size_t>(kind)]; }

std::string_view kind_name(Kind kind) { return type_url(kind).substr(kUrlPrefix.size()); }

std::optional<Kind> kind_from_type_url(std::string_view url) {
  const auto it = std::find(kUrls.begin(), kUrls.end(), url);
  if (it == kUrls.end()) {
    return std::nullopt;
  }
  return static_cast<Kind>(it - kUrls.begin());
}

std::optional<Kind> kind_from_name(std::string_view name) {
  return kind_from_type_url(fmt::format("{}{}", kUrlPrefix, name));
}

std::string Fault::text() const {
  std::string head = fmt::format("{} {}: ", kind_name(kind), name);
  return field.empty() ? head + message : fmt::format("{}{}: {}", head, field, message);
}

std::string text(const std::vector<Fault>& faults) {
  std::string lines;
  for (const Fault& fault : faults) {
    lines += lines.empty() ? "" : "\n";
    lines += fault.text();
  }
  return lines;
}

Delta without_faulty(Delta delta, const std::vector<Fault>& faults) {
  std::set<ResourceKey> faulty;
  for (const Fault& fault : faults) {
    faulty.insert(fault.key());
  }
  std::erase_if(delta.upserts, [&](const Resource& r) { return faulty.count(r.key()) > 0; });
  std::erase_if(delta.removals, [&](const ResourceKey& key) { return faulty.count(key) > 0; });
  return delta;
}

}  // namespace sluice::config
