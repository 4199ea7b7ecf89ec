#include <fmt/format.h>

#include <algorithm>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include "proxy/base/plant.h"
#include "proxy/config/build.h"
#include "proxy/config/default_plans.h"
#include "proxy/config/text.h"

namespace sluice::config {
namespace {

constexpr std::string_view kVersionSegment = "{version}";
constexpr std::string_view kUpstreamPrefix = "upstream:";
constexpr std::string_view kDefaultNotice = "Websocket frame throttled out";

std::vector<std::string_view> segments_of(std::string_view context) {
  std::vector<std::string_view> segments;
  for (std::size_t begin = 1; begin <= context.size();) {
    const std::size_t end = std::min(context.find('/', begin), context.size());
    segments.push_back(context.substr(begin, end - begin));
    begin = end + 1;
  }
  return segments;
}

bool is_segment(std::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_' || c == '~';
         });
}

// Empty if the context is well formed.
std::string context_fault(std::string_view context) {
  if (context.empty() || context.front() != '/') {
    return "must begin with '/', e.g. /echo";
  }
  if (context.back() == '/') {
    return "must not end in '/'";
  }
  if (context.size() > limits::kContextBytesMax) {
    return fmt::format("is longer than {} bytes", limits::kContextBytesMax);
  }
  const std::vector<std::string_view> segments = segments_of(context);
  if (segments.size() > limits::kContextSegmentsMax) {
    return fmt::format("has more than {} segments", limits::kContextSegmentsMax);
  }
  int versions = 0;
  for (const std::string_view segment : segments) {
    if (segment == kVersionSegment) {
      ++versions;
    } else if (segment.empty()) {
      return "has an empty segment ('//')";
    } else if (!is_segment(segment)) {
      return fmt::format("segment '{}' may hold A-Z a-z 0-9 - . _ ~ only, or be {{version}}",
                         segment);
    }
  }
  return versions > 1 ? "holds {version} more than once" : "";
}

void read_path(const v1::Api& spec, model::Api& api, Faults& faults) {
  api.context = spec.context();
  api.version = spec.version();
  api.default_version = spec.default_version();
  if (const std::string fault = context_fault(api.context); !fault.empty()) {
    faults.add("spec.context", fault);
  }
  if (!is_segment(api.version) || api.version.size() > limits::kNameBytesMax) {
    faults.add("spec.version", fmt::format("must be 1 to {} of A-Z a-z 0-9 - . _ ~, e.g. v1.0",
                                           limits::kNameBytesMax));
  }
  if (api.default_version && !faults.any() && default_path(api).empty()) {
    faults.add("spec.default_version", "a context that is {version} alone has no path without it");
  }
}

void read_state(const v1::Api& spec, model::Api& api, Faults& faults) {
  switch (spec.type()) {
    case v1::Api::TYPE_UNSPECIFIED:
    case v1::Api::WS:
      break;
    case v1::Api::HTTP:
      api.type = model::ApiType::kHttp;
      break;
    default:
      faults.add("spec.type", "is not a type that this program knows");
  }
  switch (spec.state()) {
    case v1::Api::STATE_UNSPECIFIED:
    case v1::Api::CREATED:
      api.state = model::ApiState::kCreated;
      break;
    case v1::Api::PROTOTYPED:
      api.state = model::ApiState::kPrototyped;
      break;
    case v1::Api::PUBLISHED:
      api.state = model::ApiState::kPublished;
      break;
    case v1::Api::BLOCKED:
      api.state = model::ApiState::kBlocked;
      break;
    case v1::Api::DEPRECATED:
      api.state = model::ApiState::kDeprecated;
      break;
    case v1::Api::RETIRED:
      api.state = model::ApiState::kRetired;
      break;
    default:
      faults.add("spec.state", "is not a state that this program knows");
  }
}

// One kind of endpoints, production or sandbox.
struct EndpointsReader {
  const v1::Api& spec;
  const Surroundings& around;
  const CompiledApi& api;
  Faults& faults;

  bool groups_allow() const {
    const auto& allows = around.context.allows_local;
    return allows && std::all_of(api.groups.begin(), api.groups.end(),
                                 [&](const std::string& group) { return allows(group); });
  }

