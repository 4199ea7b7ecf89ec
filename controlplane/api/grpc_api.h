// The table's services by gRPC: a grpc::Service is made at run time for each, so that reflection
// and the health service list them like generated ones.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/api/handler_pool.h"
#include "controlplane/api/service_table.h"

namespace grpc {
class Server;
class ServerBuilder;
class Service;
}  // namespace grpc

namespace sluice::controlplane::api {

// Outlives the server that it is registered with. Handlers run on `pool`, never on gRPC's threads.
// The caller is known by metadata `authorization: Bearer ...`, the peer's address and its verified
// client certificate.
class GrpcApi {
 public:
  // Hears of every call that has ended: `ApiService/GetApi`, how, and after what time. Any thread.
  using Observe =
      std::function<void(const std::string& method, absl::StatusCode status, nanoseconds took)>;

  // `table` and `pool` outlive it. `observe`: may be null.
  GrpcApi(const ServiceTable& table, HandlerPool& pool, Observe observe);
  ~GrpcApi();

  // Registers every service, and turns reflection and the health service on. Once, before
  // BuildAndStart. With TLS the credentials must ask for a client certificate and verify it if one
  // is given (GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY).
  void register_with(grpc::ServerBuilder& builder);
  // After BuildAndStart: the health service says SERVING for each.
  void started(grpc::Server& server);

 private:
  const Observe observe_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
};

}  // namespace sluice::controlplane::api
