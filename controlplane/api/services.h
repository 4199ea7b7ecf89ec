// The admin services: what they work on, and one function a file that adds their methods to the
// table.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/api/editor.h"
#include "controlplane/api/service_table.h"
#include "controlplane/oauth/tokens.h"
#include "controlplane/oauth/users.h"
#include "controlplane/pki/join.h"
#include "controlplane/store/store.h"
#include "proxy/base/clock.h"
#include "sluice/admin/v1/services.pb.h"

namespace sluice::controlplane::discovery {
class DiscoveryServer;
}

namespace sluice::controlplane::api {

// What the services ask of discovery. Any thread.
struct Rollouts {
  // Who has what of `revision` now. Revision 0: the newest.
  std::function<admin::v1::RolloutStatus(const std::string& group, std::int64_t revision)> get;
  // Blocks until no connected proxy lags, or for `timeout`.
  std::function<admin::v1::RolloutStatus(const std::string& group, std::int64_t revision,
                                         nanoseconds timeout)>
      wait;
  // The proxies that are connected or were: all fields but certificate_expires.
  std::function<std::vector<admin::v1::Proxy>()> proxies;
  // Ends the streams of a proxy.
  std::function<void(const std::string& node_id)> disconnect;
};

// `server` outlives what is returned.
Rollouts rollouts_of(discovery::DiscoveryServer& server);

// All of it outlives the table.
struct Services {
  store::Store& store;
  Editor& editor;
  oauth::Users& users;
  oauth::Tokens& tokens;
  pki::Proxies& proxies;
  pki::Joining& joining;
  Rollouts rollouts;
  // Tells a proxy to close a connection; false: it is not connected. Any thread.
  std::function<bool(const std::string& proxy, const std::string& connection)> close_connection;
  std::string organisation = store::kDefaultOrganisation;
  // For GetStatus: things to mend of the control plane itself, e.g. plain text beyond loopback.
  std::vector<std::string> warnings = {};
  Wall started = system_wall();
  std::function<Wall()> now = system_wall;
};

// The table of everything below. `services` outlives it.
std::unique_ptr<ServiceTable> make_service_table(Services& services);

void add_kind_services(ServiceTable& table, Services& services);     // Get, List, Create, ...
void add_state_methods(ServiceTable& table, Services& services);     // ChangeApiState, ...
void add_resource_service(ServiceTable& table, Services& services);  // Apply, Diff, Export
void add_auth_service(ServiceTable& table, Services& services);      // Login, Logout
void add_user_methods(ServiceTable& table, Services& services);      // SetPassword
void add_token_service(ServiceTable& table, Services& services);     // and GenerateKeys
void add_rollout_service(ServiceTable& table, Services& services);
void add_proxy_service(ServiceTable& table, Services& services);  // and JoinService
void add_usage_service(ServiceTable& table, Services& services);
void add_status_service(ServiceTable& table, Services& services);

}  // namespace sluice::controlplane::api
