// Who has which revision in force, and waiting for it.
#include <algorithm>
#include <chrono>

#include "controlplane/api/services.h"
#include "controlplane/model/limits.h"
#include "controlplane/model/rules.h"

namespace sluice::controlplane::api {
namespace {

// The answer of a wait at the call's own deadline must still reach the caller.
constexpr nanoseconds kAnswerTime = milliseconds(100);

absl::Status check_group(Services& services, const std::string& group) {
  return services.store.get(services.organisation, "GatewayGroup", group).status();
}

std::string group_of(const std::string& group) {
  return group.empty() ? model::kDefaultGroup : group;
}

absl::Status check_revision(Services& services, std::int64_t revision) {
  const std::int64_t newest = services.store.revision(services.organisation);
  return revision >= 0 && revision <= newest ? absl::OkStatus()
                                             : invalid_argument("revision: there is none such yet");
}

absl::StatusOr<admin::v1::RolloutStatus> wait(Services& services, const CallContext& context,
                                              const admin::v1::WaitRolloutRequest& request) {
  const std::string group = group_of(request.group());
  SLUICE_RETURN_IF_ERROR(check_group(services, group));
  SLUICE_RETURN_IF_ERROR(check_revision(services, request.revision()));
  const std::int32_t timeout =
      request.timeout_ms() == 0 ? limits::kRolloutWaitDefaultMs : request.timeout_ms();
  if (timeout < 0) {
    return invalid_argument("timeout_ms: must not be negative");
  }
  nanoseconds patience = milliseconds(timeout);
  if (context.deadline != kNever) {
    patience = std::min(patience, context.deadline - kAnswerTime - system_mono());
  }
  return services.rollouts.wait(group, request.revision(), std::max(patience, nanoseconds(0)));
}

}  // namespace

void add_rollout_service(ServiceTable& table, Services& services) {
  table.add<admin::v1::GetRolloutRequest>(
      "sluice.admin.v1.RolloutService.Get", {},
      [&services](const CallContext&, const admin::v1::GetRolloutRequest& request)
          -> absl::StatusOr<admin::v1::RolloutStatus> {
        const std::string group = group_of(request.group());
        SLUICE_RETURN_IF_ERROR(check_group(services, group));
        SLUICE_RETURN_IF_ERROR(check_revision(services, request.revision()));
        return services.rollouts.get(group, request.revision());
      });
  ServiceTable::Options waits;
  waits.waits = true;
  table.add<admin::v1::WaitRolloutRequest>(
      "sluice.admin.v1.RolloutService.Wait", waits,
      [&services](const CallContext& context, const admin::v1::WaitRolloutRequest& request) {
        return wait(services, context, request);
      });
}

}  // namespace sluice::controlplane::api
