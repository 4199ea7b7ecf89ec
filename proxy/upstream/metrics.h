// What scrapes show of upstreams, with names as Envoy's users know them.
#pragma once

#include <functional>

#include "proxy/telemetry/metrics.h"
#include "proxy/upstream/state.h"

namespace sluice::upstream {

// sluice_cluster_* by cluster and sluice_cluster_endpoint_* by cluster and endpoint. Beyond
// limits::kUpstreamSeriesMax endpoints (and as many clusters) the rest is one series, cluster
// "other". `states` outlives the metrics.
void add_metrics(telemetry::Metrics& metrics, const StateTable& states,
                 std::function<Mono()> now);

}  // namespace sluice::upstream
