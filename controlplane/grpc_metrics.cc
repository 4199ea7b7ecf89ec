#include "controlplane/grpc_metrics.h"

namespace sluice::controlplane {

void GrpcMetrics::count(const std::string& method, absl::StatusCode status, nanoseconds took) {
  const std::lock_guard lock(mutex_);
  telemetry::Counter*& counter = counters_[{method, status}];
  if (counter == nullptr) {
    counter = &metrics_.counter("sluice_grpc_requests_total",
                                "Calls of the admin services by gRPC, by method and status.",
                                {{"method", method}, {"status", absl::StatusCodeToString(status)}});
  }
  counter->add();
  telemetry::Histogram*& histogram = histograms_[method];
  if (histogram == nullptr) {
    histogram = &metrics_.histogram("sluice_grpc_request_seconds",
                                    "Time from a gRPC call's request to its answer.",
                                    telemetry::latency_bounds(), {{"method", method}});
  }
  histogram->observe(std::chrono::duration<double>(took).count());
}

}  // namespace sluice::controlplane
