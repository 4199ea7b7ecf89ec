// Login and Logout.
#include "controlplane/api/reflect.h"
#include "controlplane/api/services.h"

namespace sluice::controlplane::api {
namespace {

absl::StatusOr<admin::v1::LoginResponse> login(Services& services, const CallContext& context,
                                               const admin::v1::LoginRequest& request) {
  SLUICE_ASSIGN_OR_RETURN(
      const oauth::Session session,
      services.users.login(request.user(), request.password(), context.client_address));
  // A password may have outlived its user if the process ended between the two deletions.
  const absl::Status known =
      services.store.get(services.organisation, "User", request.user()).status();
  if (!known.ok()) {
    services.users.logout(session.token).IgnoreError();
    return absl::IsNotFound(known) ? absl::UnauthenticatedError("the user or the password is wrong")
                                   : known;
  }
  admin::v1::LoginResponse response;
  response.set_token(session.token);
  *response.mutable_expires() = timestamp_of_ms(to_ms(session.expires));
  return response;
}

}  // namespace

void add_auth_service(ServiceTable& table, Services& services) {
  ServiceTable::Options anyone;
  anyone.access = Access::kAnyone;
  table.add<admin::v1::LoginRequest>(
      "sluice.admin.v1.AuthService.Login", anyone,
      [&services](const CallContext& context, const admin::v1::LoginRequest& request) {
        return login(services, context, request);
      });
  table.add<admin::v1::LogoutRequest>(
      "sluice.admin.v1.AuthService.Logout", {},
      [&services](const CallContext& context,
                  const admin::v1::LogoutRequest&) -> absl::StatusOr<admin::v1::LogoutResponse> {
        SLUICE_RETURN_IF_ERROR(services.users.logout(context.bearer));
        return admin::v1::LogoutResponse();
      });
}

}  // namespace sluice::controlplane::api
