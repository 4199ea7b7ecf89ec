// The life of an API: states, actions, and the checklist of publishing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "controlplane/model/catalogue.h"
#include "proxy/base/status.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::model {

using ApiState = config::v1::Api::State;

// publish, prototype, block, republish, deprecate, retire, demote. INVALID_ARGUMENT: no such
// action; FAILED_PRECONDITION: not from this state; both say what is allowed.
absl::StatusOr<ApiState> next_state(ApiState from, std::string_view action);

// Whether a declared state can be reached from `from` by any number of actions.
bool reachable(ApiState from, ApiState to);

// Compares versions as people count them: v1.9 < v1.10. Less than, equal to or greater than 0.
int compare_versions(std::string_view a, std::string_view b);

// The other APIs with the same context and an older version, oldest first.
std::vector<Key> older_versions(const Draft& draft, const Key& api);

struct PublishOptions {
  bool deprecate_old_versions = false;
  bool require_resubscription = false;
};

// Puts the API into the state that `action` leads to. Publishing from CREATED or PROTOTYPED also
// copies the subscriptions of older versions that are not retired (the newest version's where an
// application has several; those to plans that the API offers), unless resubscription is required,
// and deprecates published older versions if that is wanted.
absl::Status change_state(Draft& draft, const Key& api, std::string_view action,
                          const PublishOptions& options);

}  // namespace sluice::controlplane::model
