// The compiled form of single resources: every rule for one kind stands in its build_*.cc. For
// compile.cc only.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/compile.h"
#include "proxy/config/snapshot.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::config {

// Collects the faults of one resource.
class Faults {
 public:
  Faults(Kind kind, std::string name) : kind_(kind), name_(std::move(name)) {}

  void add(std::string field, std::string message) {
    list_.push_back({kind_, name_, std::move(field), std::move(message)});
  }
  bool any() const { return !list_.empty(); }
  std::vector<Fault>& list() { return list_; }

 private:
  Kind kind_;
  std::string name_;
  std::vector<Fault> list_;
};

// What a resource may refer to while it is built: the newest of everything.
struct Surroundings {
  const CompileContext& context;
  const ShardedMap<CompiledSecret>& secrets;
  const ShardedMap<CompiledUpstream>& upstreams;
  const ShardedMap<CompiledPlan>& plans;
  const std::vector<std::shared_ptr<const CompiledListener>>& listeners;
};

// Each returns null if it added a fault. `old` (may be null) lends its factories where the settings
// are the same. The caller sets `content`.
std::shared_ptr<CompiledSecret> build_secret(const v1::Secret& spec, Faults& faults,
                                             const std::string& name);
std::shared_ptr<CompiledUpstream> build_upstream(const v1::Upstream& spec, Faults& faults,
                                                 const std::string& name,
                                                 const CompileContext& context,
                                                 const ShardedMap<CompiledSecret>& secrets);
// The same upstream, showing the certificate of `secret`, which was changed.
std::shared_ptr<CompiledUpstream> renew_certificate(const CompiledUpstream& old,
                                                    const CompiledSecret& secret);
std::shared_ptr<CompiledPlan> build_plan(const v1::Plan& spec, Faults& faults,
                                         const std::string& name);
std::shared_ptr<CompiledListener> build_listener(const v1::Listener& spec, Faults& faults,
                                                 const std::string& name,
                                                 const CompiledListener* old,
                                                 const Surroundings& around);
std::shared_ptr<CompiledApi> build_api(const v1::Api& spec, Faults& faults, const std::string& name,
                                       const CompiledApi* old, const Surroundings& around);

// What concerns APIs of type HTTP alone, and that the endpoints are of the API's type.
void read_http(const v1::Api& spec, CompiledApi& api, const Surroundings& around, Faults& faults);

// The built-in plan; its content is all zero.
std::shared_ptr<CompiledPlan> unlimited_plan();

// An API's own chain for each listener; none if it has no settings of its own.
std::vector<CompiledApi::ListenerChain> chains_of(
    const CompiledApi& api, const std::vector<std::shared_ptr<const CompiledListener>>& listeners);

// Whether new connections are routed to an API in this state (a BLOCKED one is, to be refused).
bool is_routed(model::ApiState state);

// What an API claims: /context/version with {version} filled in, and the default version's path,
// "" if it is none.
std::string versioned_path(const model::Api& api);
std::string default_path(const model::Api& api);

// The bytes of a message in one form only, whatever the order of its maps.
std::string canonical(const google::protobuf::Message& message);

// ---- shared rules

// A duration field that was set, within [min, max]; 0 is let through where `zero` says so.
struct DurationRule {
  nanoseconds min;
  nanoseconds max;
  bool zero = false;
};
nanoseconds read_duration(const google::protobuf::Duration& value, const DurationRule& rule,
                          std::string_view field, Faults& faults);

// A URL's endpoint; nothing, with a fault, if it is none that can be dialled.
std::optional<model::Endpoint> read_endpoint(std::string_view url, std::string_view field,
                                             Faults& faults);
// Whether it is a link-local or metadata address, or one of context.own_addresses.
bool is_local(const model::Endpoint& endpoint, const CompileContext& context);

// Sets the cluster's tls and server_name as the endpoints need it. `identity`: what is shown to
// endpoints, may be null.
struct TlsContext {
  filter::SharedState& shared;
  std::shared_ptr<const net::TlsServerContext> identity;
};
void read_tls(const v1::UpstreamTls& spec, std::string_view field, const TlsContext& context,
              upstream::Cluster& cluster, Faults& faults);

// All of the cluster but its endpoints, tls and server_name.
void read_policy(const v1::Upstream& spec, upstream::Cluster& cluster, Faults& faults);

// A resource may name a filter once. `old` lends factories.
std::vector<CompiledFilter> read_filters(
    const google::protobuf::RepeatedPtrField<v1::FilterConfig>& specs,
    const std::vector<CompiledFilter>& old, const CompileContext& context, Faults& faults);

// Adds a fault where a name of a gateway group is none.
void check_group(const std::string& group, std::string_view field, Faults& faults);

}  // namespace sluice::config
