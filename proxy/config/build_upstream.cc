#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <map>
#include <mutex>

#include "proxy/base/check.h"
#include "proxy/config/build.h"
#include "proxy/net/connect.h"

namespace sluice::config {
namespace {

using ClientTls = std::shared_ptr<const net::TlsClientContext>;

// Trust stores, shared by all that verify alike: the system's costs milliseconds and a megabyte to
// load. One that shows a certificate is its upstream's own.
class TrustStores {
 public:
  absl::StatusOr<ClientTls> get(net::TlsClientContext::Options options) {
    if (options.identity != nullptr) {
      return net::TlsClientContext::create(std::move(options));
    }
    const std::lock_guard lock(mutex_);
    const bool system = options.ca_pem.empty() && options.subject_names.empty();
    const Sha256 key =
        sha256(fmt::format("{}\n{}", options.ca_pem, fmt::join(options.subject_names, "\n")));
    if (auto known = stores_[key].lock()) {
      return known;
    }
    std::erase_if(stores_, [](const auto& entry) { return entry.second.expired(); });
    SLUICE_ASSIGN_OR_RETURN(ClientTls made, net::TlsClientContext::create(std::move(options)));
    if (system) {
      system_ = made;
    }
    stores_[key] = made;
    return made;
  }

 private:
  std::mutex mutex_;
  std::map<Sha256, std::weak_ptr<const net::TlsClientContext>> stores_;
  ClientTls system_;
};

struct Scheme {
  std::string_view name;
  bool tls;
  std::uint16_t port;
};
constexpr Scheme kSchemes[] = {
    {"ws", false, 80}, {"wss", true, 443}, {"http", false, 80}, {"https", true, 443}};

bool is_host_name(std::string_view host) {
  return !host.empty() && host.size() <= 253 && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  });
}

// 2130706433, 0x7f.1 and the like: the resolver takes them for addresses, people do not.
bool is_disguised_address(const std::string& host) {
  in_addr ignored{};
  return !parse_ip(host) && inet_aton(host.c_str(), &ignored) != 0;
}

// Empty if all is well with the parts that are not wanted.
std::string_view unwanted_part(const boost::urls::url_view& url) {
  if (url.has_userinfo()) {
    return "credentials have no place in an endpoint's URL; have the backend check the proxy's "
           "address or certificate instead";
  }
  if (url.has_query()) {
    return "an endpoint has no query; the client's is passed on";
  }
  if (url.has_fragment()) {
    return "an endpoint has no fragment";
  }
  return "";
}

std::string_view lower_host(std::string& host) {
  std::transform(host.begin(), host.end(), host.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  });
  while (host.ends_with('.')) {
    host.pop_back();
  }
  return host;
}

// Whether HOST:PORT of one of our own ports is where `host` leads.
bool leads_to(std::string_view own, std::string_view host, std::uint16_t port) {
  const std::size_t colon = own.rfind(':');
  if (colon == std::string_view::npos || own.substr(colon + 1) != std::to_string(port)) {
    return false;
  }
  std::string_view own_host = own.substr(0, colon);
  if (own_host.starts_with('[') && own_host.ends_with(']')) {
    own_host = own_host.substr(1, own_host.size() - 2);
  }
  if (own_host == host) {
    return true;
  }
  const std::optional<IpAddress> theirs = parse_ip(host);
  const std::optional<IpAddress> ours = parse_ip(own_host);
  const bool theirs_here =
      host == "localhost" || (theirs && (theirs->is_loopback() || theirs->is_unspecified()));
  const bool ours_here =
      own_host == "localhost" || (ours && (ours->is_loopback() || ours->is_unspecified()));
  return (theirs_here && ours_here) ||
         (theirs && ours && (*theirs == *ours || ours->is_unspecified()));
}

}  // namespace

