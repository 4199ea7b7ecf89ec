#include "proxy/config/api_resource.h"

#include <algorithm>

namespace sluice::config {
namespace {

bool matches(const model::ApiResource& resource, std::string_view topic) {
  for (const std::string& segment : resource.segments) {
    if (segment == "*") {
      return true;
    }
    if (topic.size() < 2) {  // nothing, or a trailing slash
      return false;
    }
    const std::size_t end = std::min(topic.find('/', 1), topic.size());
    if (segment != "{}" && topic.substr(1, end - 1) != segment) {
      return false;
    }
    topic.remove_prefix(end);
  }
  return topic.size() < 2;
}

bool has_method(const model::ApiResource& resource, std::string_view method) {
  return resource.methods.empty() ||
         std::any_of(resource.methods.begin(), resource.methods.end(),
                     [&](const std::string& one) {
                       return one == method || (one == "GET" && method == "HEAD");
                     });
}

}  // namespace

ResourceMatch find_resource(const model::Api& api, std::string_view method,
                            std::string_view topic) {
  ResourceMatch match;
  if (api.resources.empty()) {
    return match;
  }
  match.kind = ResourceMatch::Kind::kNoPath;
  const std::vector<std::string>* seen = nullptr;  // segments of the most specific that matches
  for (const model::ApiResource& resource : api.resources) {
    if (!matches(resource, topic)) {
      continue;
    }
    if (seen != nullptr && *seen != resource.segments) {
      break;  // a less specific template does not lend its methods
    }
    seen = &resource.segments;
    if (has_method(resource, method)) {
      return {ResourceMatch::Kind::kFound, &resource, ""};
    }
    match.kind = ResourceMatch::Kind::kNoMethod;
    for (const std::string& one : resource.methods) {
      match.allowed += match.allowed.empty() ? one : ", " + one;
    }
  }
  return match;
}

}  // namespace sluice::config
