// SetPassword.
#include "controlplane/api/services.h"
#include "sluice/admin/v1/resources.pb.h"

namespace sluice::controlplane::api {

void add_user_methods(ServiceTable& table, Services& services) {
  table.add<admin::v1::SetPasswordRequest>(
      "sluice.admin.v1.UserService.SetPassword", {},
      [&services](const CallContext&, const admin::v1::SetPasswordRequest& request)
          -> absl::StatusOr<admin::v1::SetPasswordResponse> {
        SLUICE_RETURN_IF_ERROR(
            services.store.get(services.organisation, "User", request.name()).status());
        SLUICE_RETURN_IF_ERROR(services.users.set_password(request.name(), request.password()));
        admin::v1::SetPasswordResponse response;
        response.set_revision(services.store.revision(services.organisation));
        return response;
      });
}

}  // namespace sluice::controlplane::api
