#include <fmt/format.h>

#include "proxy/config/build.h"

namespace sluice::config {
namespace {

constexpr const char* kDefaultChain[] = {"auth", "throttling", "analytics", "passthrough"};

void read_address(const v1::Listener& spec, CompiledListener& listener,
                  const CompileContext& context, Faults& faults) {
  listener.address = spec.address();
  if (spec.port() > 65535) {
    faults.add("spec.port", fmt::format("{} is not 0 to 65535", spec.port()));
  }
  listener.port = static_cast<std::uint16_t>(spec.port());
  bool asked_for = spec.plaintext();
  if (const auto it = context.listen.find(listener.name); it != context.listen.end()) {
    listener.address = it->second.address;
    listener.port = it->second.port;
    asked_for = true;
  }
  const std::optional<IpAddress> ip = parse_ip(listener.address);
  if (!ip) {
    faults.add("spec.address", listener.address.empty()
                                   ? "an IP address is needed, e.g. 127.0.0.1 or ::"
                                   : fmt::format("'{}' is no IP address such as 127.0.0.1 or ::",
                                                 listener.address));
    return;
  }
  if (!spec.has_tls() && !ip->is_loopback()) {
    listener.plaintext_exposed = true;
    if (!asked_for) {
      faults.add("spec.plaintext",
                 fmt::format("plain text on {}, beyond loopback, must be asked for: set plaintext: "
                             "true, or give the listener tls",
                             listener.address));
    }
  }
}

void read_tls(const v1::Listener& spec, CompiledListener& listener,
              const ShardedMap<CompiledSecret>& secrets, Faults& faults) {
  if (!spec.has_tls()) {
    return;
  }
  listener.secret = spec.tls().secret();
  if (listener.secret.empty()) {
    faults.add("spec.tls.secret", "the name of a Secret is needed");
    return;
  }
  const std::shared_ptr<const CompiledSecret>& secret = secrets.find(listener.secret);
  if (secret == nullptr) {
    faults.add("spec.tls.secret", fmt::format("there is no Secret {}", listener.secret));
    return;
  }
  listener.tls = secret->tls;
}

void read_hops(const v1::Listener& spec, CompiledListener& listener, Faults& faults) {
  for (int i = 0; i < spec.trusted_hops_size(); ++i) {
    if (const std::optional<IpPrefix> prefix = parse_prefix(spec.trusted_hops(i))) {
      listener.trusted_hops.push_back(*prefix);
    } else {
      faults.add(fmt::format("spec.trusted_hops[{}]", i),
                 fmt::format("'{}' is no address or prefix such as 10.0.0.0/8 (bits beyond the "
                             "prefix must be 0)",
                             spec.trusted_hops(i)));
    }
  }
}

void read_limits(const v1::Listener& spec, CompiledListener& listener, Faults& faults) {
  listener.request_head_bytes_max = spec.request_head_bytes_max() == 0
                                        ? limits::kRequestHeadBytesMax
                                        : spec.request_head_bytes_max();
  if (listener.request_head_bytes_max < limits::kHeadBytesConfigurableMin ||
      listener.request_head_bytes_max > limits::kHeadBytesConfigurableMax) {
    faults.add("spec.request_head_bytes_max",
               fmt::format("must be {} to {}", limits::kHeadBytesConfigurableMin,
                           limits::kHeadBytesConfigurableMax));
  }
  listener.request_head_timeout = limits::kRequestHeadTimeout;
  if (spec.has_request_head_timeout()) {
    listener.request_head_timeout = read_duration(
        spec.request_head_timeout(), {milliseconds(1), limits::kTimeoutConfigurableMax},
        "spec.request_head_timeout", faults);
  }
}

bool same_factories(const std::vector<CompiledFilter>& a, const std::vector<CompiledFilter>& b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].name != b[i].name || a[i].factory != b[i].factory) {
      return false;
    }
  }
  return true;
}

}  // namespace

std::shared_ptr<CompiledSecret> build_secret(const v1::Secret& spec, Faults& faults,
                                             const std::string& name) {
  if (spec.certificate_pem().empty()) {
    faults.add("spec.certificate_pem", "a certificate chain in PEM is needed");
  }
  if (spec.private_key_pem().empty()) {
    faults.add("spec.private_key_pem", "the certificate's private key in PEM is needed");
  }
  if (faults.any()) {
    return nullptr;
  }
  auto tls = net::TlsServerContext::create(spec.certificate_pem(), spec.private_key_pem());
  if (!tls.ok()) {
    faults.add("spec", std::string(message_of(tls.status())));
    return nullptr;
  }
  auto secret = std::make_shared<CompiledSecret>();
  secret->name = name;
  secret->tls = *std::move(tls);
  return secret;
}

std::shared_ptr<CompiledListener> build_listener(const v1::Listener& spec, Faults& faults,
                                                 const std::string& name,
                                                 const CompiledListener* old,
                                                 const Surroundings& around) {
  auto listener = std::make_shared<CompiledListener>();
  listener->name = name;
  listener->group = spec.group().empty() ? "default" : spec.group();
  check_group(listener->group, "spec.group", faults);
  read_address(spec, *listener, around.context, faults);
  read_tls(spec, *listener, around.secrets, faults);
  read_hops(spec, *listener, faults);
  read_limits(spec, *listener, faults);
  listener->allow_local_endpoints = spec.allow_local_endpoints();

  google::protobuf::RepeatedPtrField<v1::FilterConfig> specs = spec.filters();
  if (specs.empty()) {
    for (const char* filter : kDefaultChain) {
      specs.Add()->set_name(filter);
    }
  }
  const std::vector<CompiledFilter> none;
  listener->filters =
      read_filters(specs, old == nullptr ? none : old->filters, around.context, faults);
  if (faults.any()) {
    return nullptr;
  }
  if (old != nullptr && same_factories(old->filters, listener->filters)) {
    listener->chain = old->chain;
    return listener;
  }
  std::vector<filter::FilterChain::Entry> entries;
  for (const CompiledFilter& filter : listener->filters) {
    entries.push_back({filter.name, filter.factory});
  }
  listener->chain = std::make_shared<const filter::FilterChain>(std::move(entries));
  return listener;
}

}  // namespace sluice::config