std::optional<model::Endpoint> read_endpoint(std::string_view url, std::string_view field,
                                             Faults& faults) {
  const auto refuse = [&](std::string_view why) {
    faults.add(std::string(field), std::string(why));
    return std::nullopt;
  };
  const auto parsed = boost::urls::parse_uri({url.data(), url.size()});
  if (!parsed || !parsed->has_authority()) {
    return refuse(fmt::format("'{}' is no URL such as ws://backend:9100/", url));
  }
  const std::string scheme_name(parsed->scheme());
  const auto* scheme = std::find_if(std::begin(kSchemes), std::end(kSchemes),
                                    [&](const Scheme& s) { return s.name == scheme_name; });
  if (scheme == std::end(kSchemes)) {
    return refuse(fmt::format("'{}://' is not ws://, wss://, http:// or https://", scheme_name));
  }
  if (const std::string_view why = unwanted_part(*parsed); !why.empty()) {
    return refuse(why);
  }
  model::Endpoint endpoint;
  endpoint.url = std::string(url);
  endpoint.tls = scheme->tls;
  const std::string host(parsed->encoded_host());
  const bool v6 = host.starts_with('[');
  endpoint.host = v6 ? host.substr(1, host.size() - 2) : host;
  if (v6 ? !parse_ip(endpoint.host) : !is_host_name(host)) {
    return refuse(fmt::format("'{}' is no host name or address", host));
  }
  if (is_disguised_address(endpoint.host)) {
    return refuse(fmt::format("'{}': write an IPv4 address as four decimal numbers", host));
  }
  endpoint.port = scheme->port;
  if (parsed->has_port() && !parsed->port().empty()) {
    endpoint.port = parsed->port_number();
    if (endpoint.port == 0) {
      return refuse(fmt::format("port {} is not 1 to 65535", std::string(parsed->port())));
    }
  }
  endpoint.path = std::string(parsed->encoded_path());
  if (endpoint.path.empty()) {
    endpoint.path = "/";
  }
  endpoint.authority =
      endpoint.port == scheme->port ? host : fmt::format("{}:{}", host, endpoint.port);
  return endpoint;
}

bool is_local(const model::Endpoint& endpoint, const CompileContext& context) {
  std::string copy = endpoint.host;
  const std::string_view host = lower_host(copy);
  if (net::is_link_local_or_metadata(std::string(host)) || host == "metadata.google.internal" ||
      host == "metadata" || host == "instance-data") {
    return true;
  }
  return std::any_of(context.own_addresses.begin(), context.own_addresses.end(),
                     [&](const std::string& own) { return leads_to(own, host, endpoint.port); });
}

void read_tls(const v1::UpstreamTls& spec, std::string_view field, const TlsContext& context,
              upstream::Cluster& cluster, Faults& faults) {
  const bool wanted = std::any_of(cluster.endpoints.begin(), cluster.endpoints.end(),
                                  [](const model::Endpoint& e) { return e.tls; });
  if (!spec.server_name().empty() && !is_host_name(spec.server_name()) &&
      !parse_ip(spec.server_name())) {
    faults.add(fmt::format("{}.server_name", field),
               fmt::format("'{}' is no host name or address", spec.server_name()));
  }
  cluster.server_name = spec.server_name();
  net::TlsClientContext::Options options;
  options.ca_pem = spec.ca();
  options.identity = context.identity;
  for (int i = 0; i < spec.subject_names_size(); ++i) {
    const std::string& name = spec.subject_names(i);
    const bool uri = name.find("://") != std::string::npos;
    if (!uri && !is_host_name(name) && !parse_ip(name)) {
      faults.add(fmt::format("{}.subject_names[{}]", field, i),
                 fmt::format("'{}' is no DNS name, address or URI", name));
    }
    options.subject_names.push_back(name);
  }
  if (!wanted && spec.ca().empty()) {
    return;
  }
  auto tls = context.shared.get<TrustStores>()->get(std::move(options));
  if (!tls.ok()) {
    faults.add(fmt::format("{}.ca", field), std::string(message_of(tls.status())));
    return;
  }
  if (wanted) {
    cluster.tls = *std::move(tls);
  }
}