  void check_local(const std::string& url, const std::string& field) const {
    if (!groups_allow()) {
      faults.add(field, fmt::format("{} is a link-local, metadata or gateway-internal address; the "
                                    "API's gateway groups must set allow_local_endpoints to use it",
                                    url));
    }
  }

  std::shared_ptr<const upstream::Cluster> of_upstream(std::string_view name,
                                                       const std::string& field) const {
    const std::shared_ptr<const CompiledUpstream>& found = around.upstreams.find(name);
    if (found == nullptr) {
      faults.add(field, fmt::format("there is no Upstream {}", name));
      return nullptr;
    }
    if (!found->local_endpoint.empty()) {
      check_local(found->local_endpoint, field);
    }
    return found->cluster;
  }

  // `upstream` gets the name where the one entry is `upstream:NAME`.
  std::shared_ptr<const upstream::Cluster> read(
      std::string_view kind, const google::protobuf::RepeatedPtrField<std::string>& urls,
      std::string& upstream) const {
    const std::string field = fmt::format("spec.endpoints.{}", kind);
    if (urls.empty()) {
      return nullptr;
    }
    if (static_cast<std::size_t>(urls.size()) > limits::kEndpointsMax) {
      faults.add(field, fmt::format("more than {} endpoints", limits::kEndpointsMax));
      return nullptr;
    }
    if (urls.size() == 1 && urls[0].starts_with(kUpstreamPrefix)) {
      upstream = urls[0].substr(kUpstreamPrefix.size());
      return of_upstream(upstream, field + "[0]");
    }
    auto cluster = std::make_shared<upstream::Cluster>();
    cluster->name = fmt::format("{}:{}", api.api.name, kind);
    for (int i = 0; i < urls.size(); ++i) {
      const std::string entry = fmt::format("{}[{}]", field, i);
      if (urls[i].starts_with(kUpstreamPrefix)) {
        faults.add(entry, "upstream:NAME stands alone; put the other endpoints into the Upstream");
      } else if (auto endpoint = read_endpoint(urls[i], entry, faults)) {
        if (is_local(*endpoint, around.context)) {
          check_local(endpoint->url, entry);
        }
        cluster->endpoints.push_back(*std::move(endpoint));
      }
    }
    if (!spec.endpoints().tls().client_certificate().empty()) {
      faults.add("spec.endpoints.tls.client_certificate",
                 "belongs to an Upstream; put the endpoints into one and name it upstream:NAME");
    }
    const TlsContext tls{around.context.shared, nullptr};
    read_tls(spec.endpoints().tls(), "spec.endpoints.tls", tls, *cluster, faults);
    return cluster;
  }
};

void read_endpoints(const v1::Api& spec, CompiledApi& api, const Surroundings& around,
                    Faults& faults) {
  const EndpointsReader reader{spec, around, api, faults};
  const v1::Endpoints& endpoints = spec.endpoints();
  api.production = reader.read("production", endpoints.production(), api.production_upstream);
  api.sandbox = reader.read("sandbox", endpoints.sandbox(), api.sandbox_upstream);
  const bool own_urls = (api.production != nullptr && api.production_upstream.empty()) ||
                        (api.sandbox != nullptr && api.sandbox_upstream.empty());
  if (endpoints.has_tls() && !own_urls && !faults.any()) {
    faults.add("spec.endpoints.tls",
               "concerns URLs that stand here, and there are none; an Upstream has its own tls");
  }
  const bool serves =
      api.api.state == model::ApiState::kPublished || api.api.state == model::ApiState::kPrototyped;
  if (serves && endpoints.production().empty() && endpoints.sandbox().empty()) {
    faults.add("spec.endpoints", "an API needs at least one endpoint to be served");
  }
}

