// The services' view of discovery, over the real one.
#include "controlplane/api/services.h"
#include "controlplane/discovery/discovery_server.h"

namespace sluice::controlplane::api {

Rollouts rollouts_of(discovery::DiscoveryServer& server) {
  Rollouts rollouts;
  rollouts.get = [&server](const std::string& group, std::int64_t revision) {
    return server.rollout(revision, group);
  };
  rollouts.wait = [&server](const std::string& group, std::int64_t revision, nanoseconds timeout) {
    return server.wait(revision, group, timeout);
  };
  rollouts.proxies = [&server] { return server.list_proxies(""); };
  rollouts.disconnect = [&server](const std::string& node_id) { server.disconnect(node_id); };
  return rollouts;
}

}  // namespace sluice::controlplane::api
