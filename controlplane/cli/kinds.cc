#include "controlplane/cli/kinds.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>

namespace sluice::controlplane::cli {
namespace {

const std::vector<KindView>& kinds() {
  static const std::vector<KindView> kKinds{
      {"GatewayGroup", {{"NAME", "name"}, {"PUBLIC URLS", "spec.publicUrls"}}},
      {"Listener",
       {{"NAME", "name"},
        {"ADDRESS", "spec.address"},
        {"PORT", "spec.port"},
        {"TLS", "spec.tls.secret"},
        {"GROUP", "spec.group"}}},
      {"Upstream", {{"NAME", "name"}, {"ENDPOINTS", "spec.endpoints"}}},
      {"Api",
       {{"NAME", "name"},
        {"STATE", "spec.state"},
        {"CONTEXT", "spec.context"},
        {"VERSION", "spec.version"},
        {"PLANS", "spec.plans"},
        {"PRODUCTION", "spec.endpoints.production"}}},
      {"Plan",
       {{"NAME", "name"},
        {"MESSAGES", "spec.messages"},
        {"BYTES", "spec.bytes"},
        {"PER", "spec.per"},
        {"ON LIMIT", "spec.onLimit"}}},
      {"Application",
       {{"NAME", "name"},
        {"STATUS", "spec.status"},
        {"PLAN", "spec.plan"},
        {"OWNER", "spec.owner"}}},
      {"Subscription",
       {{"NAME", "name"}, {"STATUS", "spec.status"}, {"PLAN", "spec.plan"}}},
      {"Credential",
       {{"NAME", "name"},
        {"CONSUMER KEY", "spec.consumerKey"},
        {"TOKEN VALIDITY", "spec.tokenValidity"}}},
      {"Secret", {{"NAME", "name"}, {"UPDATED", "meta.updateTime"}}},
      {"User", {{"NAME", "name"}, {"DISPLAY NAME", "spec.displayName"}}},
  };
  return kKinds;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

}  // namespace

absl::StatusOr<const KindView*> find_kind(std::string_view word) {
  const std::string wanted = lower(word);
  std::string known;
  for (const KindView& kind : kinds()) {
    const std::string name = lower(kind.name);
    if (wanted == name || wanted == name + "s") {
      return &kind;
    }
    known += (known.empty() ? "" : ", ") + std::string(kind.name);
  }
  return not_found(fmt::format("{}: no such kind; there are {}", word, known));
}

std::string show_rollout(const boost::json::object& status) {
  std::vector<std::vector<std::string>> rows;
  std::string refusals;
  const auto* proxies = status.if_contains("proxies");
  for (const boost::json::value& proxy :
       proxies != nullptr ? proxies->get_array() : boost::json::array()) {
    rows.push_back({text_at(proxy, "proxy"), text_at(proxy, "state"),
                    text_at(proxy, "acknowledgedRevision")});
    if (const auto* refused = proxy.get_object().if_contains("refusals")) {
      for (const boost::json::value& one : refused->get_array()) {
        refusals += fmt::format("{} refuses {} {}: {}: {}\n", text_at(proxy, "proxy"),
                                text_at(one, "kind"), text_at(one, "name"), text_at(one, "field"),
                                text_at(one, "reason"));
      }
    }
  }
  return table(rows, {"PROXY", "STATE", "REVISION"}) + refusals;
}

}  // namespace sluice::controlplane::cli
