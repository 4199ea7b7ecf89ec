// One page on how the whole stands.
#include <fmt/format.h>

#include "controlplane/api/reflect.h"
#include "controlplane/api/services.h"
#include "controlplane/model/rules.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::api {
namespace {

void add_warnings(Services& services, admin::v1::GetStatusResponse& status) {
  for (const std::string& warning : services.warnings) {
    status.add_warnings(warning);
  }
  if (const absl::Status writable = services.store.writable(); !writable.ok()) {
    status.add_warnings(std::string(message_of(writable)));
  }
  const std::shared_ptr<const config::Snapshot> snapshot = services.editor.snapshot();
  for (const auto& listener : snapshot->listeners()) {
    if (listener->plaintext_exposed) {
      status.add_warnings(
          fmt::format("Listener {} serves plain text beyond loopback", listener->name));
    }
  }
}

absl::Status add_proxies(Services& services, admin::v1::GetStatusResponse& status) {
  int known = 0;
  for (const pki::KnownProxy& proxy : services.proxies.list()) {
    known += proxy.removed ? 0 : 1;
  }
  int connected = 0;
  for (const admin::v1::Proxy& proxy : services.rollouts.proxies()) {
    connected += proxy.connected() ? 1 : 0;
    for (const std::string& warning : proxy.warnings()) {
      status.add_warnings(fmt::format("proxy {}: {}", proxy.node_id(), warning));
    }
  }
  status.set_proxies_known(std::max(known, connected));
  status.set_proxies_connected(connected);
  SLUICE_ASSIGN_OR_RETURN(const std::vector<store::RecordHead> heads,
                          services.store.record_heads(services.organisation));
  for (const store::RecordHead& head : heads) {
    if (head.dropped > 0) {
      status.add_warnings(fmt::format("proxy {} dropped {} records because its spool was full",
                                      head.proxy, head.dropped));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<admin::v1::GetStatusResponse> get_status(Services& services) {
  admin::v1::GetStatusResponse status;
  status.set_version(SLUICE_VERSION);
  status.set_revision(services.store.revision(services.organisation));
  *status.mutable_start_time() = timestamp_of_ms(to_ms(services.started));
  services.editor.read([&](const model::Catalogue& catalogue) {
    status.set_apis(static_cast<int>(catalogue.all("Api").size()));
    status.set_applications(static_cast<int>(catalogue.all("Application").size()));
    status.set_subscriptions(static_cast<int>(catalogue.all("Subscription").size()));
    if (const model::Resource* group = catalogue.find({"GatewayGroup", model::kDefaultGroup})) {
      *status.mutable_public_urls() = group->as<config::v1::GatewayGroup>().public_urls();
    }
    return 0;
  });
  add_warnings(services, status);
  SLUICE_RETURN_IF_ERROR(add_proxies(services, status));
  return status;
}

}  // namespace

void add_status_service(ServiceTable& table, Services& services) {
  table.add<admin::v1::GetStatusRequest>(
      "sluice.admin.v1.StatusService.GetStatus", {},
      [&services](const CallContext&, const admin::v1::GetStatusRequest&) {
        return get_status(services);
      });
}

}  // namespace sluice::controlplane::api
