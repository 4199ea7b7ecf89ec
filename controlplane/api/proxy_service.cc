// The proxies: who they are, how they join, how they are removed.
#include <fmt/format.h>

#include <map>

#include "controlplane/api/reflect.h"
#include "controlplane/api/services.h"

namespace sluice::controlplane::api {
namespace {

using admin::v1::Proxy;

admin::v1::ListProxiesResponse list(Services& services, const std::string& group) {
  std::map<std::string, Proxy> proxies;
  for (Proxy& seen : services.rollouts.proxies()) {
    const std::string node = seen.node_id();
    proxies[node] = std::move(seen);
  }
  for (const pki::KnownProxy& known : services.proxies.list()) {
    if (known.removed) {
      proxies.erase(known.node_id);
      continue;
    }
    Proxy& proxy = proxies[known.node_id];
    proxy.set_node_id(known.node_id);
    proxy.set_group(known.group);
    *proxy.mutable_certificate_expires() = timestamp_of_ms(known.certificate_expires_ms);
    if (known.certificate_expires_ms < to_ms(services.now())) {
      proxy.add_warnings("its certificate has expired; join it again with a new join token");
    }
  }
  admin::v1::ListProxiesResponse response;
  for (auto& [node, proxy] : proxies) {
    if (group.empty() || proxy.group() == group) {
      *response.add_proxies() = std::move(proxy);
    }
  }
  return response;
}

absl::StatusOr<admin::v1::RemoveProxyResponse> remove(
    Services& services, const admin::v1::RemoveProxyRequest& request) {
  const std::optional<pki::KnownProxy> known = services.proxies.find(request.node_id());
  if (!known || known->removed || (!request.group().empty() && known->group != request.group())) {
    return not_found(fmt::format("there is no proxy {}{}{}", request.node_id(),
                                 request.group().empty() ? "" : " in group ", request.group()));
  }
  SLUICE_RETURN_IF_ERROR(services.proxies.remove(request.node_id()));
  services.rollouts.disconnect(request.node_id());
  return admin::v1::RemoveProxyResponse();
}

void add_join_service(ServiceTable& table, Services& services) {
  ServiceTable::Options join;
  join.access = Access::kJoin;
  table.add<admin::v1::JoinRequest>(
      "sluice.admin.v1.JoinService.Join", join,
      [&services](const CallContext&, const admin::v1::JoinRequest& request) {
        return services.joining.join(request, services.now());
      });
  ServiceTable::Options proxy;
  proxy.access = Access::kProxy;
  table.add<admin::v1::RenewRequest>(
      "sluice.admin.v1.JoinService.Renew", proxy,
      [&services](const CallContext& context, const admin::v1::RenewRequest& request)
          -> absl::StatusOr<admin::v1::JoinResponse> {
        SLUICE_RETURN_IF_ERROR(services.proxies.check(context.certificate));
        return services.joining.renew(request, context.certificate, services.now());
      });
}

}  // namespace

void add_proxy_service(ServiceTable& table, Services& services) {
  table.add<admin::v1::ListProxiesRequest>(
      "sluice.admin.v1.ProxyService.ListProxies", {},
      [&services](const CallContext&, const admin::v1::ListProxiesRequest& request)
          -> absl::StatusOr<admin::v1::ListProxiesResponse> {
        return list(services, request.group());
      });
  table.add<admin::v1::RemoveProxyRequest>(
      "sluice.admin.v1.ProxyService.RemoveProxy", {},
      [&services](const CallContext&, const admin::v1::RemoveProxyRequest& request) {
        return remove(services, request);
      });
  table.add<admin::v1::CreateJoinTokenRequest>(
      "sluice.admin.v1.ProxyService.CreateJoinToken", {},
      [&services](const CallContext&, const admin::v1::CreateJoinTokenRequest& request) {
        return services.joining.create_token(request, services.now());
      });
  table.add<admin::v1::CreateClientCertificateRequest>(
      "sluice.admin.v1.ProxyService.CreateClientCertificate", {},
      [&services](const CallContext&, const admin::v1::CreateClientCertificateRequest& request) {
        return services.joining.create_client_certificate(request, services.now());
      });
  add_join_service(table, services);
}

}  // namespace sluice::controlplane::api
