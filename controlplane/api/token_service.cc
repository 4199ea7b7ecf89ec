// Keys and tokens for operators; the work is done in controlplane/oauth.
#include "controlplane/api/services.h"
#include "sluice/admin/v1/resources.pb.h"

namespace sluice::controlplane::api {

void add_token_service(ServiceTable& table, Services& services) {
  table.add<admin::v1::GenerateKeysRequest>(
      "sluice.admin.v1.CredentialService.GenerateKeys", {},
      [&services](const CallContext&, const admin::v1::GenerateKeysRequest& request) {
        return services.tokens.generate_keys(request);
      });
  table.add<admin::v1::IssueTokenRequest>(
      "sluice.admin.v1.TokenService.IssueToken", {},
      [&services](const CallContext&, const admin::v1::IssueTokenRequest& request) {
        return services.tokens.issue(request, services.now());
      });
  table.add<admin::v1::RevokeTokenRequest>(
      "sluice.admin.v1.TokenService.RevokeToken", {},
      [&services](const CallContext&, const admin::v1::RevokeTokenRequest& request) {
        return services.tokens.revoke(request, services.now());
      });
}

}  // namespace sluice::controlplane::api