void read_plans(const v1::Api& spec, model::Api& api, const ShardedMap<CompiledPlan>& plans,
                Faults& faults) {
  for (int i = 0; i < spec.plans_size(); ++i) {
    const std::string& name = spec.plans(i);
    const std::string field = fmt::format("spec.plans[{}]", i);
    const std::shared_ptr<const CompiledPlan>& plan = plans.find(name);
    if (plan == nullptr) {
      faults.add(field, fmt::format("there is no Plan {}", name));
    } else if (!plan->for_subscription) {
      faults.add(field, fmt::format("Plan {} is not for subscriptions (its levels say)", name));
    } else if (std::find(api.plans.begin(), api.plans.end(), name) != api.plans.end()) {
      faults.add(field, fmt::format("{} stands twice", name));
    }
    api.plans.push_back(name);
  }
  if (api.plans.empty() && api.state == model::ApiState::kPublished) {
    faults.add("spec.plans", "an API needs at least one plan to be published");
  }
  api.api_plan = spec.api_plan().empty() ? kUnlimited : spec.api_plan();
  const std::shared_ptr<const CompiledPlan>& plan = plans.find(api.api_plan);
  if (plan == nullptr) {
    faults.add("spec.api_plan", fmt::format("there is no Plan {}", api.api_plan));
  } else if (!plan->for_api) {
    faults.add("spec.api_plan",
               fmt::format("Plan {} is not for APIs (its levels say)", api.api_plan));
  }
}

// scheme://host[:port], as browsers send it; or null, as they send it for local files.
bool is_origin(const std::string& text) {
  if (text == "null") {
    return true;
  }
  const auto url = boost::urls::parse_uri(text);
  return url && url->has_authority() && !url->encoded_host().empty() && !url->has_userinfo() &&
         url->encoded_path().empty() && !url->has_query() && !url->has_fragment() &&
         text.find('*') == std::string::npos;
}

void read_credential_places(const v1::Api& spec, model::Api& api, Faults& faults) {
  using enum model::CredentialPlace;
  struct Word {
    const char* word;
    model::CredentialPlace place;
  };
  constexpr Word kWords[] = {{"authorization", kAuthorization},
                             {"subprotocol", kSubprotocol},
                             {"access_token", kAccessToken},
                             {"apikey", kApiKey}};
  std::vector<std::string> left(spec.credential_places().begin(), spec.credential_places().end());
  // In the order of precedence, whatever the order in the resource.
  for (const Word& word : kWords) {
    const auto listed = std::find(left.begin(), left.end(), word.word);
    const bool fits = api.type == model::ApiType::kWebSocket || word.place != kSubprotocol;
    if (listed != left.end() || (fits && spec.credential_places().empty())) {
      api.credential_places.push_back(word.place);
    }
  }
  for (std::size_t i = 0; i < left.size(); ++i) {
    const bool known = std::any_of(std::begin(kWords), std::end(kWords),
                                   [&](const Word& word) { return left[i] == word.word; });
    if (!known) {
      const std::vector<std::string> words = {"authorization", "subprotocol", "access_token",
                                              "apikey"};
      faults.add(
          fmt::format("spec.credential_places[{}]", i),
          fmt::format("'{}' is not {}{}", left[i], one_of(words), did_you_mean(left[i], words)));
    } else if (std::find(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(i), left[i]) !=
               left.begin() + static_cast<std::ptrdiff_t>(i)) {
      faults.add(fmt::format("spec.credential_places[{}]", i),
                 fmt::format("{} stands twice", left[i]));
    }
  }
}

void read_manners(const v1::Api& spec, model::Api& api, Faults& faults) {
  for (int i = 0; i < spec.allowed_origins_size(); ++i) {
    if (!is_origin(spec.allowed_origins(i))) {
      faults.add(fmt::format("spec.allowed_origins[{}]", i),
                 fmt::format("'{}' is no origin such as https://app.example.com (leave the list "
                             "out to allow all)",
                             spec.allowed_origins(i)));
    }
    api.allowed_origins.push_back(spec.allowed_origins(i));
  }
  if (spec.refuse_by() == "close") {
    api.refuse_by = model::RefuseBy::kClose;
  } else if (!spec.refuse_by().empty() && spec.refuse_by() != "http") {
    faults.add("spec.refuse_by", fmt::format("'{}' is not http or close", spec.refuse_by()));
  }
  if (spec.close_codes() == "standard") {
    api.close_codes = model::CloseCodes::kStandard;
  } else if (!spec.close_codes().empty() && spec.close_codes() != "reference") {
    faults.add("spec.close_codes",
               fmt::format("'{}' is not reference or standard", spec.close_codes()));
  }
  api.throttle_notice = spec.throttle_notice();
  if (api.throttle_notice.empty()) {
    api.throttle_notice = std::string(kDefaultNotice);
  } else if (api.throttle_notice.size() > limits::kThrottleNoticeBytesMax) {
    faults.add("spec.throttle_notice",
               fmt::format("is longer than {} bytes", limits::kThrottleNoticeBytesMax));
  }
  read_credential_places(spec, api, faults);
}