namespace {

void read_target(const v1::Target& spec, const std::string& field, upstream::Cluster& cluster,
                 Faults& faults) {
  auto endpoint = read_endpoint(spec.url(), field + ".url", faults);
  if (spec.weight() > limits::kWeightMax) {
    faults.add(field + ".weight", fmt::format("is more than {}", limits::kWeightMax));
  }
  if (spec.priority() > limits::kPriorityMax) {
    faults.add(field + ".priority", fmt::format("is more than {}", limits::kPriorityMax));
  }
  if (endpoint) {
    endpoint->weight = std::max(spec.weight(), 1U);
    endpoint->priority = spec.priority();
    cluster.endpoints.push_back(*std::move(endpoint));
  }
}

}  // namespace

std::shared_ptr<CompiledUpstream> build_upstream(const v1::Upstream& spec, Faults& faults,
                                                 const std::string& name,
                                                 const CompileContext& context,
                                                 const ShardedMap<CompiledSecret>& secrets) {
  auto cluster = std::make_shared<upstream::Cluster>();
  auto compiled = std::make_shared<CompiledUpstream>();
  cluster->name = name;
  const auto count = static_cast<std::size_t>(spec.endpoints_size() + spec.targets_size());
  if (count == 0) {
    faults.add("spec.endpoints", "at least one URL is needed, here or in targets");
  }
  if (count > limits::kEndpointsMax) {
    faults.add("spec.endpoints",
               fmt::format("more than {} endpoints and targets", limits::kEndpointsMax));
    return nullptr;
  }
  for (int i = 0; i < spec.endpoints_size(); ++i) {
    auto endpoint = read_endpoint(spec.endpoints(i), fmt::format("spec.endpoints[{}]", i), faults);
    if (endpoint) {
      cluster->endpoints.push_back(*std::move(endpoint));
    }
  }
  for (int i = 0; i < spec.targets_size(); ++i) {
    read_target(spec.targets(i), fmt::format("spec.targets[{}]", i), *cluster, faults);
  }
  for (const model::Endpoint& endpoint : cluster->endpoints) {
    if (is_local(endpoint, context)) {
      compiled->local_endpoint = endpoint.url;
    }
  }
  compiled->ca = spec.tls().ca();
  compiled->secret = spec.tls().client_certificate();
  TlsContext tls{context.shared, nullptr};
  if (!compiled->secret.empty()) {
    const std::shared_ptr<const CompiledSecret>& secret = secrets.find(compiled->secret);
    if (secret == nullptr) {
      faults.add("spec.tls.client_certificate",
                 fmt::format("there is no Secret {}", compiled->secret));
    } else {
      tls.identity = secret->tls;
    }
  }
  read_tls(spec.tls(), "spec.tls", tls, *cluster, faults);
  read_policy(spec, *cluster, faults);
  compiled->cluster = std::move(cluster);
  return faults.any() ? nullptr : compiled;
}

std::shared_ptr<CompiledUpstream> renew_certificate(const CompiledUpstream& old,
                                                    const CompiledSecret& secret) {
  auto fresh = std::make_shared<CompiledUpstream>(old);
  if (old.cluster->tls == nullptr) {
    return fresh;
  }
  net::TlsClientContext::Options options;
  options.ca_pem = old.ca;
  options.subject_names = old.cluster->tls->subject_names();
  options.identity = secret.tls;
  auto cluster = std::make_shared<upstream::Cluster>(*old.cluster);
  // What it is made of was taken before.
  absl::StatusOr<ClientTls> tls = net::TlsClientContext::create(std::move(options));
  SLUICE_CHECK(tls.ok());
  cluster->tls = *std::move(tls);
  fresh->cluster = std::move(cluster);
  return fresh;
}

}  // namespace sluice::config
