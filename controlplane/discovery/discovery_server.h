// The ADS server: what each proxy of a group may see, pushed as it changes, and who has what in
// force. gRPC is an adapter in front of proxy/sync's streams; everything runs on one thread of its
// own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/pki/join.h"
#include "controlplane/store/store.h"
#include "proxy/base/clock.h"
#include "proxy/base/status.h"
#include "sluice/admin/v1/services.pb.h"

namespace grpc {
class ServerBuilder;
class Service;
}  // namespace grpc

namespace sluice::controlplane::discovery {

struct DiscoveryOptions {
  std::string organisation = store::kDefaultOrganisation;
  // No TLS: group and node are believed from Node.cluster and Node.id. Shown as a warning.
  bool insecure_plaintext = false;
  std::string identifier = "sluice-control";  // of this control plane, told to clients
  std::uint64_t seed = 1;                     // of jitter
  nanoseconds stream_age_max{};               // 0: limits::kStreamAgeMax; for tests
};

// Any thread, unless a call says otherwise.
class DiscoveryServer {
 public:
  // Both outlive it. `proxies`: who joined; null only with insecure_plaintext.
  DiscoveryServer(store::Store& store, pki::Proxies* proxies, DiscoveryOptions options);
  ~DiscoveryServer();
  DiscoveryServer(const DiscoveryServer&) = delete;
  DiscoveryServer& operator=(const DiscoveryServer&) = delete;

  // Reads the store and follows its feed. Before the gRPC server starts.
  absl::Status start();
  // Ends every stream with UNAVAILABLE and stops following. Before grpc::Server::Shutdown, which
  // would wait for the streams. Idempotent.
  void stop();

  // To be registered with the gRPC server. Owned by this object.
  grpc::Service* service();
  // Message sizes and keepalive that the proxies' streams need.
  static void configure(grpc::ServerBuilder& builder);

  // RolloutService. `revision` 0: the newest; `group` empty: default. Both block, wait() up to
  // `timeout` or until no connected proxy of the group lags; never on a gRPC or store thread.
  admin::v1::RolloutStatus rollout(std::int64_t revision, const std::string& group);
  admin::v1::RolloutStatus wait(std::int64_t revision, const std::string& group,
                                nanoseconds timeout);
  // As wait(), without blocking; `answer` is called once, on the discovery thread.
  void wait(std::int64_t revision, std::string group, nanoseconds timeout,
            std::function<void(admin::v1::RolloutStatus)> answer);

  // ProxyService. Those that joined or are connected, by node id. `group` empty: all. Blocks.
  std::vector<admin::v1::Proxy> list_proxies(const std::string& group);
  // Whether a live proxy of that name is connected. Does not block: for pki::Joining.
  bool connected(const std::string& node_id) const;
  // Ends the proxy's streams; pki::Proxies::remove has refused its certificate before.
  void disconnect(const std::string& node_id);

  struct Metrics {
    std::uint64_t streams = 0;  // open now
    std::uint64_t proxies = 0;  // connected now
    std::uint64_t responses = 0;
    std::uint64_t acks = 0;
    std::uint64_t nacks = 0;
    std::uint64_t refused_streams = 0;  // by certificate, node id or protocol
    std::uint64_t feed_failures = 0;    // of reading the store
    std::int64_t revision = 0;          // that proxies are sent
  };
  Metrics metrics() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::controlplane::discovery
