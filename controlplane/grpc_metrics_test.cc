#include "controlplane/grpc_metrics.h"

#include <gtest/gtest.h>

namespace sluice::controlplane {
namespace {

TEST(GrpcMetrics, CountsCallsByMethodAndStatusAndTheirTime) {
  telemetry::Metrics metrics;
  GrpcMetrics grpc(metrics);
  grpc.count("ApiService/GetApi", absl::StatusCode::kOk, milliseconds(2));
  grpc.count("ApiService/GetApi", absl::StatusCode::kOk, milliseconds(3));
  grpc.count("ApiService/GetApi", absl::StatusCode::kNotFound, milliseconds(1));
  const std::string text = metrics.text();
  for (const char* line :
       {"sluice_grpc_requests_total{method=\"ApiService/GetApi\",status=\"OK\"} 2",
        "sluice_grpc_requests_total{method=\"ApiService/GetApi\",status=\"NOT_FOUND\"} 1",
        "sluice_grpc_request_seconds_count{method=\"ApiService/GetApi\"} 3"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << " is not in\n" << text;
  }
}

}  // namespace
}  // namespace sluice::controlplane
