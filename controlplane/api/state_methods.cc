// The verbs that change one state: ChangeApiState, ChangeSubscriptionStatus,
// ChangeApplicationStatus.
#include <fmt/format.h>

#include "controlplane/api/reflect.h"
#include "controlplane/api/services.h"
#include "controlplane/model/lifecycle.h"
#include "sluice/admin/v1/resources.pb.h"

namespace sluice::controlplane::api {
namespace {

using admin::v1::ChangeApiStateRequest;
using admin::v1::ChangeApplicationStatusRequest;
using admin::v1::ChangeSubscriptionStatusRequest;

// Runs the wish and answers with the resource as it is then.
template <class Response, class Mutable>
absl::StatusOr<Response> edit_one(Services& services, const model::Key& key,
                                  const Editor::Wish& wish, Mutable resource_field) {
  SLUICE_ASSIGN_OR_RETURN(const Editor::Outcome outcome, services.editor.edit(wish));
  SLUICE_ASSIGN_OR_RETURN(const store::Row row,
                          services.store.get(services.organisation, key.kind, key.name));
  SLUICE_ASSIGN_OR_RETURN(const model::Resource resource, resource_of(row));
  Response response;
  fill_resource(*model::find_kind(key.kind), resource, *(response.*resource_field)());
  response.set_revision(outcome.revision);
  return response;
}

absl::StatusOr<admin::v1::ChangeApiStateResponse> change_api_state(
    Services& services, const ChangeApiStateRequest& request) {
  const model::Key key{"Api", request.name()};
  model::PublishOptions options;
  options.deprecate_old_versions = request.deprecate_old_versions();
  options.require_resubscription = request.require_resubscription();
  const auto wish = [&](model::Draft& draft, std::vector<model::Fault>&) {
    return model::change_state(draft, key, request.action(), options);
  };
  return edit_one<admin::v1::ChangeApiStateResponse>(
      services, key, wish, &admin::v1::ChangeApiStateResponse::mutable_api);
}

// Sets `status` in a kind whose spec has one.
template <class Spec, class Request>
Editor::Wish status_wish(const model::Key& key, const Request& request) {
  return [key, status = request.status()](model::Draft& draft,
                                          std::vector<model::Fault>& faults) -> absl::Status {
    const model::Resource* found = draft.find(key);
    if (found == nullptr) {
      return not_found(fmt::format("{0} {1} does not exist; `sluicectl get {0}` lists what does",
                                   key.kind, key.name));
    }
    if (status == 0 || !Spec::Status_IsValid(status)) {
      faults.push_back({key, "status", "is required", false});
    }
    auto spec = std::make_shared<Spec>(found->as<Spec>());
    spec->set_status(status);
    model::Resource changed = *found;
    changed.spec = std::move(spec);
    draft.put(std::move(changed));
    return absl::OkStatus();
  };
}

}  // namespace

void add_state_methods(ServiceTable& table, Services& services) {
  table.add<ChangeApiStateRequest>(
      "sluice.admin.v1.ApiService.ChangeApiState", {},
      [&services](const CallContext&, const ChangeApiStateRequest& request) {
        return change_api_state(services, request);
      });
  table.add<ChangeSubscriptionStatusRequest>(
      "sluice.admin.v1.SubscriptionService.ChangeSubscriptionStatus", {},
      [&services](const CallContext&, const ChangeSubscriptionStatusRequest& request) {
        const model::Key key{"Subscription", request.name()};
        return edit_one<admin::v1::ChangeSubscriptionStatusResponse>(
            services, key, status_wish<config::v1::Subscription>(key, request),
            &admin::v1::ChangeSubscriptionStatusResponse::mutable_subscription);
      });
  table.add<ChangeApplicationStatusRequest>(
      "sluice.admin.v1.ApplicationService.ChangeApplicationStatus", {},
      [&services](const CallContext&, const ChangeApplicationStatusRequest& request) {
        const model::Key key{"Application", request.name()};
        return edit_one<admin::v1::ChangeApplicationStatusResponse>(
            services, key, status_wish<config::v1::Application>(key, request),
            &admin::v1::ChangeApplicationStatusResponse::mutable_application);
      });
}

}  // namespace sluice::controlplane::api
