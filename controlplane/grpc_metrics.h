// Calls of the admin services by gRPC, as metrics.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"
#include "proxy/telemetry/metrics.h"

namespace sluice::controlplane {

// Any thread.
class GrpcMetrics {
 public:
  // `metrics` outlives it.
  explicit GrpcMetrics(telemetry::Metrics& metrics) : metrics_(metrics) {}

  // A call has ended: sluice_grpc_requests_total by method (`ApiService/GetApi`) and status
  // (`INVALID_ARGUMENT`), sluice_grpc_request_seconds by method.
  void count(const std::string& method, absl::StatusCode status, nanoseconds took);

 private:
  telemetry::Metrics& metrics_;
  std::mutex mutex_;  // guards what follows, and the cells
  std::map<std::pair<std::string, absl::StatusCode>, telemetry::Counter*> counters_;
  std::map<std::string, telemetry::Histogram*> histograms_;
};

}  // namespace sluice::controlplane
