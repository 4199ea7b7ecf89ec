// Record intake by gRPC: carries sync's RecordIntake, which says what is acknowledged when.
#pragma once

#include <grpcpp/server_context.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "controlplane/store/store.h"
#include "sluice/telemetry/v1/telemetry.grpc.pb.h"

namespace sluice::controlplane::analytics {

// Streams are handled on a thread of its own and stored on a few more, so that gRPC's never block
// and the store can commit several proxies' batches together.
class RecordService final : public telemetry::v1::RecordService::CallbackService {
 public:
  // The node id of a caller that may upload: by its client certificate. Never blocks.
  using Identify =
      std::function<absl::StatusOr<std::string>(const grpc::ServerContextBase& context)>;

  struct Stats {
    std::atomic<std::uint64_t> streams{0};   // open now
    std::atomic<std::uint64_t> records{0};   // taken, records that came again included
    std::atomic<std::uint64_t> failures{0};  // batches that could not be stored
  };

  // `store` outlives it; the server that it is registered with does not.
  RecordService(store::Store& store, std::string organisation, Identify identify);
  ~RecordService() override;

  grpc::ServerBidiReactor<telemetry::v1::UploadRequest, telemetry::v1::UploadResponse>* Upload(
      grpc::CallbackServerContext* context) override;

  const Stats& stats() const;

  // Tells a proxy to close one of its connections. False: it is not connected. Blocks until it is
  // on its way; not on gRPC's threads, nor after stop().
  bool close_connection(const std::string& proxy, const std::string& connection);

  // Ends every stream with UNAVAILABLE, those that begin later too. Before grpc::Server::Shutdown,
  // which would wait for them.
  void stop();

  struct Core;

 private:
  std::unique_ptr<Core> core_;
  const Identify identify_;
};

}  // namespace sluice::controlplane::analytics
