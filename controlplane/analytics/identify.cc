#include "controlplane/analytics/identify.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/auth_context.h>

namespace sluice::controlplane::analytics {

RecordService::Identify by_certificate(const pki::Proxies& proxies) {
  return [&proxies](const grpc::ServerContextBase& context) -> absl::StatusOr<std::string> {
    const std::vector<grpc::string_ref> pem =
        context.auth_context()->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
    if (pem.empty()) {
      return absl::UnauthenticatedError(
          "records are taken from proxies with a client certificate; join with a join token first");
    }
    SLUICE_ASSIGN_OR_RETURN(const pki::Peer peer, pki::peer_from_certificate(std::string(
                                                      pem.front().data(), pem.front().size())));
    SLUICE_RETURN_IF_ERROR(proxies.check(peer));
    return peer.name;
  };
}

RecordService::Identify by_metadata() {
  return [](const grpc::ServerContextBase& context) -> absl::StatusOr<std::string> {
    const auto found = context.client_metadata().find("sluice-node-id");
    const std::string name = found == context.client_metadata().end()
                                 ? ""
                                 : std::string(found->second.data(), found->second.size());
    if (!pki::valid_name(name)) {
      return absl::UnauthenticatedError("the metadata sluice-node-id must name the proxy");
    }
    return name;
  };
}

}  // namespace sluice::controlplane::analytics
