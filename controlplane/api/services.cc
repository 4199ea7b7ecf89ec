#include "controlplane/api/services.h"

namespace sluice::controlplane::api {

std::unique_ptr<ServiceTable> make_service_table(Services& services) {
  auto table = std::make_unique<ServiceTable>(
      [&users = services.users](std::string_view token) { return users.authenticate(token); });
  add_kind_services(*table, services);
  add_state_methods(*table, services);
  add_resource_service(*table, services);
  add_auth_service(*table, services);
  add_user_methods(*table, services);
  add_token_service(*table, services);
  add_rollout_service(*table, services);
  add_proxy_service(*table, services);
  add_usage_service(*table, services);
  add_status_service(*table, services);
  return table;
}

}  // namespace sluice::controlplane::api
