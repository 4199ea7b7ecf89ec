// The JSON of the admin endpoints. What is secret is not in it: keys are never read, credentials in
// endpoint URLs are blanked.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/snapshot.h"
#include "proxy/net/certificate.h"
#include "proxy/upstream/state.h"
#include "proxy/worker/publication.h"

namespace sluice::admin {

// By name; `prefix` of the names, empty: all.
boost::json::array render_apis(const config::Snapshot& snapshot, std::string_view prefix);
// How the endpoints do at `now`; `states` null: only how they are configured.
struct UpstreamsNow {
  const upstream::StateTable* states = nullptr;
  Mono now{};
};
// Upstreams, and those endpoints of APIs' own that are in use (NAME:production, NAME:sandbox).
boost::json::array render_upstreams(const config::Snapshot& snapshot, std::string_view prefix,
                                    const UpstreamsNow& now);
boost::json::object render_cluster(const upstream::Cluster& cluster);
boost::json::array render_listeners(const config::Snapshot& snapshot,
                                    const worker::Bindings& bindings);
boost::json::array render_plans(const config::Snapshot& snapshot);
boost::json::array render_refused(const config::Snapshot& snapshot);
boost::json::array render_secrets(const config::Snapshot& snapshot);
boost::json::array render_connections(const std::vector<worker::ConnectionInfo>& connections,
                                      Wall now);
boost::json::object render_certificate(const net::CertificateInfo& info);
// Heap and process, in bytes; blocks for a moment (reads /proc/self).
boost::json::object render_memory();

// scheme://user:password@host/ with the part before @ blanked; other texts unchanged.
std::string redact_url(std::string_view url);

// RFC 3339 in UTC, whole seconds.
std::string format_time(Wall time);

// The samples of a Prometheus text as `name{labels}: value` lines, those that contain `filter`;
// `used`: not zero.
std::string render_stats(std::string_view prometheus, std::string_view filter, bool used);

}  // namespace sluice::admin
