#include <fmt/format.h>

#include <algorithm>

#include "proxy/config/build.h"
#include "proxy/config/text.h"
#include "proxy/http/headers.h"

namespace sluice::config {
namespace {

constexpr std::string_view kDefaultMethods = "GET, HEAD, POST, PUT, PATCH, DELETE";
constexpr std::string_view kDefaultHeaders = "Authorization, Content-Type, apikey";
constexpr std::string_view kDefaultExposed = "X-Request-Id";

bool for_web_sockets(const model::Endpoint& endpoint) {
  return endpoint.url.starts_with("ws://") || endpoint.url.starts_with("wss://");
}

// `upstream`: the name of the Upstream whose endpoints they are; or empty.
void check_schemes(const upstream::Cluster* cluster, std::string_view kind,
                   const std::string& upstream, model::ApiType type, Faults& faults) {
  if (cluster == nullptr) {
    return;
  }
  const bool wanted = type == model::ApiType::kWebSocket;
  for (std::size_t i = 0; i < cluster->endpoints.size(); ++i) {
    const model::Endpoint& endpoint = cluster->endpoints[i];
    if (for_web_sockets(endpoint) != wanted) {
      faults.add(fmt::format("spec.endpoints.{}[{}]", kind, upstream.empty() ? i : 0),
                 fmt::format("{}: an API of type {} needs {} endpoints", endpoint.url,
                             wanted ? "WS" : "HTTP", wanted ? "ws:// or wss://"
                                                            : "http:// or https://"));
    }
  }
}

// Fields that say nothing about an API of the other type.
void check_strangers(const v1::Api& spec, model::ApiType type, Faults& faults) {
  const auto refuse = [&](bool set, std::string_view field, std::string_view whose) {
    if (set) {
      faults.add(fmt::format("spec.{}", field), fmt::format("is for {} APIs", whose));
    }
  };
  if (type == model::ApiType::kHttp) {
    refuse(spec.has_limits(), "limits", "WebSocket");
    refuse(!spec.refuse_by().empty(), "refuse_by", "WebSocket");
    refuse(!spec.close_codes().empty(), "close_codes", "WebSocket");
    refuse(!spec.throttle_notice().empty(), "throttle_notice", "WebSocket");
  } else {
    refuse(spec.has_http(), "http", "HTTP");
    refuse(spec.has_cors(), "cors", "HTTP");
    refuse(!spec.resources().empty(), "resources", "HTTP");
  }
}

void read_limits(const v1::HttpLimits& spec, model::HttpLimits& limits, Faults& faults) {
  limits.request_body_bytes_max = spec.request_body_bytes_max();
  const DurationRule rule{milliseconds(100), std::chrono::hours(24)};
  if (spec.has_request_body_timeout()) {
    limits.request_body_timeout =
        read_duration(spec.request_body_timeout(), rule, "spec.http.request_body_timeout", faults);
  }
  if (spec.has_idle_timeout()) {
    limits.idle_timeout =
        read_duration(spec.idle_timeout(), rule, "spec.http.idle_timeout", faults);
  }
}

bool is_method(const std::string& text) {
  return http::is_token(text) && text.size() <= limits::kNameBytesMax &&
         std::none_of(text.begin(), text.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

// Joined for the wire. `good` says whether one may stand there.
template <class Good>
std::string join_names(const google::protobuf::RepeatedPtrField<std::string>& names,
                       std::string_view otherwise, const std::string& field, Good good,
                       Faults& faults) {
  if (static_cast<std::size_t>(names.size()) > limits::kCorsNamesMax) {
    faults.add(field, fmt::format("more than {} names", limits::kCorsNamesMax));
    return "";
  }
  std::string joined;
  for (int i = 0; i < names.size(); ++i) {
    if (!good(names[i])) {
      faults.add(fmt::format("{}[{}]", field, i), fmt::format("'{}' is no such name", names[i]));
    }
    joined += joined.empty() ? names[i] : ", " + names[i];
  }
  return joined.empty() ? std::string(otherwise) : joined;
}

void read_cors(const v1::Api& spec, model::Api& api, Faults& faults) {
  if (!spec.has_cors()) {
    return;
  }
  const v1::Cors& from = spec.cors();
  model::Cors cors;
  const auto header = [](const std::string& name) { return http::is_token(name) && name != "*"; };
  cors.allowed_methods = join_names(from.allowed_methods(), kDefaultMethods,
                                    "spec.cors.allowed_methods", is_method, faults);
  cors.allowed_headers = join_names(from.allowed_headers(), kDefaultHeaders,
                                    "spec.cors.allowed_headers", header, faults);
  cors.exposed_headers = join_names(from.exposed_headers(), kDefaultExposed,
                                    "spec.cors.exposed_headers", header, faults);
  cors.allow_credentials = from.allow_credentials();
  if (cors.allow_credentials && spec.allowed_origins().empty()) {
    faults.add("spec.cors.allow_credentials",
               "needs spec.allowed_origins: with cookies, every page of the web could act for the "
               "user");
  }
  if (from.has_max_age()) {
    const DurationRule rule{seconds(1), std::chrono::hours(24), true};
    cors.max_age = read_duration(from.max_age(), rule, "spec.cors.max_age", faults);
  }
  api.cors = std::move(cors);
}

// ---- resources

bool is_variable(std::string_view segment) {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}' &&
         segment.find_first_of("{}*/", 1) == segment.size() - 1;
}

// Unreserved characters alone: a request's path has those decoded, so that no other spelling of a
// literal gets past its rules.
bool is_literal(std::string_view segment) {
  return !segment.empty() && segment != "." && segment != ".." &&
         std::all_of(segment.begin(), segment.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  std::string_view("-._~").find(c) != std::string_view::npos;
         });
}

// Empty if all is well; fills `segments`.
std::string split_template(std::string_view path, std::vector<std::string>& segments) {
  if (path.empty() || path.front() != '/') {
    return "must begin with '/', e.g. /orders/{id}";
  }
  if (path.size() > limits::kContextBytesMax) {
    return fmt::format("is longer than {} bytes", limits::kContextBytesMax);
  }
  path.remove_prefix(1);
  while (!path.empty()) {
    const std::string_view segment = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(segment.size() + 1, path.size()));
    if (segment == "*" && path.empty()) {
      segments.emplace_back("*");
    } else if (is_variable(segment)) {
      segments.emplace_back("{}");
    } else if (is_literal(segment)) {
      segments.emplace_back(segment);
    } else {
      return fmt::format("segment '{}' is no name, no {{variable}} and no last *", segment);
    }
  }
  return segments.size() > limits::kContextSegmentsMax
             ? fmt::format("has more than {} segments", limits::kContextSegmentsMax)
             : "";
}

// Literals before variables before the rest, segment by segment; then as they stand in the list.
bool more_specific(const model::ApiResource& a, const model::ApiResource& b) {
  const auto rank = [](const std::string& segment) {
    return segment == "*" ? 2 : segment == "{}" ? 1 : 0;
  };
  for (std::size_t i = 0; i < std::min(a.segments.size(), b.segments.size()); ++i) {
    if (const int x = rank(a.segments[i]), y = rank(b.segments[i]); x != y) {
      return x < y;
    }
  }
  return a.segments.size() > b.segments.size();
}

void check_resource_plan(const std::string& name, const std::string& field,
                         const ShardedMap<CompiledPlan>& plans, Faults& faults) {
  if (name.empty()) {
    return;
  }
  const std::shared_ptr<const CompiledPlan>& plan = plans.find(name);
  if (plan == nullptr) {
    faults.add(field, fmt::format("there is no Plan {}", name));
  } else if (!plan->for_api) {
    faults.add(field, fmt::format("Plan {} is not for APIs (its levels say)", name));
  }
}

model::ApiResource read_resource(const v1::ApiResource& spec, const std::string& field,
                                 Faults& faults) {
  model::ApiResource resource;
  resource.path = spec.path();
  if (const std::string fault = split_template(spec.path(), resource.segments); !fault.empty()) {
    faults.add(field + ".path", fault);
    resource.segments = {spec.path()};  // the same as no other's
  }
  for (int i = 0; i < spec.methods_size(); ++i) {
    if (!is_method(spec.methods(i))) {
      faults.add(fmt::format("{}.methods[{}]", field, i),
                 fmt::format("'{}' is no method such as GET", spec.methods(i)));
    }
    resource.methods.push_back(spec.methods(i));
  }
  resource.plan = spec.plan();
  resource.scopes.assign(spec.scopes().begin(), spec.scopes().end());
  if (spec.auth() == "none") {
    resource.authenticated = false;
    if (!resource.scopes.empty()) {
      faults.add(field + ".scopes", "need a token; unset auth: none");
    }
  } else if (!spec.auth().empty() && spec.auth() != "required") {
    faults.add(field + ".auth", fmt::format("'{}' is not required or none", spec.auth()));
  }
  return resource;
}

bool share_a_method(const model::ApiResource& a, const model::ApiResource& b) {
  return a.methods.empty() || b.methods.empty() ||
         std::any_of(a.methods.begin(), a.methods.end(), [&](const std::string& method) {
           return std::find(b.methods.begin(), b.methods.end(), method) != b.methods.end();
         });
}

void read_resources(const v1::Api& spec, model::Api& api, const ShardedMap<CompiledPlan>& plans,
                    Faults& faults) {
  if (static_cast<std::size_t>(spec.resources_size()) > limits::kApiResourcesMax) {
    faults.add("spec.resources", fmt::format("more than {} resources", limits::kApiResourcesMax));
    return;
  }
  for (int i = 0; i < spec.resources_size(); ++i) {
    const std::string field = fmt::format("spec.resources[{}]", i);
    model::ApiResource resource = read_resource(spec.resources(i), field, faults);
    check_resource_plan(resource.plan, field + ".plan", plans, faults);
    for (const model::ApiResource& other : api.resources) {
      if (other.segments == resource.segments && share_a_method(other, resource)) {
        faults.add(field + ".path", fmt::format("{} stands twice with the same method",
                                                resource.path));
      }
    }
    api.resources.push_back(std::move(resource));
  }
  std::stable_sort(api.resources.begin(), api.resources.end(), more_specific);
}

}  // namespace

void read_http(const v1::Api& spec, CompiledApi& api, const Surroundings& around, Faults& faults) {
  check_schemes(api.production.get(), "production", api.production_upstream, api.api.type, faults);
  check_schemes(api.sandbox.get(), "sandbox", api.sandbox_upstream, api.api.type, faults);
  check_strangers(spec, api.api.type, faults);
  if (api.api.type != model::ApiType::kHttp) {
    return;
  }
  read_limits(spec.http(), api.api.http, faults);
  read_cors(spec, api.api, faults);
  read_resources(spec, api.api, around.plans, faults);
}

}  // namespace sluice::config