void read_limits(const v1::WebSocketLimits& spec, model::WebSocketLimits& limits, Faults& faults) {
  if (spec.message_bytes_max() != 0) {
    limits.message_bytes_max = spec.message_bytes_max();
  }
  const DurationRule rule{seconds(1), std::chrono::hours(24 * 366), true};
  if (spec.has_ping_interval()) {
    limits.ping_interval =
        read_duration(spec.ping_interval(), rule, "spec.limits.ping_interval", faults);
  }
  if (spec.has_idle_timeout()) {
    limits.idle_timeout =
        read_duration(spec.idle_timeout(), rule, "spec.limits.idle_timeout", faults);
  }
  if (spec.has_age_max()) {
    limits.age_max = read_duration(spec.age_max(), rule, "spec.limits.age_max", faults);
  }
}

}  // namespace

bool is_routed(model::ApiState state) {
  return state != model::ApiState::kCreated && state != model::ApiState::kRetired;
}

std::string versioned_path(const model::Api& api) {
  const std::size_t at = api.context.find(kVersionSegment);
  if (at == std::string::npos) {
    return fmt::format("{}/{}", api.context, api.version);
  }
  std::string path = api.context;
  return path.replace(at, kVersionSegment.size(), api.version);
}

std::string default_path(const model::Api& api) {
  if (!api.default_version) {
    return "";
  }
  const std::size_t at = api.context.find(kVersionSegment);
  if (at == std::string::npos) {
    return api.context;
  }
  std::string path = api.context;
  return path.erase(at - 1, kVersionSegment.size() + 1);
}

std::vector<CompiledApi::ListenerChain> chains_of(
    const CompiledApi& api, const std::vector<std::shared_ptr<const CompiledListener>>& listeners) {
  std::vector<CompiledApi::ListenerChain> chains;
  if (api.filters.empty()) {
    return chains;
  }
  for (const auto& listener : listeners) {
    std::vector<filter::FilterChain::Entry> entries = listener->chain->entries();
    for (filter::FilterChain::Entry& entry : entries) {
      for (const CompiledFilter& own : api.filters) {
        if (own.name == entry.name) {
          entry.factory = own.factory;
        }
      }
    }
    chains.push_back(
        {listener->name, std::make_shared<const filter::FilterChain>(std::move(entries))});
  }
  return chains;
}

std::shared_ptr<CompiledApi> build_api(const v1::Api& spec, Faults& faults, const std::string& name,
                                       const CompiledApi* old, const Surroundings& around) {
  auto api = std::make_shared<CompiledApi>();
  api->api.name = name;
  api->groups.assign(spec.groups().begin(), spec.groups().end());
  if (api->groups.empty()) {
    api->groups.emplace_back("default");
  }
  for (std::size_t i = 0; i < api->groups.size(); ++i) {
    check_group(api->groups[i], fmt::format("spec.groups[{}]", i), faults);
  }
  read_path(spec, api->api, faults);
  read_state(spec, api->api, faults);
  read_endpoints(spec, *api, around, faults);
  read_plans(spec, api->api, around.plans, faults);
  read_manners(spec, api->api, faults);
  read_limits(spec.limits(), api->api.limits, faults);
  read_http(spec, *api, around, faults);
  const std::vector<CompiledFilter> none;
  api->filters =
      read_filters(spec.filters(), old == nullptr ? none : old->filters, around.context, faults);
  if (faults.any()) {
    return nullptr;
  }
  if (SLUICE_PLANT(kHalfApplied) && old != nullptr) api->production = old->production;
  api->chains = chains_of(*api, around.listeners);
  return api;
}

}  // namespace sluice::config
